"""Reports the matrix: the effect of the kills on each process at each step."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.chaos.audit import Trouble, Verdict
from benchmarks.chaos.children import BATCH
from benchmarks.chaos.kills import ANY_MOMENT, Cell, Kill
from benchmarks.chaos.surroundings import FAULTS
from fleet.faults import POINTS

COUNTS = ("kills", "jobs", "lost", "duplicates", "double_charges")


STEPS = (*POINTS, ANY_MOMENT, *(step for steps in FAULTS.values() for step in steps))


def matrix_of(kills: Sequence[Kill], trouble: Trouble) -> list[dict[str, Any]]:
    """Return one row per process and step, in the order of a job's path; seconds are from the kill to the next result.

    A job belongs to the first kill after it was accepted, a charge too many to the first kill after the first charge.
    """
    accepted = [0, *(kill.batches * BATCH for kill in kills)]
    cells: dict[Cell, Counter[str]] = {}
    seconds: dict[Cell, list[float]] = {}
    for number, kill in enumerate(kills):
        cells.setdefault(kill.cell, Counter()).update(kills=1, jobs=accepted[number + 1] - accepted[number])
        seconds.setdefault(kill.cell, []).append(kill.seconds)
    for name, jobs in (("lost", trouble.lost), ("duplicates", trouble.duplicates)):
        for job in jobs:
            cells[_owner(kills, accepted[1:], int(job.rsplit("-", 1)[1]) + 1)][name] += 1
    for at in trouble.doubled_at:
        cells[_owner(kills, [kill.at for kill in kills], at)]["double_charges"] += 1
    ordered = sorted(cells, key=lambda cell: (cell.process, STEPS.index(cell.step)))
    return [_row(cell, cells[cell], seconds[cell]) for cell in ordered]


def _owner(kills: Sequence[Kill], marks: Sequence[float], value: float) -> Cell:
    return kills[min(bisect_left(marks, value), len(kills) - 1)].cell


def _row(cell: Cell, counts: Counter[str], seconds: Sequence[float]) -> dict[str, Any]:
    return {
        "process": cell.process,
        "step": cell.step,
        **{name: counts[name] for name in COUNTS},
        "median_seconds": round(statistics.median(seconds), 3),
        "max_seconds": round(max(seconds), 3),
    }


def show(kills: int, matrix: Sequence[dict[str, Any]], verdict: Verdict) -> None:
    console = Console(width=110)
    table = Table("process", "step", title="seconds are from the kill to the next result")
    for heading in (*COUNTS, "median", "max"):
        table.add_column(heading.replace("_", " "), justify="right")
    for row in matrix:
        figures = f"{row['median_seconds']:.3f}", f"{row['max_seconds']:.3f}"
        table.add_row(row["process"], row["step"], *(str(row[name]) for name in COUNTS), *figures)
    console.print(table)
    console.print(f"kills and other faults {kills}, jobs {verdict.jobs}, results {verdict.results}")
    console.print(f"lost {verdict.lost}, duplicates {verdict.duplicates}, results nobody asked for {verdict.strangers}")
    console.print(
        f"charges {verdict.charges}, double {verdict.double_charges} (attempts begun again {verdict.repeated}); "
        f"beyond the rule {verdict.beyond_rule}, not recorded before {verdict.unrecorded}, "
        f"only in STARTS {verdict.not_in_ledger}"
    )
    console.print(f"statuses {dict(verdict.statuses)}, dead letters {verdict.dead}")
    console.print("the accounts balance" if verdict.balances else "THE ACCOUNTS DO NOT BALANCE")

"""`fleet evaluate --router`: trains a router on some labelled prompts and judges it on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fleet.lab.evaluation.drawing import Drawing, PlottedCurve, Reliability
from fleet.lab.evaluation.report import PolicyRow
from fleet.lab.evaluation.verdict import undefined
from fleet.lab.metrics.curve import Array
from fleet.lab.metrics.metrics import reliability
from fleet.lab.router.files import LabelledPrompts, read_labelled
from fleet.lab.router.fit import fit_router
from fleet.lab.router.report import RouterReport
from fleet.lab.router.split import GRID, Order, RouterScores, judge, mean, mean_of, middle
from fleet.lab.router.tasks import gains_by_task
from fleet.model.errors import ConfigError
from fleet.model.router import Router
from policies.routing.learned_router import RouterDecision, switch_on

SEEDS = 10
FEWEST_TO_TEST = 50
UNLIKE_TRAINING = 0.20
"""Share of out-of-distribution prompts from which on a router refuses a batch; in distribution it is about 0.01."""

Rows = npt.NDArray[np.int64]

_HALF = 0.5
_OF_ORDER = ("apgr", "apgr_ci", "apgr_sd", "cpt50", "cpt80", "cpt95")
_AVERAGED = ("weak", "strong", "oracle", "brier", "brier_constant", "ece", "ece_floor", "kept_wrong")


def evaluate_router(
    path: Path, train: int | None = None, seeds: int = SEEDS, with_answer: bool = False, ask: Path | None = None
) -> RouterReport:
    """Train on `train` random rows of `path` (half of them by default), judge on the rest, `seeds` times.

    With `with_answer` the router also reads the weak target's answer. With `ask` it is judged on that whole file
    instead. Only texts are features; other columns are never looked at.
    Rows with the same prompt are all trained on or all judged on, never both.
    Raises: ConfigError naming the file, line, column and rule, or the option; OSError if a file cannot be read.
    """
    file = read_labelled(path, with_answer)
    asked = None if ask is None else read_labelled(ask, with_answer)
    labels = len(file) // 2 if train is None else train
    most = len(file) - (FEWEST_TO_TEST if asked is None else 0)
    if labels > most:
        raise ConfigError("--train", f"must be at most {most}: of {len(file)} rows, some are left to judge on")
    pairs = [_split(file, asked, labels, seed) for seed in range(seeds)]
    return _report(file, asked, [router for router, _ in pairs], [judged for _, judged in pairs])


def _split(file: LabelledPrompts, asked: LabelledPrompts | None, labels: int, seed: int) -> tuple[Router, RouterScores]:
    rng = np.random.default_rng(seed)
    order = _equal_prompts_together(file.prompts, rng.permutation(len(file)))
    known = file.rows(order[:labels])
    test = file.rows(_unseen(file.prompts, order, labels)) if asked is None else asked
    weak, strong = known.weak_good.tolist(), known.strong_good.tolist()
    router = fit_router(known.prompts, weak, strong, rng, answers=known.answers, tasks=known.tasks)
    return router, judge(router, test, rng, _by_task(known, test))


def _by_task(known: LabelledPrompts, test: LabelledPrompts) -> Array | None:
    """Return the order of the table of tasks, as `judge` takes it; None where tasks are not known."""
    if known.tasks is None or test.tasks is None:
        return None
    return -gains_by_task(known.tasks, known.strong_good - known.weak_good, test.tasks)


def _equal_prompts_together(prompts: Sequence[str], order: Rows) -> Rows:
    """Return the rows in this order, each prompt's other rows moved up behind its first."""
    first: dict[str, int] = {}
    for place, row in enumerate(order):
        first.setdefault(prompts[row], place)
    return order[np.argsort([first[prompts[row]] for row in order], kind="stable")]


def _unseen(prompts: Sequence[str], order: Rows, labels: int) -> Rows:
    """Return the rows after the first `labels`, without those that share the prompt at the cut.

    Raises: ConfigError if too few are left.
    """
    last = prompts[order[labels - 1]]
    rest = np.array([row for row in order[labels:] if prompts[row] != last], dtype=np.int64)
    if len(rest) < FEWEST_TO_TEST:
        raise ConfigError(
            "--train", f"leaves {len(rest)} rows with other prompts to judge on: it takes {FEWEST_TO_TEST}"
        )
    return rest


def _report(
    file: LabelledPrompts, asked: LabelledPrompts | None, routers: Sequence[Router], splits: Sequence[RouterScores]
) -> RouterReport:
    refusal = _refusal(splits)
    verdicts = [switch_on(router) for router in routers]
    used, length = middle([one.router for one in splits]), middle([one.length for one in splits])
    tables = [one.table for one in splits if one.table is not None]
    table = middle(tables) if tables else None
    shown = used if refusal is None else _silent(used)
    verdict = verdicts[0] if refusal is None else RouterDecision(False, refusal)
    return RouterReport(
        file=file.name,
        ask=asked.name if asked else None,
        with_answer=file.answers is not None,
        train=routers[0].labels,
        seeds=len(splits),
        n=splits[0].n,
        apgr_if_used=middle([one.forced for one in splits]).apgr,
        length_apgr=length.apgr,
        length_apgr_ci=length.apgr_ci,
        length_apgr_sd=length.apgr_sd,
        table_apgr=None if table is None else table.apgr,
        auroc=mean([one.auroc for one in splits]),
        escalation_rate=_HALF,
        violation_rate=None,
        out_of_distribution=mean_of([one.unlike for one in splits]),
        refused=refusal is not None,
        reason=refusal or _conclusion(shown, length, table, verdicts),
        switch_on=verdict.on,
        switch_on_reason=verdict.reason,
        switch_on_share=mean_of([float(verdict.on) for verdict in verdicts]),
        rows=_rows(splits, shown, length, table),
        **_figures(shown, splits),
        drawing=_drawing(
            f"{(asked or file).name}: a router trained on {routers[0].labels} prompts", splits, used, length
        ),
    )


def _figures(shown: Order, splits: Sequence[RouterScores]) -> dict[str, Any]:
    """Return the fields of the report that are called as those of an order and of its scores."""
    means = {name: mean_of([getattr(one, name) for one in splits]) for name in _AVERAGED}
    return {name: getattr(shown, name) for name in _OF_ORDER} | means


def _refusal(splits: Sequence[RouterScores]) -> str | None:
    """Return why the router must not be used on these prompts, or not be judged by them; None where it may."""
    unlike = mean_of([one.unlike for one in splits])
    if unlike >= UNLIKE_TRAINING:
        return f"out of distribution: {unlike:.0%} of the prompts are not like those the router was trained on"
    first = splits[0]
    return undefined(first.n, first.strong - first.weak, first.gap_ci)


def _silent(order: Order) -> Order:
    """Remove the figures that a refusal does not allow to state."""
    return replace(order, apgr=None, apgr_ci=None, apgr_sd=None, cpt50=None, cpt80=None, cpt95=None)


def _conclusion(used: Order, length: Order, table: Order | None, verdicts: Sequence[RouterDecision]) -> str:
    """Conclude by the first training; where others disagree, say also how many would switch on."""
    verdict, on = verdicts[0], sum(verdict.on for verdict in verdicts)
    state = "it may be switched on" if verdict.on else "it stays off"
    if 0 < on < len(verdicts):
        state += f" (only {on} of {len(verdicts)} trainings would switch on)"
    router, baseline = (f"{order.apgr:.3f}" for order in (used, length))
    by_task = "" if table is None else f", the table of their tasks with {table.apgr:.3f}"
    return (
        f"the router orders prompts with APGR {router}, their length alone with {baseline}{by_task}; "
        f"{state}: {verdict.reason}"
    )


def _rows(splits: Sequence[RouterScores], router: Order, length: Order, table: Order | None) -> tuple[PolicyRow, ...]:
    n = splits[0].n
    random = middle([one.random for one in splits])
    by_task = () if table is None else (("table", table),)
    ordered = (("random", random), ("length", length), *by_task, ("router", router))
    return (
        PolicyRow("always-weak", n, mean_of([one.weak for one in splits]), None, 0.0),
        *(_row(name, n, order) for name, order in ordered),
        PolicyRow("always-strong", n, mean_of([one.strong for one in splits]), None, 1.0),
    )


def _row(name: str, n: int, order: Order) -> PolicyRow:
    return PolicyRow(
        name=name,
        n=n,
        quality=order.quality_at_half,
        quality_ci=None,
        escalation_rate=_HALF,
        apgr=order.apgr,
        apgr_ci=order.apgr_ci,
        cpt50=order.cpt50,
        cpt80=order.cpt80,
        cpt95=order.cpt95,
    )


def _drawing(title: str, splits: Sequence[RouterScores], router: Order, length: Order) -> Drawing:
    chance = np.concatenate([one.chance for one in splits])
    suffices = np.concatenate([one.suffices for one in splits])
    ece = mean_of([one.ece for one in splits])
    oracle = mean_of([one.needed for one in splits]), mean_of([one.oracle for one in splits])
    return Drawing(
        title=title,
        cost_label="share of prompts sent to the strong target",
        lines=(_line("router", router), _line("length", length)),
        weak=(0.0, mean_of([one.weak for one in splits])),
        strong=(1.0, mean_of([one.strong for one in splits])),
        oracle=oracle,
        chosen=None,
        reliability=(Reliability("P(small suffices)", reliability(chance, suffices), ece),),
        ece_floor=mean_of([one.ece_floor for one in splits]),
    )


def _line(name: str, order: Order) -> PlottedCurve:
    return PlottedCurve(name, tuple(zip(GRID.tolist(), order.quality.tolist(), strict=True)))

"""Measures the fleet's real path on one card, in ten minutes at most, and says what it could not find out.

    python -m benchmarks.gpu [--out build/gpu.json] [--seconds 600] [--parts offline served]
    python -m benchmarks.gpu --dry-run      the same path on a CPU with the smallest stand-in

The models have the shapes of Llama 3.1 8B and 3.2 1B and random weights, so that nothing is downloaded. A part that
fails, is late, or lacks a package leaves a line and the others run; its log is in the folder beside the JSON file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks.gpu.parts import PARTS, Options
from benchmarks.gpu.schedule import Found, RunPart, in_own_process, run

CARDS: Final = {"A10G": "a10g", "A100": "a100-80gb", "H100": "h100-80gb", "H200": "h200-141gb"}
"""Cards of policies/capacity/machines.yaml by the word in the name that NVIDIA gives them."""

SMALL_A100_MIB: Final = 50_000
JOBS, DRY_JOBS = 256, 24


def main(arguments: Sequence[str] | None = None, run_part: RunPart = in_own_process) -> int:
    """Run, write one JSON object, and print a table. Return 1 where nothing was found."""
    given = _parser().parse_args(arguments)
    if given.part:
        figures = PARTS[given.part].run(Options(**json.loads(given.options)))
        part = given.out.with_suffix(".part")
        part.write_text(json.dumps(figures))
        part.rename(given.out)
        return 0
    device, card = ("CPU, a dry run: no figure says anything about a GPU", None) if given.dry_run else found_card()
    if device is None:
        print("no NVIDIA card is found here; --dry-run runs the same path on the CPU")
        return 1
    folder = given.out.absolute().with_suffix("")  # the models that are made, and the log of each part
    folder.mkdir(parents=True, exist_ok=True)
    options = Options(str(folder), card, given.dry_run, DRY_JOBS if given.dry_run else JOBS)
    found = run(options, given.parts, given.seconds, run_part)
    given.out.write_text(json.dumps({"device": device, "dry_run": given.dry_run, **asdict(found)}, indent=1))
    print(table(device, found))
    return 0 if found.figures else 1


def found_card() -> tuple[str | None, str | None]:
    """Return the first card's name, and what the plan calls it; None for each that is not known."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return named(told)


def named(told: str) -> tuple[str | None, str | None]:
    """Read the first line of nvidia-smi: a name and MiB."""
    name, _, mib = (told.splitlines() or [""])[0].partition(",")
    card = next((each for word, each in CARDS.items() if word in name), None)
    if card == "a100-80gb" and float(mib) < SMALL_A100_MIB:
        card = "a100-40gb"
    return name.strip() or None, card


def table(device: str, found: Found) -> str:
    """Return the figures, a row each, the seconds of each part, and what was not done."""
    width = max(map(len, [*found.figures, *found.seconds]), default=0)
    rows = [
        f"{name:<{width}}  {'-' if value is None else f'{value:,.3f}':>14}" for name, value in found.figures.items()
    ]
    times = [f"{name:<{width}}  {seconds:>12,.1f} s" for name, seconds in found.seconds.items()]
    missing = [f"  {line}" for line in found.not_done or ["nothing"]]
    return "\n".join([device, "", *rows, "", "time of each part", *times, "", "not done", *missing])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, with the smallest stand-in")
    parser.add_argument("--out", type=Path, default=Path("build/gpu.json"), help="the file of the JSON object")
    parser.add_argument("--seconds", type=float, default=600.0, help="begin no part that would not end by then")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--options", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

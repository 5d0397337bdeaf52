"""Measures how many decisions one core takes in a second, with calibrated confidence.

`judge` scores an answer by its calibration; `next_action` decides on it. The jobs are a mix: new ones, kept answers and
answers that escalate, as many of each. `both` is judging and deciding of the last two.

    python -m benchmarks.decide [--json] [--decisions 300000]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle, islice
from statistics import median
from typing import TypeVar

from benchmarks.report import show
from fleet.model.attempt import Answer, Attempt, Features, Usage
from fleet.model.calibration import Calibration, CalibrationKey, Fit, Scorer
from fleet.model.job import Job, Lane, Plan
from fleet.model.reason import Reason
from fleet.model.view import TargetView, View
from fleet.settings.documents import load_rules
from policies.confidence.judge import judge
from policies.plan import next_action

Given = TypeVar("Given")

ROUNDS = 5
NOW = 1_001.5
SURE = Features(sum=-0.04, mean=-0.005, min=-0.01, q10=-0.008, q25=-0.006, count=8, margin=5.0, entropy=0.1)
UNSURE = replace(SURE, sum=-2.0, mean=-0.5, min=-1.5, q10=-0.9, q25=-0.7, margin=1.0, entropy=0.9)


def measure(decisions: int) -> dict[str, float]:
    """Return decisions per second of one core, the median of ROUNDS."""
    rules = load_rules(None, None, "gpu")
    target = rules.catalogue.targets["llama-8b"]
    scorer = Scorer(Fit.PLATT, ("min_logit",), (0.7,), -0.2)
    key = CalibrationKey(target.name, "nudge.recognition", "short")
    known = {key: Calibration(key, target.model, target.revision, target.logprobs_mode, "v1", 1.0, 300, scorer)}
    view = View({name: TargetView() for name in rules.catalogue.targets})
    request = {"messages": [{"role": "user", "content": "Thank Ada Example for the launch of the new site, please."}]}
    job = Job("job-0123456789abcdef", "acme", Lane.STANDARD, "nudge.recognition", Plan.PAID, request, 1_000.0)
    answers = [Answer({"content": "Thank you, Ada."}, "stop", Usage(20, 8), "m", each) for each in (SURE, UNSURE)]

    def judged(answer: Answer) -> tuple[Attempt, ...]:
        confidence, held_against = judge(answer, job, target, known, rules)
        return (Attempt(1, target.name, Reason.ROUTED, 1_001.0, NOW, answer, confidence, 0.0, held_against),)

    histories = [(), *map(judged, answers)]
    return {
        "next_action_per_second": _rate(decisions, histories, lambda past: next_action(job, past, view, NOW, rules)),
        "judge_per_second": _rate(decisions, answers, judged),
        "both_per_second": _rate(decisions, answers, lambda said: next_action(job, judged(said), view, NOW, rules)),
    }


def _rate(times: int, given: Sequence[Given], once: Callable[[Given], object]) -> float:
    return median(_timed(times, given, once) for _ in range(ROUNDS))


def _timed(times: int, given: Sequence[Given], once: Callable[[Given], object]) -> float:
    started = time.perf_counter()
    for each in islice(cycle(given), times):
        once(each)
    return times / (time.perf_counter() - started)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--decisions", type=int, default=300_000)
    given = parser.parse_args(arguments)
    show(measure(given.decisions), given.json)


if __name__ == "__main__":
    main()

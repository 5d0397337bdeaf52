"""`fleet evaluate --live`: starts a fleet, calibrates its models on held-out tasks, and measures the result."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fleet.cli.connection import open_client, open_desk, opened
from fleet.cli.demo.asked import Asked, alone_on, jobs, up_the_ladder
from fleet.cli.demo.run import gather
from fleet.cli.ops.running import started_apart
from fleet.cli.output import Output, quiet
from fleet.lab.evaluation.live import Deployed, LiveExample, LiveReport, Tried, evaluate_live
from fleet.lab.learning.collected import LabelledAnswer
from fleet.lab.learning.fitting import fit_all
from fleet.model.attempt import Answer
from fleet.model.calibration import Calibration, CalibrationKey
from fleet.model.errors import FleetError
from fleet.model.result import Result, Status
from fleet.model.target import Target
from policies.confidence.signals import Evidence
from policies.rules.rules import Rules

if TYPE_CHECKING:
    from fleet.ports import JobDesk
    from fleet.settings.environment import Settings

DEADLINE_SECONDS = 300.0
PATIENCE_SECONDS = 60.0
"""Seconds in which a dispatcher must notice a calibration; it looks every few seconds."""

Calibrations = Mapping[CalibrationKey, Calibration]


async def live(settings: Settings, as_json: bool, count: int, seed: int, save: Path | None) -> LiveReport:
    """Ask every model `count` held-out examples, calibrate on half of them, judge and deploy on the other half.

    The calibrations are written to `save`, if it is given.

    Raises: FleetError if a part does not start or answers are missing; OSError if `save` cannot be written.
    """
    from fleet.app import rules_of

    rules = rules_of(settings)
    directory = Path(tempfile.mkdtemp(prefix="fleet-evaluate-"))
    with quiet(as_json, directory / "fleet.log") as output:
        async with started_apart(settings, directory, output.progress) as (there, _), open_desk(there) as desk:
            report = await _evaluated(there, rules, desk, output, jobs(count, seed, DEADLINE_SECONDS), seed, save)
    shutil.rmtree(directory, ignore_errors=True)  # kept, with its log, where something failed
    return report


async def _evaluated(
    settings: Settings, rules: Rules, desk: JobDesk, output: Output, asked: list[Asked], seed: int, save: Path | None
) -> LiveReport:
    from fleet.app import save_calibrations

    ladder = _ladder(rules)
    examples = await _examples(desk, output, ladder, asked)
    half = len(asked) // 2
    output.progress("calibrating on the first half")
    calibrations = _calibrated(examples[:half], asked, ladder, rules)
    if save is not None:
        save_calibrations(save, calibrations.values())
    await _put_in_force(settings, calibrations, asked[0])
    output.progress("the second half through the whole fleet")
    sent = up_the_ladder(asked[half:], DEADLINE_SECONDS)
    results = (await gather(desk, sent, DEADLINE_SECONDS, output)).results
    deployed = _deployed(sent, results, ladder)
    rng = np.random.default_rng(seed)
    return evaluate_live(examples[:half], examples[half:], ladder, calibrations, deployed, rng)


def _ladder(rules: Rules) -> tuple[Target, ...]:
    """Return the fleet's own targets, weakest first: the longest ladder there is without the cloud.

    Raises: FleetError if there are not two of them.
    """
    ladders = (tuple(target for target in each if not target.is_cloud) for each in rules.routes.by_tier.values())
    longest = max(ladders, key=len)
    if len(longest) < 2:
        raise FleetError("evaluate --live: the rules have no ladder of two or more of the fleet's own targets")
    return longest


async def _examples(
    desk: JobDesk, output: Output, ladder: Sequence[Target], asked: Sequence[Asked]
) -> list[LiveExample]:
    tried: list[dict[str, Tried]] = [{} for _ in asked]
    for target in ladder:
        output.progress(f"{len(asked)} examples on {target.name} alone")
        sent = alone_on(target.name, asked, DEADLINE_SECONDS)
        results = (await gather(desk, sent, DEADLINE_SECONDS, output)).results
        for one, into in zip(sent, tried, strict=True):
            into[target.name] = _tried(one, results.get(one.submission.id), target.name)
    return [LiveExample(one.example.task, targets) for one, targets in zip(asked, tried, strict=True)]


def _tried(one: Asked, result: Result | None, target: str) -> Tried:
    """Return the target's last answer: with nothing to escalate to, a second attempt can only be a retry.

    Raises: FleetError if the target did not answer.
    """
    answered = [] if result is None else [a for a in result.attempts if isinstance(a.outcome, Answer)]
    if result is None or not answered or answered[-1].target != target or answered[-1].judged is None:
        raise FleetError(f"{target} did not answer every example: {result.status if result else 'no result'}")
    last = answered[-1]
    assert isinstance(last.outcome, Answer) and last.judged is not None
    features = last.outcome.features
    evidence = None if features is None else Evidence(features)
    return Tried(last.judged.kind, evidence, one.is_answered_by(result), last.cost_usd)


def _calibrated(
    examples: Sequence[LiveExample], asked: Sequence[Asked], ladder: Sequence[Target], rules: Rules
) -> Calibrations:
    """Fit each target on its answers; all but the last are compared with the last one's.

    Raises: FleetError if nothing could be calibrated.
    """
    strong = ladder[-1].name
    labels = [
        LabelledAnswer(
            target=target.name,
            task=example.task,
            kind=tried.kind,
            job=f"example-{number}",
            evidence=tried.evidence,
            good=tried.good,
            strong_good=example.tried[strong].good if target.name != strong else None,
            strong=strong if target.name != strong else None,
            request={"messages": list(asked[number].example.messages)},
        )
        for number, example in enumerate(examples)
        for target in ladder
        if (tried := example.tried[target.name]).evidence is not None
    ]
    outcomes = fit_all(labels, {}, rules, time.time())
    fitted = {each.key: each.calibration for each in outcomes if each.accepted and each.calibration is not None}
    if not fitted:
        raise FleetError(f"nothing could be calibrated: {outcomes[0].reason if outcomes else 'no log-probabilities'}")
    return fitted


async def _put_in_force(settings: Settings, calibrations: Calibrations, probe: Asked) -> None:
    """Store the calibrations and wait until one judges an answer: dispatchers follow the store without a restart."""
    from fleet.app import open_calibrations

    async with opened(settings, open_calibrations) as store:
        await store.put(list(calibrations.values()))
    versions = {each.version for each in calibrations.values()}
    async with asyncio.timeout(PATIENCE_SECONDS), open_client(settings) as client:
        while True:
            [again] = up_the_ladder([probe], DEADLINE_SECONDS)
            await client.submit_many([again.submission])
            result = await client.wait(again.submission.id)
            if any(attempt.judged and attempt.judged.calibration in versions for attempt in result.attempts):
                return
            await asyncio.sleep(0.5)


def _deployed(sent: Sequence[Asked], results: Mapping[str, Result], ladder: Sequence[Target]) -> Deployed:
    found = [(one, results[one.submission.id]) for one in sent if one.submission.id in results]
    if len(found) < len(sent):
        raise FleetError(f"{len(sent) - len(found)} of {len(sent)} jobs had no result in time")
    right = [one.is_answered_by(result) for one, result in found]
    kept = [good for good, (_, result) in zip(right, found, strict=True) if result.target == ladder[0].name]
    judged = [a.judged for _, result in found for a in result.attempts if a.judged is not None]
    return Deployed(
        n=len(found),
        quality=sum(right) / len(found),
        usd=sum(result.cost_usd for _, result in found) / len(found),
        escalation_rate=sum(result.target != ladder[0].name for _, result in found) / len(found),
        kept_wrong=1 - sum(kept) / len(kept) if kept else None,
        by_target=dict(Counter(str(result.target) for _, result in found if result.status is not Status.FAILED)),
        calibrated=sum(each.calibration is not None for each in judged),
    )

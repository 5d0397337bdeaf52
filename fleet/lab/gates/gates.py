"""The gates between a trained adapter and the jobs it may answer.

An adapter has to pass all of them, on every task that it may serve. So an adapter that does harm on one of them passes
by chance in at most `alpha` of such trials, however many gates and tasks there are: it would have to pass just the one
that it should not (the intersection-union test, Berger 1982).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.lab.gates.findings import Finding, GateName, GateReport
from fleet.lab.gates.memory import leaks, secrets_of
from fleet.lab.gates.outcomes import Pair, Tried
from fleet.lab.gates.paired import (
    change,
    counted,
    improvement,
    missing_to_be_safe,
    missing_to_improve,
    win_rate,
)
from fleet.lab.gates.promise import Promised, promise, recalibrate
from fleet.lab.gates.questions import digest_of

FEWEST = 50
"""Minimum questions of a task to say anything of it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of the gates.

    `alpha` is how often a test may be wrong, `margin` the share of answers that may be lost on a task, `slowdown` how
    many times as long as its base's an adapter's answers may take.
    """

    alpha: float = 0.05
    margin: float = 0.03
    slowdown: float = 2.0


@dataclass(frozen=True, slots=True)
class Training:
    """What the adapter was trained on: prompts, all text, and the digest of the file.

    `claimed` is the digest that the adapter itself names; None where it says nothing.
    """

    prompts: Sequence[str]
    texts: Sequence[str]
    digest: str
    claimed: str | None


@dataclass(frozen=True, slots=True)
class Trial:
    """An adapter for `task`, tried beside its base. It may serve the tasks `serves`; pairs of others are for reading.

    `calibrating` pairs fit calibrations and judge nothing. `has_style`: the adapter is to sound better, not to be
    right more often. `judging` are the prompts of evaluations and calibrations besides. `base_seconds` and
    `adapter_seconds` are how long the answers to the same questions took.
    """

    task: str
    serves: frozenset[str]
    pairs: Sequence[Pair]
    training: Training
    base_seconds: float
    adapter_seconds: float
    calibrating: Sequence[Pair] = ()
    judging: Sequence[str] = ()
    has_style: bool = False


def judge(trial: Trial, limits: Limits, promised: Promised) -> GateReport:
    """Take an adapter through all gates."""
    found = [data(trial), *gains(trial, limits)]
    for task in sorted({trial.task, *trial.serves, *(each.question.task for each in trial.pairs)}):
        found += harms(task, trial, limits)
    found += [memorisation(trial, limits), speed(trial, limits)]
    served = {trial.task, *trial.serves}
    recalibrated = recalibrate(_served(trial.pairs, served), _served(trial.calibrating, served), promised)
    found += [promise(task, recalibrated, promised) for task in sorted(served)]
    return GateReport(promised.adapter, frozenset(served), found, recalibrated.to_store, _about(trial))


def _served(pairs: Sequence[Pair], tasks: Collection[str]) -> list[Pair]:
    return [each for each in pairs if each.question.task in tasks]


def _of(pairs: Sequence[Pair], task: str) -> list[Pair]:
    return [each for each in pairs if each.question.task == task]


def data(trial: Trial) -> Finding:
    """Refuse an adapter that has seen what judges it: it would be judged by its memory."""
    training = trial.training
    trained = {digest_of(each) for each in training.prompts}
    sides = {
        "evaluation": {each.question.digest for each in trial.pairs},
        "calibration": {each.question.digest for each in trial.calibrating},
        "other evaluations": {digest_of(each) for each in trial.judging},
    }
    seen = {name: len(trained & digests) for name, digests in sides.items()}
    n = len(trained)
    if training.claimed is not None and training.claimed != training.digest:
        rule = f"it was trained on the file {training.claimed[:12]}, and this one is {training.digest[:12]}"
        return Finding(GateName.DATA, False, rule, n=n)
    if not n:
        return Finding(GateName.DATA, False, "the data that it was trained on has no rows", missing=1)
    if any(seen.values()):
        told = ", ".join(f"{count:,} of {name}" for name, count in seen.items() if count)
        return Finding(GateName.DATA, False, f"it was trained on questions that judge it: {told}", n=n, value=1.0)
    shared = {each.question.digest for each in trial.pairs} & sides["calibration"]
    if shared:
        return Finding(GateName.DATA, False, f"{len(shared):,} questions both calibrate and test", n=n)
    claim = "by its own word" if training.claimed else "it says nothing of its data: this file is taken for it"
    return Finding(GateName.DATA, True, f"none of its rows judges it; {claim}", n=n, value=0.0)


def gains(trial: Trial, limits: Limits) -> list[Finding]:
    own = _of(trial.pairs, trial.task)
    if trial.has_style:
        return [_preferred(trial.task, own, limits), _kept_facts(trial.task, own, limits)]
    counts = counted((each.base.is_right, each.adapter.is_right) for each in own)
    found = improvement(counts, limits.alpha)
    passed = counts.n >= FEWEST and found.low > 0.0
    missing = 0 if passed else max(FEWEST - counts.n, missing_to_improve(counts, limits.alpha))
    right = sum(each.adapter.is_right for each in own)
    why = f"right: {right:,} of {counts.n:,}; {counts.better:,} better, {counts.worse:,} worse than the base"
    if not passed:
        why += _short(missing) if missing else ": no improvement is shown"
    return [
        Finding(GateName.IMPROVES, passed, why, trial.task, counts.n, found.value, found.low, found.high, missing),
    ]


def _preferred(task: str, pairs: Sequence[Pair], limits: Limits) -> Finding:
    signs = [each.preference for each in pairs]
    counts = counted((sign < 0, sign > 0) for sign in signs)
    rate = win_rate(counts, limits.alpha)
    passed = counts.n >= FEWEST and rate.low > 0.5
    missing = 0 if passed else max(FEWEST - counts.n, missing_to_improve(counts, limits.alpha))
    why = f"preferred {counts.better:,} times, the base {counts.worse:,} times" + ("" if passed else _short(missing))
    return Finding(GateName.PREFERRED, passed, why, task, counts.n, rate.value, rate.low, rate.high, missing)


def _kept_facts(task: str, pairs: Sequence[Pair], limits: Limits) -> Finding:
    return _no_worse(GateName.FACTS, task, pairs, lambda pair, tried: pair.keeps_facts(tried), limits, "keep the facts")


def harms(task: str, trial: Trial, limits: Limits) -> list[Finding]:
    """Compare what must not get worse, on one task; a style is not right or wrong where it is to be changed.

    Of a task that is not served it is enough to see whether the adapter could serve it.
    """
    pairs, required = _of(trial.pairs, task), task == trial.task or task in trial.serves
    kinds: list[tuple[GateName, Callable[[Pair, Tried], bool], str]] = [
        (GateName.NO_HARM, lambda _, tried: tried.is_right, "right"),
        (GateName.FORMAT, lambda _, tried: tried.is_usable, "usable"),
        (GateName.REFUSALS, lambda _, tried: not tried.is_refusal, "no refusal"),
    ]
    if trial.has_style and task == trial.task:
        kinds = kinds[1:]
    if not required:
        kinds = kinds[:1]
    return [_no_worse(gate, task, pairs, holds, limits, word, required) for gate, holds, word in kinds]


def _no_worse(
    gate: GateName,
    task: str,
    pairs: Sequence[Pair],
    holds: Callable[[Pair, Tried], bool],
    limits: Limits,
    word: str,
    required: bool = True,
) -> Finding:
    counts = counted((holds(each, each.base), holds(each, each.adapter)) for each in pairs)
    found = change(counts, limits.alpha)
    passed = found.low >= -limits.margin
    missing = 0 if passed else missing_to_be_safe(counts, limits.margin, limits.alpha)
    held = sum(holds(each, each.adapter) for each in pairs)
    why = f"{word}: {held:,} of {counts.n:,}; {counts.worse:,} worse, {counts.better:,} better than the base"
    if not passed:
        why += f": a loss of {limits.margin:.0%} is not excluded" + _short(missing)
    return Finding(gate, passed, why, task, counts.n, found.value, found.low, found.high, missing, required)


def _short(missing: int) -> str:
    return f"; {missing:,} more questions are needed" if missing else ""


def memorisation(trial: Trial, limits: Limits) -> Finding:
    """Stop an adapter whose answers have what only its training rows say.

    Numbers, placeholders and full names never come by chance. A single name may be invented, so it counts where the
    adapter says more of them than its base.
    """
    asked = [each.question for each in trial.pairs]
    others = [text for each in asked for text in (each.prompt, each.reference.text)]
    found = leaks(trial.pairs, secrets_of(trial.training.texts, others))
    counts = counted(found.names)  # whether a name was said, so "better" is worse
    more = improvement(counts, limits.alpha)
    named = f"names of its training rows in {counts.better:,} answers, of the base in {counts.worse:,}"
    n = len(trial.pairs)
    if n < FEWEST:
        return Finding(GateName.MEMORISATION, False, "too few answers", n=n, missing=FEWEST - n)
    if found.certain:
        why = f"{len(found.certain):,} answers have a number, placeholder or full name of its training rows alone"
        return Finding(GateName.MEMORISATION, False, why, n=n, value=len(found.certain) / n)
    return Finding(GateName.MEMORISATION, more.low <= 0.0, named, None, n, more.value, more.low, more.high)


def speed(trial: Trial, limits: Limits) -> Finding:
    n = len(trial.pairs)
    if not n or trial.base_seconds <= 0.0:
        return Finding(GateName.SPEED, False, "nothing was measured", missing=FEWEST)
    ratio = trial.adapter_seconds / trial.base_seconds
    why = (
        f"{n / trial.adapter_seconds:,.1f} answers/s, the base {n / trial.base_seconds:,.1f}; limit {limits.slowdown:g}"
    )
    return Finding(GateName.SPEED, ratio <= limits.slowdown, why + " times as long", n=n, value=ratio)


def _about(trial: Trial) -> Mapping[str, Any]:
    return {
        "training": trial.training.digest,
        "questions": len(trial.pairs),
        "calibrating": len(trial.calibrating),
    }

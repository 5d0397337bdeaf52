"""Second looks at an answer in the grey band: the question, its cost, and the worth of the reply."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fleet.model.attempt import Answer, Attempt, Features
from fleet.model.calibration import Probe
from fleet.model.job import ChatRequest
from fleet.model.target import Capability, Target
from policies.confidence.signals import Evidence
from policies.features.agreement import agree
from policies.features.needs import Needs

SAMPLES = 3
"""Maximum answers compared, the first one included (Wang et al. 2022 use up to 40; three give most of the gain)."""

SAMPLE_TEMPERATURE = 0.7

QUESTION = "Is your answer above right? Reply with one word: yes or no."
VERIFY = "Is the answer above right? Reply with one word: yes or no."

_EPSILON = 1e-4
"""Minimum distance from 0 and 1: one token's word is never taken as proof."""

_NO_FEATURES = Features(0.0, 0.0, 0.0, 0.0, 0.0, 0, 0.0, 0.0)


def request_for(probe: Probe, request: ChatRequest, attempts: Sequence[Attempt]) -> ChatRequest:
    """Return the request that takes the second look; `attempts` hold the answer that is looked at."""
    match probe:
        case Probe.SAMPLE:
            seed = sum(attempt.probe is Probe.SAMPLE for attempt in attempts) + 1
            return {**request, "temperature": SAMPLE_TEMPERATURE, "seed": seed}
        case Probe.P_TRUE | Probe.PREFILL:
            return _question(probe, request, attempts)


def _question(probe: Probe, request: ChatRequest, attempts: Sequence[Attempt]) -> ChatRequest:
    """Return the conversation so far, the answer, and one question: the engine has the prefix in its cache."""
    asked = last_answer(attempts)
    if asked is None or not isinstance(asked.outcome, Answer):
        raise ValueError("a probe looks at an answer; there is none")
    said = {"role": "assistant", "content": asked.outcome.text}
    question = {"role": "user", "content": QUESTION if probe is Probe.P_TRUE else VERIFY}
    kept = {name: value for name, value in request.items() if name not in _GENERATES}
    return {**kept, "messages": [*request["messages"], said, question], "max_tokens": 1, "temperature": 0.0}


_GENERATES = frozenset(
    {"max_completion_tokens", "response_format", "structured_outputs", "stop", "tools", "tool_choice"}
)
"""Fields that shaped the answer and have no place in a question about it."""


def needs_of_probe(probe: Probe, needs: Needs, answer: Answer) -> Needs:
    """Return the call's needs: SAMPLE is a whole new answer; others read prompt and answer and write one token."""
    if probe is Probe.SAMPLE:
        return needs
    return Needs(needs.input_tokens + answer.usage.answer_tokens, 1, frozenset())


def runs_on(probe: Probe, own: Target, above: Target | None) -> Target | None:
    """Return the target that takes the second look: the answer's own, or for PREFILL the next one up.

    None if there is none, or if it gives no log-probabilities, without which one token says nothing.
    """
    target = above if probe is Probe.PREFILL else own
    if target is None or probe is Probe.SAMPLE or Capability.LOGPROBS in target.capabilities:
        return target
    return None


def evidence(probe: Probe, attempts: Sequence[Attempt], reply: Answer) -> Evidence | None:
    """Return what is known of the answer now; None where the reply says nothing."""
    asked = last_answer(attempts)
    if asked is None or not isinstance(asked.outcome, Answer):
        return None
    features = asked.outcome.features or _NO_FEATURES
    if probe is Probe.SAMPLE:
        samples = [a.outcome for a in attempts if a.probe is Probe.SAMPLE and isinstance(a.outcome, Answer)]
        samples.append(reply)
        same = sum(agree(asked.outcome, sample) is True for sample in samples)
        return Evidence(features, agreement=same / len(samples))
    said = p_true(reply)
    return None if said is None else Evidence(features, p_true=said)


def p_true(reply: Answer) -> float | None:
    """Return P("yes") from the probability of the one token that was said."""
    if reply.features is None or not math.isfinite(reply.features.sum):
        return None
    said = math.exp(min(reply.features.sum, 0.0))
    word = reply.text.strip().strip(".!").lower()
    if word not in ("yes", "no"):
        return None
    p_yes = said if word == "yes" else 1.0 - said
    return min(max(p_yes, _EPSILON), 1.0 - _EPSILON)


def next_probe(probe: Probe, attempts: Sequence[Attempt], found: Evidence) -> Probe | None:
    """Return another sample while the samples disagree and there may be more; two that agree settle it."""
    taken = 1 + sum(attempt.probe is Probe.SAMPLE for attempt in attempts)
    undecided = probe is Probe.SAMPLE and found.agreement != 1.0 and taken < SAMPLES - 1
    return Probe.SAMPLE if undecided else None


def combined(confidence: float, found: Evidence) -> float:
    """Combine confidence and evidence as independent witnesses: their log-odds added (naive Bayes, even prior).

    This is used until a calibration has learned how much the probe is worth. If a fraction of n samples shares the
    answer, the witness is that fraction with one success and one failure added (Laplace's rule).
    """
    witness = found.p_true
    if witness is None:
        if found.agreement is None:
            return confidence
        witness = (found.agreement * (SAMPLES - 1) + 1.0) / (SAMPLES + 1.0)
    odds = _log_odds(confidence) + _log_odds(witness)
    return 1.0 / (1.0 + math.exp(-odds))


def _log_odds(p: float) -> float:
    p = min(max(p, _EPSILON), 1.0 - _EPSILON)
    return math.log(p / (1.0 - p))


def last_answer(attempts: Sequence[Attempt]) -> Attempt | None:
    """Return the latest attempt that is an answer to the job itself and no second look."""
    for attempt in reversed(attempts):
        if attempt.probe is None and isinstance(attempt.outcome, Answer):
            return attempt
    return None

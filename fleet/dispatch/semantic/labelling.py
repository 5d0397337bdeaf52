"""Labels for the semantic cache: what a model answered to a question that the cache would have answered, or nearly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fleet.dispatch.comparing import shadow_work
from fleet.dispatch.in_flight import InFlightJob
from fleet.model.action import Action, Finish, Reply, Run
from fleet.model.attempt import Answer, Attempt
from fleet.model.caching import Near
from fleet.model.result import Shadow, Status, Work
from fleet.model.target import SEMANTIC
from fleet.model.view import View
from policies.caching.exact import Entries, answer_in
from policies.caching.semantic import label_of
from policies.plan import next_action
from policies.rules.rules import Rules


def labelled(inflight: InFlightJob, action: Action, entries: Entries) -> InFlightJob:
    """Return the job with the label that its model's answer gives, on the attempt just made; the same without one.

    Only an answer that was trusted says what would have been right.
    """
    fresh = inflight.fresh
    if not isinstance(action, Finish) or fresh is None or action.status is not Status.SUCCEEDED:
        return inflight
    trusted = inflight.attempts[action.attempt - 1]
    near = _missed(inflight, trusted, entries) if inflight.shadow is None else _hit(inflight, inflight.shadow, trusted)
    if near is None:
        return inflight
    told = replace(fresh, near=near)
    return replace(inflight, fresh=told, attempts=(*inflight.attempts[:-1], told))


def _missed(inflight: InFlightJob, trusted: Attempt, entries: Entries) -> Near | None:
    """Return the label of a miss: a model answered it anyway."""
    near, answer = inflight.near, trusted.outcome
    entry = None if near is None else entries.get((inflight.job.tenant, near.entry))
    if near is None or entry is None or trusted.cached is not None or not isinstance(answer, Answer):
        return None
    return label_of(near, 1.0, answer_in(entry), answer)


def _hit(inflight: InFlightJob, shadow: Shadow, compared: Attempt) -> Near | None:
    """Return the label of a hit that a model answers too, unless its answer would not have been trusted."""
    kept = inflight.attempts[shadow.attempt - 1]
    if kept.target != SEMANTIC or kept.near is None:
        return None
    if not isinstance(kept.outcome, Answer) or not isinstance(compared.outcome, Answer):
        return None
    if compared.judged is not None and (compared.confidence or 0.0) < compared.judged.threshold:
        return None
    return label_of(kept.near, shadow.propensity, kept.outcome, compared.outcome)


def explored(
    answered: InFlightJob, reply: Reply, look: Callable[[], View], now: float, rules: Rules
) -> tuple[Work, ...]:
    """Return the job in which a model answers a hit too, if that was drawn and a model is to be had now; mostly none.

    `answered` is the job with the attempt that the reply counts as; `look` is called only if one is drawn.
    """
    if reply.near is None or reply.near.propensity is None:
        return ()
    instead = next_action(answered.job, answered.attempts[:-1], replace(look(), near={}), now, rules)
    if not isinstance(instead, Run):
        return ()
    shadow = Shadow(answered.job.id, instead.target, len(answered.attempts), reply.near.propensity)
    return (shadow_work(answered, shadow, now),)

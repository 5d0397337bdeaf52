"""Reasoning: how hard a target thinks about a request, and the room it needs for that beside the answer."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.model.job import ChatRequest
from fleet.model.target import Capability, Effort, Reasoning, Target

_ORDER = tuple(Effort)
_PLAIN = Reasoning()


def effort_for(request: ChatRequest, target: Target, usual: Sequence[Effort] = ()) -> Effort | None:
    """Return the effort to ask the target for; None leaves the request as it is.

    It is the nearest one that the target takes, or takes with tools; `usual` are those of its wire, where the
    catalogue names none.
    """
    if Capability.REASONING not in target.capabilities:
        return None
    reasoning = target.reasoning or _PLAIN
    if request.get("tools") and not reasoning.with_tools:
        return Effort.NONE
    asked = request.get("reasoning_effort")
    return _nearest(Effort(asked), reasoning.efforts or usual) if asked in _ORDER else None


def _nearest(asked: Effort, known: Sequence[Effort]) -> Effort:
    """Return the weakest known effort that is no weaker than what was asked for, else the strongest."""
    if not known or asked in known:
        return asked
    stronger = [effort for effort in known if _ORDER.index(effort) > _ORDER.index(asked)]
    return min(stronger, key=_ORDER.index) if stronger else max(known, key=_ORDER.index)


def thinks(request: ChatRequest, target: Target) -> bool:
    """Return whether the target may think about the request: only an entry that lists effort none can exclude it."""
    if Capability.REASONING not in target.capabilities:
        return False
    efforts = (target.reasoning or _PLAIN).efforts
    return Effort.NONE not in efforts or effort_for(request, target) is not Effort.NONE


def room_for(request: ChatRequest, target: Target) -> int:
    """Return the tokens to allow for thinking, beyond those of the answer.

    `max_completion_tokens` bounds both together, as at OpenAI, so a request that sets it gets no more.
    """
    if target.reasoning is None or request.get("max_completion_tokens") or not thinks(request, target):
        return 0
    return target.reasoning.tokens


def with_room(request: ChatRequest, target: Target) -> ChatRequest:
    """Return the request with its `max_tokens`, which bound the answer, raised by the room for thinking."""
    limit, room = request.get("max_tokens"), room_for(request, target)
    return {**request, "max_tokens": limit + room} if limit and room else request

"""Which messages of a long thread can be left out, and which are: whole turns, the oldest first, in steps.

    system, developer        kept, wherever they stand
    the first turn           kept: it mostly says what the thread is about
    turns in between         left out whole, the oldest first
    steps of the last turn   left out next: a step is an answer with all the results of its tools
    the last step            kept

A result of a tool never parts from its call: a step is a message and the tool messages right after it, and what lies
between a call and a result that comes later is one step with both. So the messages that are left answer each other as
they did before; a thread that came in half, with a result and no call, stays as incomplete as it was.

The cut moves in steps. A provider reads the beginning of a prompt from its cache, at a tenth of the price, as long as
it is the same as the time before; a window that slides by one turn each time is always new. So a thread over its budget
is cut to a share of it, and then grows until it is over again. Where the cut is follows from the messages alone, as if
each turn had been looked at when it was the last: every dispatcher cuts the same thread at the same place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fleet.model.diet import Ranges

Messages = Sequence[Mapping[str, Any]]
Step = tuple[int, int]

_ALWAYS_KEPT = ("system", "developer")

MOST_RANGES = 256
"""Maximum ranges that are left out: each attempt has them on record, and a system message may stand in every turn."""


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread in parts that stay or go whole: the `droppable` ones, oldest first, each as ranges of messages.

    All other messages always stay; the `last` step is one of them.
    """

    droppable: tuple[Ranges, ...]
    last: Step


def thread_of(messages: Messages) -> Thread:
    """Take a thread apart."""
    turns = _turns(messages, _steps(messages))
    if not turns:
        return Thread((), (0, 0))
    between = [_without_rules(messages, turn) for turn in turns[1:-1]]
    later = [_without_rules(messages, [step]) for step in turns[-1][_after_question(messages, turns[-1]) : -1]]
    return Thread(tuple(each for each in (*between, *later) if each), turns[-1][-1])


def _steps(messages: Messages) -> list[Step]:
    """Return the steps of the thread in order; together they are all its messages."""
    starts = [at for at, message in enumerate(messages) if at == 0 or message.get("role") != "tool"]
    steps: list[Step] = []
    called_at: dict[str, int] = {}
    for start, stop in pairwise((*starts, len(messages))):
        steps.append((start, stop))
        called_at.update((str(call.get("id")), start) for call in messages[start].get("tool_calls") or ())
        first = min((called_at.get(each, start) for each in _answered(messages, start, stop)), default=start)
        while steps[-1][0] > first:  # the call lies further back: all in between belongs together
            (_, end), (begin, _) = steps.pop(), steps.pop()
            steps.append((begin, end))
    return steps


def _answered(messages: Messages, start: int, stop: int) -> Iterator[str]:
    """Yield the calls that the results between two places answer."""
    for message in messages[start:stop]:
        if message.get("role") == "tool":
            yield str(message.get("tool_call_id"))


def _turns(messages: Messages, steps: Sequence[Step]) -> list[list[Step]]:
    """Return the turns: each begins with what a user says, and the first with whatever the thread begins with."""
    turns: list[list[Step]] = []
    has_asked = was_user = False
    for step in steps:
        is_user = _is_user(messages, step)
        if not turns or (is_user and has_asked and not was_user):
            turns.append([])
        turns[-1].append(step)
        has_asked, was_user = has_asked or is_user, is_user
    return turns


def _after_question(messages: Messages, turn: Sequence[Step]) -> int:
    """Return the place of the first step in the turn after what the user said."""
    asked = next((at for at, step in enumerate(turn) if _is_user(messages, step)), 0)
    return next((at for at in range(asked + 1, len(turn)) if not _is_user(messages, turn[at])), len(turn))


def _is_user(messages: Messages, step: Step) -> bool:
    return messages[step[0]].get("role") == "user"


def _without_rules(messages: Messages, steps: Sequence[Step]) -> Ranges:
    """Return the ranges of the steps, but for those with a message that always stays."""
    return joined(
        (start, stop)
        for start, stop in steps
        if not any(message.get("role") in _ALWAYS_KEPT for message in messages[start:stop])
    )


def joined(ranges: Iterable[Step]) -> Ranges:
    """Return the ranges in order, neighbours as one."""
    found: list[Step] = []
    for start, stop in sorted(ranges):
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return tuple(found)


def cut(thread: Thread, tokens: Sequence[int], budget: int, kept: float) -> Ranges:
    """Return the messages to leave out of a thread whose messages have so many `tokens`.

    Each time that the thread had grown beyond `budget`, its oldest parts went until the share `kept` of that was left,
    or nothing but what always stays.
    """
    sizes = [tokens_in(part, tokens) for part in thread.droppable]
    last = sum(tokens[slice(*thread.last)])
    now, dropped = sum(tokens) - sum(sizes) - last, 0
    for newest, size in enumerate((*sizes, last)):
        now += size
        if now > budget:
            while now > budget * kept and dropped < newest:
                now -= sizes[dropped]
                dropped += 1
    return _ranges_of(thread.droppable[:dropped])


def _ranges_of(parts: Iterable[Ranges]) -> Ranges:
    return joined(each for part in parts for each in part)[:MOST_RANGES]


def fits(messages: Messages, tokens: Sequence[int], room: int) -> bool:
    """Return whether the thread has at most `room` tokens once everything that can go is left out."""
    return sum(tokens) - tokens_in(_ranges_of(thread_of(messages).droppable), tokens) <= room


def tokens_in(ranges: Ranges, tokens: Sequence[int]) -> int:
    return sum(sum(tokens[start:stop]) for start, stop in ranges)


def may_go(messages: Messages, left_out: Ranges) -> bool:
    """Return whether these are whole parts of the thread: the places of another request may split one."""
    gone, parts = _places(left_out), [_places(part) for part in thread_of(messages).droppable]
    return gone == {at for part in parts if part <= gone for at in part}


def _places(ranges: Ranges) -> set[int]:
    return {at for start, stop in ranges for at in range(start, stop)}


def without(messages: Messages, left_out: Ranges) -> list[Mapping[str, Any]]:
    """Return the messages without those left out."""
    gone = _places(left_out)
    return [message for at, message in enumerate(messages) if at not in gone]

"""Which tools of a request can be left out: those that nobody names, and that answers to such jobs do not call.

A tool is kept if the history calls it, if `tool_choice` or a text of the thread names it, or if it is not known to be
unused. The order of the others stays, so that the beginning of the prompt stays the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fleet.model.attempt import Answer
from fleet.model.job import ChatRequest
from policies.rules.diet import DietRules

DELTA: Final = 0.05
"""Probability at most, over all looks, that a tool is left out although it is called in `tool_use` of the jobs."""

MOST_PLACES: Final = 256
"""Maximum tools that are left out: each attempt has them on record, and a request may offer the same one for ever."""

_BORDERS: Final = re.compile(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class ToolUse:
    """How often a tool was called in jobs of one kind that offered it. `is_unused`: too seldom to be sent.

    It is looked at after `tool_jobs` jobs, twice as many, four times as many and so on, with an upper confidence bound
    on its use (Clopper & Pearson 1934); the looks share DELTA, so that looking often fools nobody. A call of an unused
    tool, where a job had it all the same, starts the count again.
    """

    jobs: int = 0
    calls: int = 0
    is_unused: bool = False

    def after(self, is_called: bool, rules: DietRules) -> ToolUse:
        """Return the count with one more job."""
        if is_called and self.is_unused:
            return ToolUse()
        jobs, calls = self.jobs + 1, self.calls + is_called
        doublings, rest = divmod(jobs, rules.tool_jobs)
        if rest or doublings.bit_count() != 1:
            return ToolUse(jobs, calls, self.is_unused)
        delta = DELTA / 2 ** doublings.bit_length()
        return ToolUse(jobs, calls, seen_so_seldom(calls, jobs, rules.tool_use) <= delta)


def seen_so_seldom(calls: int, jobs: int, use: float) -> float:
    """Return P(Binomial(jobs, use) <= calls): the upper bound on the use, at this level, is below `use`."""
    if calls >= use * jobs:
        return 1.0
    term = jobs * math.log1p(-use)
    total = math.exp(term)
    for k in range(1, calls + 1):
        term += math.log((jobs - k + 1) / k * use / (1 - use))
        total += math.exp(term)
    return min(1.0, total)


def left_out(request: ChatRequest, unused: frozenset[str]) -> tuple[int, ...]:
    """Return the places of the tools to leave out; none where a tool must be called and no other is left."""
    tools = request.get("tools") or ()
    candidates = {at: name for at, tool in enumerate(tools) if (name := name_of(tool)) in unused}
    if not candidates:
        return ()
    named = _named(request, frozenset(candidates.values()))
    places = tuple(at for at, name in candidates.items() if name not in named)[:MOST_PLACES]
    is_free = request.get("tool_choice") in (None, "auto", "none")
    return places if is_free or len(places) < len(tools) else ()


def name_of(tool: Any) -> str:
    """Return the name of a tool; empty for one that is no function."""
    function = tool.get("function") if isinstance(tool, Mapping) else None
    return str(function.get("name") or "") if isinstance(function, Mapping) else ""


def called_in(message: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the tools that a message calls."""
    for call in message.get("tool_calls") or ():
        yield name_of(call)


def _named(request: ChatRequest, names: frozenset[str]) -> frozenset[str]:
    """Return the names that the request calls, chooses or speaks of."""
    messages = request.get("messages") or ()
    found = {name for message in messages for name in called_in(message)}
    found.add(name_of(request.get("tool_choice")))
    found.update(str(message.get("name")) for message in messages if message.get("role") == "tool")
    text = "\n".join(each for message in messages for each in _texts(message)).casefold()
    return frozenset(name for name in names if name in found or is_spoken_of(name, text))


def is_spoken_of(name: str, text: str) -> bool:
    """Return whether a text, in lower case, has the tool's name, as it is or as words: `get_weather`, "get weather"."""
    return name.casefold() in text or " ".join(_BORDERS.split(name)).casefold().strip() in text


def _texts(message: Mapping[str, Any]) -> Iterator[str]:
    content = message.get("content")
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        yield from (str(part.get("text") or "") for part in content if isinstance(part, Mapping))


def asks_for(answer: Answer, names: frozenset[str]) -> bool:
    """Return whether an answer calls one of these tools or speaks of it."""
    text = answer.text.casefold()
    return not names.isdisjoint(called_in(answer.message)) or any(is_spoken_of(name, text) for name in names)

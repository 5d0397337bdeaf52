"""Decides what a call leaves out of its job's request, and when the request is sent whole after all.

Threads are trimmed only where that pays. A provider that has the beginning of a prompt in its cache reads it at a tenth
of the price, and writes a new one at five quarters of it. With half of a warm thread left out, this turn costs 0.625 of
the thread's price in place of 0.1, and each later one 0.05 less: it pays after (0.625 - 0.1) / 0.05 = 10.5, so 11 more
turns. A cold thread pays at once, for it would be written anew as a whole. So a thread whose last turn was sent within
the time that its target's cache lives goes out as it did then; unless it no longer fits into the target's window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from fleet.model.attempt import Answer, Attempt
from fleet.model.diet import Diet, Ranges
from fleet.model.job import ChatRequest, Job
from fleet.model.target import Target
from policies.diet import budgets, threads, tools
from policies.diet.counting import json_tokens, message_tokens
from policies.rules.diet import NO_DIET, DietMode, DietRules
from policies.rules.rules import Rules

WARM_SECONDS: Final[Mapping[str, float]] = {"anthropic": 300.0, "openai": 1_800.0, "groq": 7_200.0}
"""How long each provider keeps a prefix that is not read: Anthropic's usual 5 minutes, OpenAI's 30, Groq's 2 hours."""

USUAL_WARM_SECONDS: Final = 3_600.0
"""The same for all others, the fleet's own engines among them: long rather than short, since a warm thread is left
alone."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How the thread went out to the target the time before: what was left out, and when, in unix seconds."""

    left_out: Ranges
    at: float


def rules_for(job: Job, rules: Rules) -> DietRules:
    task = rules.tasks.get(job.task)
    return NO_DIET if task is None else task.diet


def diet_of(
    job: Job,
    attempts: tuple[Attempt, ...],
    target: Target,
    sent: Sent | None,
    unused: frozenset[str],
    now: float,
    rules: Rules,
) -> Diet | None:
    """Return what a call of the job to the target leaves out, or could leave out; None for nothing.

    `sent` is how the thread went out before, if that is known; `unused` are tools that jobs of its kind do not call. A
    job that was answered with something left out, and goes on, is sent whole from then on, as far as it fits.
    """
    of_task = rules_for(job, rules)
    if of_task.is_off:
        return None
    budget = of_task.answers.get(rules.catalogue.original(target).name)
    was_answered = any(_is_answered_on_diet(each) for each in attempts)
    thread = _Thread(job.request, target, sent, now, rules)
    for mode in (DietMode.ON, DietMode.SHADOW):
        left_out = thread.left_out(of_task, was_answered) if of_task.threads is mode else ()
        dropped = tools.left_out(job.request, unused) if of_task.tools is mode and not was_answered else ()
        short = budget if mode is DietMode.ON else None
        if left_out or dropped or short:
            counted = threads.tokens_in(left_out, thread.tokens) if left_out else 0
            tool_tokens = _tokens_of_tools(job.request, dropped, rules)
            found = Diet(left_out, counted, dropped, tool_tokens, mode is not DietMode.ON)
            return found if short is None else replace(found, answer_tokens=short.tokens, answer_words=short.words or 0)
    return None


def diet_of_probe(job: Job, attempts: tuple[Attempt, ...]) -> Diet | None:
    """Return the diet of a second look: that of the answer it looks at, if the request is still the same."""
    diet = next(each for each in reversed(attempts) if each.probe is None).diet
    if diet is None or diet.shadow or not threads.may_go(job.request.get("messages") or (), diet.messages):
        return None
    return diet


def _is_answered_on_diet(attempt: Attempt) -> bool:
    diet = attempt.diet
    left_out = diet is not None and not diet.shadow and bool(diet.messages or diet.tools)
    return left_out and isinstance(attempt.outcome, Answer)


class _Thread:
    """The messages of a request on their way to a target, counted when they are first needed."""

    def __init__(self, request: ChatRequest, target: Target, sent: Sent | None, now: float, rules: Rules) -> None:
        self._messages = request.get("messages") or ()
        self._room = room_in(target, request, rules)
        self._warm = sent if sent is not None and is_warm(sent, target, now) else None
        self._estimates = rules.estimates

    @cached_property
    def tokens(self) -> list[int]:
        return [message_tokens(message, self._estimates) for message in self._messages]

    def left_out(self, rules: DietRules, was_answered: bool) -> Ranges:
        tokens, room = self.tokens, self._room
        whole = sum(tokens)
        if whole <= min(room, rules.thread_tokens) or (was_answered and whole <= room):
            return ()
        if self._warm is not None and whole - threads.tokens_in(self._warm.left_out, tokens) <= room:
            return self._warm.left_out
        return threads.cut(threads.thread_of(self._messages), tokens, min(room, rules.thread_tokens), rules.trim_to)


def is_warm(sent: Sent, target: Target, now: float) -> bool:
    """Return whether the provider still has the thread in its cache, as it went out the time before."""
    return now - sent.at <= WARM_SECONDS.get(target.provider, USUAL_WARM_SECONDS)


def room_in(target: Target, request: ChatRequest, rules: Rules) -> int:
    """Return the tokens that the target's window has for messages, beside the tools and the answer."""
    output = request.get("max_completion_tokens") or request.get("max_tokens") or rules.estimates.output_tokens
    tools_tokens = json_tokens(request["tools"], rules.estimates) if request.get("tools") else 0
    return int(target.context_tokens - output - tools_tokens)


def may_fit(job: Job, target: Target, rules: Rules) -> bool:
    """Return whether a thread that is too long for the target's window fits once it is trimmed."""
    if rules_for(job, rules).threads is not DietMode.ON:
        return False
    messages = job.request.get("messages") or ()
    tokens = [message_tokens(message, rules.estimates) for message in messages]
    return threads.fits(messages, tokens, room_in(target, job.request, rules))


def _tokens_of_tools(request: ChatRequest, places: tuple[int, ...], rules: Rules) -> int:
    return sum(json_tokens(request["tools"][at], rules.estimates) for at in places)


def on_diet(request: ChatRequest, diet: Diet | None) -> ChatRequest:
    """Return the request without what the diet leaves out, and with the limits of its answer."""
    if diet is None or diet.shadow:
        return request
    kept: dict[str, Any] = dict(request)
    if diet.messages:
        kept["messages"] = threads.without(request["messages"], diet.messages)
    if diet.tools:
        kept["tools"] = [tool for at, tool in enumerate(request["tools"]) if at not in diet.tools]
        if not kept["tools"]:
            for name in ("tools", "tool_choice", "parallel_tool_calls"):
                kept.pop(name, None)
    return budgets.within(kept, diet) if diet.has_budget else kept


def lacks_tools(job: Job, attempts: tuple[Attempt, ...]) -> bool:
    """Return whether the last answer was given without some tools and wants them: it names one, or it is unusable."""
    last = attempts[-1]
    diet, answer = last.diet, last.outcome
    if diet is None or diet.shadow or not diet.tools or not isinstance(answer, Answer) or last.probe is not None:
        return False
    names = frozenset(tools.name_of(job.request["tools"][at]) for at in diet.tools)
    return last.confidence == 0.0 or tools.asks_for(answer, names)

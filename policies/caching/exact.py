"""The exact cache: an answer is given again to the same request, of the same tenant, under the same rules.

What counts as the same is everything that can change the answer; a field nobody has thought of makes a request like no
other. What is kept is little: answers that were trusted, to requests that have one answer, of tasks that the operator
lists for it, with nothing personal in them.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Final

import rfc8785

from fleet.model.action import Finish, Reply
from fleet.model.attempt import Answer, Attempt, Cached, Usage
from fleet.model.cache_entry import CacheEntry
from fleet.model.caching import Question
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.model.target import EXACT
from fleet.model.view import View
from policies.caching.canonical import canonical
from policies.caching.personal import is_personal
from policies.features.needs import needs_of
from policies.resilience.deadline import deadline_at
from policies.routing.tiers import ladder
from policies.rules.diet import DietRules
from policies.rules.ladders import Ladder
from policies.rules.rules import Rules
from policies.rules.sections import CacheMode

ASKED: Final = frozenset(
    {
        "model",
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "temperature",
        "top_p",
        "seed",
        "n",
        "stop",
        "max_tokens",
        "max_completion_tokens",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "reasoning_effort",
    }
)
"""Fields of a request that can change its answer."""

IGNORED: Final = frozenset({"stream", "stream_options", "user", "metadata", "store", "service_tier"})
"""Fields of a request that cannot."""

PATIENCE: Final = 0.5
"""Share of its time that a job waits for another one's answer at most; then it asks a model itself."""

LARGEST_CHARACTERS: Final = 32_768
"""Maximum length of an answer that is kept."""

Entries = Mapping[tuple[str, str], CacheEntry]
"""The entries known, by tenant and key."""


MOST_KEYS: Final = 10_000

_keys: Final[dict[int, tuple[weakref.ref[Job], Rules, str | None]]] = {}
"""The key of each job in hand, by the job's identity: a decision is made on it four times and more."""


MOST_TERMS: Final = 1024

_said: Final[dict[tuple[Any, ...], tuple[bytes, Ladder]]] = {}
"""What goes for many jobs alike, as it was written; with the ladder itself, so that no other has its identity."""


def key_of(job: Job, rules: Rules, rungs: Ladder | None = None) -> str | None:
    """Return the key of the job's request, 64 hex digits; None for a job that the cache is not for.

    It is the SHA-256 of two values in canonical JSON (RFC 8785): what goes for the job (tenant, task, limits, and the
    models that may answer it under these rules), and the fields of its request. It is made once for each job. `rungs`
    are the job's, for who knows them already.
    """
    known = _keys.get(id(job))
    if known is not None and known[0]() is job and known[1] is rules:
        return known[2]
    if not _is_for(job, rules):
        return None
    if len(_keys) >= MOST_KEYS:
        _keys.clear()  # of most the job is gone; telling of each when it goes takes longer
    key = _key_of(job, rules, rungs)
    _keys[id(job)] = (weakref.ref(job), rules, key)
    return key


def _key_of(job: Job, rules: Rules, rungs: Ladder | None = None) -> str | None:
    request = {name: value for name, value in job.request.items() if value is not None and name not in IGNORED}
    if not ASKED.issuperset(request) or not _is_repeatable(job, rules):
        return None
    try:
        return _digest(job, request, rules, rungs)
    except (rfc8785.CanonicalizationError, TypeError, UnicodeEncodeError):
        return None  # a number beyond all others, or half a surrogate pair


def scope_of(job: Job, messages: Sequence[Any], rules: Rules) -> str:
    """Return the key of a request that has one, with `messages` in place of its own: what they leave out may differ."""
    request = {name: value for name, value in job.request.items() if value is not None and name not in IGNORED}
    return _digest(job, {**request, "messages": list(messages)}, rules, None)


def _digest(job: Job, request: Mapping[str, Any], rules: Rules, rungs: Ladder | None) -> str:
    return hashlib.sha256(_terms(job, rules, rungs) + canonical(request)).hexdigest()


def _terms(job: Job, rules: Rules, rungs: Ladder | None) -> bytes:
    """Return what goes for the job beside its request, as canonical JSON."""
    if rungs is None:
        rungs = ladder(job, needs_of(job.request, rules.estimates), rules)
    # Its hash takes longer than all the others': most ladders are those of the rules, and stay the same object.
    which = id(rungs)
    terms = (
        job.tenant,
        job.task,
        job.tier,
        job.plan,
        job.cloud.providers,
        job.regions,
        job.metadata.get("critical"),
        which,
        rules.arm,
        _diet(job, rules),
    )
    known = _said.get(terms)
    if known is None:
        if len(_said) >= MOST_TERMS:
            _said.clear()
        known = _said[terms] = (canonical(_named(job, rungs, rules)), rungs)
    return known[0]


def _named(job: Job, rungs: Ladder, rules: Rules) -> tuple[Any, ...]:
    providers = job.cloud.providers
    return (
        job.tenant,
        job.task,
        job.tier,
        job.plan,
        None if providers is None else sorted(providers),
        None if job.regions is None else sorted(job.regions),
        job.metadata.get("critical"),
        [(target.name, target.model) for target in rungs],
        *(() if rules.arm is None else (rules.arm,)),
        *(() if (diet := _diet(job, rules)) is None else (str(diet),)),
    )


def _diet(job: Job, rules: Rules) -> DietRules | None:
    """Return what calls of the task leave out of their requests, if they leave out anything."""
    diet = rules.tasks[job.task].diet
    return diet if diet.is_on else None


def _is_for(job: Job, rules: Rules) -> bool:
    if not rules.cache.holds_for(job.tenant) or (job.above or job.own_key or job.person) is not None:
        return False
    task = rules.tasks.get(job.task)
    return task is not None and task.cache is not CacheMode.OFF


def _is_repeatable(job: Job, rules: Rules) -> bool:
    """Return whether the request has one answer: no chance in it, or a task whose answers may repeat all the same."""
    if (job.request.get("n") or 1) != 1:
        return False
    return job.request.get("temperature") == 0 or rules.tasks[job.task].cache is CacheMode.ANY


def asks_something_personal(job: Job, rules: Rules) -> bool:
    """Return whether something personal is in the job's messages: it is answered for itself alone.

    Searching takes longer than making the key, so this is asked last.
    """
    return is_personal(_texts(job.request.get("messages")), rules.complexity.personal_words)


def known_answer(job: Job, rungs: Ladder, view: View, now: float, rules: Rules) -> Reply | None:
    """Return the answer given before to the same request, while it is kept."""
    key = key_of(job, rules, rungs) if view.entries else None
    entry = None if key is None else view.entries.get((job.tenant, key))
    if entry is None or not may_answer(entry, job, view, now, rules) or asks_something_personal(job, rules):
        return None
    return Reply(EXACT, answer_in(entry), Reason.CACHED, whose(entry))


def may_answer(entry: CacheEntry, job: Job, view: View, now: float, rules: Rules) -> bool:
    """Return whether an answer is kept, another job's, and not one of an adapter that was rolled back or withdrawn.

    A job finds its own where its dispatcher died before its result was stored. What it paid is in no account yet, and a
    known answer would hide it: it goes on as without a cache.
    """
    is_of_adapter_gone = entry.adapter is not None and entry.adapter not in view.adapters.named
    return entry.job_id != job.id and not is_of_adapter_gone and is_kept(entry, now, rules)


def is_kept(entry: CacheEntry, now: float, rules: Rules) -> bool:
    """Return whether an answer is not too old: an entry cannot make itself last longer than these rules let it."""
    return entry.answered_at <= now < min(entry.expires_at, entry.answered_at + rules.cache.keep_seconds)


def answer_in(entry: CacheEntry) -> Answer:
    """Return the answer as it is given again, when it takes no tokens."""
    return Answer(entry.message, entry.finish_reason, Usage(), entry.model)


def whose(entry: CacheEntry) -> Cached:
    return Cached(entry.job_id, entry.target, entry.answered_at, entry.usage)


def waits_for_another(job: Job, now: float, rules: Rules) -> bool:
    """Return whether a job waits for the answer to the same request: for half of the time that it came with.

    An answer to something personal is not kept, so nobody waits for it.
    """
    has_time = now - job.submitted_at < PATIENCE * (deadline_at(job, rules) - job.submitted_at)
    return has_time and not asks_something_personal(job, rules)


def entry_of(
    job: Job,
    key: str,
    action: Finish,
    attempts: tuple[Attempt, ...],
    now: float,
    rules: Rules,
    question: Question | None = None,
) -> CacheEntry | None:
    """Return the entry that the end of a job with this key leaves in the cache, or None.

    There must be nothing personal in question and answer. By `question`, if it has one, the semantic cache finds it.
    """
    if action.status is not Status.SUCCEEDED:
        return None
    kept = attempts[action.attempt - 1]
    answer, judged = kept.outcome, kept.judged
    if not isinstance(answer, Answer) or kept.cached is not None or answer.finish_reason not in ("stop", "tool_calls"):
        return None
    said = _texts(answer.message)
    asked = _texts(job.request.get("messages"))
    if sum(map(len, said)) > LARGEST_CHARACTERS or is_personal(asked + said, rules.complexity.personal_words):
        return None
    return CacheEntry(
        job.tenant,
        key,
        job.id,
        job.task,
        kept.target,
        answered_at=now,
        expires_at=now + rules.cache.keep_seconds,
        message=answer.message,
        finish_reason=answer.finish_reason,
        model=answer.model,
        usage=answer.usage,
        calibration=None if judged is None else judged.calibration,
        question=None if question is None else question.text,
        scope=None if question is None else question.scope,
        adapter=kept.adapter,
    )


def _texts(value: Any) -> list[str]:
    """Return every text inside a value, however deep."""
    found, waiting = [], [value]
    for each in waiting:  # which grows meanwhile
        kind = type(each)
        if kind is str:
            found.append(each)
        elif kind is list or kind is tuple:
            waiting += each
        elif kind is dict or isinstance(each, Mapping):
            waiting += each.values()
        elif isinstance(each, list | tuple):
            waiting += each
        elif isinstance(each, str):
            found.append(each)
    return found

"""The questions that the semantic cache is for: single-turn requests that the exact cache would keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fleet.model.caching import Question, SemanticMode
from fleet.model.job import Job
from policies.caching.exact import asks_something_personal, key_of, scope_of
from policies.rules.rules import Rules

LONGEST_CHARACTERS = 1000
"""Maximum length of a question: an encoder reads some 250 words, and what it does not read would not count."""


def question_in(job: Job, rules: Rules) -> Question | None:
    """Return the question of a job that the semantic cache is for, else None. Its scope is all but the question."""
    if rules.cache.semantic.mode_of(job.tenant, job.task) is SemanticMode.OFF:
        return None
    messages = job.request["messages"]
    text = question_of(messages)
    if text is None or len(text) > LONGEST_CHARACTERS or key_of(job, rules) is None:
        return None
    if asks_something_personal(job, rules):
        return None
    beside = [{**message, "content": None} if message["role"] == "user" else message for message in messages]
    return Question(job.tenant, scope_of(job, beside, rules), text)


def question_of(messages: Sequence[Any]) -> str | None:
    """Return the question of a single-turn request: its one user message, in text; None where there is any other turn.

    A system prompt may stand before it: it belongs to the task, and so to the key of the cache.
    """
    turns = [message for message in messages if not (isinstance(message, dict) and message.get("role") == "system")]
    if len(turns) != 1 or not isinstance(turns[0], dict) or turns[0].get("role") != "user":
        return None
    content = turns[0].get("content")
    return content if isinstance(content, str) and content.strip() else None

"""A model's word on whether two questions have the same answer: when it is asked, what, and what its reply is worth."""

from __future__ import annotations

import math
from typing import Final

from fleet.model.attempt import Answer
from fleet.model.caching import Near
from fleet.model.job import ChatRequest
from fleet.model.target import Target
from policies.caching.signals import SIGNALS
from policies.confidence.probes import p_true

GREY: Final = (-6.0, 6.0)
"""The scores, as log-odds, that are decided with the model's word: of what is below nothing is ever served."""

ASKED_FROM: Final = 0.5
"""The cosine from which on the model is asked. Questions that are less alike are a miss whatever it said."""

_COSINE: Final = SIGNALS.index("cosine")

_QUESTION: Final = (
    "Two users ask the same assistant.\nFirst: {asked}\nSecond: {cached}\n"
    "Would one and the same answer be right for both? Reply with one word: yes or no."
)


def is_asked(near: Near) -> bool:
    """Return whether the two questions are alike enough for the model to be asked about them."""
    return near.signals[_COSINE] >= ASKED_FROM


def request_about(asked: str, cached: str) -> ChatRequest:
    """Return the request for one token that says whether both questions have the same answer."""
    content = _QUESTION.format(asked=asked, cached=cached)
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 1, "temperature": 0.0}


def word_in(reply: Answer) -> float | None:
    """Return P("yes") from the reply's one token; None where it is neither yes nor no, or came without probability."""
    found = p_true(reply)
    return None if found is None or not math.isfinite(found) else found


def name_of(verifier: Target) -> str:
    """Return the name by which words of this model are known: another revision's say nothing about its own."""
    return f"{verifier.name} {verifier.model}@{verifier.revision}"

"""A diet as JSON: what a call left out of its job's request, by places and never by words."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.model.diet import Diet
from queues.wire.record import Count, Fields, Written


class DietRecord(Written):
    """What a call left out, or with `shadow` could have: messages and tools by their places in the request.

    `messages` are ranges, each from its first to before its second place; the tokens are estimates. `agreed` is there
    in a comparison of two calls, one with the diet and one without, whose answers can be compared. `answer_tokens` and
    `answer_words` are the most that the answer was to have.
    """

    messages: Sequence[tuple[Count, Count]] = ()
    message_tokens: Count = 0
    tools: Sequence[Count] = ()
    tool_tokens: Count = 0
    shadow: bool = False
    agreed: bool | None = None
    answer_tokens: Count = 0
    answer_words: Count = 0


_NAMES = ("messages", "message_tokens", "tools", "tool_tokens", "shadow", "answer_tokens", "answer_words")


def diet_record(diet: Diet) -> Fields:
    """Return the record, with the fields that say something."""
    record: Fields = {name: value for name in _NAMES if (value := getattr(diet, name))}
    if diet.agreed is not None:
        record["agreed"] = diet.agreed
    return record


def read_diet(record: DietRecord | None) -> Diet | None:
    if record is None:
        return None
    held = vars(record)
    return Diet(**{**held, "messages": tuple(record.messages), "tools": tuple(record.tools)})

"""The tokens of a call as JSON."""

from __future__ import annotations

from fleet.model.attempt import Usage
from queues.wire.record import Fields, Written, writer


class UsageRecord(Written):
    """Tokens. Those read from a provider's cache and written to it are part of the input, those thought of the output.

    Of those written, some are kept for an hour. These four are there where they are more than 0.
    """

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_1h_tokens: int = 0


DETAILS = ("cached_input_tokens", "cache_write_tokens", "reasoning_tokens", "cache_write_1h_tokens")

_write_usage = writer(Usage, UsageRecord)


def usage_record(usage: Usage) -> Fields:
    record = _write_usage(usage)
    for name in DETAILS:
        if not record[name]:
            del record[name]
    return record


def read_usage(record: UsageRecord) -> Usage:
    return Usage(**vars(record))


def carried_details(usage: Usage) -> tuple[int, ...] | None:
    """Return what WORK carries beside the totals: three numbers that every version reads, a fourth where there is one.

    None stands for no details.
    """
    first = (usage.cached_input_tokens, usage.cache_write_tokens, usage.reasoning_tokens)
    found = (*first, usage.cache_write_1h_tokens) if usage.cache_write_1h_tokens else first
    return found if any(found) else None

"""One log format for everything: JSON lines that carry the job and the trace, and never a prompt or a key.

A field named in `WITHHELD` is dropped at any depth before a line is written, and text that looks like a provider's
key is blanked wherever it stands. An exception is logged as its type and the place it was raised, and with its words
only if these are known to quote nothing. Log ids, counts and reason words; content has no place in a log.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from fleet.model.errors import FleetError

WITHHELD = frozenset(
    {"request", "requests", "messages", "message", "content", "prompt", "completion", "answer", "body", "text"}
    | {"tools", "tool_calls", "arguments", "headers"}
    | {"api_key", "apikey", "own_key", "key", "keys", "secret", "token", "password", "authorization", "credentials"}
)

KEY = re.compile(r"\b(?:sk|gsk|pk|rk)[-_][A-Za-z0-9_-]{8,}|(?<=Bearer )\S+")
BLANK = "[withheld]"

WORDED = (FleetError, OSError)
"""Exceptions whose words are the fleet's own or the system's. Any other may quote what it stumbled over."""

RETRIEVED = re.compile(r"(?<=exception=).*")
"""The exception quoted by asyncio's log lines about a task that failed."""

CHATTY = ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "anthropic", "groq")
"""Libraries that log every request, at debug level with its content."""


def configure(level: str = "INFO", json: bool = True) -> None:
    """Send every log line, the libraries' included, to standard error; `json=False` suits people at a terminal.

    Raises: ValueError if `logging` does not know the level.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        told_exception,
        withhold,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # configure() may come again with another level
    )
    renderer: Processor = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer()
    handler = logging.StreamHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def told_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Turn `exc_info` into text, as a structlog processor: all frames and types, but only words safe to log."""
    info = event.pop("exc_info", None)
    match info:
        case None | False:
            return event
        case BaseException():
            error: BaseException | None = info
        case (_, BaseException() | None as raised, _):
            error = raised
        case _:
            error = sys.exception()
    if error is not None:
        event["exception"] = "\n".join(_told(error))
    if event.get("logger") == "asyncio":
        event["event"] = RETRIEVED.sub(BLANK, str(event["event"]))
    return event


def _told(error: BaseException) -> Iterator[str]:
    """Yield the lines of an exception: its cause first, as Python does, and the members of a group last."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _told(before)
        yield "which led to:"
    yield from (line.rstrip() for line in traceback.format_tb(error.__traceback__))
    yield f"{type(error).__name__}: {error}" if isinstance(error, WORDED) else type(error).__name__
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield "which holds:"
            yield from _told(member)


def withhold(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Drop content and blank keys in a line, as a structlog processor."""
    return {name: _cleared(value) for name, value in event.items() if name.lower() not in WITHHELD}


def _cleared(value: Any) -> Any:
    match value:
        case str():
            return KEY.sub(BLANK, value)
        case dict():
            return {name: _cleared(item) for name, item in value.items() if str(name).lower() not in WITHHELD}
        case list() | tuple():
            return [_cleared(item) for item in value]
        case _:
            return value

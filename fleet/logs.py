"""One log format for everything: events with fields that carry the job and the trace, and never a prompt or a key.

Every part of the fleet logs through `get_logger`: one event per fact, named in snake_case as a literal, with its values
in fields. `fleet.telemetry.events` says what each of them means. A process of the fleet's own calls `configure`: its
lines are JSON, or plain text on a terminal. In anybody else's process, such as a service that imports `fleet.client`
or a replica of Ray Serve, events go where that process logs: through its structlog if it configured one, else through
`logging`.

A field named in `WITHHELD` is dropped at any depth before a line is written, and text that looks like a provider's
key is blanked wherever it stands. An exception is logged as its type and the place it was raised, and with its words
only if these are known to quote nothing. Log ids, counts and reason words; content has no place in a log.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, cast

import structlog
from structlog.stdlib import BoundLogger, ProcessorFormatter
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

MOST_TOLD = 16
"""Maximum causes of an exception, and members of a group, that one line tells of."""

RETRIEVED = re.compile(r"(?<=exception=).*")
"""The exception quoted by asyncio's log lines about a task that failed."""

CHATTY = ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "anthropic", "groq")
"""Libraries that log every request, at debug level with its content."""

RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""Names that `logging` refuses as extra attributes of a record."""

NEWLINE = "\n"

PLAIN = re.compile(r"[^\s\"'=]+")


def get_logger(name: str) -> BoundLogger:
    """Return the logger of a module, which decides with every line where it goes: structlog may be configured later."""
    return cast(BoundLogger, _Logger(name))


class _Logger:
    """Hands its calls to structlog if the process has configured it, else to the standard library's logger."""

    __slots__ = ("_name", "_structured", "_theirs")

    def __init__(self, name: str) -> None:
        self._name = name
        self._structured = structlog.stdlib.get_logger(name)
        self._theirs = structlog.wrap_logger(
            logging.getLogger(name),
            processors=[structlog.stdlib.filter_by_level, told_exception, withhold, _for_logging],
            wrapper_class=BoundLogger,
        )

    def __getattr__(self, method: str) -> Any:
        return getattr(self._structured if structlog.is_configured() else self._theirs, method)

    def __reduce__(self) -> tuple[Any, ...]:  # Serve pickles whole modules into its controller
        return get_logger, (self._name,)


def configure(level: str = "INFO", json: bool | None = None, beside: logging.Handler | None = None) -> None:
    """Send every log line, the libraries' included, to standard error: as JSON, or as text if that is a terminal.

    `json` decides for either. The handler `beside` gets every line as well, as text.

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
            ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # configure() may come again with another level
    )
    as_json = not sys.stderr.isatty() if json is None else json
    handlers = [_handler(logging.StreamHandler(), shared, [_json_line] if as_json else [printable, _console()])]
    if beside is not None:
        handlers.append(_handler(beside, shared, [in_words]))
    logging.raiseExceptions = False  # a line that cannot be written would be told on the terminal, whole
    logging.basicConfig(level=level, handlers=handlers, force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def _handler(handler: logging.Handler, shared: list[Processor], last: list[Processor]) -> logging.Handler:
    chain = [ProcessorFormatter.remove_processors_meta, *last]
    handler.setFormatter(ProcessorFormatter(processors=chain, foreign_pre_chain=shared))
    return handler


def _console() -> Processor:
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR"))


_json_line = structlog.processors.JSONRenderer()


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
    """Yield the lines of an exception: its causes first, as Python does, and the members of a group last."""
    chain = _chain(error)
    for each in reversed(chain):
        yield from (line.rstrip() for line in traceback.format_tb(each.__traceback__))
        yield in_short(each)
        if isinstance(each, BaseExceptionGroup):
            for member in each.exceptions[:MOST_TOLD]:
                yield "which holds:"
                yield from _told(member)
        if each is not error:
            yield "which led to:"


def in_short(error: BaseException) -> str:
    """Return the exception's type, with its words if they are known to quote nothing."""
    words = str(error) if isinstance(error, WORDED) else ""
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _chain(error: BaseException) -> list[BaseException]:
    """Return the exception and what led to it, latest first; what was raised from itself is listed once."""
    chain, before = [error], _cause(error)
    while before is not None and all(before is not each for each in chain) and len(chain) < MOST_TOLD:
        chain.append(before)
        before = _cause(before)
    return chain


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def withhold(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Drop content and blank keys in a line, as a structlog processor."""
    return {name: _cleared(value) for name, value in event.items() if name.lower() not in WITHHELD}


def _cleared(value: Any) -> Any:
    match value:
        case str():
            return KEY.sub(BLANK, value)
        case dict():
            return {str(name): _cleared(item) for name, item in value.items() if str(name).lower() not in WITHHELD}
        case list() | tuple():
            return [_cleared(item) for item in value]
        case BaseException():
            return in_short(value)
        case float() if not math.isfinite(value):
            return str(value)  # JSON knows no such number
        case _:
            return value


def printable(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Escape what a terminal would obey instead of showing, as a structlog processor; stacks keep their lines."""
    return {name: _shown(value, NEWLINE if name == "exception" else "") for name, value in event.items()}


def _shown(value: Any, spared: str = "") -> Any:
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(each if each.isprintable() or each in spared else _escaped(each) for each in value)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def in_words(_: WrappedLogger, __: str, event: Mapping[str, Any]) -> str:
    """Return the event as one line, `name field=value ...`, with the exception's lines below it."""
    left_out = {"event", "exception", "logger", "level", "timestamp"}
    fields = (f"{name}={_word(value)}" for name, value in event.items() if name not in left_out)
    line = " ".join([_shown(str(event["event"])), *fields])
    return line if "exception" not in event else f"{line}{NEWLINE}{_shown(event['exception'], NEWLINE)}"


def _word(value: Any) -> str:
    shown: str = _shown(str(value))
    return shown if PLAIN.fullmatch(shown) else '"' + shown.replace('"', "'") + '"'


def _for_logging(logger: WrappedLogger, method: str, event: EventDict) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Turn an event into a call of `logging`: text for plain formats, and its fields as attributes for others."""
    fields = {name: value for name, value in event.items() if name not in RESERVED}
    return (in_words(logger, method, event),), {"extra": fields, "exc_info": None}

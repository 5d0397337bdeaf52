"""What a log line holds, and what it never holds."""

from __future__ import annotations

import io
import json
import logging
import pickle
from logging.handlers import MemoryHandler

import pytest
import structlog

from deployments.serve.log import LOGGER, ServeLog
from fleet.logs import CHATTY, WITHHELD, configure, get_logger
from fleet.model.errors import QueueUnavailable

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(autouse=True)
def restored():
    root = logging.getLogger()
    structlog.reset_defaults()
    raises = logging.raiseExceptions
    before = (root.level, list(root.handlers), {name: logging.getLogger(name).level for name in CHATTY})
    yield
    structlog.reset_defaults()
    logging.raiseExceptions = raises
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    for name, level in before[2].items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def lines(capsys):
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_json_with_the_job_and_its_trace(lines):
    configure()
    told = {"job_id": "job-0123456789abcdef", "trace_id": TRACE, "reason": "low_confidence", "tokens": 7}
    structlog.get_logger("fleet.runner").info("attempt ended", **told)
    [line] = lines()
    assert line.pop("timestamp")
    assert line == {
        "event": "attempt ended",
        "level": "info",
        "logger": "fleet.runner",
        "job_id": "job-0123456789abcdef",
        "trace_id": TRACE,
        "reason": "low_confidence",
        "tokens": 7,
    }


@pytest.mark.parametrize("name", sorted(WITHHELD))
def test_content_and_keys_are_dropped_at_any_depth(lines, name):
    configure()
    fields = {name: "planted", "outer": {name: "planted", "list": [{name.upper(): "planted"}]}}
    structlog.get_logger().info("line", count=1, **fields)
    [line] = lines()
    assert "planted" not in json.dumps(line)
    assert (line["event"], line["count"]) == ("line", 1)


@pytest.mark.parametrize("key", ["sk-ant-abcdef123456", "gsk_abcdef123456", "Bearer abcdef123456"])
def test_what_looks_like_a_key_is_blanked_wherever_it_stands(lines, key):
    configure()
    structlog.get_logger().info(f"refused {key}", note=f"with {key}.")
    logging.getLogger("some.library").warning("sent %s", key)
    try:
        raise RuntimeError(f"bad key {key}")
    except RuntimeError:
        structlog.get_logger().exception("broke")
    found = lines()
    assert len(found) == 3
    assert "abcdef123456" not in json.dumps(found)
    assert "RuntimeError" in found[2]["exception"]


def test_libraries_log_in_the_same_format(lines):
    configure()
    logging.getLogger("some.library").warning("disk at %d%%", 91)
    [line] = lines()
    assert (line["event"], line["level"], line["logger"]) == ("disk at 91%", "warning", "some.library")


def test_the_level_holds_and_chatty_libraries_are_held_to_warnings(lines):
    configure("DEBUG")
    structlog.get_logger().debug("ours")
    for name in CHATTY:
        logging.getLogger(f"{name}.inner").debug("theirs")
    assert [line["event"] for line in lines()] == ["ours"]
    configure("ERROR")
    structlog.get_logger().warning("too low")
    assert lines() == []


def test_a_terminal_gets_plain_text(capsys):
    configure(json=False)
    structlog.get_logger().info("hello", count=1)
    assert "hello" in capsys.readouterr().err


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match="LOUD"):
        configure("LOUD")


HOSTILE = "a\n2026-01-01 [info] forged\x1b[2J\r\u202eb"
"""A line of its own, an order to clear the screen, and one to write from right to left."""


@pytest.mark.parametrize("where", ["event", "field", "library"])
def test_a_terminal_is_shown_what_it_must_not_obey(capsys, where):
    configure(json=False)
    match where:
        case "event":
            get_logger("fleet").warning(HOSTILE)
        case "field":
            get_logger("fleet").warning("spend_limit", scope=HOSTILE)
        case _:
            logging.getLogger("some.library").warning("%s", HOSTILE)
    [line] = capsys.readouterr().err.splitlines()
    assert "forged" in line
    assert line.isprintable()


def test_a_stack_keeps_its_lines_on_a_terminal(capsys):
    configure(json=False)
    try:
        raise QueueUnavailable("away\x1b[2J")
    except QueueUnavailable:
        get_logger("fleet").exception("step_failed")
    written = capsys.readouterr().err
    assert "\n  File " in written
    assert "QueueUnavailable: away\\x1b[2J" in written
    assert "\x1b" not in written


def test_without_a_terminal_the_lines_are_json(lines):
    configure()
    get_logger("fleet").warning("spend_limit", step=0.8)
    [line] = lines()
    assert (line["event"], line["step"]) == ("spend_limit", 0.8)


def test_at_a_terminal_the_lines_are_text(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    configure()
    get_logger("fleet").warning("spend_limit", step=0.8)
    assert "spend_limit" in terminal.getvalue()
    assert "step=0.8" in terminal.getvalue()
    assert "\x1b" not in terminal.getvalue()


def test_what_json_cannot_say_is_text(lines):
    configure()
    get_logger("fleet").warning("odd", rate=float("nan"), by={("a", 1): float("inf")}, why=KeyError("planted"))
    [line] = lines()
    assert (line["rate"], line["by"], line["why"]) == ("nan", {"('a', 1)": "inf"}, "KeyError")


def test_a_line_that_cannot_be_made_is_dropped_in_silence(capsys):
    configure()
    logging.getLogger("some.library").warning("%d prompts", "planted")
    get_logger("fleet").warning("after")
    written = capsys.readouterr().err
    assert "planted" not in written
    assert "after" in written


def test_an_exception_raised_from_itself_or_from_many_is_told_in_bounded_lines(lines):
    configure()
    error: Exception = ValueError()
    error.__cause__ = error
    get_logger("fleet").error("looped", exc_info=error)
    for _ in range(2000):
        before, error = error, ValueError()
        error.__context__ = before
    get_logger("fleet").error("deep", exc_info=error)
    get_logger("fleet").error("wide", exc_info=ExceptionGroup("many", [ValueError()] * 2000))
    looped, deep, wide = lines()
    assert looped["exception"] == "ValueError"
    assert deep["exception"].count("ValueError") == 16
    assert wide["exception"].count("ValueError") == 16


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def heard():
    """What reaches the standard library's logger of a module that no part of the fleet has configured."""
    logger, handler = logging.getLogger("queues.somewhere"), Heard()
    logger.addHandler(handler)
    yield handler.records
    logger.removeHandler(handler)


def test_in_a_service_that_configures_nothing_events_go_to_logging_with_their_fields(heard, capsys):
    get_logger("queues.somewhere").warning("broker_error", error='no \n"answer"', name="x", count=2, **{"from": 0})
    [record] = heard
    assert record.getMessage() == r"""broker_error error="no \n'answer'" name=x count=2 from=0"""
    assert (record.levelno, record.name, record.count) == (logging.WARNING, "queues.somewhere", 2)
    assert capsys.readouterr().out == ""


def test_in_a_service_that_configures_nothing_the_levels_of_logging_hold(heard):
    get_logger("queues.somewhere").debug("arrivals_not_heard", error="away")
    assert heard == []


def test_in_a_service_too_an_exception_that_may_quote_content_is_told_without_its_words(heard):
    content = "planted"
    try:
        raise ValueError(content)
    except ValueError:
        get_logger("queues.somewhere").exception("message_not_taken_in", message=content)
    [record] = heard
    told = logging.Formatter().format(record)
    assert "ValueError" in told
    assert "in test_in_a_service_too" in told
    assert "planted" not in told


def test_a_service_that_configured_structlog_gets_the_events_there(heard):
    with structlog.testing.capture_logs() as lines:
        get_logger("queues.somewhere").warning("broker_error", error="away")
    assert lines == [{"event": "broker_error", "log_level": "warning", "error": "away"}]
    assert heard == []


def test_a_logger_survives_the_way_into_another_process(heard):
    pickle.loads(pickle.dumps(get_logger("queues.somewhere"))).warning("broker_error")
    assert [record.getMessage() for record in heard] == ["broker_error"]


def test_a_replicas_lines_are_in_serves_own_log_too(lines, monkeypatch):
    file, stream = Heard(), logging.StreamHandler()
    monkeypatch.setattr(logging.getLogger(LOGGER), "handlers", [stream, MemoryHandler(0, target=file)])
    configure(json=True, beside=ServeLog())
    get_logger("fleet.dispatch").warning("spend_limit", step=0.8, key="planted")
    logging.getLogger("some.library").warning("sk-abcdefgh12345678")
    assert [line["event"] for line in lines()] == ["spend_limit", "[withheld]"]
    assert [record.getMessage() for record in file.records] == ["spend_limit step=0.8", "[withheld]"]

"""What a log line holds, and what it never holds."""

from __future__ import annotations

import json
import logging

import pytest
import structlog

from fleet.telemetry.logs import CHATTY, WITHHELD, configure

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(autouse=True)
def restored():
    root = logging.getLogger()
    before = (root.level, list(root.handlers), {name: logging.getLogger(name).level for name in CHATTY})
    yield
    structlog.reset_defaults()
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

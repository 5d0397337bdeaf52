"""The list of log events is the source's: none is missing, unused, built at run time, or says what no line may say."""

from __future__ import annotations

import logging
import re
from functools import cache

import pytest
from log_events import PACKAGES, ROOT, Logged, logged, logged_in, page

from fleet.logs import RESERVED, WITHHELD
from fleet.telemetry.advice import ADVICE
from fleet.telemetry.events import MEANINGS

PAGE = ROOT / "docs" / "reference" / "events.md"

MAY_IMPORT_LOGGING = {
    "fleet/logs.py": "configures it",
    "fleet/cli/__init__.py": "silences libraries",
    "fleet/cli/connection.py": "hears of outages while a command waits",
    "fleet/providers/transport.py": "sets the level of the SDKs' loggers",
    "deployments/cluster.py": "sets the level of Ray's loggers",
    "deployments/clusterfile.py": "sets the level of Ray's loggers",
    "deployments/serve/log.py": "hands lines to Serve's logger",
}


@cache
def events() -> list[Logged]:
    return logged()


def test_every_event_can_be_read_from_the_source():
    assert [each for each in events() if each.fault] == []


def test_every_event_has_a_sentence_and_every_sentence_an_event():
    assert {each.name for each in events()} == set(MEANINGS)


def test_every_warning_and_every_error_says_what_to_do():
    assert {each.name for each in events() if each.level not in ("debug", "info")} == set(ADVICE)


@pytest.mark.parametrize("name", sorted(ADVICE))
def test_advice_is_a_sentence_that_fits_into_a_row(name):
    assert re.fullmatch(r"[A-Z\[][^|\n]*\.", ADVICE[name])


@pytest.mark.parametrize("name", sorted(MEANINGS))
def test_a_name_is_snake_case_and_its_meaning_one_sentence(name):
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
    assert re.fullmatch(r"[A-Z][^|\n]*[^.|]\.", MEANINGS[name])


@pytest.mark.proves("No event of the log has a field for content or secrets", how="lint", subject="Security")
def test_no_event_logs_a_field_that_is_withheld_or_that_logging_refuses():
    assert [each for each in events() if {field.lower() for field in each.fields} & (WITHHELD | RESERVED)] == []


def test_the_page_lists_them():
    """If this fails, run `make docs`."""
    assert PAGE.read_text() == page(events())


def modules():
    return sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def test_every_module_logs_through_the_one_logger():
    """A line of the standard library's logger is a sentence, and structlog's own prints where nobody configured it."""
    strays = [
        str(file.relative_to(ROOT))
        for file in modules()
        if re.search(r"^\s*(import|from) (logging|structlog)\b", file.read_text(), re.M)
    ]
    assert set(strays) == set(MAY_IMPORT_LOGGING)


def test_every_logger_has_the_name_that_is_looked_for():
    made = [line for file in modules() for line in file.read_text().splitlines() if "get_logger(" in line]
    named = [line for line in made if re.match(r"log = (logs\.)?get_logger\(", line)]
    own = (ROOT / "fleet" / "logs.py").read_text().count("get_logger(")
    assert len(made) - len(named) == own


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('log.warning("spend_limit", step=1)', Logged("spend_limit", "warning", ("step",), "m.py:1")),
        ('log.exception("broke", exc_info=error)', Logged("broke", "error", ("exception",), "m.py:1")),
        ('log.info("a", **{"from": 1})', Logged("a", "info", ("from",), "m.py:1")),
        (
            'log.info("a", **fields_of(delivery))',
            Logged("a", "info", ("job_id", "tenant", "trace_id"), "m.py:1"),
        ),
        (
            'contain(error, "broke", delivery, jobs=1)',
            Logged("broke", "error", ("job_id", "tenant", "trace_id", "jobs", "exception"), "m.py:1"),
        ),
        ('log.info(f"a_{b}", c=1)', Logged("", "info", ("c",), "m.py:1", "its name is no literal")),
        ("log.info(name)", Logged("", "info", (), "m.py:1", "its name is no literal")),
        ("log.info(**name)", Logged("", "info", (), "m.py:1", "its name is no literal")),
        ('log.info("a", **made)', Logged("a", "info", (), "m.py:1", "made is no literal of fields")),
        ('log.info("a", **made())', Logged("a", "info", (), "m.py:1", "made() is no literal of fields")),
    ],
)
def test_a_call_is_read(line, expected):
    assert list(logged_in(line, "m.py")) == [expected]


def test_an_outage_is_an_event_of_its_own():
    [bug, outage] = logged_in('contained("not_done", outage="away", jobs=1)', "m.py")
    assert (bug.name, bug.level, bug.fields) == ("not_done", "error", ("jobs", "exception"))
    assert (outage.name, outage.level, outage.fields) == ("away", "warning", ("jobs", "error"))


def test_one_of_two_events_is_both():
    found = logged_in('log.info("cold" if away else "warm", target=name)', "m.py")
    assert [each.name for each in found] == ["cold", "warm"]


def test_the_fields_of_a_function_of_the_module_are_found():
    source = 'def about(x):\n    return {"target": x, "jobs": 1}\nlog.info("a", **about(x))\n'
    [found] = logged_in(source, "m.py")
    assert (found.fields, found.fault) == (("target", "jobs"), "")


def test_the_levels_of_the_page_are_those_of_logging():
    assert {each.level.upper() for each in events()} <= set(logging.getLevelNamesMapping())

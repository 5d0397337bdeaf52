"""How figures, times and words are shown, and that nothing that is shown is obeyed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from fleet.console.rendering import (
    MAX_SHOWN_CHARACTERS,
    NONE,
    count,
    duration,
    environment,
    job_path,
    moment,
    share,
    static,
    usd,
    visible,
)


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0.0, "$0.00"),
        (0.0000117, "$0.000012"),
        (0.00214, "$0.0021"),
        (0.5, "$0.50"),
        (12.3, "$12.30"),
        (1234.5, "$1,234"),
        (-3.0, "$-3.00"),
        (1e-12, "$0.00"),
        (None, NONE),
        (math.nan, NONE),
        (math.inf, NONE),
    ],
)
def test_money_shows_two_figures_however_small_it_is(amount, shown):
    assert usd(amount) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0854, "85 ms"),
        (0.9999, "1.00 s"),
        (1.254, "1.25 s"),
        (42.34, "42.3 s"),
        (59.99, "60.0 s"),
        (200, "3 min 20 s"),
        (7_500, "2 h 5 min"),
        (90_000, "1 d 1 h"),
        (-2.0, "-2,000 ms"),
        (None, NONE),
        (math.inf, NONE),
    ],
)
def test_durations_use_the_unit_that_fits(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(("part", "shown"), [(0, "0%"), (0.0002, "<0.1%"), (0.034, "3.4%"), (0.5, "50%"), (None, NONE)])
def test_a_small_share_is_never_shown_as_none(part, shown):
    assert share(part) == shown


def test_counts_have_separators_and_what_is_not_known_a_dash():
    assert (count(1_234_567), count(None), count(math.nan)) == ("1,234,567", NONE, NONE)


@pytest.mark.parametrize("at", [None, 0, 1e300, -1e300, math.nan, math.inf])
def test_a_time_that_no_calendar_has_is_a_dash(at):
    assert moment(at) == NONE


def test_a_time_is_in_utc_and_says_so_to_machines():
    assert moment(1_796_094_764.0) == (
        '<time datetime="2026-12-01T03:12:44Z"><span class="date">2026-12-01</span> 03:12:44</time>'
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Ünï 😀", "Ünï 😀"),
        ("a\x00b\x1b[31m", "a\\u0000b\\u001b[31m"),
        ("abc\u202edcba", "abc\\u202edcba"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("line\u2028end\r\n", "line\\u2028end\\u000d\\u000a"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_are_spelled_out(text, shown):
    assert visible(text) == shown


@given(st.text(st.characters(exclude_categories=()), max_size=400))
def test_whatever_is_printed_is_text_of_bounded_length_that_nothing_obeys(text):
    html = environment().from_string("<p>{{ text }}</p>").render(text=text)
    inner = html.removeprefix("<p>").removesuffix("</p>")
    assert "<" not in inner and ">" not in inner and '"' not in inner
    assert Markup(inner).unescape().isprintable()
    assert len(Markup(inner).unescape()) <= 10 * MAX_SHOWN_CHARACTERS


def test_an_attribute_cannot_be_left():
    html = environment().from_string('<p title="{{ text }}">').render(text='" onmouseover="alert(1)')
    assert html.count('"') == 2


def test_a_path_has_no_room_for_anything_but_the_job():
    assert job_path("a/../b", "x?y#z") == "/jobs/a%2F..%2Fb/x%3Fy%23z"


def test_the_address_of_a_file_changes_with_its_content():
    address = static("console.css")
    assert address.startswith("/static/console.css?v=") and len(address.rpartition("=")[2]) == 12

"""The pages of the console: what they show, in which order, and where parts of the fleet are away."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from console_fleet import ESCALATED, FAILED, ConsoleFleet, books_of, calm_night
from ledger_lines import NOON, attempt, entry
from starlette.testclient import TestClient

from fleet.console.pages import JOBS_PER_PAGE, NAVIGATION, PAGES
from fleet.console.present import over_days
from fleet.console.sources import DaySums
from fleet.ledger.reading import Sums
from fleet.model.attempt import Answer, Cached, Usage
from fleet.model.errors import LedgerUnavailable, QueueUnavailable

Open = Callable[..., TestClient]

PATHS = [path for path, _ in NAVIGATION] + [f"/jobs/acme/{ESCALATED}", f"/jobs/globex/{FAILED}", "/money?days=30"]
MAX_BYTES = 100_000


class Rows(HTMLParser):
    """The cells of the rows in the body of a page's tables, as text."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._in_body = self._in_cell = False

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self._in_body |= tag == "tbody"
        if tag == "small":
            self.handle_data(" ")
        if tag == "tr" and self._in_body:
            self.rows.append([])
        if tag in ("td", "th") and self._in_body:
            self._in_cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_body &= tag != "tbody"
        self._in_cell &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data


def rows(html: str) -> list[list[str]]:
    parser = Rows()
    parser.feed(html)
    return [[" ".join(cell.split()) for cell in row] for row in parser.rows]


def text(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def ids(html: str) -> list[str]:
    return [row[1] for row in rows(html)]


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_whole_small_and_one_request(opened: Open, night: ConsoleFleet, path: str) -> None:
    answer = opened(night).get(path)
    assert answer.status_code == 200
    assert len(answer.content) < MAX_BYTES
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    loaded = re.findall(r'(?:src|href)="([^"]+)"', "".join(re.findall(r"<(?:script|link)[^>]*>", answer.text)))
    assert all(address.startswith("/static/") for address in loaded)
    assert not re.findall(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", answer.text)


def test_the_script_that_opens_streams_is_there_before_htmx_looks_for_them(opened: Open, night: ConsoleFleet) -> None:
    """A deferred htmx looks a moment after it has run, whether the next deferred file has come by then or not."""
    scripts = re.findall(r'<script src="[^"]*/([^/"?]*)[^"]*"( defer)?></script>', opened(night).get("/").text)
    assert scripts == [("htmx.min.js", ""), ("hx-sse.min.js", " defer"), ("console.js", " defer")]


def test_now_shows_targets_with_state_replicas_holds_breakers_and_queues(opened: Open, night: ConsoleFleet) -> None:
    html = opened(night).get("/").text
    shown = {row[0]: row for row in rows(html)}
    assert shown["llama-8b fleet"][1:7] == ["running", "3 + 1 starting 1 to 4", "closed", "6", "0", "208"]
    assert shown["llama-70b fleet"][1:4] == ["cold", "0 drained; 0 to 2", "closed"]
    assert shown["gpt-4o openai"][3] == "open until 03:13:30 at 2 of 3 dispatchers"
    assert shown["llama-3.3-70b-groq groq"][1] == "no key set GROQ_API_KEY"
    assert shown["acme"] == ["acme", "bulk", "18,204"]
    assert shown["3f3f3f3f"] == ["3f3f3f3f", "node-3f pid 4711, on Ray", "serving", "16", "41%", "5", "03:12:43"]
    said = text(html)
    assert "$41.83 of $50.00" in said and "18,237" in said and "As of 03:12:44 UTC" in said


def test_now_shows_who_answered_today_and_at_which_price(opened: Open, night: ConsoleFleet) -> None:
    html = opened(night).get("/").text
    legend = [text(each) for each in re.findall(r"<li><span class=\"key.*?</li>", html, re.S)]
    assert legend[0].startswith("llama-8b ")
    assert sum(float(re.findall(r"([\d.]+)%", each)[0]) for each in legend) == pytest.approx(100, abs=1.5)


def test_jobs_are_listed_newest_first_with_reason_and_target(opened: Open, night: ConsoleFleet) -> None:
    found = rows(opened(night).get("/jobs").text)
    assert len(found) == JOBS_PER_PAGE
    times = [row[0] for row in found]
    assert times == sorted(times, reverse=True)
    by_id = {row[1]: row for row in found}
    assert by_id[ESCALATED][2:8] == ["acme", "classify.intent", "standard", "succeeded", "confident", "gpt-4o"]


def test_every_job_is_on_one_page_exactly_once_however_many_there_are(opened: Open, night: ConsoleFleet) -> None:
    client, path, found = opened(night), "/jobs", list[str]()
    while path:
        html = client.get(path).text
        found += ids(html)
        older = re.findall(r'href="([^"]+)" rel="next"', html)
        path = unescape(older[0]) if older else ""
    assert len(found) == len(set(found)) == 402


def test_a_next_page_keeps_the_filter(opened: Open, night: ConsoleFleet) -> None:
    html = opened(night).get("/jobs", params={"tenant": "acme"}).text
    [older] = re.findall(r'href="([^"]+)" rel="next"', html)
    assert parse_qs(urlsplit(unescape(older)).query)["tenant"] == ["acme"]


@pytest.mark.parametrize(
    ("name", "value", "column"),
    [
        ("status", "failed", 5),
        ("target", "gpt-4o", 7),
        ("reason", "all_failed", 6),
        ("lane", "bulk", 4),
        ("tenant", "globex", 2),
    ],
)
def test_jobs_are_filtered_and_the_filter_stays_in_the_form(
    opened: Open, night: ConsoleFleet, name: str, value: str, column: int
) -> None:
    html = opened(night).get("/jobs", params={name: value}).text
    assert {row[column] for row in rows(html)} == {value.replace("_", " ")}
    assert f'value="{value}" selected' in html or f'name="tenant" value="{value}"' in html


def test_a_filter_that_nothing_fits_says_so_and_offers_the_way_back(opened: Open, night: ConsoleFleet) -> None:
    html = opened(night).get("/jobs", params={"target": "none-such", "status": "failed"}).text
    assert rows(html) == [] and "No job that has ended is like that." in html and ">Clear</a>" in html
    assert '<option value="none-such" selected>' in html


def test_a_job_is_found_by_its_id_alone(opened: Open, night: ConsoleFleet) -> None:
    client = opened(night)
    assert client.get("/jobs", params={"id": f" {ESCALATED} "}).headers["location"] == f"/jobs/acme/{ESCALATED}"
    assert "The ledger has no job nowhere-to-be-found" in client.get("/jobs?id=nowhere-to-be-found").text


def test_a_jobs_path_shows_confidence_against_threshold_price_and_reason(opened: Open, night: ConsoleFleet) -> None:
    html = opened(night).get(f"/jobs/acme/{ESCALATED}").text
    tries = [
        text(each)
        for each in re.findall(r"<li>.*?</li>", re.findall(r'<ol class="path">.*?</ol>', html, re.S)[0], re.S)
    ]
    assert [each.split()[0] for each in tries] == ["llama-8b", "mixtral-8x7b", "gpt-4o"]
    assert "0.412 < 0.742" in tries[0] and "$0.000012" in tries[0] and "eu-central-1" in tries[0]
    assert "low confidence : the answer before was not trusted" in tries[1]
    assert (
        "0.951" in tries[2]
        and "$0.0021" in tries[2]
        and "412 in (128 cached, 256 written to the cache), 57 out" in tries[2]
    )
    assert "succeeded" in text(html) and "$0.0022" in text(html)


def test_a_cached_job_says_whose_answer_it_got_and_no_tokens(opened: Open, night: ConsoleFleet, tmp_path: Path) -> None:
    cached = Cached("job-of-before-0123", "llama-8b", NOON - 7200, Usage(40, 2))
    known = replace(attempt(target="exact", outcome=Answer({}, "stop", Usage(), "m")), cached=cached)
    books = books_of(tmp_path / "cached", [entry(tried=known)])
    html = opened(replace(night, books=books)).get("/jobs/acme/job-000000000001").text
    path = text(re.findall(r'<ol class="path">.*?</ol>', html, re.S)[0])
    assert "llama-8b gave it to job-of-before-0123 2 h 0 min before" in path
    assert "Tokens" not in path


def test_a_job_that_failed_says_at_whom_and_why(opened: Open, night: ConsoleFleet) -> None:
    said = text(opened(night).get(f"/jobs/globex/{FAILED}").text)
    assert "every target failed" in said and "openai answered HTTP 503" in said


def test_a_jobs_spans_lie_within_the_time_it_took(opened: Open, night: ConsoleFleet) -> None:
    html = opened(night).get(f"/jobs/acme/{ESCALATED}").text
    bars = re.findall(r'<rect class="part[^"]*" x="([\d.]+)" width="([\d.]+)" height="6"', html)
    assert len(bars) >= 4
    assert all(float(x) >= 0 and float(x) + float(width) <= 100.001 for x, width in bars)


@pytest.mark.parametrize(
    "path", ["/jobs/acme/nobody", "/jobs/globex/" + ESCALATED, "/nowhere", "/money?days=2", "/jobs?before=x"]
)
def test_what_is_not_there_is_a_page_that_says_so(opened: Open, night: ConsoleFleet, path: str) -> None:
    answer = opened(night).get(path)
    assert answer.status_code == 404 and "Not found" in answer.text and 'aria-label="Pages"' in answer.text


@pytest.mark.parametrize("before", ["-1", "1e3", "²", "9" * 19, "9" * 5000])
def test_a_place_in_a_list_that_no_page_gave_is_refused(opened: Open, night: ConsoleFleet, before: str) -> None:
    client = opened(night)
    assert client.get("/jobs", params={"before": before}).status_code == 404
    assert client.get("/dead-letters", params={"before": before}).status_code == 404


def test_money_adds_up_by_day_and_by_target(opened: Open, night: ConsoleFleet) -> None:
    html = opened(night).get("/money?days=30").text
    by_day = [row for row in rows(html) if re.fullmatch(r"\d{4}-\d\d-\d\d", row[0])]
    assert len(by_day) == 9 and by_day == sorted(by_day, reverse=True)
    values = [float(value) for value in re.findall(r'data-value="([\d.]+)"', html)]
    sums = night.books.attempt_sums((), "2026-01-01", "2026-12-31")
    assert sum(values) == pytest.approx(sums[0].cost_nano_usd / 1e9)
    assert len(sums) == 1 and f"{sums[0].jobs:,}" in text(html)


def test_dead_letters_are_paged_and_never_show_what_was_asked(opened: Open, night: ConsoleFleet) -> None:
    client = opened(night)
    html = client.get("/dead-letters").text
    assert [row[0] for row in rows(html)] == [str(number) for number in range(930, 905, -1)]
    assert "SECRET PROMPT" not in html and "every target failed: gpt-4o answered HTTP 503" in html
    [older] = re.findall(r'href="([^"]+)" rel="next"', html)
    assert [row[0] for row in rows(client.get(unescape(older)).text)] == ["905", "904", "903", "902", "901"]


def test_calibrations_show_what_is_promised_and_what_is_not(opened: Open, night: ConsoleFleet) -> None:
    found = {(row[0], row[1]): row for row in rows(opened(night).get("/calibrations").text)}
    assert found["llama-8b", "classify"][3:5] == ["at most 5.0% wrong answers kept with probability 95%", "0.742"]
    assert found["llama-8b", "all others"][3] == "withdrawn confidences have moved: PSI 0.31 over 2,400 answers"
    assert found["mixtral-8x7b", "extract"][3:5] == ["not yet 140 more labels", "none is enough"]
    assert ("llama-70b", "classify") in found


def test_alerts_show_what_fires_and_where_its_runbook_is(opened: Open, night: ConsoleFleet) -> None:
    html = opened(night).get("/alerts").text
    assert "llama-70b has work and no replica." in html and 'href="https://fleet.example/alerts#backlog"' in html
    assert [row[:3] for row in rows(html)] == [
        ["FleetBacklogWithoutCapacity", "firing", "critical"],
        ["FleetSpendRate", "pending", "warning"],
        ["FleetLedgerBehind", "inactive", "warning"],
    ]


def test_without_a_prometheus_the_page_says_how_to_name_one(opened: Open, night: ConsoleFleet) -> None:
    assert "FLEET_PROMETHEUS_URL" in opened(replace(night, alerts=None)).get("/alerts").text


@pytest.mark.parametrize("path", ["/", "/jobs", "/money", "/dead-letters", "/calibrations", "/alerts"])
def test_a_fleet_in_which_nothing_has_happened_yet_has_all_pages(opened: Open, tmp_path: Path, path: str) -> None:
    answer = opened(calm_night(tmp_path)).get(path)
    assert answer.status_code == 200 and "None" not in text(answer.text)
    assert path != "/" or "Nothing needs attention" in answer.text


@pytest.mark.parametrize(
    ("part", "error", "paths"),
    [
        (
            "books",
            LedgerUnavailable("sqlite: there is no such file"),
            ["/", "/jobs", "/jobs/acme/x", "/jobs?id=x", "/money"],
        ),
        ("letters", QueueUnavailable("nobody listens"), ["/dead-letters"]),
        ("calibrations", QueueUnavailable("nobody listens"), ["/calibrations"]),
        ("alerts", LedgerUnavailable("Prometheus does not answer"), ["/alerts"]),
        ("fleet", QueueUnavailable("nobody listens"), ["/"]),
    ],
)
def test_a_part_that_is_away_is_named_on_its_page_and_takes_no_page_down(
    opened: Open, night: ConsoleFleet, part: str, error: Exception, paths: list[str]
) -> None:
    client = opened(replace(night, broken={part: error}))
    for path in paths:
        answer = client.get(path)
        assert answer.status_code == 200 and str(error) in text(answer.text)
    for path, _ in NAVIGATION:
        assert client.get(path).status_code == 200


def test_a_bug_is_a_page_that_tells_nothing_of_it(opened: Open, night: ConsoleFleet) -> None:
    answer = opened(replace(night, broken={"letters": KeyError("a secret")})).get("/dead-letters")
    assert answer.status_code == 500 and "secret" not in answer.text and 'aria-label="Pages"' in answer.text


@pytest.mark.parametrize("path", list(PAGES))
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_no_page_changes_anything(opened: Open, night: ConsoleFleet, path: str, method: str) -> None:
    assert opened(night).request(method, path).status_code == 405


def test_sums_of_days_that_are_over_are_read_once_and_todays_again(night: ConsoleFleet) -> None:
    asked: list[tuple[str, str]] = []

    class Counted:
        def state(self) -> object:
            return night.books.state()

        def attempt_sums(self, group_by: Sequence[str], since: str, until: str) -> Sequence[Sums]:
            asked.append((since, until))
            return night.books.attempt_sums(group_by, since, until)

    clock = [0.0]
    kept = DaySums(lambda: clock[0])
    first = kept.between(Counted(), ("target",), "2026-11-25", "2026-12-01")
    assert kept.between(Counted(), ("target",), "2026-11-25", "2026-12-01") == first
    assert kept.between(Counted(), ("target",), "2026-11-24", "2026-12-01")[-len(first) :] == first
    assert asked == [("2026-11-25", "2026-12-01"), ("2026-12-01", "2026-12-01"), ("2026-11-24", "2026-12-01")]
    whole = night.books.attempt_sums(("target",), "2026-11-24", "2026-12-01")
    added = over_days(kept.between(Counted(), ("target",), "2026-11-24", "2026-12-01"), "target")
    assert sorted(added, key=lambda each: each.group["target"]) == whole
    clock[0] += 601.0
    kept.between(Counted(), ("target",), "2026-11-25", "2026-12-01")
    assert asked[-1] == ("2026-11-25", "2026-12-01"), "a tenant may have been erased"

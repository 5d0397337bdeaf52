"""The page is one file that loads nothing, says what the report says, and can be read by everybody."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from accounts import ALL, Accounts, JobOf, call
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.attempt import Usage
from fleet.reports.cost import cost_report
from fleet.reports.dollars import exact, shown
from fleet.reports.page import MOST_ROWS, TABLES, PageCosts, page
from fleet.reports.plots import OTHER, SERIES, WIDTH, SpanBar, bar_plot, stack_plot
from fleet.reports.savings import Question, savings_report
from policies.rules.rules import Rules

VOID = {"meta", "br", "rect", "line", "col"}


class Page(HTMLParser):
    """The elements of a page, and whether they are closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID or (tag == "rect" and not self.get_starttag_text().endswith("/>")):  # type: ignore[union-attr]
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for each, attributes in self.elements if each == tag)


def page_of(accounts: Accounts, rules: Rules, tenant: str | None = None) -> str:
    books = accounts.books(tenant)
    report = savings_report(books, Question(ALL, rules.catalogue), rules, ())
    tables = {name: cost_report(books, (name,), ALL, rules) for name in TABLES}
    return page(report, PageCosts(cost_report(books, ("day", "target"), ALL, rules), tables), 1_772_366_400.0, tenant)


@pytest.fixture
def week(accounts: Accounts) -> Accounts:
    for day in range(3):
        accounts.book(day, JobOf().lines(day, call("small", Usage(1000, 100)), call("large", number=2)))
        accounts.book(day, JobOf(task="report.totals").lines(10 + day, call("big", Usage(100_000, 20_000))))
    return accounts


def test_the_page_loads_nothing_and_runs_nothing(week: Accounts, rules: Rules) -> None:
    text = page_of(week, rules)
    found = Page(text)
    tags = {tag for tag, _ in found.elements}
    assert tags.isdisjoint({"script", "link", "img", "iframe", "object", "form", "base"})
    names = {name for _, attributes in found.elements for name in attributes}
    assert names.isdisjoint({"src", "href", "action", "style"}) and not any(name.startswith("on") for name in names)
    assert "url(" not in text and "@import" not in text and "://" not in text
    policy = next(each for each in found.all("meta") if each.get("http-equiv"))
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_the_page_says_what_the_report_says(week: Accounts, rules: Rules) -> None:
    report = savings_report(week.books(), Question(ALL, rules.catalogue), rules, ())
    text = " ".join(Page(page_of(week, rules)).texts)
    amounts = [report.spent.total, *(each.cost for each in report.baselines), *(each.low for each in report.mechanisms)]
    for amount in amounts:
        assert amount is None or shown(amount) in text
    for note in report.notes:
        assert note in text
    assert "2026-11" in text
    words = " ".join(text.split())
    for each in report.mechanisms:
        assert f"{each.title} {'-' if each.jobs is None else each.jobs} " in words


def test_the_page_names_no_tenant_but_the_one_it_is_about(week: Accounts, rules: Rules) -> None:
    assert "acme" not in page_of(week, rules)
    assert "tenant acme" in page_of(week, rules, "acme")


def test_the_page_is_made_for_screen_readers_phones_and_the_dark(week: Accounts, rules: Rules) -> None:
    text = page_of(week, rules)
    found = Page(text)
    assert next(found.all("html"))["lang"] == "en"
    ids = {attributes["id"] for _, attributes in found.elements if "id" in attributes}
    for plot in found.all("svg"):
        assert plot["role"] == "img" and plot["aria-labelledby"] in ids
    for region in (each for each in found.all("div") if each.get("role") == "region"):
        assert region["tabindex"] == "0" and region["aria-labelledby"] in ids
    assert all(head.get("scope") in ("col", "row") for head in found.all("th"))
    assert sum(1 for _ in found.all("table")) == sum(each.get("role") == "region" for each in found.all("div"))
    assert any(each.get("name") == "viewport" for each in found.all("meta"))
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", '"><img src=x>', "a\u202eb", "{{ 7 * 7 }}"])
def test_names_that_are_markup_are_text(accounts: Accounts, rules: Rules, evil: str) -> None:
    accounts.book(0, JobOf(task=evil).lines(1, call("small")))
    found = Page(page_of(accounts, rules))
    assert evil in found.texts
    assert not any(found.all("script")) and not any(found.all("img"))


def test_a_page_about_nothing_is_still_a_page(accounts: Accounts, rules: Rules) -> None:
    assert "0 answered jobs" in " ".join(" ".join(Page(page_of(accounts, rules)).texts).split())


def test_rows_beyond_the_first_are_added_up(accounts: Accounts, rules: Rules) -> None:
    tasks = (JobOf(task=f"task-{number}").lines(number, call("small")) for number in range(MOST_ROWS + 5))
    accounts.book(0, [line for lines in tasks for line in lines])
    assert "5 others" in Page(page_of(accounts, rules)).texts


@pytest.mark.parametrize(
    ("nano_usd", "for_people", "to_the_last"),
    [
        (0, "$0", "0.000000000"),
        (1, "$0.000000001", "0.000000001"),
        (12_300_000, "$0.0123", "0.012300000"),
        (9_999_999, "$0.009999999", "0.009999999"),
        (-500_000_000, "-$0.5000", "-0.500000000"),
        (999_999_999, "$1.0000", "0.999999999"),
        (1_234_567_890_123, "$1,234.57", "1234.567890123"),
        (-2_000_000_000, "-$2.00", "-2.000000000"),
    ],
)
def test_money_is_written_for_people_and_to_the_last_digit(nano_usd: int, for_people: str, to_the_last: str) -> None:
    assert (shown(nano_usd), exact(nano_usd)) == (for_people, to_the_last)


@given(st.lists(st.tuples(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12)), max_size=8))
def test_bars_stay_in_their_plot(spans: list[tuple[int, int]]) -> None:
    plot = bar_plot([SpanBar("a", start, end, "") for start, end in spans])
    assert -1e-6 <= plot.zero <= WIDTH + 1e-6
    for bar in plot.bars:
        assert bar.x >= -1e-6 and bar.x + bar.width <= WIDTH + 1.5 + 1e-6


COSTS = st.lists(
    st.tuples(st.sampled_from(["2026-03-01", "2026-03-02"]), st.sampled_from("abcdefghij"), st.integers(1, 10**12)),
    max_size=40,
)


@given(COSTS)
def test_the_boxes_of_a_day_are_as_high_together_as_its_cost(costs: list[tuple[str, str, int]]) -> None:
    plot = stack_plot(costs)
    by_day = {day: sum(cost for each, _, cost in costs if each == day) for day, _, _ in costs}
    heights = {day: sum(box.height for box in plot.boxes if box.label.startswith(day)) for day in by_day}
    most = max(by_day, key=lambda day: by_day[day], default="")
    for day, cost in by_day.items():
        assert heights[day] == pytest.approx(heights[most] * cost / by_day[most])
    assert all(box.series < SERIES for box in plot.boxes)
    assert len(plot.legend) <= SERIES
    assert (OTHER in [name for _, name in plot.legend]) == (len({name for _, name, _ in costs}) > SERIES)

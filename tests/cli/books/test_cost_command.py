"""`fleet cost` and `fleet report savings` on a ledger of a few days: tables, JSON, CSV, a page, and refusals."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accounts import Accounts, JobOf, call, catalogue_file, nano, rules_file
from typer.testing import Result

from fleet.cli.books.tables import Amount, csv_of
from fleet.model.attempt import Usage

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]

DAYS = ("--since", "2026-03-01", "--until", "2026-03-31")


@pytest.fixture
def ledger(fake_app: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    """Two days in the fleet's data folder: the first is archived."""
    monkeypatch.setenv("FLEET_RULES_PATH", str(rules_file(tmp_path)))
    monkeypatch.setenv("FLEET_CATALOGUE_PATH", str(catalogue_file(tmp_path)))
    accounts = Accounts(tmp_path / "data")
    accounts.book(0, JobOf().lines(1, call("small", Usage(1000, 100)), call("large", Usage(1000, 100), number=2)))
    accounts.book(0, JobOf(task="-2+3", tenant="globex").lines(2, call("small", Usage(500, 50))))
    accounts.book(1, JobOf(task="report.totals").lines(3, call("big", Usage(2000, 200))))
    accounts.archive()
    return accounts


TOTAL = nano("small", 1500, 150) + nano("large", 1000, 100) + nano("big", 2000, 200)


def test_costs_are_one_json_object_whose_rows_add_up(ledger: Accounts, invoke_json: InvokeJson) -> None:
    found = invoke_json("cost", "--by", "target", *DAYS)
    assert found["total"]["cost_nano_usd"] == sum(row["cost_nano_usd"] for row in found["rows"]) == TOTAL
    assert [row["target"] for row in found["rows"]] == ["big", "large", "small"]
    assert found["days"] == {"archived": ["2026-03-01"], "live": ["2026-03-02"]}


@pytest.mark.parametrize("by", ["day", "target", "tenant", "task", "tier", "reason"])
def test_costs_are_a_table_for_people(ledger: Accounts, invoke: Invoke, by: str) -> None:
    shown = invoke("cost", "--by", by, *DAYS)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.split()[0] == by
    assert f"${TOTAL / 1e9:.4f}" in shown.stdout
    assert "1 days from the archive, 1 from the database" in shown.stdout


def test_costs_by_two_things_are_costs_of_each_pair(ledger: Accounts, invoke_json: InvokeJson) -> None:
    found = invoke_json("cost", "--by", "day", "--by", "tenant", *DAYS)
    assert [(row["day"], row["tenant"]) for row in found["rows"]] == [
        ("2026-03-01", "acme"),
        ("2026-03-01", "globex"),
        ("2026-03-02", "acme"),
    ]


def test_csv_shows_control_characters_as_a_terminal_does() -> None:
    assert (
        csv_of(("task", "cost"), [("a\x1b[2Jb", Amount("-1")), ("\tcut", 2)]) == "task,cost\na\\x1b[2Jb,-1\n'\\tcut,2\n"
    )


def test_csv_has_exact_amounts_and_no_formula(ledger: Accounts, invoke: Invoke) -> None:
    printed = invoke("cost", "--by", "task", *DAYS, "--csv").stdout
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert {row["task"] for row in rows} == {"classify.intent", "report.totals", "'-2+3"}
    assert sum(int(row["cost_nano_usd"]) for row in rows) == TOTAL
    assert all(float(row["cost_usd"]) == int(row["cost_nano_usd"]) / 1e9 for row in rows)


def test_one_tenant_s_costs_are_its_own(ledger: Accounts, invoke_json: InvokeJson) -> None:
    found = invoke_json("cost", "--tenant", "globex", *DAYS)
    assert found["total"]["cost_nano_usd"] == nano("small", 500, 50)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("cost", "--by", "weather"), "--by: must be one of day, tenant"),
        (("cost", "--since", "monday"), "--since: must be a day"),
        (("cost", "--csv", "--json"), "--csv: does not go with --json"),
        (("report", "savings", "--cloud", "small"), "--cloud: must be a target outside the fleet: mini, big"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    ledger: Accounts, invoke: Invoke, arguments: tuple[str, ...], field: str
) -> None:
    refused = invoke(*arguments)
    assert refused.exit_code == 1
    assert field in refused.output
    assert len(refused.output.splitlines()) == 1


def test_without_a_database_it_says_what_makes_one(fake_app: object, invoke: Invoke) -> None:
    refused = invoke("cost")
    assert refused.exit_code == 1
    assert "fleet ledger run" in refused.output


def test_a_damaged_archive_is_refused_by_name(ledger: Accounts, invoke: Invoke) -> None:
    [path] = ledger.folder.iterdir()
    path.write_bytes(path.read_bytes() + b"x")
    refused = invoke("cost", *DAYS)
    assert refused.exit_code == 1
    assert f"{path.name} is not the archive of 2026-03-01" in refused.output


def test_savings_are_one_json_object(ledger: Accounts, invoke_json: InvokeJson) -> None:
    found = invoke_json("report", "savings", *DAYS)
    assert found["profile"] == "local"
    assert found["spent"]["total_nano_usd"] == TOTAL
    assert found["prices_as_of"] == "2026-11"
    assert found["baselines"][0]["targets"] == {"big": 3}
    assert {each["name"]: each["jobs"] for each in found["mechanisms"]}["confidence"] == 3


def test_savings_are_tables_for_people(ledger: Accounts, invoke: Invoke) -> None:
    shown = invoke("report", "savings", *DAYS).stdout
    assert "own models are priced as the profile local has them (FLEET_PROFILE)" in shown
    for text in ("All in the cloud", "Providers' prompt caches", "left out alone", "2026-11", "not known"):
        assert text in shown


def test_savings_as_csv_have_a_line_for_each_figure(ledger: Accounts, invoke: Invoke) -> None:
    rows = list(csv.DictReader(io.StringIO(invoke("report", "savings", *DAYS, "--csv").stdout)))
    by_name = {(row["section"], row["name"]): row for row in rows}
    assert round(float(by_name["spent", "total"]["cost_usd"]) * 1e9) == TOTAL
    assert float(by_name["mechanism", "comparisons"]["saved_low_usd"]) == 0.0
    counts = {name: row["jobs"] for (section, name), row in by_name.items() if section == "mechanism"}
    assert (counts["exact_cache"], counts["own_models"], counts["comparisons"]) == ("0", "2", "")
    assert {row["section"] for row in rows} == {"spent", "baseline", "mechanism", "cloud_model"}


def test_savings_are_a_page(ledger: Accounts, invoke: Invoke, tmp_path: Path) -> None:
    page = tmp_path / "savings.html"
    assert f"page  {page}" in invoke("report", "savings", *DAYS, "--html", str(page)).stdout.replace("\n", "")
    assert page.read_text().startswith("<!doctype html>")


def test_prices_of_another_date_come_from_another_catalogue(
    ledger: Accounts, invoke_json: InvokeJson, tmp_path: Path
) -> None:
    prices = tmp_path / "then"
    prices.mkdir()
    assert (
        invoke_json("report", "savings", *DAYS, "--prices", str(catalogue_file(prices, "2025-01-31")))["prices_as_of"]
        == "2025-01-31"
    )


def test_a_page_is_never_written_over_the_prices(ledger: Accounts, invoke: Invoke, tmp_path: Path) -> None:
    prices = catalogue_file(tmp_path)
    before = prices.read_text()
    refused = invoke("report", "savings", "--prices", str(prices), "--html", str(prices))
    assert refused.exit_code == 1
    assert prices.read_text() == before


def test_json_stays_one_object_when_it_fails(ledger: Accounts, invoke: Invoke) -> None:
    refused = invoke("cost", "--until", "never", "--json")
    assert json.loads(refused.stdout)["error"].startswith("wrong setting: --until")


def test_the_week_is_tables_for_people_and_one_json_object(
    ledger: Accounts, invoke: Invoke, invoke_json: InvokeJson
) -> None:
    found = invoke_json("report", "week", "--until", "2026-03-02")
    assert found["week"] == {"since": "2026-02-24", "until": "2026-03-02"}
    assert [(row["target"], row["reason"], row["jobs"]) for row in found["fell"]] == [("small", "low_confidence", 1)]
    shown = invoke("report", "week", "--until", "2026-03-02").stdout
    assert "low_confidence" in shown and "100 labels missing" in shown
    assert "What fell through\ntask" in shown and "Changes: nothing" in shown
    refused = invoke_json("report", "week", "--until", "tomorrow", exit_code=1)["error"]
    assert "--until: must be a day as YYYY-MM-DD" in refused

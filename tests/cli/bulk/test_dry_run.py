"""A dry run checks the file and forecasts cost and time; nothing is stored and nothing runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_app import App
from typer.testing import Result

from fleet.cli.bulk.dry_run import sampled
from fleet.model.job import Plan, Tier
from fleet.model.submission import Submission
from fleet.settings.documents import load_rules
from queues.batches import TenantBatches, TenantFiles

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]

RECORDED = Path(__file__).parents[2] / "lab" / "simulation" / "run-a.jsonl"


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.jsonl"
    line = {
        "task": "classify.sentiment",
        "request": {"messages": [{"role": "user", "content": "Great!"}], "max_tokens": 8},
    }
    path.write_text("".join(json.dumps(line | {"custom_id": f"row-{number}"}) + "\n" for number in range(60)))
    return path


def test_cost_and_time_are_intervals_and_nothing_is_stored(invoke: Invoke, fake_app: App, jobs: Path) -> None:
    result = invoke("bulk", "submit", str(jobs), "--dry-run", "--recorded", str(RECORDED))
    assert result.exit_code == 0, result.output
    shown = dict(line.strip().split(maxsplit=1) for line in result.stdout.splitlines())
    assert shown["rows"] == "60"
    assert shown["cost"].startswith("$") and " to $" in shown["cost"]
    assert " s to " in shown["time"]
    assert "llama-8b" in shown["answers"]
    assert shown["by"] == "recorded runs"
    stored = TenantFiles(fake_app.shelf, "demo").list(), TenantBatches(fake_app.shelf, "demo").list()
    assert [asyncio.run(each) for each in stored] == [[], []]


def test_what_is_over_a_bound_is_said(invoke: Invoke, jobs: Path) -> None:
    words = ("--dry-run", "--recorded", str(RECORDED), "--max-cost", "0.000000001", "--deadline", "0.001s")
    result = invoke("bulk", "submit", str(jobs), *words)
    assert "(100% of the simulations end over it)" in result.stdout
    assert "(100% of the simulations end after 0 s)" in result.stdout


def test_the_json_has_the_intervals(invoke_json: InvokeJson, jobs: Path) -> None:
    jobs.write_text(jobs.read_text() + "oops\n")
    words = ("--dry-run", "--keep-going", "--recorded", str(RECORDED))
    found = invoke_json("bulk", "submit", str(jobs), *words)
    assert 0 < found["seconds"]["low"] <= found["seconds"]["high"]
    assert (found["rows"], found["rows_read"], found["rows_refused"], found["late"]) == (60, 61, 1, 0.0)


def test_a_file_with_problems_is_refused_like_a_real_one(invoke: Invoke, jobs: Path) -> None:
    jobs.write_text("oops\n" + jobs.read_text())
    result = invoke("bulk", "submit", str(jobs), "--dry-run", "--recorded", str(RECORDED))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "1 of 61 rows" in result.stderr


def test_a_laptop_that_nobody_has_measured_gets_its_file_checked_and_no_guess(
    invoke: Invoke, invoke_json: InvokeJson, jobs: Path
) -> None:
    submit = ("bulk", "submit", str(jobs), "--dry-run")
    checked = invoke(*submit)
    assert (checked.exit_code, checked.stdout.splitlines()[0]) == (0, "rows  60")
    assert "cannot be forecast without a run recorded on this machine" in checked.stdout
    jobs.write_text("oops\n" + jobs.read_text())
    assert "1 of 61 rows" in invoke(*submit).stderr
    found = invoke_json(*submit, "--keep-going")
    assert (found["rows"], found["rows_refused"], found["seconds"], found["cost_usd"]) == (60, 1, None, None)


def test_without_a_recorded_run_the_speeds_of_a_gpu_fleet_are_assumed(
    invoke: Invoke, jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_PROFILE", "gpu")
    result = invoke("bulk", "submit", str(jobs), "--dry-run")
    assert "assumed speeds, those of the scenario day" in result.stdout


def test_a_row_is_sampled_with_what_its_batch_says_of_all() -> None:
    rules = load_rules(None, None, "local")
    request = {"messages": [{"role": "user", "content": "x" * 400}], "max_tokens": 8}
    plain = Submission("i" * 16, "chat", request)
    row = sampled(plain, {"tier": "complex", "plan": "free", "cloud": "deny"}, rules)
    assert (row.tier, row.plan, row.cloud, row.max_output_tokens) == (Tier.COMPLEX, Plan.FREE, False, 8)
    own = Submission("i" * 16, "chat", request, tier=Tier.SIMPLE, plan=Plan.FREE, cloud="deny")
    row = sampled(own, {"tier": "complex"}, rules)
    assert (row.tier, row.plan, row.cloud, row.input_tokens) == (Tier.SIMPLE, Plan.FREE, False, 100)

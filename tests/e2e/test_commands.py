"""The `fleet` command against a running fleet."""

from __future__ import annotations

import json
import urllib.request

import psutil
import pytest
from patience import PATIENCE_SECONDS

from deployments.standins.tasks import examples

pytestmark = pytest.mark.e2e


@pytest.mark.proves("fleet status shows every model that runs", how="real")
def test_status_shows_every_model_running(fleet):
    running: dict[str, int | None] = {}
    while running != dict.fromkeys(fleet.targets, 1):  # a dashboard that is slow for a moment is shown as away
        status = json.loads(fleet.command("status", "--json").stdout)
        running = {t["name"]: t["replicas"] for t in status["targets"] if t["provider"] == "fleet"}
    assert set(status["streams"]) == {
        "JOBS",
        "WORK",
        "RESULTS",
        "LEDGER",
        "DEAD",
        "FEEDBACK",
        "CONTENT",
        "EVENTS",
        "STARTS",
        "CANCELS",
        "OBJ_results-large",
        "KV_calibrations",
        "KV_spend",
        "KV_load",
        "KV_keys",
        "FILES",
        "KV_batches",
        "KV_responses",
        "KV_webhooks",
        "KV_cache",
        "KV_experiments",
        "KV_adapters",
        "OBJ_adapters",
        "KV_turns",
        "KV_provider_batches",
    }


def test_the_dispatcher_stands_beside_the_models_in_the_dashboard(fleet):
    with urllib.request.urlopen(f"{fleet.dashboard_url}/api/serve/applications/", timeout=PATIENCE_SECONDS) as reply:
        applications = json.load(reply)["applications"]
    assert {*fleet.targets, "dispatcher"} <= set(applications)
    assert {application["status"] for application in applications.values()} == {"RUNNING"}


def test_submit_waits_for_the_answer_and_result_finds_it_again(fleet):
    [job] = examples("heldout", 4, 1, task="classify.intent")
    done = fleet.command("submit", job.task, job.messages[-1]["content"], "--wait", "--json")
    assert done.returncode == 0, done.stderr
    submitted = json.loads(done.stdout)
    found = json.loads(fleet.command("result", submitted["id"], "--json").stdout)
    assert found == submitted


def test_bulk_answers_every_line_and_says_which_it_could_not_read(fleet, tmp_path):
    source, sink = tmp_path / "jobs.jsonl", tmp_path / "results.jsonl"
    jobs = list(examples("heldout", 12, 40))
    lines = [
        json.dumps({"custom_id": str(n), "task": j.task, "messages": list(j.messages)}) for n, j in enumerate(jobs)
    ]
    source.write_text("\n".join([*lines, "not json"]) + "\n")
    done = fleet.command("bulk", "run", str(source), "-o", str(sink), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["lines"], told["outcomes"]["unreadable"]) == (len(jobs) + 1, 1)
    answered = [json.loads(line) for line in sink.read_text().splitlines()]
    assert len(answered) == len(jobs) + 1
    assert sum(line["error"] is None for line in answered) == len(jobs)


def test_topology_apply_changes_nothing_the_second_time(fleet):
    changes = json.loads(fleet.command("topology", "apply", "--json").stdout)
    assert set(changes["streams"].values()) == {"unchanged"}


def test_the_demo_runs_on_a_fleet_that_is_up(fleet):
    done = fleet.command("demo", "--jobs", "60", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["results"], told["lost"], told["duplicates"]) == (60, 0, 0)
    assert set(fleet.targets) <= set(told["by_target"])
    assert 0 < told["accuracy"] <= 1 and 0 <= told["small_model_accuracy"] <= 1


@pytest.mark.proves("fleet up listens on loopback only", how="real", subject="One machine")
def test_everything_listens_on_loopback_only(fleet):
    processes = [psutil.Process(fleet.pid), *psutil.Process(fleet.pid).children(recursive=True)]
    listening = {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert len(processes) > 10

"""`fleet simulate` runs what it is asked to, or says in one line what is wrong with the question."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import Result

import deployments
import policies

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]

RUN_A, RUN_B = (Path(__file__).parents[2] / "lab" / "simulation" / f"run-{each}.jsonl" for each in "ab")


def test_a_simulation_is_one_json_object(invoke_json: InvokeJson) -> None:
    found = invoke_json("simulate", "--jobs", "3000")
    assert found["jobs"] == 3000 == sum(found["statuses"].values())
    assert found["cost_usd"] == pytest.approx(found["own_usd"] + found["paid_usd"])
    assert found["wait_p50_seconds"] <= found["wait_p95_seconds"]
    assert {"seconds", "rss_mb", "deadline_misses", "replica_seconds", "lanes", "targets", "split"} <= found.keys()


def test_the_same_seed_gives_the_same_figures(invoke_json: InvokeJson) -> None:
    runs = [invoke_json("simulate", "--jobs", "800", "--seed", "7") for _ in range(2)]
    for run in runs:
        del run["seconds"], run["rss_mb"]
    assert runs[0] == runs[1]


def test_a_person_sees_lanes_targets_and_money(invoke: Invoke) -> None:
    lines = [" ".join(line.split()) for line in invoke("simulate", "--jobs", "500").stdout.splitlines()]
    assert lines[0].startswith("A working day: 500 jobs in ")
    assert any(line.startswith("interactive ") for line in lines)
    assert any(line.startswith("llama-8b ") for line in lines)
    assert lines[1].startswith("$")


def test_only_hours_are_made_a_month(invoke: Invoke) -> None:
    assert "a month" not in invoke("simulate", "--jobs", "500").stdout
    assert "a month at this pace" in invoke("simulate", "--scenario", "messages", "--jobs", "100").stdout


def test_scenarios_stand_side_by_side(invoke_json: InvokeJson, invoke: Invoke) -> None:
    asked = ("simulate", "--jobs", "400", "--compare", "day@phase1", "--compare", "day@fixed")
    assert [each["title"] for each in invoke_json(*asked)["scenarios"]] == [
        "A working day",
        "A working day, phase1",
        "A working day, fixed",
    ]
    assert "cost_usd" in invoke(*asked).stdout


SHIPPED = Path(policies.__file__).parent / "rules.yaml"


@pytest.fixture
def rules_file(tmp_path: Path) -> Callable[..., str]:
    """Writes the shipped rules with some sections changed."""

    def write(name: str, **changes: Any) -> str:
        path = tmp_path / name
        path.write_text(yaml.safe_dump({**yaml.safe_load(SHIPPED.read_text()), **changes}))
        return str(path)

    return write


def test_a_simulation_goes_by_the_operators_own_rules(
    invoke_json: InvokeJson, rules_file: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clouds_only = rules_file("mine.yaml", phase="phase1")
    shipped, asked = (invoke_json("simulate", "--jobs", "300", *more) for more in ((), ("--rules", clouds_only)))
    monkeypatch.setenv("FLEET_RULES_PATH", clouds_only)
    in_force = invoke_json("simulate", "--jobs", "300")
    assert shipped["replica_seconds"] > 0 == asked["replica_seconds"] == in_force["replica_seconds"]
    assert asked["split"] == in_force["split"]


def test_a_simulation_goes_by_the_operators_own_prices(
    invoke_json: InvokeJson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(deployments.__file__).parent / "catalogue.yaml").read_text()
    dear = tmp_path / "dear.yaml"
    dear.write_text(text.replace("usd_per_hour: 1.006", "usd_per_hour: 2.012"))
    asked = ("simulate", "--jobs", "300")
    before, after = invoke_json(*asked), invoke_json(*asked, "--catalogue", str(dear))
    monkeypatch.setenv("FLEET_CATALOGUE_PATH", str(dear))
    for found in (after, invoke_json(*asked)):
        assert found["targets"]["llama-8b"]["usd"] == pytest.approx(2 * before["targets"]["llama-8b"]["usd"])


def test_two_files_of_rules_show_what_a_change_would_do(
    invoke_json: InvokeJson, invoke: Invoke, rules_file: Callable[..., str]
) -> None:
    now, then = rules_file("now.yaml"), rules_file("then.yaml", phase="phase2.5")
    found = invoke_json("simulate", "--jobs", "300", "--compare", now, "--compare", then)
    assert [each["title"] for each in found["scenarios"]] == ["A working day, now.yaml", "A working day, then.yaml"]
    first, second = found["scenarios"]
    for figure in ("deadline_misses", "replica_seconds", "cost_usd", "own_usd", "paid_usd", "escalations", "quality"):
        assert found["change"][figure] == pytest.approx(second[figure] - first[figure])
    assert found["change"]["replica_seconds"] < 0
    lines = invoke("simulate", "--jobs", "300", "--compare", now, "--compare", then).stdout.splitlines()
    assert lines[0].split()[-1] == "change"
    [dollars] = [line.split() for line in lines if line.startswith("own_usd")]
    assert dollars[-1].startswith("-$")


def test_one_file_of_rules_is_set_beside_those_in_force(
    invoke_json: InvokeJson, rules_file: Callable[..., str]
) -> None:
    same = rules_file("same.yaml")
    found = invoke_json("simulate", "--jobs", "200", "--compare", same)
    assert [each["title"] for each in found["scenarios"]] == [
        "A working day, the shipped rules",
        "A working day, same.yaml",
    ]
    assert found["change"]["cost_usd"] == found["change"]["deadline_misses"] == 0


def test_a_target_that_the_scenario_says_nothing_of_is_named(
    invoke_json: InvokeJson, invoke: Invoke, rules_file: Callable[..., str], tmp_path: Path
) -> None:
    catalogue = yaml.safe_load((Path(deployments.__file__).parent / "catalogue.yaml").read_text())
    catalogue["targets"].append({**catalogue["targets"][-1], "name": "mine"})
    own = tmp_path / "catalogue.yaml"
    own.write_text(yaml.safe_dump(catalogue))
    phases = yaml.safe_load(SHIPPED.read_text())["phases"]
    phases["phase3"]["simple"] = ["mine", "gpt-4o"]
    asked = ("simulate", "--jobs", "50", "--rules", rules_file("mine.yaml", phases=phases), "--catalogue", str(own))
    assert invoke_json("simulate", "--jobs", "50")["left_out"] == []
    assert invoke_json(*asked)["left_out"] == ["mine"]
    told = "left out of A working day, being on ladders and not in the scenario: mine"
    assert told in invoke(*asked).stdout
    assert f"{told}\n" in invoke(*asked, "--compare", "day@phase1").stdout


def test_rules_that_are_not_there_are_named_with_their_path(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_RULES_PATH", "/nowhere/mine.yaml")
    result = invoke("simulate", "--jobs", "10")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "FLEET_RULES_PATH: must point to a file, and /nowhere/mine.yaml is none" in result.stderr


def test_the_cost_tables_are_printed_with_reasons(invoke_json: InvokeJson, invoke: Invoke) -> None:
    figures = invoke_json("simulate", "--scenarios", "--jobs", "40")["figures"]
    assert len(figures) == 36
    assert all(row["ours_usd"] > 0 and row["why"] for row in figures)
    assert "why ours differs" in invoke("simulate", "--scenarios", "--jobs", "5").stdout


def test_a_plot_is_drawn_where_it_is_wanted(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "plot.png"
    assert invoke("simulate", "--jobs", "300", "--plot", str(file)).stdout.endswith(f"plot  {file}\n")
    assert file.stat().st_size > 10_000


def test_a_recorded_run_is_predicted_from_another(invoke_json: InvokeJson, invoke: Invoke) -> None:
    asked = ("simulate", "--replay", str(RUN_A), "--fit", str(RUN_B))
    found = invoke_json(*asked)
    assert found["seconds_error"] < 0.15
    assert found["split_error"] < 0.15
    assert found["learned_from"] == [str(RUN_B)]
    assert "predicted" in invoke(*asked).stdout


WRONG = {
    ("--jobs", "0"): "--jobs: must be 1 or more, not 0",
    ("--jobs", "-3"): "--jobs: must be 1 or more, not -3",
    ("--scenario", "nightmare"): "scenario: 'nightmare' is none of burst",
    ("--scenario", "day@phase9"): "phase: 'phase9' is none of",
    ("--scenario", "nowhere.yaml"): "nowhere.yaml: cannot be read",
    ("--fit", "run.jsonl"): "--fit: goes with --replay",
    ("--scenarios", "--compare", "day"): "--compare: does not go with --scenarios",
    ("--replay", "run.jsonl", "--scenarios"): "--replay: does not go with --scenarios",
    ("--replay", "nowhere.jsonl"): "nowhere.jsonl: no such file",
    ("--rules", "nowhere.yaml"): "nowhere.yaml: cannot be read",
    ("--scenarios", "--rules", "mine.yaml"): "--rules: does not go with --scenarios",
}


@pytest.mark.parametrize("arguments", WRONG, ids=list(WRONG.values()))
def test_a_wrong_question_is_answered_in_one_line(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    result = invoke("simulate", *arguments)
    assert result.exit_code == 1
    assert WRONG[arguments] in result.stderr
    assert result.stderr.count("\n") == 1


def test_mechanisms_are_left_out_one_at_a_time(invoke_json: InvokeJson, invoke: Invoke) -> None:
    asked = ("simulate", "--scenario", "messages", "--mechanisms", "--jobs", "60")
    found = invoke_json(*asked)
    assert [step["name"] for step in found["steps"]] == ["week 1", "month 6"]
    by_name = {each["mechanism"]: each for each in found["mechanisms"]}
    assert by_name["patterns"]["holds"] is True
    assert by_name["coalescing"]["holds"] is None
    assert found["prices_as_of"] == "2026-11"
    shown = " ".join(invoke(*asked).stdout.split())
    assert "before: all to gpt-4o" in shown
    assert "unused tools left out" in shown


def test_answers_without_a_call_are_counted_by_who_knew_them(invoke: Invoke, invoke_json: InvokeJson) -> None:
    asked = ("simulate", "--scenario", "messages", "--jobs", "80")
    assert invoke_json(*asked)["without_call"]["pattern"] > 0
    assert "answered without a call: " in invoke(*asked).stdout
    assert "without a call" not in invoke("simulate", "--jobs", "80").stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mechanisms", "--scenarios"), "--scenarios: does not go with --mechanisms"),
        (("--mechanisms", "--compare", "day@phase1"), "--compare: does not go with --mechanisms"),
        (("--mechanisms", "--plot", "a.png"), "--plot: does not go with --mechanisms"),
    ],
)
def test_mechanisms_do_not_go_with_another_question(invoke: Invoke, options: tuple[str, ...], message: str) -> None:
    refused = invoke("simulate", *options)
    assert refused.exit_code == 1
    assert message in refused.stderr

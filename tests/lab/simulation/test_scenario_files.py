"""Every shipped scenario can be run, and a file that is wrong is refused in a line that names field and rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.lab.simulation.report.figures import rows, run
from fleet.lab.simulation.workload.files import load_figures, load_scenario, names, scenario_of
from fleet.lab.simulation.workload.scenario import ScalingKind, check
from fleet.model.errors import ConfigError
from fleet.settings.documents import load_rules

MIX = "mix: [{share: 1, task: chat, input: {median: 10}, output: {median: 5}}]\n"


def test_every_shipped_scenario_runs() -> None:
    assert {"day", "burst", "spot", "outage", "hr", "tests", "coach", "messages"} <= set(names())
    for name in names():
        assert run(load_scenario(name), 60, 1).jobs == 60


def test_every_figure_stands_for_a_scenario_that_makes_sense() -> None:
    rules = load_rules(None, None, "gpu")
    figures = load_figures()
    assert {figure.document for figure in figures} == {"000", "001", "002", "003", "004"}
    for figure in figures:
        check(scenario_of(figure), rules)
        assert figure.why
        assert 0 < figure.usd[0] <= figure.usd[1]


def test_the_cost_tables_are_computed_from_jobs_and_prices() -> None:
    found = {(row.document, row.what): row for row in rows(seed=1, jobs=100)}
    before = found["004", "1,000 messages a day, before"]
    assert before.own_usd == 0
    assert before.ours_usd == pytest.approx(270, rel=0.1)  # 30,000 messages of 2,800 + 200 tokens of GPT-4o
    machine = found["000", "one 8B, 10,000 requests a day"]
    assert machine.ours_usd == pytest.approx(720 * 1.006, rel=0.02)
    assert found["003", "1,000 users, hybrid"].right_usd == 1271


def test_a_variant_is_another_phase_or_another_way_of_scaling() -> None:
    assert load_scenario("day@phase1").phase == "phase1"
    varied = load_scenario("day@ray_serve")
    assert (varied.scaling.by, varied.scaling.every_seconds) == (ScalingKind.RAY_SERVE, 10)
    assert varied.title.endswith("ray_serve")


def test_a_phase_without_own_targets_pays_for_no_machine() -> None:
    assert run(load_scenario("day@phase1"), 200, 1).own_usd == 0


def test_a_file_may_be_like_another_and_take_something_out(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("like: day\ntitle: mine\nown: {llama-70b: null, llama-8b: {replicas: [2, 2]}}\n")
    mine, day = load_scenario(str(file)), load_scenario("day")
    assert set(mine.own) == {"llama-8b", "mixtral-8x7b"}
    assert mine.own["llama-8b"].replicas == (2, 2)
    assert mine.own["llama-8b"].step_seconds == day.own["llama-8b"].step_seconds
    assert mine.mix == day.mix


WRONG = {
    "like: day\nspeed: 3\n": "speed: is not a known field",
    "like: day\narrivals: {jobs_per_second: fast}\n": "arrivals.jobs_per_second: must be a valid number",
    "like: day\nown: {llama-8b: {replicas: [9, 2]}}\n": "own.llama-8b.replicas: must be the least and the most",
    "like: day\njobs: -4\n": "jobs: must be more than zero",
    "like: day\nphase: phase9\n": "phase: 'phase9' is none of",
    "title: short\n": "jobs: is required",
    "like: elsewhere\n": "scenario: 'elsewhere' is none of burst",
    "- a list\n": "wrong.yaml: must be a mapping",
    "title: {\n": "wrong.yaml: cannot be read",
    "title: a\ntitle: b\n": "wrong.yaml: cannot be read",
}


@pytest.mark.parametrize("text", WRONG, ids=list(WRONG.values()))
def test_a_wrong_file_is_refused_by_field_and_rule(text: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        run(load_scenario(str(file)), 10, 1)
    assert str(refused.value).startswith(WRONG[text])
    assert "\n" not in str(refused.value)


def test_a_circle_of_files_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "circle.yaml"
    file.write_text(f"like: {file}\n")
    with pytest.raises(ConfigError, match="like: leads on and on"):
        load_scenario(str(file))


def test_an_unknown_scenario_is_answered_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"scenario: 'dya' is none of burst, coach, day, .*, and no YAML file"):
        load_scenario("dya")

"""`fleet evaluate --table` on made-up pools: three models, each of which is good at a task of its own."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fleet.cli import app
from fleet.lab.metrics.bounds import betting
from fleet.lab.table.evaluate import evaluate_table
from fleet.lab.table.files import Pool
from fleet.lab.table.fit import best_single, tables
from fleet.lab.table.promise import promised_table, violations
from fleet.model.errors import ConfigError

MODELS = ("small_7b", "other_7b_it", "large_70b")
SKILL = {"sums": (0.9, 0.1, 0.9), "poems": (0.2, 0.8, 0.8), "proofs": (0.1, 0.1, 0.7)}
"""How likely each model's answer is good. The large one is as good as the best small one, or better."""

Write = Callable[..., Path]


def pool(rows: int, seed: int, skill: Mapping[str, tuple[float, ...]] = SKILL) -> Pool:
    rng = np.random.default_rng(seed)
    tasks = tuple(skill)
    task = rng.integers(len(tasks), size=rows)
    good = (rng.random((rows, 3)) < np.array(list(skill.values()))[task]).astype(float)
    questions = [f"a question about {tasks[which]}" for which in task]
    return Pool("made up", MODELS, np.array([7.0, 7.0, 70.0]), tasks, task.astype(np.intp), questions, good)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, rows: int, seed: int, change: Mapping[str, str] | None = None) -> Path:
        found = pool(rows, seed)
        lines = [
            {"id": str(n), "task": found.tasks[found.task[n]], "metric": "em", "question": found.questions[n]}
            | {model: f"{value:g}" for model, value in zip(MODELS, found.good[n], strict=True)}
            for n in range(rows)
        ]
        lines[0] |= change or {}
        with (tmp_path / name).open("w", newline="") as file:
            out = csv.DictWriter(file, lines[1].keys())
            out.writeheader()
            out.writerows(lines)
        return tmp_path / name

    return write_file


def test_each_task_gets_the_cheapest_model_that_is_as_good(write: Write) -> None:
    found = evaluate_table(write("known.csv", 900, 1), write("asked.csv", 600, 2), (0.05, 0.1), resamples=20)
    assert found.table == {"sums": "small_7b", "poems": "other_7b_it", "proofs": "large_70b"}
    assert found.single_model == "large_70b"
    assert found.price_share == pytest.approx(0.4, abs=0.05)  # a third at the full price, the rest at a tenth
    assert abs(found.right - found.best_single) < 0.05 < found.oracle - found.best_single


def test_more_worth_of_money_never_costs_more() -> None:
    known = pool(900, 3)
    single = best_single(known)
    prices = [known.price[table[known.task]].mean() for table in tables(known)]
    assert prices == sorted(prices, reverse=True)
    assert prices[-1] < known.price[single]


def test_a_price_is_the_most_that_the_table_costs(write: Write) -> None:
    files = write("known.csv", 900, 1), write("asked.csv", 600, 2)
    dear, middle, cheap = (evaluate_table(*files, price=most) for most in (1.0, 0.5, 0.2))
    assert cheap.price_share < 0.25 < middle.price_share < 0.55
    assert cheap.right < middle.right <= dear.right + 0.01
    with pytest.raises(ConfigError, match=r"--price: must be at least 0\.1"):
        evaluate_table(*files, price=0.05)


def test_with_a_price_the_cheapest_table_is_sought_no_further_than_that(write: Write) -> None:
    files = write("known.csv", 900, 1), write("asked.csv", 600, 2)
    anyhow, to_half = (evaluate_table(*files, (0.3, 0.1), 10, price=most) for most in (None, 0.5))
    assert anyhow.price_share < 0.25 < to_half.price_share < 0.55
    too_cheap = evaluate_table(*files, (0.05, 0.1), 10, price=0.2)  # its test fails, and the one before it is taken
    assert too_cheap.promise is not None and too_cheap.promise.kept and 0.25 < too_cheap.price_share < 0.55


def test_a_task_that_nobody_has_seen_gets_the_best_single_model() -> None:
    known = pool(300, 4)
    known = known.rows(np.flatnonzero(known.task != 1))
    assert {int(table[1]) for table in tables(known)} == {best_single(known)}


def test_the_promise_is_broken_no_more_often_than_it_says() -> None:
    everything = pool(4000, 5, dict.fromkeys(("a", "b", "c", "d"), (0.55, 0.5, 0.6)))
    rng = np.random.default_rng(6)
    broken = list(violations(everything, 600, (0.03, 0.1), 200, rng))
    assert sum(broken) <= 0.1 * 200
    naive = [
        tables(everything.rows(rng.integers(4000, size=600)), (0.06,))[0] for _ in range(200)
    ]  # what the same labels say without a test
    lost = [
        float((everything.good[:, 2] - everything.good[np.arange(4000), each[everything.task]]).mean())
        for each in naive
    ]
    assert sum(loss > 0.03 for loss in lost) > 0.1 * 200


def test_too_few_labels_leave_every_task_to_the_best_single_model() -> None:
    found = promised_table(pool(30, 7), 0.001, 0.05, np.random.default_rng(8))
    assert not found.passed
    assert set(found.chosen.tolist()) == {found.single}


def test_a_bet_is_rarely_won_where_the_mean_loss_is_the_risk() -> None:
    rng = np.random.default_rng(9)
    p_values = [betting((rng.random(400) < 0.3).astype(float), 0.3, 0.1) for _ in range(500)]
    assert np.mean(np.array(p_values) <= 0.1) <= 0.1
    assert betting((rng.random(400) < 0.1).astype(float), 0.3, 0.1) < 1e-3


def test_the_command_says_what_the_table_is_worth(write: Write) -> None:
    known, asked = str(write("known.csv", 300, 1)), str(write("asked.csv", 200, 2))
    command = ["evaluate", "--table", known, "--on", asked, "--guarantee", "0.05,0.1", "--resamples", "10"]
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert {"right", "price_share", "best_single", "knn", "tfidf", "oracle", "violation_rate"} <= found.keys()
    assert found["violation_rate"] == found["promise"]["violation_rate"] <= 1.0
    shown = CliRunner().invoke(app, command).stdout
    assert "40 nearest neighbours" in shown and "large_70b" in shown


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"small_7b": "2"}, "line 2, column small_7b: must be a number from 0 to 1, not '2'"),
        ({"small_7b": "nan"}, "column small_7b: must be a number from 0 to 1"),
        ({"task": " "}, "line 2, column task: must not be empty"),
        ({"question": ""}, "line 2, column question: must not be empty"),
    ],
)
def test_a_bad_row_is_refused_by_file_line_column_and_rule(write: Write, change: dict[str, str], rule: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        evaluate_table(write("known.csv", 200, 1, change), write("asked.csv", 200, 2))
    assert rule in str(refusal.value)


def test_other_models_no_size_and_few_rows_are_refused(write: Write, tmp_path: Path) -> None:
    asked = write("asked.csv", 200, 2)
    other = tmp_path / "other.csv"
    other.write_text(asked.read_text().replace("small_7b", "tiny_1b", 1))
    with pytest.raises(ConfigError, match="must have the models of"):
        evaluate_table(asked, other)
    other.write_text(asked.read_text().replace("small_7b", "small", 1))
    with pytest.raises(ConfigError, match="column small: must hold the billions"):
        evaluate_table(other, asked)
    with pytest.raises(ConfigError, match="at least 100 rows"):
        evaluate_table(write("few.csv", 20, 1), asked)


def test_the_file_to_judge_on_must_be_named(write: Write) -> None:
    refused = CliRunner().invoke(app, ["evaluate", "--table", str(write("known.csv", 200, 1))])
    assert refused.exit_code != 0
    assert "--on: must name the file that the table is judged on" in refused.stderr


def test_a_table_is_not_judged_on_its_own_questions(write: Write) -> None:
    known = str(write("known.csv", 200, 1))
    refused = CliRunner().invoke(app, ["evaluate", "--table", known, "--on", known])
    assert "--on: must be another file than that of --table" in refused.stderr

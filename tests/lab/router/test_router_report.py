"""`fleet evaluate --router` on made-up files: hard words that the small model fails at."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fleet.lab.router.evaluate import evaluate_router
from fleet.lab.router.files import read_labelled
from fleet.model.errors import ConfigError

KEYS = {
    "n", "weak", "strong", "oracle", "apgr", "apgr_ci", "cpt50", "cpt80", "cpt95", "auroc", "brier", "ece", "ece_floor",
    "kept_wrong", "escalation_rate", "violation_rate", "refused", "reason",
}  # fmt: skip
HEADER = "prompt,weak_correct,strong_correct\n"

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    def write_file(words: str = "proof party", rows: int = 300, gain: float = 0.5, lines: int = 1) -> Path:
        """The first word is hard, the second easy; `lines` is the format of the prompts."""
        rng = np.random.default_rng(rows)
        path = tmp_path_factory.mktemp("labelled") / "labelled.csv"
        hard = rng.random(rows) < 0.5
        weak = (rng.random(rows) < np.where(hard, 0.9 - gain, 0.9)).astype(int)
        strong = (rng.random(rows) < 0.9).astype(int)
        with path.open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["prompt", "weak_correct", "strong_correct", "weak_response"])
            for number, (tough, *good) in enumerate(zip(hard, weak, strong, strict=True)):
                word = words.split()[0 if tough else 1]
                steps = rng.choice(["ten", "six", "two"])
                prompt = f"Write a {word} of {steps} steps, number {number}" + "\nStep:" * (lines - 1)
                out.writerow([prompt + " please" * rng.integers(40), *good, f"1 + 1 = {3 - good[0]}"])
        return path

    return write_file


def test_the_report_has_every_key_the_rows_and_the_spread_over_seeds(write: Write) -> None:
    found = evaluate_router(write(), train=150, seeds=2).as_json()

    assert json.loads(json.dumps(found)).keys() >= KEYS
    assert (found["train"], found["seeds"], found["n"]) == (150, 2, 150)
    assert [row["name"] for row in found["rows"]] == ["always-weak", "random", "length", "router", "always-strong"]
    assert found["apgr"] > 0.6 > found["length_apgr"]
    assert found["apgr_ci"][0] < found["apgr"] < found["apgr_ci"][1]
    assert found["apgr_sd"] > 0
    assert found["weak"] < found["rows"][3]["quality"] <= found["oracle"]
    assert found["refused"] is False
    assert (found["switch_on"], "500" in found["switch_on_reason"]) == (False, True)


def test_it_is_judged_on_prompts_it_was_not_trained_on(tmp_path: Path) -> None:
    """Labels here are chance: only a router that is asked about its own training prompts seems to know them."""
    rng, path = np.random.default_rng(3), tmp_path / "chance.csv"
    prompts = [" ".join(f"topic{number}" for number in rng.integers(60, size=12)) for _ in range(600)]
    rows = [f"{prompt},{int(rng.random() < 0.5)},{int(rng.random() < 0.9)}" for prompt in prompts]
    path.write_text(HEADER + "\n".join(rows) + "\n")
    report = evaluate_router(path, train=300, seeds=2)

    assert report.apgr_if_used is not None
    assert report.apgr_if_used < 0.6


@pytest.mark.parametrize("copies", [2, 7])
def test_a_prompt_that_is_there_several_times_is_trained_on_or_judged_on_but_never_both(
    tmp_path: Path, copies: int
) -> None:
    rng, path = np.random.default_rng(4), tmp_path / "copies.csv"
    prompts = [" ".join(f"topic{number}" for number in rng.integers(60, size=12)) for _ in range(400)]
    rows = [f"{prompt},{int(rng.random() < 0.5)},{int(rng.random() < 0.9)}" for prompt in prompts]
    path.write_text(HEADER + "\n".join(rows * copies) + "\n")
    report = evaluate_router(path, train=200 * copies + 1, seeds=2)

    assert report.n == 200 * copies - copies
    assert report.apgr_if_used is not None
    assert report.apgr_if_used < 0.6


def test_copies_of_one_prompt_are_nothing_to_judge_on(tmp_path: Path) -> None:
    path = tmp_path / "copies.csv"
    path.write_text(HEADER + "\n".join(["once more,1,1"] * 100 + ["again and again,0,1"] * 100) + "\n")
    with pytest.raises(ConfigError, match=r"^--train: .*to judge on"):
        evaluate_router(path, train=150, seeds=2)


def test_trainings_that_disagree_are_counted_in_the_conclusion(write: Write) -> None:
    report = evaluate_router(write(rows=1_100, gain=0.12), train=550, seeds=6)

    assert 0 < report.switch_on_share < 1
    assert f"only {round(6 * report.switch_on_share)} of 6 trainings would switch on" in report.reason


def test_reading_the_answer_beats_reading_the_prompt_alone(write: Write) -> None:
    path = write()
    scorer, router = (evaluate_router(path, train=150, seeds=1, with_answer=reads) for reads in (True, False))

    assert scorer.apgr is not None
    assert router.apgr is not None
    assert scorer.apgr > router.apgr + 0.1


def test_prompts_of_another_kind_are_refused_with_the_share_that_is_unlike(write: Write) -> None:
    asked = evaluate_router(write(), train=200, seeds=1, ask=write("sonnet rhyme", lines=9))

    assert asked.refused
    assert asked.out_of_distribution > 0.9
    assert "out of distribution" in asked.reason
    assert (asked.apgr, asked.cpt50, asked.switch_on) == (None, None, False)
    assert asked.n == 300


def test_prompts_of_the_same_kind_from_another_file_are_answered(write: Write) -> None:
    asked = evaluate_router(write(), train=300, seeds=1, ask=write(rows=200))

    assert not asked.refused
    assert asked.apgr is not None
    assert asked.apgr > 0.6


def test_without_a_gap_there_is_nothing_to_recover(write: Write) -> None:
    report = evaluate_router(write(gain=0.0), train=150, seeds=1)

    assert report.refused
    assert report.apgr is None


def test_the_drawing_runs_from_the_weak_to_the_strong_target(write: Write) -> None:
    report = evaluate_router(write(), seeds=1)
    router = report.drawing.lines[0].points

    assert router[0] == pytest.approx((0.0, report.weak))
    assert router[-1] == pytest.approx((1.0, report.strong))


@pytest.mark.parametrize(
    ("content", "where", "rule"),
    [
        ("", "", "empty"),
        ("prompt,weak_correct\nhi,1\n", "line 1, column strong_correct", "missing"),
        ("prompt,prompt,weak_correct,strong_correct\n", "line 1, column prompt", "twice"),
        (HEADER, "", "at least one row"),
        (HEADER + "hi,1\n", "line 2", "3 fields"),
        (HEADER + "hi,1,1\n ,1,1\n", "line 3, column prompt", "empty"),
        (HEADER + '"two\nlines",1,1\nhi,2,1\n', "line 4, column weak_correct", "from 0 to 1"),
        (HEADER + "hi,1,nan\n", "line 2, column strong_correct", "from 0 to 1"),
        (HEADER + "hi,1,yes\n", "line 2, column strong_correct", "'yes'"),
        (HEADER + '"hi,1,1\n', "", "CSV"),
    ],
)
def test_a_bad_file_is_refused_by_line_column_and_rule(tmp_path: Path, content: str, where: str, rule: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)

    with pytest.raises(ConfigError) as refused:
        read_labelled(path, with_answer=False)
    assert refused.value.field.endswith(where)
    assert rule in refused.value.rule


def test_a_scorer_needs_the_column_with_answers(tmp_path: Path) -> None:
    path = tmp_path / "bare.csv"
    path.write_text(HEADER + "hi,1,1\n")

    with pytest.raises(ConfigError, match="column weak_response"):
        read_labelled(path, with_answer=True)


def test_training_on_everything_leaves_nothing_to_judge_on(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"--train: must be at most 250"):
        evaluate_router(write(), train=251)

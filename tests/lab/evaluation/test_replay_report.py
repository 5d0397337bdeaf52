"""A replay report says what is in the data, how sure that is, and refuses where it cannot be said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleet.lab.evaluation.replay import evaluate_replay
from fleet.model.errors import ConfigError

WriteReplay = Callable[..., Path]

AGREED = (
    *("n", "weak", "strong", "oracle", "apgr", "apgr_ci", "cpt50", "cpt80", "cpt95", "auroc", "brier", "ece"),
    *("ece_floor", "kept_wrong", "escalation_rate", "violation_rate", "refused", "reason"),
)


def report(path: Path, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(evaluate_replay(path, **options).as_json(), allow_nan=False))
    return found


@pytest.fixture(scope="module")
def plain(write_replay: WriteReplay) -> dict[str, Any]:
    """400 requests, nothing asked for."""
    return report(write_replay())


def table(path: Path, rows: list[tuple[float, int, int]]) -> Path:
    path.write_text("weak_logprob,weak_correct,strong_correct\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    return path


def test_the_object_has_every_key_that_all_evaluations_share(plain: dict[str, Any]) -> None:
    assert set(AGREED) <= set(plain)
    assert (plain["file"], plain["n"], plain["refused"], plain["violation_rate"]) == ("replay.csv", 400, False, None)
    assert "drawing" not in plain


def test_the_rows_compare_confidence_with_every_baseline(plain: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in plain["rows"]}
    assert list(rows) == ["weak", "confidence", "random", "length", "oracle", "strong", "always_strong"]
    assert all(
        row["n"] == 400 and row["quality_ci"][0] <= row["quality"] <= row["quality_ci"][1] for row in rows.values()
    )
    assert rows["random"]["apgr"] == pytest.approx(0.5)
    assert rows["length"]["apgr_ci"][0] < 0.5 < rows["length"]["apgr_ci"][1]
    assert rows["confidence"]["apgr_ci"][0] > 0.5
    assert rows["oracle"]["apgr"] > rows["confidence"]["apgr"]
    assert rows["confidence"]["escalation_rate"] == rows["random"]["escalation_rate"] == plain["escalation_rate"]
    assert rows["oracle"]["quality"] == plain["oracle"]
    assert (rows["weak"]["usd"], rows["strong"]["usd"]) == (pytest.approx(0.00003), pytest.approx(0.0003))
    assert rows["always_strong"]["usd"] == pytest.approx(0.00033)


def test_money_pays_the_weak_target_every_time_unless_it_is_hosted(plain: dict[str, Any]) -> None:
    money, share = plain["money"], plain["escalation_rate"]
    assert money["chosen"] == pytest.approx(0.1 + share)
    assert money["chosen_marginal"] == pytest.approx(share)
    assert money["area"] < money["area_marginal"]


def test_latency_of_what_escalates_is_that_of_both_targets(tmp_path: Path) -> None:
    file = tmp_path / "slow.csv"
    header = "weak_logprob,weak_correct,strong_correct,weak_latency_ms,strong_latency_ms\n"
    rows = ["-0.01,1,1,100,1000\n"] * 90 + ["-1,0,1,200,1000\n"] * 60
    file.write_text(header + "".join(rows))
    found = report(file)["latency"]
    assert (found["kept_p50_ms"], found["escalated_p50_ms"], found["strong_p95_ms"]) == (100, 1200, 1000)


def test_a_file_with_the_three_columns_only_has_no_money_latency_or_length(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = [(-1.0 * p, int(rng.random() > p), 1) for p in rng.random(80)]
    found = report(table(tmp_path / "bare.csv", rows))
    assert (found["money"], found["latency"]) == (None, None)
    assert "length" not in {row["name"] for row in found["rows"]}


def test_calibration_mends_an_overconfident_target(write_replay: WriteReplay) -> None:
    found = report(write_replay(rows=1500, overconfidence=4))
    fits = {one["name"]: one for one in found["calibration"]["each"]}
    assert list(fits) == ["calibrated", "temperature", "recorded"]
    assert fits["recorded"]["ece"] > 0.1
    assert fits["calibrated"]["ece"] == found["ece"] < 2 * found["ece_floor"]
    assert fits["calibrated"]["brier"] == found["brier"] < fits["recorded"]["brier"]
    assert found["brier"] < found["brier_constant"]


def test_labels_are_a_part_of_the_file_and_the_rest_judges(write_replay: WriteReplay) -> None:
    found = report(write_replay(), labels=100, resamples=10)["calibration"]
    assert (found["labels"], found["draws"], found["judged"]) == (100, 10, 300)
    assert "the other rows" in found["how"]


@pytest.mark.parametrize("labels", [351, 400, 900])
def test_where_too_few_rows_would_be_left_the_file_is_the_population(write_replay: WriteReplay, labels: int) -> None:
    found = report(write_replay(), labels=labels, resamples=3)["calibration"]
    assert (found["labels"], found["judged"]) == (labels, 400)
    assert "with replacement" in found["how"]


def test_more_labels_calibrate_better(write_replay: WriteReplay) -> None:
    path = write_replay(rows=2000, overconfidence=4)
    few, many = (report(path, labels=n, resamples=30)["brier"] for n in (10, 500))
    assert many < few


def test_a_promise_is_tried_with_200_and_500_labels(write_replay: WriteReplay) -> None:
    found = report(write_replay(), guarantee=(0.05, 0.1), resamples=400)
    assert [promise["labels"] for promise in found["guarantee"]] == [200, 500]
    for promise in found["guarantee"]:
        shipped, exact, naive = promise["methods"]
        assert [method["name"] for method in promise["methods"]] == ["ltt_hb", "ltt_binomial", "naive"]
        assert shipped["violation_rate"] <= exact["violation_rate"] <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 400)
        assert naive["violation_rate"] > 0.2
        assert promise["optimum"] < exact["escalation_rate"] < shipped["escalation_rate"]
        assert naive["accuracy_minus_strong"] < shipped["accuracy_minus_strong"]
    first = found["guarantee"][0]["methods"][0]
    assert [found[key] for key in ("violation_rate", "escalation_rate", "kept_wrong")] == [
        first[key] for key in ("violation_rate", "escalation_rate", "kept_wrong")
    ]
    assert found["reason"].startswith("the promise holds")


def test_a_looser_promise_keeps_more(plain: dict[str, Any], write_replay: WriteReplay) -> None:
    assert (plain["risk"], plain["delta"]) == (0.05, 0.1)
    loose = report(write_replay(), guarantee=(0.1, 0.1), resamples=1)
    assert 0 < loose["threshold"] < plain["threshold"] < 1


def test_too_few_labels_cannot_promise_anything_and_everything_escalates(write_replay: WriteReplay) -> None:
    found = report(write_replay(), labels=40, guarantee=(0.05, 0.1), resamples=20)
    assert found["refused"]
    assert "40 labels cannot promise" in found["reason"]
    assert "at least 45" in found["reason"]
    assert (found["escalation_rate"], found["violation_rate"], found["kept_wrong"]) == (1, 0, None)
    assert not report(write_replay(), labels=45, guarantee=(0.05, 0.1), resamples=20)["refused"]


def test_without_a_gap_apgr_is_refused(write_replay: WriteReplay) -> None:
    found = report(write_replay(strong=0.66))
    assert found["refused"]
    assert "APGR says nothing" in found["reason"]
    assert [found[key] for key in ("apgr", "apgr_ci", "cpt50", "cpt80", "cpt95")] == [None] * 5
    assert all(row["apgr"] is None for row in found["rows"])
    assert found["auroc"] > 0.6


def test_a_gap_that_may_be_chance_is_no_gap(write_replay: WriteReplay) -> None:
    found = report(write_replay(rows=60, strong=0.72, seed=6))
    assert found["gap"] > 0.02
    assert found["gap_ci"][0] <= 0
    assert found["refused"]
    assert "may be chance" in found["reason"]


def test_few_rows_conclude_nothing(write_replay: WriteReplay) -> None:
    found = report(write_replay(rows=49))
    assert (found["refused"], found["apgr"]) == (True, None)
    assert "49 rows are too few" in found["reason"]


def test_a_confidence_that_sorts_nothing_is_switched_off_in_words(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [(-float(p), int(rng.random() < 0.6), int(rng.random() < 0.9)) for p in rng.random(600)]
    found = report(table(tmp_path / "noise.csv", rows))
    assert found["guard"] == "no_better_than_mixing"
    assert "sorts no better than random" in found["reason"]
    assert "not shown to beat random routing" in found["reason"]


def test_the_same_arguments_give_the_same_report(plain: dict[str, Any], write_replay: WriteReplay) -> None:
    assert report(write_replay()) == plain
    assert report(write_replay(), seed=2)["apgr_ci"] != plain["apgr_ci"]


def test_asking_for_more_moves_nothing_that_was_there(plain: dict[str, Any], write_replay: WriteReplay) -> None:
    more = report(write_replay(), guarantee=(0.05, 0.1), labels=100, resamples=5, stream=write_replay(seed=2))
    assert (more["apgr_ci"], more["auroc_ci"], more["rows"]) == (plain["apgr_ci"], plain["auroc_ci"], plain["rows"])


def test_a_stream_like_the_file_raises_no_alarm(write_replay: WriteReplay) -> None:
    found = report(write_replay(rows=600), stream=write_replay("more.csv", rows=600, seed=2))
    for watched, name, rows in ((found["drift"], "more.csv", 600), (found["control"], "replay.csv", 300)):
        assert (watched["stream"], watched["rows"]) == (name, rows)
        assert (watched["alarm"], watched["after"], watched["loss_alarm"]) == (False, None, False)
        assert watched["guarantee"] == "holds"
        assert watched["psi"] < 0.2
        assert 0 < watched["threshold_before"] == watched["threshold_after"] < 1
    assert "no drift in 600 rows of more.csv" in found["reason"]


def test_a_stream_of_harder_requests_withdraws_the_guarantee(write_replay: WriteReplay) -> None:
    found = report(write_replay(rows=600), stream=write_replay("hard.csv", rows=400, seed=2, easy=0.7))
    assert (found["drift"]["alarm"], found["drift"]["guarantee"]) == (True, "withdrawn")
    assert found["drift"]["after"] < 200
    assert found["drift"]["psi"] > 0.2
    after, before = found["drift"]["threshold_after"], found["drift"]["threshold_before"]
    assert after is None or after > before
    assert not found["control"]["alarm"]
    assert "drift after" in found["reason"]


def test_a_stream_that_only_loses_more_is_found_by_its_losses(write_replay: WriteReplay, tmp_path: Path) -> None:
    same = write_replay(rows=600, seed=2).read_text().splitlines()
    names = same[0].split(",")
    wrong, right = names.index("weak_correct"), names.index("strong_correct")
    rows = [line.split(",") for line in same[1:]]
    for row in rows[::4]:
        row[wrong], row[right] = "0", "1"
    file = tmp_path / "worse.csv"
    file.write_text("\n".join([same[0], *(",".join(row) for row in rows)]))
    drift = report(write_replay(rows=600), stream=file)["drift"]
    assert (drift["alarm"], drift["loss_alarm"], drift["guarantee"]) == (True, True, "withdrawn")
    assert drift["psi"] < 0.2


def test_a_first_half_that_cannot_be_calibrated_is_named(write_replay: WriteReplay, tmp_path: Path) -> None:
    file = table(tmp_path / "sorted.csv", [(-0.1, 1, 1)] * 100 + [(-1.0, 0, 1)] * 100)
    with pytest.raises(ConfigError, match=r"first half of sorted\.csv: labels: must hold both"):
        evaluate_replay(file, stream=write_replay())


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"labels": 0}, "--labels"),
        ({"guarantee": (0.0, 0.1)}, "--guarantee"),
        ({"guarantee": (0.05, 1.0)}, "--guarantee"),
        ({"guarantee": (float("nan"), 0.1)}, "--guarantee"),
        ({"resamples": 0}, "--resamples"),
    ],
)
def test_an_option_out_of_range_is_named(write_replay: WriteReplay, options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        evaluate_replay(write_replay(), **options)
    assert refusal.value.field == field

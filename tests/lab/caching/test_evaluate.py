"""The promise of the semantic cache is kept when it is tried, and serves more than a cosine alone."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fleet.lab.caching import vcache
from fleet.lab.caching.evaluate import evaluate_cache
from fleet.lab.caching.traps import evaluate_traps
from fleet.model.errors import ConfigError


def test_the_promise_holds_and_the_score_serves_more_than_a_cosine(stream: Path, encoder) -> None:
    report = evaluate_cache(stream, encoder, "letters", (0.05, 0.1), labels=300, resamples=200, cached=10)
    found = report.as_json()
    assert (found["rows"], found["cached"], found["asked"]) == (520, 80, 440)
    assert found["violation_rate"] <= 0.1
    assert found["cosine_violation_rate"] <= 0.1
    assert found["hits"] > found["cosine_hits"] + 0.05
    assert [rule["name"].split(",")[0] for rule in found["rules"]][1:3] == ["cosine", "cosine"]
    assert json.loads(json.dumps(found)) == found


def test_the_same_file_gives_the_same_report(stream: Path, encoder) -> None:
    one, other = (evaluate_cache(stream, encoder, "letters", labels=300, resamples=10, cached=10) for _ in range(2))
    assert one == other


def test_too_few_labels_serve_nothing_and_say_how_many_are_missing(stream: Path, encoder) -> None:
    found = evaluate_cache(stream, encoder, "letters", (0.01, 0.1), labels=200, resamples=10, cached=10).as_json()
    assert (found["hits"], found["violation_rate"], found["labels_missing"]) == (0.0, 0.0, 30)


def test_a_file_with_too_few_rows_of_a_class_is_refused(stream: Path, encoder) -> None:
    with pytest.raises(ConfigError, match="more than the 60 rows that are cached"):
        evaluate_cache(stream, encoder, "letters", cached=60)


def test_vcache_asks_always_at_first_and_keeps_its_share_of_errors(encoder) -> None:
    rows = [(f"subject {n % 4}, question {n}", f"a{n % 4}") for n in range(600)]
    vectors, answers = encoder.encode([text for text, _ in rows]), [answer for _, answer in rows]
    rng = np.random.default_rng(3)
    found = vcache.stream(vectors, answers, range(600), 0.05, rng.random(600))
    assert found.hits + found.compared == pytest.approx(1.0)
    assert found.hits > 0.15
    assert found.wrong <= 0.05
    few = vcache.stream(vectors, answers, range(4), 0.05, rng.random(4))
    assert few.hits == 0.0


def test_vcache_explores_less_the_surer_it_is() -> None:
    sure, unsure = (0.5, 40.0, 0.01), (0.5, 40.0, 0.3)
    assert vcache.explore_probability(0.9, sure, 0.05) == 0.0
    assert 0.0 < vcache.explore_probability(0.9, unsure, 0.05) < 1.0
    assert vcache.explore_probability(0.4, sure, 0.05) > 0.9


def test_traps_are_not_served_and_the_same_words_are(tmp_path: Path, encoder) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text(
        "category,a,b,same_answer\n"
        "number,A hut for 2,A hut for 3,0\n"
        "swap,How do I wash a scarf?,How do I wash a kettle?,0\n"
        "courtesy,How do I wash a scarf?,how do I wash a scarf,1\n"
    )
    found = evaluate_traps(file, AsWritten(), "words").as_json()
    assert (found["traps"], found["traps_served"]) == (2, 0.0)
    assert (found["should_hits"], found["should_hits_served"]) == (1, 1.0)
    assert [(each["name"], each["served"]) for each in found["categories"]] == [
        ("courtesy", 1.0),
        ("number", 0.0),
        ("swap", 0.0),
    ]
    assert "made by" in found["fitted_on"]


class AsWritten:
    """Counts pairs of letters, whatever their case: texts that are spelled alike are alike."""

    def encode(self, texts):
        from fleet.embedding.encoder import unit

        found = np.zeros((len(texts), 676), dtype=np.float32)
        for row, text in enumerate(texts):
            letters = [ord(letter) - 97 for letter in text.lower() if "a" <= letter <= "z"]
            for one, other in pairwise(letters):
                found[row, 26 * one + other] += 1.0
        return unit(found)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("text,other\nHi,1\n", "column answer_class: must be in the header"),
        ("text,answer_class\n", "at least one row"),
        ("text,answer_class\n ,a\n", "line 2, column text: must not be empty"),
        ("text,answer_class\nHi,a,b\n", "line 2: must have 2 fields"),
    ],
)
def test_a_file_that_is_no_stream_is_refused_by_line_and_column(
    tmp_path: Path, encoder, content: str, rule: str
) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(content)
    with pytest.raises(ConfigError, match=rule):
        evaluate_cache(file, encoder, "letters")


def test_a_pair_without_a_verdict_is_refused(tmp_path: Path, encoder) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("category,a,b,same_answer\nx,A,B,maybe\n")
    with pytest.raises(ConfigError, match="line 2, column same_answer: must be 0 or 1, not 'maybe'"):
        evaluate_traps(file, encoder, "letters")

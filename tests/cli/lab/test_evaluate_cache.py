"""`fleet evaluate --cache` and `--traps` show what a semantic cache may serve, or say what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from fleet.embedding.encoder import unit

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]


class Letters:
    """Counts letters."""

    def encode(self, texts):
        return unit(np.array([[text.lower().count(chr(97 + n)) for n in range(26)] for text in texts]) + 1e-3)


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.cli.lab.evaluate._encoder", lambda: (Letters(), "letters"))


@pytest.fixture
def stream(tmp_path: Path) -> str:
    words = ("kayak", "museum", "fence", "violin", "oven", "permit")
    rows = [f"{word} {chr(97 + n % 26) * (n % 4)} number{n},{word}" for word in words for n in range(50)]
    file = tmp_path / "stream.csv"
    file.write_text("text,answer_class\n" + "\n".join(rows) + "\n")
    return str(file)


def test_a_stream_is_one_json_object(invoke_json: InvokeJson, stream: str) -> None:
    options = ("--guarantee", "0.05,0.1", "--labels", "200", "--resamples", "20", "--cached", "12")
    found = invoke_json("evaluate", "--cache", stream, *options)
    assert {"hits", "violation_rate", "cosine_hits", "cosine_violation_rate"} <= set(found)
    assert (found["cached"], found["labels"], found["resamples"], found["risk"]) == (72, 200, 20, 0.05)


def test_people_read_the_promise_first_and_then_the_rules(invoke: Invoke, stream: str) -> None:
    result = invoke("evaluate", "--cache", stream, "--labels", "300", "--resamples", "20", "--cached", "12")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0].startswith("228 requests asked of 72 cached the promise holds")
    for start in ("score of the answer, tested", "cosine, tested", "cosine, 0.85 always", "vCache's rule"):
        assert any(line.startswith(start) for line in lines), start


def test_people_read_how_many_labels_are_missing(invoke: Invoke, stream: str) -> None:
    result = invoke("evaluate", "--cache", stream, "--labels", "100", "--resamples", "5", "--cached", "12")
    assert "exact answers only: 130 labels are missing" in result.stdout


def test_pairs_are_shown_by_category(invoke: Invoke, invoke_json: InvokeJson, tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("category,a,b,same_answer\nnumbers,A hut for 2,A hut for 3,0\nlooks,A hut for 2,a hut for 2,1\n")
    found = invoke_json("evaluate", "--traps", str(file))
    assert (found["traps_served"], found["should_hits_served"]) == (0.0, 1.0)
    shown = " ".join(invoke("evaluate", "--traps", str(file)).stdout.split())
    assert "2 pairs 0.0% of the traps and 100.0% of the others are served" in shown
    assert "numbers no 1 0.0%" in shown


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("--traps", "x.csv", "--labels", "5"), "--labels: does not go with --traps"),
        (("--cache", "x.csv", "--stream", "y.csv"), "--stream: does not go with --cache"),
        (("--cache", "x.csv", "--traps", "y.csv"), "give exactly one of"),
    ],
)
def test_options_of_another_evaluation_are_refused(invoke: Invoke, arguments: tuple[str, ...], advice: str) -> None:
    result = invoke("evaluate", *arguments)
    assert result.exit_code != 0
    assert advice in " ".join(result.output.split())


def test_a_cache_has_no_plot(invoke: Invoke, stream: str, tmp_path: Path) -> None:
    options = ("--labels", "300", "--resamples", "5", "--cached", "12", "--plot", str(tmp_path / "out.png"))
    result = invoke("evaluate", "--cache", stream, *options)
    assert "--plot: goes with --replay, --router and --live only" in " ".join(result.output.split())

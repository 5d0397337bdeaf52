"""Questions and training rows as exports write them are read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from training_examples import TASK, example

from fleet.lab.data.formats import DataFormat, line_of, question_line_of
from fleet.lab.gates.questions import read_questions, texts_trained_on
from fleet.model.errors import ConfigError

PAIR = replace(example(1, "Which one?"), rejected={"role": "assistant", "content": "Both: badge"})


@pytest.mark.parametrize("form", list(DataFormat))
def test_what_was_trained_on_is_read_from_each_format(form: DataFormat) -> None:
    [(prompt, text)] = texts_trained_on([json.dumps(line_of(PAIR, form)).encode()])
    assert prompt == "Which one?"
    assert "Both: laptop" in text
    assert ("Both: badge" in text) is form.has_preferences


def test_a_question_of_an_export_has_its_answer_its_task_and_what_it_is_preferred_over(tmp_path: Path) -> None:
    path = tmp_path / "heldout.jsonl"
    path.write_text(json.dumps(question_line_of(PAIR)) + "\n\n" + json.dumps(question_line_of(example(2))) + "\n")
    pair, plain = read_questions(path)
    assert (pair.task, pair.prompt, pair.reference.text, pair.rejected) == (
        TASK,
        "Which one?",
        "Both: laptop",
        "Both: badge",
    )
    assert plain.rejected is None
    assert pair.request["messages"] == list(PAIR.messages)
    assert pair.request["max_tokens"] == 64 + 4 * 2
    assert replace(pair, messages=({"role": "user", "content": " which ONE "},)).digest == pair.digest


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ([], "line 1: must be a JSON object"),
        ({"messages": [{"role": "user", "content": "x"}] * 2, "task": TASK}, "must end with the answer that is right"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}, "line 1, task: must"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}] * 2},
            "must be a list of messages of text",
        ),
        ({**question_line_of(PAIR), "rejected": 1}, "line 1, rejected: must be the text of an answer"),
    ],
)
def test_a_line_that_is_no_question_is_refused_by_name(tmp_path: Path, row: Any, rule: str) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(ConfigError, match=rule):
        read_questions(path)

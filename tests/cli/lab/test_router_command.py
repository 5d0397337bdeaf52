"""`fleet router`: a router is written only where it may decide."""

import csv
import json
import random

import pytest

EASY = ("what time is it", "say hello to the team", "is the office open today", "thank everybody for coming")
HARD = ("prove the theorem by induction", "derive the gradient of this loss", "integrate the equation by parts")


@pytest.fixture
def labelled(tmp_path):
    """A file of prompts of which the small model fails the hard ones; their length tells nothing."""

    def write(rows, sorted_by_words=True, tasks=None):
        rng = random.Random(3)
        path = tmp_path / "prompts.csv"
        with path.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(("prompt", "weak_correct", "strong_correct", *(("task",) if tasks else ())))
            for number in range(rows):
                is_hard = rng.random() < 0.5
                filler = " please" * rng.randrange(12)
                fails = is_hard if sorted_by_words else rng.random() < 0.5
                task = () if tasks is None else (tasks[int(is_hard)],)
                prompt = f"{rng.choice(HARD if is_hard else EASY)}{filler} {number % 7}"
                table.writerow((prompt, int(not fails), 1, *task))
        return path

    return write


def test_a_router_that_beats_prompt_length_is_written_and_can_be_loaded(invoke_json, labelled, tmp_path):
    output = tmp_path / "routers.json"
    arguments = ("router", str(labelled(600)), "--weak", "llama-8b", "--strong", "llama-70b", "-o", str(output))
    said = invoke_json(*arguments, "--task", "chat")
    assert (said["on"], said["labels"]) == (True, 600)
    assert [row["task"] for row in json.loads(output.read_text())["routers"]] == ["chat"]
    mixed = str(labelled(600, tasks=("nudge.reminder", "nudge.reminder")))
    invoke_json(arguments[0], mixed, *arguments[2:], "--task", "nudge.*")
    assert [row["task"] for row in json.loads(output.read_text())["routers"]] == ["chat", "nudge.*"]


@pytest.mark.parametrize(("rows", "by_words"), [(120, True), (600, False)])
def test_too_few_labels_or_words_that_tell_nothing_write_nothing(invoke_json, labelled, tmp_path, rows, by_words):
    output = tmp_path / "routers.json"
    path = str(labelled(rows, by_words))
    arguments = ("router", path, "--weak", "llama-8b", "--strong", "llama-70b", "--task", "chat", "-o", str(output))
    said = invoke_json(*arguments, exit_code=1)
    assert said["on"] is False and said["reason"]
    assert not output.exists()


@pytest.mark.parametrize(
    ("weak", "strong", "task", "option", "rule"),
    [
        ("tiny", "llama-70b", "*", "--weak", "must be one of llama-8b"),
        ("llama-8b", "large", "*", "--strong", "must be one of llama-8b"),
        ("llama-8b", "llama-8b", "*", "--strong", "must be another target than --weak"),
        ("llama-8b", "llama-70b", "No/Such!", "--task", "must be a task, a family"),
    ],
)
def test_a_wrong_option_is_named(invoke, labelled, tmp_path, weak, strong, task, option, rule):
    output = tmp_path / "r.json"
    result = invoke("router", str(labelled(600)), "--weak", weak, "--strong", strong, "--task", task, "-o", str(output))
    assert result.exit_code == 1
    assert f"{option}: {rule}" in result.stderr
    assert not output.exists()


def test_a_router_that_only_knows_the_task_from_the_words_is_not_written(invoke_json, labelled, tmp_path):
    output, asked = tmp_path / "routers.json", str(labelled(600, tasks=("nudge.easy", "nudge.hard")))
    arguments = ("router", asked, "--weak", "llama-8b", "--strong", "llama-70b", "-o", str(output), "--task", "nudge.*")
    said = invoke_json(*arguments, exit_code=1)
    assert "not surely better than the table of tasks" in said["reason"]
    assert not output.exists()


def test_a_router_of_many_tasks_needs_to_know_them(invoke, labelled, tmp_path):
    output = tmp_path / "routers.json"
    arguments = ("router", str(labelled(600)), "--weak", "llama-8b", "--strong", "llama-70b", "-o", str(output))
    refused = invoke(*arguments)
    assert refused.exit_code == 1 and "column task: must be there for a router of *" in refused.stderr

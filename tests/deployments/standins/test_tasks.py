"""The corpus: disjoint splits and checkers that know right from wrong."""

import json
import random
import re

import pytest

from deployments.standins import vocabulary as words
from deployments.standins.tasks import COMPLEX_TASKS, MEDIUM_TASKS, SIMPLE_TASKS, TASKS, examples, is_correct, tier_of
from deployments.standins.vocabulary import Split

PER_TASK = 300
# A word of the prompts that happens to be made of syllables.
PROMPT_WORDS = {"Manager"}
NAME = re.compile("(?:" + "|".join(words.SYLLABLES) + "){2,3}[" + "".join(words.CODAS) + "]?")


def drawn_values(split: Split) -> set[str]:
    """Every name and every given number in the prompts of a split."""
    found: set[str] = set()
    for example in examples(split, seed=5, n=PER_TASK * len(TASKS)):
        prompt = example.messages[-1]["content"]
        found |= {word for word in re.findall(r"[A-Z][a-z]+", prompt) if NAME.fullmatch(word.lower())}
        found |= set(re.findall(r"\d+", prompt))
    return found


def test_no_held_out_name_or_number_is_in_a_training_prompt() -> None:
    training, held_out = drawn_values("train"), drawn_values("heldout")
    assert min(len(training), len(held_out)) > 1000
    assert training & held_out == PROMPT_WORDS


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_every_draw_obeys_the_rule_of_its_split(split: Split) -> None:
    rng = random.Random(1)
    draws = [draw(rng, split) for draw in (words.draw_person, words.draw_group, words.draw_number) for _ in range(500)]
    assert {words.is_held_out(value) for value in draws} == {split == "heldout"}


def test_the_same_arguments_give_the_same_examples_and_other_seeds_others() -> None:
    first = list(examples("train", seed=1, n=30))
    assert first == list(examples("train", seed=1, n=30))
    assert first != list(examples("train", seed=2, n=30))


def test_examples_take_all_tasks_in_turn_and_carry_their_tier() -> None:
    drawn = list(examples("train", seed=1, n=len(TASKS)))
    assert [one.task for one in drawn] == list(TASKS) == [*SIMPLE_TASKS, *MEDIUM_TASKS, *COMPLEX_TASKS]
    assert all(one.tier == tier_of(one.task) for one in drawn)


@pytest.mark.parametrize("task", TASKS)
def test_a_checker_accepts_the_reference_and_refuses_other_answers(task: str) -> None:
    drawn = list(examples("heldout", seed=3, n=50, task=task))
    assert all(is_correct(task, one.answer, one.answer) for one in drawn)
    assert not any(is_correct(task, one.answer, text) for one in drawn for text in ("", "maybe", one.answer[:-3]))
    others = [other.answer for other in drawn if other.answer != drawn[0].answer]
    assert others and not any(is_correct(task, drawn[0].answer, other) for other in others)


def test_extraction_compares_json_and_not_its_spelling() -> None:
    answer = json.dumps({"name": "Kari", "team": "Velis", "day": 14})
    assert is_correct("extract.fields", answer, '{"day":14, "team":"Velis","name":"Kari"}')
    assert not is_correct("extract.fields", answer, '{"name": "Kari", "team": "Velis", "day": "14"}')


def test_a_nudge_may_be_worded_freely_but_not_swap_people() -> None:
    answer = "Kari, please thank Molo: closed Velis."
    assert is_correct("nudge.recognition", answer, "Kari: thank Molo, closed Velis!")
    assert not is_correct("nudge.recognition", answer, "Molo, please thank Kari: closed Velis.")


def _prompt_numbers(prompt: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", prompt)]


def test_totals_and_divergences_are_computed_from_the_prompt() -> None:
    for one in examples("train", seed=4, n=50, task="report.totals"):
        first, second, third = _prompt_numbers(one.messages[-1]["content"])
        assert one.answer == f"{first + second}, {first + second + third}"
    for one in examples("train", seed=4, n=50, task="analyse.divergence"):
        rows = re.findall(r"(\w): \w+ (\d+) (\d+)", one.messages[-1]["content"])
        assert one.answer == max(rows, key=lambda row: abs(int(row[1]) - int(row[2])))[0]


def test_plans_and_next_steps_follow_from_the_prompt() -> None:
    for one in examples("train", seed=4, n=50, task="plan.schedule"):
        first, second = (set(row.split(", ")) for row in re.findall(r"can join (.+)\.", one.messages[-1]["content"]))
        assert {one.answer.removeprefix("Both: ")} == first & second
    for one in examples("train", seed=4, n=50, task="recommend.next_step"):
        done, path = re.findall(r"(?:done|Path:) (.+)\.", one.messages[-1]["content"])
        open_steps = [course for course in path.split(", ") if course not in done.split(", ")]
        assert one.answer == f"Next: {open_steps[0]}"

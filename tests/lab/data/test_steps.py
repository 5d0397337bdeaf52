"""Each step from examples to rows drops what it should, for the reason that it gives, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from training_examples import LARGE, SMALL, TASK, example

from fleet.lab.data import steps
from fleet.lab.data.examples import Example, Origin, Source, Teacher, Unusable
from fleet.lab.data.export import NothingToExport, Prepared, Wish, prepare
from fleet.lab.data.formats import DataFormat
from fleet.lab.data.licences import load_licences
from fleet.lab.data.steps import Worked
from fleet.model.errors import ConfigError

SFT, DPO = DataFormat.OPENAI_SFT, DataFormat.OPENAI_DPO
PROMPT = "Which of the sessions that the two of you were offered in the first week of May can both of you join?"
OTHER = {"role": "assistant", "content": "Both: payroll"}
GPT = Teacher("gpt-4o", "openai", "gpt-4o-2024-08-06")


def jobs(rows: Sequence[Example]) -> list[int]:
    return sorted(int(each.source.job_id.removeprefix("job-")) for each in rows)


def prepared(examples: Sequence[Example], judging: Sequence[str] = (), **wished: object) -> Prepared:
    wish = replace(Wish((TASK,), SFT, "llama", validation=0.0), **wished)  # type: ignore[arg-type]
    return prepare(examples, {}, judging, load_licences(None), wish)


def test_of_equal_prompts_the_surest_answer_stays_and_of_equal_origins_the_newest() -> None:
    same = [example(1, PROMPT), example(2, PROMPT.upper() + "  !"), example(3, PROMPT, origin=Origin.GOOD)]
    worked = Worked([*same, example(4, "Another one"), example(5, "another one?")])
    steps.distinct(worked)
    assert jobs(worked.rows) == [3, 5]
    assert worked.steps[0].dropped == {"asked before, word for word": 3}


def test_prompts_that_differ_by_a_word_are_one_unless_that_word_changes_a_short_answer() -> None:
    base = " ".join(f"detail{n}" for n in range(60))
    worked = Worked([example(1, f"{base} monday"), example(2, f"{base} tuesday"), example(3, f"{base} friday", "None")])
    steps.distinct(worked)
    assert jobs(worked.rows) == [2, 3]
    assert worked.steps[1].dropped == {"asked before, nearly": 1}


def test_nothing_is_trained_on_that_is_like_what_judges_or_quotes_it() -> None:
    quoting = f"Before we begin with the plan of the week, answer this question of a colleague: {PROMPT} And why?"
    worked = Worked([example(1, PROMPT.replace("May", "June")), example(2, quoting), example(3)])
    steps.decontaminate(worked, [PROMPT])
    assert jobs(worked.rows) == [3]
    assert worked.steps[0].dropped == {"like one that judges": 1, "quotes one that judges": 1}


def test_a_placeholder_hides_no_prompt_that_judges() -> None:
    prompt = "Tell ada@example.org that 0170 5550142 called"
    worked = Worked([example(1, prompt)])
    steps.scrub(worked, frozenset())
    steps.decontaminate(worked, [prompt])
    assert worked.rows == []


def test_what_was_called_bad_is_to_evaluate_with_and_nothing_like_it_is_trained_on() -> None:
    bad = example(50, f"{PROMPT} ada@example.org", origin=Origin.BAD, teacher=GPT)
    again = replace(bad, sources=(Source("acme", "job-000000000051", 1.0),))
    held = example(52, "Her salary?", origin=Origin.BAD)
    like = example(53, PROMPT)
    found = prepared([*(example(n) for n in range(12)), bad, again, held, like], words=frozenset({"salary"}))
    assert jobs(found.train) == list(range(12))
    assert jobs(found.evaluation) == [50]
    assert found.evaluation[0].prompt == f"{PROMPT} <EMAIL_1>"
    assert jobs([each for _, each in found.review]) == [52]


def test_no_cluster_of_prompts_is_on_both_sides_of_the_split() -> None:
    families = [" ".join(f"f{family}w{n}" for n in range(30)) for family in range(40)]
    worked = Worked(
        [example(10 * f + n, f"{base} variant{n}", f"{n}") for f, base in enumerate(families) for n in range(4)]
    )
    validation = steps.split(worked, 0.3, seed=1)
    taken, left = ({job // 10 for job in jobs(rows)} for rows in (validation, worked.rows))
    assert not taken & left
    assert len(taken | left) == 40
    assert 4 <= len(taken) <= 20


def test_an_opinion_against_a_sure_probability_is_held_back_for_somebody_to_read() -> None:
    doubts = [(0.01, True), (0.99, False), (0.5, True), (0.99, True), (None, True)]
    worked = Worked([example(n, confidence=p, said_good=good) for n, (p, good) in enumerate(doubts)])
    steps.trusted(worked)
    assert jobs(worked.rows) == [2, 3, 4]
    assert [(reason[:12], jobs([each])) for reason, each in worked.review] == [
        ("called good,", [0]),
        ("called not g", [1]),
    ]


def test_few_easy_rows_are_taken_and_tenants_and_teachers_take_turns() -> None:
    easy = [example(n, origin=Origin.AGREED) for n in range(100, 130)]
    rare = example(50, sources=(Source("globex", "job-000000000050", 1.0),))
    small = example(51, teacher=Teacher(SMALL, "fleet", SMALL))
    worked = Worked([*(example(n) for n in range(40)), rare, small, *easy])
    steps.balance(worked, 6)
    assert {50, 51} <= set(jobs(worked.rows))
    assert len(worked.rows) == 6
    assert sum(worked.steps[0].dropped.values()) == 66
    worked = Worked([*(example(n) for n in range(40)), *easy])
    steps.balance(worked, None)
    assert Counter(each.origin for each in worked.rows) == {Origin.ESCALATED: 40, Origin.AGREED: 10}


def test_a_teacher_whose_terms_forbid_it_teaches_nothing_and_does_not_push_out_one_who_may() -> None:
    twelve = [example(n) for n in range(12)]
    same = [replace(each, teacher=GPT, origin=Origin.GOOD) for each in twelve]
    found = prepared([*twelve, *same])
    assert {each.teacher.target for each in found.train} == {LARGE}
    assert next(step for step in found.steps if step.name == "licence").dropped == {"openai-terms: not for llama": 12}


@pytest.mark.parametrize(
    ("teacher", "destination", "allowed"),
    [
        (Teacher(LARGE, "fleet", "meta-llama/Llama-3.1-70B-Instruct"), "llama", True),
        (Teacher(LARGE, "fleet", "meta-llama/Llama-3.1-70B-Instruct"), "qwen", False),
        (Teacher("mixtral-8x7b", "fleet", "mistralai/Mixtral-8x7B-Instruct-v0.1"), "qwen", True),
        (GPT, "llama", False),
        (Teacher("claude", "anthropic", "claude-x"), "llama", False),
        (Teacher("groq-llama", "groq", "llama-3.3-70b"), "llama", False),
        (Teacher("own", "fleet", "example/own-model"), "llama", False),
    ],
)
def test_the_shipped_table_says_whose_answers_may_train_what(teacher: Teacher, destination: str, allowed: bool) -> None:
    assert load_licences(None).of(teacher).allows(destination) is allowed


def test_a_rejected_answer_is_under_its_terms_too() -> None:
    pairs = [example(n, rejected=OTHER, rejected_teacher=GPT) for n in range(12)]
    with pytest.raises(NothingToExport, match="licence: 12 openai-terms"):
        prepared(pairs, form=DPO)
    assert len(prepared(pairs).train) == 12


def test_the_same_examples_in_any_order_give_the_same_rows() -> None:
    rows = [example(n, f"{PROMPT} {'again ' * (n % 3)} {n // 2}", str(n % 4)) for n in range(60)]
    first = prepared(rows, validation=0.2)
    again = prepared(Random(4).sample(rows, len(rows)), validation=0.2)
    assert (first.train, first.validation, first.steps) == (again.train, again.validation, again.steps)


def test_nothing_to_export_is_refused_with_the_count_of_every_step() -> None:
    held, pair = example(40, "Her salary is what?"), example(41, rejected=OTHER, origin=Origin.COMPARED)
    wish = Wish((TASK,), SFT, "llama", words=frozenset({"salary"}))
    with pytest.raises(NothingToExport) as refused:
        prepare(
            [*(example(n, PROMPT) for n in range(30)), held, pair], {Unusable.NOBODY: 7}, (), load_licences(None), wish
        )
    assert str(refused.value).split("; ") == [
        "1 lines are left to train on, and 10 are the fewest. eligibility: 7 nobody said whether it is good",
        "kind: 1 it says which answer is better, not that one is good",
        "personal data: 1 one of the rules' personal words is in it",
        "exact duplicates: 29 asked before, word for word",
    ]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [({"validation": 1.0}, "less than 1"), ({"validation": -0.1}, "at least 0"), ({"destination": "any"}, "one word")],
)
def test_a_wish_that_makes_no_sense_is_refused(changes: dict[str, object], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        prepared([], **changes)


def test_rows_of_other_tasks_are_held_out_and_nothing_like_them_is_trained_on() -> None:
    other = "nudge.onboarding"
    rows = [example(number) for number in range(12)]
    beside = [example(50, PROMPT, task=other), example(51, "Welcome!", task=other, origin=Origin.BAD)]
    found = prepared([*rows, *beside, example(13, PROMPT)], beside=(other,))
    assert (jobs(found.train), jobs(found.held_out)) == (list(range(12)), [50])
    assert found.held_out[0].task == other
    [step] = [each for each in found.steps if each.name == "other tasks"]
    assert step.dropped == {"of a task that is only held out": 2}
    with pytest.raises(ConfigError, match=f"--beside: {TASK} is trained on"):
        prepared(rows, beside=(TASK,))

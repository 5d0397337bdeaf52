"""Threads are trimmed in whole turns and steps: what is left answers as it did before."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from benchmarks.diet import drawn_thread, orphaned, trimmed
from policies.diet.threads import MOST_RANGES, cut, fits, thread_of, without

RULES = {"role": "system", "content": "Be brief."}
EACH = 10


def user(text="?"):
    return {"role": "user", "content": text}


def said(text="!"):
    return {"role": "assistant", "content": text}


def asking(*ids):
    return {"role": "assistant", "content": None, "tool_calls": [{"id": each} for each in ids]}


def result(call):
    return {"role": "tool", "tool_call_id": call, "content": "42"}


def left(messages, budget, kept=0.6):
    """Return what is left of messages of EACH tokens."""
    return without(messages, cut(thread_of(messages), [EACH] * len(messages), budget, kept))


def chat(turns):
    return [RULES, *(each for turn in range(turns) for each in (user(f"{turn}"), said(f"{turn}"))), user("last")]


def test_no_generated_thread_gets_an_orphan_or_is_refused_once_it_is_trimmed():
    found = trimmed(1_500, seed=7)
    bad = ("orphaned_results", "unanswered_calls", "refused_openai", "refused_anthropic")
    assert [found[name] for name in bad] == [0, 0, 0, 0]
    assert found["trimmed"] > 1_000 and found["window_orphaned_results"] > 100


def test_the_rules_the_first_turn_and_the_last_step_stay_in_every_thread():
    chance = Random(3)
    for number in range(300):
        thread = drawn_thread(chance, is_damaged=number % 2 == 1)
        kept = left(thread, 0)
        rules = [each for each in thread if each["role"] in ("system", "developer")]
        first = next((each for each in thread if each["role"] == "user"), thread[0])
        assert all(any(each is other for other in kept) for each in (*rules, first, thread[-1]))


def test_a_thread_within_its_budget_stays_whole():
    assert left(chat(5), 120) == chat(5)


def test_the_oldest_turns_between_go_until_the_share_is_left():
    kept = left(chat(9), 150)
    assert [each["content"] for each in kept] == ["Be brief.", *"00", *"55667788", "last"]


def test_the_cut_stays_while_the_thread_grows_to_its_budget_again():
    beginnings = [tuple(each["content"] for each in left(chat(turns), 200)[3:5]) for turns in range(9, 40)]
    changes = sum(one != other for one, other in pairwise(beginnings))
    assert changes == 6  # a window that slides changes 30 times


def test_a_call_goes_with_all_its_results_and_stays_with_them():
    steps = [each for at in range(6) for each in (asking(f"a{at}", f"b{at}"), result(f"b{at}"), result(f"a{at}"))]
    kept = left([RULES, user(), *steps], 100)
    assert kept == [RULES, user(), *steps[-6:]]


def test_a_result_of_no_known_call_goes_with_what_stands_before_it():
    thread = [user(), asking("a"), result("another"), asking("b"), result("b")]
    assert left(thread, 45, 0.9) == [user(), asking("b"), result("b")]


def test_what_lies_between_a_call_and_its_late_result_stays_or_goes_with_both():
    late = [asking("a", "b"), result("a"), user("wait"), result("b")]
    thread = [user("0"), said(), user("and?"), *late, user("1"), said(), user("last")]
    assert left(thread, 100) == thread
    assert left(thread, 89) == [user("0"), said(), user("1"), said(), user("last")]


@pytest.mark.parametrize(
    "thread",
    [
        [],
        [result("nobody")],
        [said(), said()],
        [user(), asking("open")],
        [result("cut"), said(), user(), result("stray"), user()],
    ],
)
def test_a_thread_that_came_in_half_is_no_more_broken_than_before(thread):
    before, after = orphaned(thread), orphaned(left(thread, 1))
    assert after[0] <= before[0] and after[1] <= before[1]


def test_rules_in_the_middle_stay():
    thread = [user(), said(), user(), {"role": "developer", "content": "Now in French."}, said(), user("last")]
    assert thread[3] in left(thread, 1)


def test_a_thread_fits_if_what_always_stays_does():
    assert fits(chat(9), [EACH] * 20, 40) and not fits(chat(9), [EACH] * 20, 39)


def test_a_thread_with_rules_in_every_turn_has_few_ranges_on_record_and_fits_by_no_more_than_those():
    """Attempts carry them from message to message: 16,000 ranges made a job too large to be stored."""
    turn = [user(), said(), {"role": "system", "content": ""}]
    thread = [user(), said(), *2000 * turn, user()]
    tokens = [5] * len(thread)
    ranges = cut(thread_of(thread), tokens, 1000, 0.6)
    assert len(ranges) == MOST_RANGES
    left = 5 * len(without(thread, ranges))
    assert fits(thread, tokens, left) and not fits(thread, tokens, left - 1)

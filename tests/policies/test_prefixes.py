"""The prefix plan: laws that hold for any tree of chats, and an example in figures."""

from __future__ import annotations

import random
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.prefix_cache import Prompt, most_saved_blocks, prompt_of, saved_blocks
from policies.prefixes import BATCH_ROWS, BOUNDARIES, RUN_TOKENS, planned_order, prefix_keys, routing_key
from policies.rules.sections import Estimates

ESTIMATES = Estimates(characters_per_token=4, tokens_per_image=0, output_tokens=256)
SEGMENT = 128
BLOCK = 16

paths = st.lists(st.integers(0, 2), max_size=3).map(tuple)
trees = st.lists(st.tuples(paths, st.integers(0, 200), st.integers(1, 300)), min_size=1, max_size=60)


def chat(path=(), own="", answer=10, **more):
    """Return a chat whose system prompt begins with a segment for each part of the path; then comes its own text."""
    common = "".join(chr(ord("a") + part) * SEGMENT for part in path)
    return {"messages": [{"role": "system", "content": f"{common}{own}"}], "max_tokens": answer, **more}


def chats(tree):
    return [chat(path, f"<{row}>{'.' * length}", answer) for row, (path, length, answer) in enumerate(tree)]


def order_of(requests):
    return list(planned_order(requests, ESTIMATES))


def prompts(requests) -> list[Prompt]:
    """A character is a token here, so that a cache's blocks of 16 lie on the boundaries."""
    return [
        prompt_of([ord(character) for character in "system\n" + each["messages"][0]["content"]], 1, BLOCK)
        for each in requests
    ]


@given(trees)
def test_a_plan_has_every_row_once(tree):
    assert sorted(order_of(chats(tree))) == list(range(len(tree)))


@given(trees)
def test_rows_that_begin_alike_follow_each_other_at_every_depth(tree):
    requests = chats(tree)
    ordered = [prefix_keys(requests[row]) for row in order_of(requests)]
    for depth in range(len(BOUNDARIES)):
        keys = [keys[depth] if depth < len(keys) else None for keys in ordered]
        starts = [key for before, key in pairwise([None, *keys]) if key != before and key is not None]
        assert len(starts) == len(set(starts)), f"a group is in pieces at {BOUNDARIES[depth]} bytes"


@given(trees, st.integers(1, 8))
def test_in_this_order_a_cache_that_holds_one_more_than_runs_computes_nothing_twice(tree, at_once):
    requests = chats(tree)
    planned = prompts(requests[row] for row in order_of(requests))
    longest = max(prompt.blocks for prompt in planned)
    assert saved_blocks(planned, longest * (at_once + 1), at_once) == most_saved_blocks(planned)


@given(st.integers(1, 100), st.integers(1, 50))
def test_a_file_without_a_common_beginning_keeps_its_order(rows, answer):
    assert order_of(chat(own=f"{row}{'.' * 100}", answer=answer) for row in range(rows)) == list(range(rows))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=160))
def test_no_micro_batch_of_a_run_has_all_the_long_answers(answers):
    requests = chats([((0,), 0, answer) for answer in answers])
    assert sum(answers) + len(answers) * 40 < RUN_TOKENS, "all are one run"
    lengths = [answers[row] for row in order_of(requests)]
    batches = -(-len(lengths) // BATCH_ROWS)
    sizes = [len(lengths[batch::batches]) for batch in range(batches)]
    dealt = [[lengths.pop(0) for _ in range(size)] for size in sizes]
    assert max(map(sum, dealt)) - min(map(sum, dealt)) <= max(answers)
    if len(set(answers)) > 1:
        assert all(batch == sorted(batch, reverse=True) for batch in dealt)


@given(st.lists(st.integers(1, RUN_TOKENS), min_size=1, max_size=100))
def test_mixing_moves_a_row_no_further_than_a_cache_holds(answers):
    requests = chats([((0,), 0, answer) for answer in answers])
    order = order_of(requests)
    for place, row in enumerate(order):
        passed = [other for other in order[:place] if other > row]
        assert sum(answers[other] for other in passed) <= RUN_TOKENS


@settings(max_examples=20)
@given(trees)
def test_a_plan_depends_on_the_rows_of_its_file_alone(tree):
    requests = chats(tree)
    twins = [dict(reversed(request.items())) for request in requests]
    assert order_of(requests) == order_of(twins)


def test_groups_come_as_they_first_appear():
    requests = [chat((part,), f"<{row}>") for row, part in enumerate([2, 0, 1, 0, 2, 1, 0])]
    assert order_of(requests) == [0, 4, 1, 3, 6, 2, 5]


def test_a_shuffled_file_of_many_templates_saves_little_in_a_small_cache_and_all_in_the_planned_order():
    rows = [
        chat(own=f"{'Team'} {team} has done a great deal this week. " + "." * 200 + f" Thank {person}.")
        for team in range(100)
        for person in range(10)
    ]
    random.Random(0).shuffle(rows)
    planned = prompts(rows[row] for row in order_of(rows))
    most, room = most_saved_blocks(planned), 16 * 40
    assert saved_blocks(prompts(rows), room, 8) < 0.5 * most
    assert saved_blocks(planned, room, 8) == most


def test_rows_for_different_models_are_never_a_group():
    rows = [chat((0,), f"<{row}>", model=("llama-8b", "llama-70b")[row % 2]) for row in range(4)]
    assert order_of(rows) == [0, 2, 1, 3]


def test_tools_are_read_before_the_messages():
    def asked(name, own):
        tools = [{"type": "function", "function": {"name": name, "description": "." * 100}}]
        return chat(own=own + "!" * 100, tools=tools)

    assert order_of([asked("one", "a"), asked("two", "a"), asked("one", "b"), asked("two", "b")]) == [0, 2, 1, 3]


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "t" * 200}],
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 200}}],
        "\ud800" * 200,
        "é" * 200,
    ],
    ids=["parts", "image", "lone surrogate", "two bytes a character"],
)
def test_any_content_has_keys(content):
    one, other = ({"messages": [{"role": "user", "content": content}], "seed": seed} for seed in (1, 2))
    assert prefix_keys(one) == prefix_keys(other) != []


def test_keys_are_the_same_in_every_process_so_that_another_runner_goes_on_in_the_same_order():
    assert prefix_keys(chat((0,), "b")) == [1628596632, 1677767122, 2124017678]


def test_a_short_chat_goes_to_any_replica_and_a_long_one_where_its_group_goes():
    assert routing_key(chat((0,), "short")) is None
    assert routing_key(chat((0, 1), "this")) == routing_key(chat((0, 1), "that")) is not None
    assert routing_key(chat((0, 1), "this")) != routing_key(chat((0, 2), "this"))


def test_an_empty_plan_orders_nothing():
    assert order_of([]) == []


def test_a_plan_keeps_keys_and_no_texts():
    rows = 1_000

    def file():
        for row in range(rows):
            yield chat(own=f"{row}" + "." * 20_000)
        held.append(tracemalloc.get_traced_memory()[0])

    held: list[int] = []
    tracemalloc.start()
    try:
        planned_order(file(), ESTIMATES)
    finally:
        tracemalloc.stop()
    assert held[0] < 120 * rows

"""The model of vLLM's prefix cache: what it knows of a block, and that nothing saves more than the maximum."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.prefix_cache import most_saved_blocks, prompt_of, saved_blocks

BLOCK = 2

prompts = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=9), min_size=1, max_size=12).map(
    lambda tokens: [prompt_of(each, 1, BLOCK) for each in tokens]
)


def of(text: str, answer: int = 1):
    return prompt_of([ord(character) for character in text], answer, BLOCK)


@given(prompts, st.integers(10, 60), st.integers(1, 5))
def test_no_order_saves_more_than_the_maximum(prompts, blocks, at_once):
    assert 0 <= saved_blocks(prompts, blocks, at_once) <= most_saved_blocks(prompts)


@given(prompts)
def test_the_shortest_first_in_a_large_cache_reach_the_maximum(prompts):
    by_length = sorted(prompts, key=lambda prompt: (len(prompt.keys), prompt.reusable))
    assert saved_blocks(by_length, 1_000, 1) == most_saved_blocks(prompts)


@given(prompts, st.integers(1, 5))
def test_every_block_is_given_back(prompts, at_once):
    longest = max(prompt.blocks for prompt in prompts)
    again = prompts * 3
    assert saved_blocks(again, longest * at_once, at_once) >= 0, "nothing is stuck"


@pytest.mark.parametrize(
    ("texts", "saved"),
    [
        (["abcdX", "abcdY"], 2),  # ab, cd
        (["abcd", "abcd"], 1),  # the last token is computed in any case, and with it its block
        (["abcX", "abcY"], 1),  # only full blocks count
        (["Xbcd", "Ybcd"], 0),  # a block is known by all that comes before it, too
    ],
)
def test_what_a_second_prompt_saves(texts, saved):
    assert saved_blocks(map(of, texts), 100, 2) == saved
    assert most_saved_blocks(map(of, texts)) == saved


def test_the_block_that_nobody_used_for_longest_goes_first_and_of_a_request_the_last():
    first, second = of("abcdefX"), of("ghX")
    assert first.blocks == 4 and second.blocks == 2
    # Four blocks hold one request. The second needs two: the first loses the one of its answer, and then "ef".
    assert saved_blocks([first, second, first], 4, 1) == 2


def test_a_prompt_that_fits_no_cache_is_an_error():
    with pytest.raises(ValueError, match="3 blocks does not fit into 2"):
        saved_blocks([of("abcdX")], 2, 1)

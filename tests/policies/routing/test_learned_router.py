"""Applying a router that is already fitted, and what it sees in a text."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hand_made_router import CHARS, WIDTH, by_hand
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.errors import ConfigError
from fleet.model.router import Router, from_plain, to_plain
from policies.features.answer import ANSWER_FEATURES, answer_features
from policies.features.prompt import LONGEST, PROMPT_FEATURES, prompt_features, words
from policies.routing.learned_router import read, suffices

of_answers = replace(
    by_hand,
    reads_answer=True,
    features=PROMPT_FEATURES + ANSWER_FEATURES,
    **{
        name: getattr(by_hand, name) + (filler,) * len(ANSWER_FEATURES)
        for name, filler in (("means", 0.0), ("scales", 1.0), ("linear", 0.0), ("lowest", 0.0), ("highest", 60.0))
    },
)


def sigmoid(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


@pytest.mark.parametrize(
    ("text", "log_odds"),
    [
        ("prove", -1.0),
        ("Prove! PROVE?", -1.0),
        ("hello", 1.0),
        ("hello prove", -(2.0 - 1.0) / math.sqrt(5.0)),
        ("hello prove prove", -(2.0 * (1 + math.log(2)) - 1.0) / math.hypot(2.0 * (1 + math.log(2)), 1.0)),
    ],
)
def test_words_count_as_sublinear_tf_idf_of_unit_length(text: str, log_odds: float) -> None:
    assert suffices(by_hand, text) == pytest.approx(sigmoid(log_odds))


def test_a_tree_sends_small_values_left_and_the_forest_is_a_mean() -> None:
    tall = replace(by_hand, blend=(0.0, 0.0, 1.0), trees=(*by_hand.trees, 3.0))

    assert suffices(tall, "hello") == pytest.approx(sigmoid((-1.0 + 3.0) / 2))
    assert suffices(tall, "hello hello hello hello") == pytest.approx(sigmoid((1.0 + 3.0) / 2))


def test_the_line_does_not_extrapolate() -> None:
    steep = replace(
        by_hand,
        blend=(0.0, 1.0, 0.0),
        linear=tuple(float(place == CHARS) for place in range(WIDTH)),
        highest=(999.0,) * WIDTH,
    )

    assert suffices(steep, "hello " * 100) == suffices(steep, "hello " * 200) == pytest.approx(sigmoid(3.0))


@pytest.mark.parametrize("text", ["", "  \n", "?!", "one stranger hello", "prove " * 12_000])
def test_a_text_unlike_the_training_gets_no_verdict(text: str) -> None:
    narrow = replace(by_hand, highest=(9.0,) * WIDTH)

    assert suffices(narrow, text) is None
    assert 0.0 <= read(narrow, text).suffices <= 1.0


def test_half_of_the_words_known_is_enough_when_half_is_asked_for() -> None:
    assert suffices(by_hand, "hello stranger") is not None


@pytest.mark.parametrize(("router", "answer"), [(by_hand, "42"), (of_answers, None)])
def test_an_answer_goes_to_exactly_the_routers_that_read_answers(router: Router, answer: str | None) -> None:
    with pytest.raises(ValueError, match="answer"):
        suffices(router, "hello", answer)


def test_a_router_survives_json() -> None:
    assert from_plain(json.loads(json.dumps(to_plain(by_hand)))) == by_hand


@pytest.mark.parametrize(
    ("drop", "add", "field"), [("terms", {}, "router.terms"), (None, {"wings": 2}, "router.wings")]
)
def test_a_router_with_missing_or_unknown_fields_is_refused_by_name(
    drop: str | None, add: dict[str, int], field: str
) -> None:
    values = {name: value for name, value in to_plain(by_hand).items() if name != drop} | add

    with pytest.raises(ConfigError) as refused:
        from_plain(values)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("feature", "text", "value"),
    [
        ("log_chars", "abc", 3),
        ("log_lines", "a\nb\nc", 2),
        ("log_sentences", "It rains. Does it? 3.5 is no end", 2),
        ("log_not_ascii", "na\u00efve caf\u00e9", 2),
        ("log_numbers", "3 apples, 1,200.50 pears", 2),
        ("log_largest_number", "3 apples, 1,200.50 pears", 1200.5),
        ("log_largest_number", "9" * 400, 1e15),
        ("log_distinct_numbers", "3 and 3 and 4", 2),
        ("log_decimals", "$5.00 and 3.5 and 7", 2),
        ("log_chars_before_options", "Which?\nA. this\nB. that one", 7),
        ("log_mean_option_chars", "Which?\nA. this\nB. that one", 6),
        ("log_option_spread", "Which?\nA. this\nB. that one", 4),
        ("log_operators", "a + b = c", 2),
        ("log_negations", "Which is NOT false?", 2),
        ("log_quantities", "Half of each", 2),
        ("log_persons", "She gave me his", 3),
    ],
)
def test_a_feature_counts_what_its_name_says(feature: str, text: str, value: float) -> None:
    assert prompt_features(text, words(text))[PROMPT_FEATURES.index(feature)] == pytest.approx(math.log1p(value))


@pytest.mark.parametrize(
    ("feature", "answer", "value"),
    [
        ("log_right_equations", "2+3=5 and 2+2=5", math.log(2)),
        ("log_wrong_equations", "2+3=5 and 2+2=5", math.log(2)),
        ("given_numbers_used", "2 apples", 0.5),
        ("has_final_marker", "#### 5", 1.0),
        ("has_final_marker", "The answer is 5", 1.0),
        ("final_is_bare_number", "#### $1,500", 1.0),
        ("final_is_bare_number", "#### 90 cents", 0.0),
        ("final_is_whole", "#### 12.25", 0.0),
        ("final_was_given", "so it stays 2", 1.0),
        ("final_is_last_result", "1+4=5\n#### 5", 1.0),
        ("final_is_last_result", "1+4=5\n#### 6", 0.0),
        ("final_is_negative", "#### -3", 1.0),
        ("ends_in_number", "so 3. ", 1.0),
        ("log_hedges", "However, I assume", math.log(3)),
    ],
)
def test_an_answer_feature_says_what_its_name_says(feature: str, answer: str, value: float) -> None:
    found = answer_features("Ada has 2 apples and 3 pears", answer)

    assert found[ANSWER_FEATURES.index(feature)] == pytest.approx(value)


@given(st.text(), st.text())
def test_every_text_has_finite_features_and_a_chance(question: str, answer: str) -> None:
    prompt, both = prompt_features(question, words(question)), answer_features(question, answer)

    assert (len(prompt), len(both)) == (len(PROMPT_FEATURES), len(ANSWER_FEATURES))
    assert all(math.isfinite(value) for value in prompt + both)
    assert 0.0 <= read(of_answers, question, answer).suffices <= 1.0


def test_what_comes_after_the_longest_text_changes_nothing() -> None:
    text = "hello 5. " * (LONGEST // 9 + 1)

    assert read(by_hand, text) == read(by_hand, text + "prove 7!")

"""The lexical guard objects to what makes two questions different, and to nothing that is only said otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.caching.guard import Conflict, conflict
from policies.caching.words import exchanged, overlap, spelled_alike, words_of

DIFFERENT = [
    (Conflict.NUMBER, "Order 48213 is late", "Order 48231 is late"),
    (Conflict.NUMBER, "A room for two", "A room for three"),
    (Conflict.NUMBER, "Move 2 of 5 files", "Move 5 of 2 files"),
    (Conflict.NUMBER, "The code is A7-40", "The code is A7-41"),
    (Conflict.DATE, "Are you open on Monday?", "Are you open on Friday?"),
    (Conflict.DATE, "Remind me tomorrow", "Remind me today"),
    (Conflict.UNIT, "Is 5 km far?", "Is 5 miles far?"),
    (Conflict.UNIT, "Pay 20 €", "Pay 20 $"),
    (Conflict.NEGATION, "Why is it charged?", "Why isn't it charged?"),
    (Conflict.NEGATION, "A cake with no nuts", "A cake with nuts"),
    (Conflict.OPPOSITE, "Turn the lamp on", "Turn the lamp off"),
    (Conflict.OPPOSITE, "How do I mute it?", "How do I unmute it?"),
    (Conflict.OPPOSITE, "Is it refundable?", "Is it non-refundable?"),
    (Conflict.NAME, "How do I reach Ada?", "How do I reach Bea?"),
    (Conflict.ROLE, "Fly from Oslo to Rome", "Fly from Rome to Oslo"),
    (Conflict.QUESTION, "When does it close?", "Why does it close?"),
]
SAME = [
    ("Are you open on Monday?", "are you OPEN on monday"),
    ("A room for two, please", "A room for 2"),
    ("Pay £20", "Pay 20 pounds"),
    ("What is the price of a tent?", "How much is a tent?"),
    ("I can't log in", "I cannot log in"),
    ("Move the files from here to there", "Move the files from here to there, thanks"),
    ("The 3rd of May", "The third of May"),
    ("WHERE IS THE KEY?", "Where is the key?"),
]


@pytest.mark.parametrize(("why", "one", "other"), DIFFERENT, ids=lambda value: str(value)[:24])
def test_it_objects_whichever_is_cached(why: Conflict, one: str, other: str) -> None:
    assert conflict(words_of(one), words_of(other)) is why
    assert conflict(words_of(other), words_of(one)) is not None


@pytest.mark.parametrize(("one", "other"), SAME)
def test_it_lets_the_same_question_pass(one: str, other: str) -> None:
    assert conflict(words_of(one), words_of(other)) is None


@given(st.text(max_size=60))
def test_no_text_conflicts_with_itself(text: str) -> None:
    words = words_of(text)
    assert (conflict(words, words), exchanged(words, words), overlap(words, words)) == (None, False, 1.0)


def test_a_word_for_another_is_an_exchange_and_a_slip_or_an_addition_is_none() -> None:
    asked = words_of("How do I wash a sweater?")
    assert exchanged(asked, words_of("How do I wash a blanket?"))
    assert not exchanged(asked, words_of("How do I wash a swaeter?"))
    assert not exchanged(asked, words_of("How do I wash a wool sweater?"))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("password", "pasword", True),
        ("password", "passwrod", True),
        ("password", "passward", True),
        ("lend", "send", False),
        ("hosting", "posting", False),
        ("refund", "refunds", True),
        ("austria", "australia", False),
    ],
)
def test_a_slip_is_one_letter_of_a_long_word(one: str, other: str, alike: bool) -> None:
    assert spelled_alike(one, other) is alike
    assert spelled_alike(other, one) is alike


def test_long_questions_with_other_words_are_told_apart_by_comparing_few_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tenant who writes 250 words that nobody else does held the event loop for 80 ms."""
    compared = []
    monkeypatch.setattr("policies.caching.words.spelled_alike", lambda *pair: compared.append(pair) or False)
    letters = "abcdefghijklmnopqrstuvwxyz"
    texts = [" ".join(one + other + end for one in letters[:10] for other in letters) for end in ("qzx", "vkj")]
    assert exchanged(*map(words_of, texts))
    assert len(compared) < 100

"""The index finds the nearest questions, whatever was added, replaced, removed or displaced before."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fleet.embedding.encoder import unit
from fleet.embedding.index import QuestionIndex
from fleet.model.caching import CachedQuestion, Question

VECTORS = unit(np.random.default_rng(7).normal(size=(40, 8)))


def question(number: int) -> CachedQuestion:
    return CachedQuestion(Question("acme", "faq", f"question {number}"), f"e{number}", f"a{number % 3}")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 39)), max_size=80), st.integers(1, 8))
def test_it_finds_what_comparing_with_all_of_them_finds(steps: list[tuple[bool, int]], count: int) -> None:
    index, present = QuestionIndex(8, bound=100), set[int]()
    for added, number in steps:
        if added:
            index.add(question(number), VECTORS[number])
            present.add(number)
        else:
            index.remove(f"e{number}")
            present.discard(number)
    asked = VECTORS[0]
    wanted = sorted((-float(VECTORS[number] @ asked), f"e{number}") for number in present)[:count]
    found = [(each.entry, each.cosine) for each in index.nearest(asked, count)]
    assert len(index) == len(present)
    assert {entry for entry, _ in found} == {entry for _, entry in wanted}
    assert [round(cosine, 5) for _, cosine in found] == [round(-height, 5) for height, _ in wanted]


def test_a_full_index_forgets_the_oldest_question() -> None:
    index = QuestionIndex(8, bound=3)
    for number in range(5):
        index.add(question(number), VECTORS[number])
    assert len(index) == 3
    assert {each.entry for each in index.nearest(VECTORS[0], 9)} == {"e2", "e3", "e4"}


def test_an_entry_that_is_added_again_is_replaced() -> None:
    index = QuestionIndex(8, bound=3)
    index.add(question(1), VECTORS[1])
    index.add(CachedQuestion(Question("acme", "faq", "other words"), "e1", "a9"), VECTORS[2])
    [found] = index.nearest(VECTORS[2], 5)
    assert (found.text, found.answer, round(found.cosine, 5)) == ("other words", "a9", 1.0)


def test_an_empty_index_has_no_neighbours() -> None:
    assert list(QuestionIndex(8, bound=3).nearest(VECTORS[0], 5)) == []


def test_an_index_takes_no_more_than_twice_what_its_questions_need() -> None:
    """A system prompt with a name or a date in it makes a scope, and an index, of nearly every request."""
    for count in (1, 5):
        index = QuestionIndex(8, bound=100)
        for number in range(count):
            index.add(question(number), VECTORS[number])
        assert index._vectors.nbytes <= 2 * count * VECTORS[0].nbytes

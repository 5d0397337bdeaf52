"""Questions are found within their tenant and task, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from fleet.embedding.encoder import unit
from fleet.embedding.nearest import EmbeddedQuestions
from fleet.model.caching import CachedQuestion, Question
from fleet.ports import NearestQuestions


class Letters:
    """Counts letters, and remembers how many texts it encoded."""

    encoded = 0

    def encode(self, texts):
        self.encoded += len(texts)
        return unit(np.array([[text.count(chr(97 + n)) for n in range(26)] for text in texts]) + 1e-3)


@pytest.fixture
def questions() -> Iterator[EmbeddedQuestions]:
    found = EmbeddedQuestions(Letters(), "letters", bound=2)
    yield found
    found.close()


def asked(text: str, tenant: str = "acme", scope: str = "faq") -> Question:
    return Question(tenant, scope, text)


def cached(entry: str, text: str, **of: str) -> CachedQuestion:
    return CachedQuestion(asked(text, **of), entry, "a1")


async def test_no_tenant_and_no_scope_sees_the_questions_of_another(questions: EmbeddedQuestions) -> None:
    await questions.add([cached("e1", "where is the key")])
    port: NearestQuestions = questions
    text = "where is the key"
    [found], *others = await port.nearest([asked(text), asked(text, "globex"), asked(text, scope="mail")], 5)
    assert (found.entry, found.answer, round(found.cosine, 5)) == ("e1", "a1", 1.0)
    assert [list(each) for each in others] == [[], []]


async def test_each_tenant_has_its_own_bound(questions: EmbeddedQuestions) -> None:
    await questions.add([cached(f"e{number}", "abc" * (number + 1)) for number in range(5)])
    await questions.add([cached("g", "abc", tenant="globex")])
    ours, others = await questions.nearest([asked("abc"), asked("abc", "globex")], 9)
    assert {each.entry for each in ours} == {"e3", "e4"}
    assert [each.entry for each in others] == ["g"]


async def test_a_removed_question_is_found_no_more_and_an_empty_index_encodes_nothing(
    questions: EmbeddedQuestions,
) -> None:
    await questions.add([cached("e1", "abc")])
    await questions.remove([cached("e1", "abc"), cached("e1", "abc", scope="nothing")])
    before = questions._encoder.encoded
    assert [list(each) for each in await questions.nearest([asked("abc")], 5)] == [[]]
    assert questions._encoder.encoded == before


async def test_a_text_without_a_vector_is_near_nothing_and_nothing_is_near_it(questions: EmbeddedQuestions) -> None:
    questions._encoder = Unread()
    await questions.add([cached("e1", "abc"), cached("e2", "unread")])
    found, none = await questions.nearest([asked("abc"), asked("unread")], 9)
    assert ([each.entry for each in found], list(none)) == (["e1"], [])


class Unread(Letters):
    """Cannot read one of the texts."""

    def encode(self, texts):
        return super().encode(texts) * np.array([[text != "unread"] for text in texts])

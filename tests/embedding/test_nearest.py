"""Questions are found within their tenant and task, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from fleet.embedding.encoder import unit
from fleet.embedding.index import CachedQuestion
from fleet.embedding.nearest import EmbeddedQuestions
from fleet.ports import NearestQuestions


class Letters:
    """Counts letters, and remembers how many texts it encoded."""

    encoded = 0

    def encode(self, texts):
        self.encoded += len(texts)
        return unit(np.array([[text.count(chr(97 + n)) for n in range(26)] for text in texts]) + 1e-3)


@pytest.fixture
def questions() -> Iterator[EmbeddedQuestions]:
    found = EmbeddedQuestions(Letters(), bound=2)
    yield found
    found.close()


async def test_no_tenant_and_no_task_sees_the_questions_of_another(questions: EmbeddedQuestions) -> None:
    await questions.add("acme", "faq", CachedQuestion("e1", "where is the key", "a1"))
    port: NearestQuestions = questions
    [found] = await port.nearest("acme", "faq", "where is the key", 5)
    assert (found.entry, found.answer, round(found.cosine, 5)) == ("e1", "a1", 1.0)
    assert list(await port.nearest("globex", "faq", "where is the key", 5)) == []
    assert list(await port.nearest("acme", "mail", "where is the key", 5)) == []


async def test_each_tenant_has_its_own_bound(questions: EmbeddedQuestions) -> None:
    for number in range(5):
        await questions.add("acme", "faq", CachedQuestion(f"e{number}", "abc" * (number + 1), "a"))
    await questions.add("globex", "faq", CachedQuestion("g", "abc", "a"))
    assert {each.entry for each in await questions.nearest("acme", "faq", "abc", 9)} == {"e3", "e4"}
    assert [each.entry for each in await questions.nearest("globex", "faq", "abc", 9)] == ["g"]


async def test_a_removed_question_is_found_no_more_and_an_empty_index_encodes_nothing(
    questions: EmbeddedQuestions,
) -> None:
    await questions.add("acme", "faq", CachedQuestion("e1", "abc", "a"))
    await questions.remove("acme", "faq", "e1")
    await questions.remove("acme", "nothing", "e1")
    before = questions._encoder.encoded
    assert list(await questions.nearest("acme", "faq", "abc", 5)) == []
    assert questions._encoder.encoded == before

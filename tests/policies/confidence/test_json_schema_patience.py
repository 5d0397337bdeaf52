"""A schema as wide as a job allows, and an answer as long as a model gives: judging it comes to an end soon."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policies.confidence.json_schema import MAX_STEPS, violates


class Counted(list[Any]):
    """A list that counts how many of its members were looked at."""

    looks = 0

    def __iter__(self) -> Iterator[Any]:
        for member in super().__iter__():
            self.looks += 1
            yield member


def test_branches_times_items_are_tried_no_longer_than_the_patience_lasts() -> None:
    branches = Counted([{"const": 1}] * 30_000 + [{"const": 2}])

    assert not violates([2] * 2_000, {"items": {"anyOf": branches}})
    assert branches.looks < 2 * MAX_STEPS


def test_a_list_of_words_longer_than_the_patience_is_not_judged() -> None:
    assert not violates("other", {"enum": ["word"] * (MAX_STEPS + 1)})
    assert violates("other", {"enum": ["word"] * 1_000})


def test_what_ends_the_patience_lets_the_answer_through() -> None:
    wide = {"anyOf": [{"const": 1}] * (MAX_STEPS + 1)}

    assert not violates(2, wide)
    assert violates(2, {"anyOf": [{"const": 1}] * 1_000})

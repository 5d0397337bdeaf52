"""Values without a runtime guard are built as a frozen dataclass would build them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from fleet.model.unguarded import unguarded


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    notes: dict[str, str] = field(default_factory=dict)
    limit: int | None = None


@unguarded
@dataclass(frozen=True, slots=True)
class Order(Terms):
    number: int
    size: float = 1.0
    double: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "double", 2 * self.size)


def test_fields_are_set_by_place_by_name_and_by_default() -> None:
    assert (Order(1).number, Order(1, 2.0).size, Order(number=3, limit=4).limit) == (1, 2.0, 4)
    assert Order(1, 2.5).double == 5.0


def test_made_defaults_are_each_ones_own() -> None:
    assert Order(1).notes == {}
    assert Order(1).notes is not Order(1).notes
    assert Order(1, notes={"a": "b"}).notes == {"a": "b"}


def test_equal_values_are_equal_and_hashed_alike_and_replace_makes_a_new_one() -> None:
    first = Order(1, limit=2)
    assert first == Order(1, limit=2) != replace(first, limit=3)
    assert first.limit == 2


@pytest.mark.parametrize("arguments", [(), (1, 2, 3)])
def test_wrong_arguments_are_a_type_error(arguments: tuple[int, ...]) -> None:
    with pytest.raises(TypeError):
        Order(*arguments)


def test_a_guarded_base_is_refused() -> None:
    @dataclass(frozen=True, slots=True)
    class Base:
        number: int = 0

    with pytest.raises(TypeError, match="a base class is guarded"):

        @unguarded
        @dataclass(frozen=True, slots=True)
        class Above(Base):
            size: int = 0

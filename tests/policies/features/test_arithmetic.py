"""The calculator that checks answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.features.arithmetic import LONGEST, MOST, Equation, equations, evaluate


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("3 x 4", 12.0),
        ("3 \u00d7 4", 12.0),
        ("9 \u00f7 2", 4.5),
        ("$2.50 * 8", 20.0),
        ("25% * 40", 10.0),
        ("1,000 - (2 + 3)", 995.0),
        ("-4 + 1", -3.0),
    ],
)
def test_people_write_arithmetic_in_several_ways(expression: str, value: float) -> None:
    assert evaluate(expression) == pytest.approx(value)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "1 +",
        "1/0",
        "2**9",
        "7//2",
        "0b10",
        "1if 1else 2",
        "__import__('os')",
        "a + 1",
        "(" * 90 + "1",
        "9" * (LONGEST + 1),
    ],
)
def test_anything_but_finite_arithmetic_has_no_value(expression: str) -> None:
    assert evaluate(expression) is None


@pytest.mark.parametrize(
    ("answer", "claims"),
    [
        ("So 3 x 3 = 9 dogs.", [(9.0, 9.0, True)]),
        ("It costs $2 + $3 = $<<2+3=5>>5.", [(5.0, 5.0, True), (5.0, 5.0, True)]),
        ("That is 4*5=21.", [(20.0, 21.0, False)]),
        ("A third: 10 / 3 = 3.33", [(10 / 3, 3.33, True)]),
        ("<<two+2=4>>", [(None, 4.0, False)]),
        ("Let x = 5 and y = 7.", []),
        ("No numbers = no claims", []),
    ],
)
def test_every_claim_of_an_answer_is_checked(answer: str, claims: list[tuple[float | None, float, bool]]) -> None:
    found = equations(answer)

    assert [(claim.right, claim.holds) for claim in found] == [(right, holds) for _, right, holds in claims]
    assert [claim.left for claim in found] == [pytest.approx(left) if left else None for left, _, _ in claims]


def test_piled_up_claims_are_not_all_checked() -> None:
    assert len(equations("1+1=2 " * (3 * MOST))) == MOST


@given(st.integers(-999, 999), st.integers(-999, 999), st.sampled_from("+-*"))
def test_right_sums_hold_and_wrong_ones_do_not(left: int, right: int, sign: str) -> None:
    truth = float(eval(f"({left}){sign}({right})"))

    assert Equation(evaluate(f"({left}){sign}({right})"), truth).holds
    assert not Equation(evaluate(f"({left}){sign}({right})"), truth + 0.02 * abs(truth) + 1).holds

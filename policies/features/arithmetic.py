"""A calculator for the arithmetic that people write in answers: 3 x 4, $2.50 * 8, 25% * 40."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, pairwise

LONGEST = 120
"""Maximum characters of an expression; longer ones are not arithmetic a person wrote."""
MOST = 50
"""Maximum claims checked: an answer that piles up more is no likelier to be right, only dearer to check."""
_TOLERANCE = 0.011
"""Tolerance of a result: money is rounded to cents, and a third to 0.33."""

_CHARACTERS = "0123456789.,$%()+-*/x\u00d7\u00f7 "
_OPERATORS = frozenset("+-*/x\u00d7\u00f7")
_STARTS = frozenset("0123456789($-")
_ENDS = frozenset("0123456789)%")
_ARITHMETIC = frozenset("0123456789.()+-*/")
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)%")
_WRITTEN = str.maketrans({"x": "*", "\u00d7": "*", "\u00f7": "/", ",": None, "$": None, " ": None})
_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_ANNOTATION = re.compile(r"<<([^<>=]{1,120})=([^<>=]{1,40})>>")
_RESULT = re.compile(r"[ $]*(-?[0-9][0-9,]*(?:\.[0-9]+)?)")


@dataclass(frozen=True, slots=True)
class Equation:
    """A claim of an answer: `left` = `right`. `left` is None where it cannot be computed."""

    left: float | None
    right: float

    @property
    def holds(self) -> bool:
        """True if the claim is right, rounded as people do: up to 1.1 % of the value, or 0.011."""
        return self.left is not None and abs(self.left - self.right) <= _TOLERANCE * max(1.0, abs(self.left))


def equations(answer: str) -> list[Equation]:
    """Return the first MOST claims `expression = number`: <<expression=number>> annotations, then the plain text."""
    plain = _ANNOTATION.sub("", answer)
    annotated = ((left, _RESULT.match(right)) for left, right in _ANNOTATION.findall(answer))
    claims = islice(chain(annotated, _written(plain)), MOST)
    return [Equation(evaluate(left), float(right[1].replace(",", ""))) for left, right in claims if right]


def evaluate(expression: str) -> float | None:
    """Return the value of numbers joined by + - x / and brackets; None for anything else, or if not finite."""
    text = _PERCENT.sub(r"(\1/100)", expression.translate(_WRITTEN))
    if len(text) > LONGEST or not _ARITHMETIC.issuperset(text):
        return None
    try:
        value = _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError, MemoryError):
        return None
    return value if math.isfinite(value) else None


def _written(text: str) -> Iterator[tuple[str, re.Match[str] | None]]:
    """Yield (text left of an equals sign, number right of it) where the left is more than a number.

    The left side is found from its end without a pattern, in time linear in the text.
    """
    pieces = text.split("=")
    for before, after in pairwise(pieces):
        tail = before[-LONGEST:]
        left = tail[len(tail.rstrip(_CHARACTERS)) :].strip(" .,")
        if any(sign in _OPERATORS for sign in left[1:]) and left[0] in _STARTS and left[-1] in _ENDS:
            yield left, _RESULT.match(after)


def _value(node: ast.expr) -> float:
    """Compute an expression. Raises: ValueError for anything but arithmetic."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
            return _BINARY[type(sign)](_value(left), _value(right))
        case _:
            raise ValueError(ast.dump(node)[:LONGEST])

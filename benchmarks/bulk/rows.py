"""The rows of the file, what each is answered, and a digest of lines that no order changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

ENDPOINT: Final = "/v1/chat/completions"
ROWS_PER_PIECE = 5_000


def content_of(rows: int) -> Iterator[tuple[bytes, int]]:
    """Yield a file of so many rows in pieces, each with its number of rows."""
    for start in range(0, rows, ROWS_PER_PIECE):
        numbers = range(start, min(rows, start + ROWS_PER_PIECE))
        yield b"".join(_line(number) for number in numbers), len(numbers)


def _line(number: int) -> bytes:
    body = {"model": "auto", "messages": [{"role": "user", "content": prompt(number)}]}
    row = {"custom_id": f"row-{number}", "method": "POST", "url": ENDPOINT, "body": body}
    return json.dumps(row).encode() + b"\n"


def prompt(number: int) -> str:
    return f"Write a line to employee {number}, who has helped {number % 89} colleagues this month."


def answer_to(prompt: str) -> str:
    """Return the answer of the instant model, another one for each prompt."""
    return hashlib.blake2b(prompt.encode(), digest_size=8).hexdigest()


class LinesDigest:
    """A digest of lines in any order: it says whether the same lines are there as often."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0

    def add(self, custom_id: str, answer: str | None) -> None:
        self.count += 1
        digest = hashlib.blake2b(f"{custom_id}\n{answer}".encode(), digest_size=16).digest()
        self._sum = (self._sum + int.from_bytes(digest)) % 2**128

    def add_line(self, line: Mapping[str, Any]) -> None:
        """Add a line of the output."""
        response = line["response"]
        self.add(line["custom_id"], response and response["body"]["choices"][0]["message"]["content"])

    def __str__(self) -> str:
        return f"{self.count}-{self._sum:032x}"


def expected(rows: int) -> LinesDigest:
    """Return the digest of a file of which every row is answered once."""
    digest = LinesDigest()
    for number in range(rows):
        digest.add(f"row-{number}", answer_to(prompt(number)))
    return digest

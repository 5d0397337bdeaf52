"""Turns a valid message into a malformed one: by its bytes, and by its structure if it is JSON."""

from __future__ import annotations

import json
from random import Random
from typing import Any

MARK = "\x1amark\x1a"
"""Stands for a hostile token while the document around it is written; no seed holds it."""

NUMBERS = ("0", "-1", "1.5", "-0", "1e15", "1e308", "1e400", "-1e400", "NaN", "Infinity", "9007199254740993")
LONG_NUMBERS = ("9223372036854775808", "9" * 400, "9" * 4301, "1" + "0" * 310 + ".0")
TEXTS = ("", "a.b", "a b", "*", ">", "\\u0000", "\\ud800", "\\udc00x", "\\r\\n", "é", "x" * 300)
WORDS = ("2030-01-31", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "succeeded", "llama-8b")
NESTS = ("[]", "{}", "[[]]", '{"a":1,"a":2}', "[" * 199 + "]" * 199, "[" * 201 + "]" * 201)
HOSTILE = [*NUMBERS, *LONG_NUMBERS, *(f'"{text}"' for text in (*TEXTS, *WORDS)), *NESTS, "null", "true", "false"]
RAW = [
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\x00",
    b"\xef\xbb\xbf",
    b"\\u",
    b"\\ud800",
    b"1e400",
    b'"',
    b"[",
    b"{",
    b"]",
]


def mutate(data: bytes, random: Random) -> bytes:
    """Make one to four changes; the same `random` gives the same bytes."""
    for _ in range(random.randint(1, 4)):
        data = _restructured(data, random) if random.random() < 0.6 else _disturbed(data, random)
    return data


def _restructured(data: bytes, random: Random) -> bytes:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return _disturbed(data, random)
    places = list(_places(document))
    if not places:
        return random.choice(HOSTILE).encode()
    holder, key = random.choice(places)
    match random.randrange(6):
        case 0:
            del holder[key]
        case 1:
            _rename(holder, key, random)
        case 2:
            holder[key] = [holder[key], holder[key]]
        case 3:
            other_holder, other_key = random.choice(places)
            holder[key] = json.loads(json.dumps(other_holder[other_key]))
        case _:
            holder[key] = MARK
    text = json.dumps(document, ensure_ascii=random.random() < 0.5)
    return text.replace(json.dumps(MARK), random.choice(HOSTILE)).encode(errors="surrogatepass")


def _places(document: Any) -> Any:
    """Yield every (holder, key) in the document."""
    stack = [document]
    while stack:
        holder = stack.pop()
        if isinstance(holder, dict | list):
            for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
                yield holder, key
                stack.append(holder[key])


def _rename(holder: Any, key: Any, random: Random) -> None:
    if isinstance(holder, dict):
        holder[random.choice(["", "x", "schema", "id", "\x00", "a" * 300, f"{key}s"])] = holder.pop(key)
    else:
        holder.insert(random.randrange(len(holder) + 1), holder[key])


def _disturbed(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    match random.randrange(5):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + random.choice(RAW) + data[at:]
        case 2:
            return data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]
        case 3:
            return data[:at] + data[random.randrange(len(data) + 1) :]
        case _:
            return data[:at] + data[max(0, at - 20) : at] * random.choice([1, 2, 50]) + data[at:]

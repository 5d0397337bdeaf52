"""Leaves: what they hold of a line, and that an erased line has the same one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleet.receipts.leaves import ERASABLE, PUBLIC, commitment_of, genesis, leaf_of, origin_of

SALT = bytes(range(16))
BODY = b'{"schema":1,"id":"job-0123456789abcdef","tenant":"acme"}'


def row(**changed: Any) -> dict[str, Any]:
    names = {"tenant": "acme", "job_id": "job-0123456789abcdef", "line": "1"}
    columns: dict[str, Any] = dict.fromkeys((*PUBLIC, *ERASABLE)) | names
    columns |= {"seq": 7, "day": "2026-11-29", "at": 1.5, "cost_nano_usd": 120_000, "repeated": False, "task": "sum"}
    columns |= {"salt": SALT, "body": BODY}
    columns["commitment"] = commitment_of(SALT, columns, BODY)
    return columns | changed


def test_a_leaf_is_json_of_the_public_columns_that_are_not_null() -> None:
    leaf = json.loads(leaf_of(row()))
    commitment = leaf.pop("commitment")
    assert leaf == {
        "seq": 7, "day": "2026-11-29", "at": 1.5, "line": "1", "cost_nano_usd": 120_000, "repeated": False
    }  # fmt: skip
    assert commitment == row()["commitment"].hex()


def test_an_erased_line_has_the_leaf_it_had() -> None:
    erased = dict.fromkeys(ERASABLE) | {"tenant": "erased-1", "job_id": "erased-7"}
    assert leaf_of(row(**erased)) == leaf_of(row())


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "line"])
def test_every_public_column_changes_the_leaf(name: str) -> None:
    assert leaf_of(row(**{name: "other"})) != leaf_of(row())


@pytest.mark.parametrize("name", ["tenant", "job_id", "line"])
def test_the_commitment_covers_the_names_that_a_line_is_found_under(name: str) -> None:
    assert commitment_of(SALT, row(**{name: "other"}), BODY) != row()["commitment"]


def test_the_commitment_covers_salt_and_body() -> None:
    assert commitment_of(SALT, row(), BODY + b" ") != row()["commitment"]
    assert commitment_of(bytes(16), row(), BODY) != row()["commitment"]


def test_names_and_body_cannot_be_moved_into_each_other() -> None:
    names = row(tenant='a"', job_id="b\n")
    assert commitment_of(SALT, names, b"c") != commitment_of(SALT, row(tenant='a", "b\n'), b"c")


def test_a_negative_zero_is_a_zero() -> None:
    assert leaf_of(row(confidence=-0.0)) == leaf_of(row(confidence=0.0))


def test_logs_that_were_built_apart_share_neither_origin_nor_root() -> None:
    one, other = b"1" * 8, b"2" * 8
    assert origin_of("example.com/ledger", one) == "example.com/ledger/3131313131313131"
    assert origin_of("example.com/ledger", other) != origin_of("example.com/ledger", one)
    assert genesis(one).root != genesis(other).root
    assert genesis(one).size == 1

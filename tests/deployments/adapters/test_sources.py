"""Whose rows an adapter was trained on: found by whoever is erased, read by nobody."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from deployments.adapters.layout import SOURCES, read_adapter
from fleet.model.errors import ConfigError
from fleet.model.sources import Sources

SALT = b"0123456789abcdef"
ROWS = [("acme", "job-1", "p-ada"), ("globex", "job-2", None)]
MADE = Sources.of(ROWS, SALT)


@pytest.mark.parametrize(
    ("tenant", "person", "is_in"),
    [
        ("acme", None, True),
        ("globex", None, True),
        ("acme", "p-ada", True),
        (None, "p-ada", True),
        ("globex", "p-ada", False),
        ("initech", None, False),
        (None, "p-ben", False),
    ],
)
def test_a_tenant_or_a_person_is_found_among_the_sources(tenant: str | None, person: str | None, is_in: bool) -> None:
    assert MADE.has(tenant, person) is is_in
    assert Sources.from_json(MADE.to_json(), "x").has(tenant, person) is is_in


def test_a_job_is_found_in_its_tenant_alone() -> None:
    assert MADE.has_job("acme", "job-1")
    assert not MADE.has_job("globex", "job-1")
    assert not MADE.has_job("acme", "p-ada")


def test_no_name_stands_in_the_file_and_two_adapters_cannot_be_compared() -> None:
    text = MADE.to_json().decode()
    assert not any(name in text for name in ("acme", "job", "ada", "globex"))
    assert not MADE.marks & Sources.of(ROWS, SALT[::-1]).marks


def test_a_trained_adapter_keeps_its_sources_beside_it(trained: Path, tmp_path: Path) -> None:
    assert read_adapter(trained).sources is None  # chats that no export wrote
    copy = Path(shutil.copytree(trained, tmp_path / "copy"))
    (copy / SOURCES).write_bytes(MADE.to_json())
    read = read_adapter(copy)
    assert read.sources == MADE
    assert read.digest == read_adapter(trained).digest


@pytest.mark.parametrize("row", [[], {}, {"salt": "00", "sources": []}, {"salt": SALT.hex(), "sources": ["acme"]}])
def test_sources_that_no_training_wrote_are_refused(row: object) -> None:
    with pytest.raises(ConfigError, match=r"sources.json: must have"):
        Sources.from_json(json.dumps(row).encode(), "sources.json")

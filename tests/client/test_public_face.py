"""Everything a publisher needs comes from `fleet.client`."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import typing

import pytest

import fleet.client as face
from fleet.model import errors

AMONG_DISPATCHERS = {"Diet", "EngineTimes", "Headroom", "Hop", "Judged", "Near"}
"""What an attempt carries from one dispatcher to the next, and into the ledger. It means nothing to a publisher."""

NOT_FOR_PUBLISHERS = {
    "BackendUnavailable",
    "InvalidAdapter",
    "InvalidExperiment",
    "InvalidTurn",
    "InvalidWebhook",
    "LedgerUnavailable",
    "PartMissing",
}


def named(annotation: object) -> set[str]:
    """The fleet's own classes in an annotation."""
    found = {name for part in typing.get_args(annotation) for name in named(part)}
    if isinstance(annotation, type) and annotation.__module__.startswith("fleet."):
        found.add(annotation.__name__)
    return found


@pytest.mark.parametrize("name", face.__all__)
def test_every_part_of_a_public_value_is_public(name: str) -> None:
    public = getattr(face, name)
    if not (isinstance(public, type) and dataclasses.is_dataclass(public)):
        assert public is not None
        return
    parts = {part for hint in typing.get_type_hints(public).values() for part in named(hint)}
    assert parts - AMONG_DISPATCHERS <= set(face.__all__)


def test_every_error_a_publisher_may_see_is_public() -> None:
    raised = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert raised - NOT_FOR_PUBLISHERS <= set(face.__all__)


def test_the_public_names_are_sorted_and_there() -> None:
    assert face.__all__ == sorted(face.__all__)
    assert {name for name in face.__all__ if not hasattr(face, name)} == set()


def test_a_password_is_not_shown() -> None:
    assert "invented" not in repr(face.Credentials("tenant-acme", "invented"))


def test_importing_everything_public_loads_nothing_heavy() -> None:
    heavy = {"ray", "torch", "vllm", "numpy", "sklearn", "openai", "anthropic", "groq", "transformers", "typer"}
    code = f"import sys; from fleet.client import *; print(sorted({heavy!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


@pytest.mark.usefixtures("hasty_connections")
async def test_the_name_that_credentials_had_before_is_taken_with_a_warning() -> None:
    connecting = face.FleetClient.connect("nats://127.0.0.1:1", tenant="acme", login=face.Credentials())
    with (
        pytest.warns(DeprecationWarning, match="login is called credentials now") as warned,
        pytest.raises(face.QueueUnavailable),
    ):
        await connecting.__aenter__()
    assert [each.filename for each in warned] == [__file__]

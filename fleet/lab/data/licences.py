"""Whose answers may train which models, by a table that an operator can replace."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar

from pydantic import TypeAdapter

from fleet.lab.data.examples import Teacher
from fleet.settings.documents import named, read_document, shipped
from policies.rules.sections import STRICT, Strict

ANY = "any"


@dataclass(frozen=True, slots=True)
class Licence:
    """A row of the table: the answers of which provider and models, and what may be trained on them."""

    provider: str
    models: tuple[str, ...]
    licence: str
    destinations: tuple[str, ...]
    because: str

    __pydantic_config__: ClassVar[Strict] = STRICT

    def is_of(self, teacher: Teacher) -> bool:
        model = teacher.model.lower()
        return self.provider in ("*", teacher.provider) and any(fnmatchcase(model, each) for each in self.models)

    def allows(self, destination: str) -> bool:
        return ANY in self.destinations or destination in self.destinations


UNKNOWN = Licence("*", ("*",), "unknown", (), "No row of the table fits this provider and model.")


@dataclass(frozen=True, slots=True)
class Licences:
    """The table; the first row that fits an answer counts."""

    teachers: tuple[Licence, ...]

    __pydantic_config__: ClassVar[Strict] = STRICT

    def of(self, teacher: Teacher) -> Licence:
        return next((each for each in self.teachers if each.is_of(teacher)), UNKNOWN)


_TABLE = TypeAdapter(Licences)


def load_licences(path: Path | None) -> Licences:
    """Return the table of this file, or the shipped one. Raises: ConfigError that names the file, field and rule."""
    source = shipped("fleet.lab.data", "licences.yaml") if path is None else path
    document = read_document(source)
    return named(source, lambda: _TABLE.validate_python(document))

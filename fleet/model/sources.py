"""The sources of an adapter: whose rows it was trained on, kept so that an erasure finds it and nobody reads names.

Each tenant, person and job is kept as a salted hash: whoever has a name can ask for it, and nobody can list them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from fleet.model.errors import ConfigError

SALT_BYTES: Final = 16

_MARK = 32
"""Hex digits of a hash: 128 bits."""

Row = tuple[str, str, str | None]
"""The tenant, the job and the person, if any, that a row came of."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The hashes of all tenants, persons and jobs that rows came of, made with `salt`."""

    salt: bytes
    marks: frozenset[str]

    @classmethod
    def of(cls, rows: Iterable[Row], salt: bytes) -> Sources:
        """Return the sources of rows. Give each adapter a salt of its own, so that no two can be compared."""
        return cls(salt, frozenset(_mark(salt, *named) for row in rows for named in _named(*row)))

    def has(self, tenant: str | None, person: str | None) -> bool:
        """Return whether any row is of this tenant, of this person, or of this person in this tenant."""
        return _mark(self.salt, tenant, person, None) in self.marks

    def has_job(self, tenant: str, job_id: str) -> bool:
        """Return whether any row came of this job."""
        return _mark(self.salt, tenant, None, job_id) in self.marks

    def to_json(self) -> bytes:
        return json.dumps({"salt": self.salt.hex(), "sources": sorted(self.marks)}, indent=0).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Sources:
        """Read what `to_json` wrote. Raises: ConfigError that names `where`."""
        try:
            row = json.loads(data)
            salt, marks = bytes.fromhex(row["salt"]), frozenset(row["sources"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ConfigError(where, "must have a `salt` and `sources`, as a training writes them") from None
        if len(salt) != SALT_BYTES or not all(isinstance(each, str) and len(each) == _MARK for each in marks):
            raise ConfigError(where, f"must have a salt of {SALT_BYTES} bytes and hashes of {_MARK} hex digits")
        return cls(salt, marks)


def _named(tenant: str, job_id: str, person: str | None) -> Iterator[tuple[str | None, str | None, str | None]]:
    yield tenant, None, None
    yield tenant, None, job_id
    if person is not None:
        yield tenant, person, None
        yield None, person, None


def _mark(salt: bytes, tenant: str | None, person: str | None, job_id: str | None) -> str:
    named = json.dumps([tenant, person, job_id]).encode()
    return hmac.new(salt, named, hashlib.sha256).hexdigest()[:_MARK]

"""Keeps contents out of the store that were on their way to it while their tenant or person was erased.

For some days the store notes each erasure, as a salted hash of who was erased. The notes are deleted before they could
tell anybody more than that.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from hashlib import sha256

import sqlalchemy as sa
from sqlalchemy import Connection

from fleet.content.tables import erasures
from fleet.model.content import Content

SALT_BYTES = 16

CLOCKS_SECONDS = 60.0
"""Seconds after an erasure in which contents still count as erased: clocks differ, and answers take a moment."""

KEEP_SECONDS = 4 * 86_400.0
"""Seconds that an erasure is noted: the stream keeps contents for three days."""


def note(connection: Connection, tenant: str | None, person: str | None, at: float) -> None:
    """Note that a tenant, or a person of one tenant or of all, is erased at `at`."""
    erasures.create(connection, checkfirst=True)  # a store of an older version has no such table
    salt = secrets.token_bytes(SALT_BYTES)
    connection.execute(sa.insert(erasures).values(at=at, salt=salt, digest=_digest(salt, tenant, person)))


def not_erased(connection: Connection, found: Sequence[Content]) -> list[Content]:
    """Return the contents that no erasure meant."""
    noted = connection.execute(sa.select(erasures.c.at, erasures.c.salt, erasures.c.digest)).all()
    return [content for content in found if not any(_means(content, *each) for each in noted)]


def forget(connection: Connection, now: float) -> None:
    """Delete the notes of erasures that no content can be on its way from any more."""
    connection.execute(sa.delete(erasures).where(erasures.c.at < now - KEEP_SECONDS))


def _means(content: Content, at: float, salt: bytes, digest: bytes) -> bool:
    if content.at > at + CLOCKS_SECONDS:
        return False
    whom: list[tuple[str | None, str | None]] = [(content.tenant, None)]
    if content.person is not None:
        whom += [(content.tenant, content.person), (None, content.person)]
    return any(_digest(salt, *each) == digest for each in whom)


def _digest(salt: bytes, tenant: str | None, person: str | None) -> bytes:
    return sha256(salt + json.dumps([tenant, person]).encode()).digest()

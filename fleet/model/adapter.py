"""An adapter: a few weights beside a model of the fleet's own that teach it one task, and its versions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from fleet.model.unguarded import unguarded

ADAPTER_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""Pattern of an adapter's name: one subject token."""

ADAPTER_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
"""Pattern of what names a version for good: the SHA-256 over its configuration and tensors."""

ADAPTER_FILES: Final = ("adapter_config.json", "adapter_model.safetensors")
"""The files of a version in the layout of peft: configuration and tensors."""

ADAPTER_SOURCES: Final = "sources.json"
"""The file that says whose rows a version was trained on (`fleet.model.sources`), where anybody knows."""


ReadFiles = Callable[[str], Awaitable[Mapping[str, bytes] | None]]
"""Returns the files of the version of this digest by name; None if there are none."""


class Alias(StrEnum):
    """The names that move from version to version.

    STABLE answers jobs, CANDIDATE is on trial, and PREVIOUS is what was stable before: a roll-back makes it stable.
    """

    STABLE = "stable"
    CANDIDATE = "candidate"
    PREVIOUS = "previous"


@unguarded
@dataclass(frozen=True, slots=True)
class AdapterVersion:
    """A version of an adapter, which never changes.

    `base_digest` is of the model that it fits, `size` its files' bytes. `card` says how it was trained and on which
    data, where the fleet knows, and `evidence` what its gates found; None: nobody has tried it.
    """

    digest: str
    base_digest: str
    rank: int
    size: int
    registered_at: float
    card: Mapping[str, Any] | None = None
    evidence: Mapping[str, Any] | None = None


@unguarded
@dataclass(frozen=True, slots=True)
class RegisteredAdapter:
    """An adapter of `target` for jobs of some `tasks`, of some `tenants` (None: all of them).

    `versions` are in the order of registration; `aliases` name some of them by digest. `why` says what moved them last.
    Times are unix seconds.
    """

    name: str
    target: str
    tasks: frozenset[str]
    tenants: frozenset[str] | None = None
    versions: tuple[AdapterVersion, ...] = ()
    aliases: Mapping[Alias, str] = field(default_factory=dict)
    why: str | None = None
    changed_at: float = 0.0

    def version(self, digest: str) -> AdapterVersion | None:
        """Return the version of this digest."""
        return next((each for each in self.versions if each.digest == digest), None)

    def at(self, alias: Alias) -> AdapterVersion | None:
        """Return the version that an alias names."""
        return self.version(self.aliases.get(alias, ""))


def adapter_digest(files: Mapping[str, bytes]) -> str:
    """Return the digest of a version with these files: the SHA-256 over those of configuration and tensors."""
    return hashlib.sha256(b"".join(hashlib.sha256(files[name]).digest() for name in ADAPTER_FILES)).hexdigest()


@unguarded
@dataclass(frozen=True, slots=True)
class AdapterScope:
    """What may answer where an adapter is for: its stable version, and for jobs on trial any that an alias names."""

    stable: str | None
    named: frozenset[str]


@unguarded
@dataclass(frozen=True, slots=True)
class AdapterIndex:
    """The registered adapters as decisions look them up: by target, task, and tenant (None: all tenants).

    `named` are the digests that an alias of any of them names; no other may be relied on any more.
    """

    scopes: Mapping[tuple[str, str, str | None], AdapterScope] = field(default_factory=dict)
    named: frozenset[str] = frozenset()


NO_ADAPTERS: Final = AdapterIndex()

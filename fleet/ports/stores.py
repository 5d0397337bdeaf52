"""The seams of what is kept and looked up by a name."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Protocol

from fleet.model.adapter import RegisteredAdapter
from fleet.model.api_key import ApiKey
from fleet.model.cache_entry import CacheEntry, CacheKey
from fleet.model.caching import DisownedHit
from fleet.model.calibration import Calibration, CalibrationKey
from fleet.model.experiment import Experiment
from fleet.model.feedback import Feedback
from fleet.model.result import LedgerEntry
from fleet.model.turn import Turn


class ResponseStore(Protocol):
    """The records of one tenant's responses, by the ids of their jobs. Every method raises `QueueUnavailable`."""

    async def get(self, job_id: str) -> bytes | None:
        """Return the record, or None if there is none. Raises: InvalidJob if `job_id` cannot be an id."""

    async def put(self, job_id: str, record: bytes) -> None:
        """Store the record in place of any other."""

    async def delete(self, job_id: str) -> None:
        """Remove the record, if there is one."""


Disowned = tuple[str, Collection[str], DisownedHit | None]
"""An answer that a user calls bad: the tenant; the job named and those whose answer it got; and the hit, where the
semantic cache gave it."""


class CacheStore(Protocol):
    """The answers of all tenants that may be given again. `QueueUnavailable` comes where the broker does not answer."""

    async def put(self, entries: Sequence[CacheEntry]) -> None:
        """Keep the entries, each until it expires, in place of any other of its key."""

    async def drop(self, keys: Sequence[CacheKey]) -> None:
        """Drop the entries of these keys, for all who follow."""

    async def read_all(self, tenant: str | None = None) -> Sequence[CacheEntry]:
        """Return all entries that are kept, or those of one tenant."""

    def follow(self) -> AsyncIterator[Sequence[CacheEntry | CacheKey]]:
        """Yield all that is kept and then what changes, oldest first, across outages; a key alone is one dropped."""

    def disowned(self) -> AsyncIterator[Disowned]:
        """Yield each answer that a user calls bad."""

    async def close(self) -> None: ...


class CalibrationStore(Protocol):
    """The calibrations in force. Every method raises `QueueUnavailable` if the broker does not answer."""

    async def read_all(self) -> Mapping[CalibrationKey, Calibration]:
        """Return the latest calibration of every key; those that cannot be read are left out and logged."""

    async def put(self, calibrations: Sequence[Calibration]) -> None:
        """Put the calibrations in force; the ones before them stay in their history."""

    async def roll_back(self, key: CalibrationKey) -> Calibration:
        """Put the one before the latest in force again, under a version that says so, and return it.

        Raises: ConfigError if there is none.
        """

    async def watch(self, on_change: Callable[[Mapping[CalibrationKey, Calibration]], None]) -> None:
        """Pass all calibrations in force to `on_change`, now and after each change, until cancelled, outages or not."""

    async def close(self) -> None: ...


class ExperimentStore(Protocol):
    """The experiments, and what jobs say of their arms. `QueueUnavailable` comes if the broker does not answer."""

    async def read_all(self) -> Mapping[str, Experiment]:
        """Return every experiment by its name; those that cannot be read are left out and logged."""

    async def change(self, change: Callable[[Mapping[str, Experiment]], Experiment]) -> Experiment:
        """Store and return what `change` makes of those there are; it is called again if another change came first."""

    async def watch(self, on_change: Callable[[Mapping[str, Experiment] | None], None]) -> None:
        """Pass all experiments to `on_change`, now and at once after each change, until cancelled, outages or not.

        None: nobody knows any more what is in force.
        """

    def lines(self, since: float) -> AsyncGenerator[tuple[Sequence[LedgerEntry], int], None]:
        """Yield the lines of accounts of jobs in experiments, from those stored at `since` on, and then what comes.

        With them comes how many older messages are still to be read.
        """

    def verdicts(self, since: float) -> AsyncGenerator[tuple[Sequence[Feedback], int], None]:
        """Yield what was said of answers, in the same way."""

    async def close(self) -> None: ...


class AdapterStore(Protocol):
    """The adapters and their files. Every method raises `QueueUnavailable` if the broker does not answer."""

    async def read_all(self) -> Mapping[str, RegisteredAdapter]:
        """Return every adapter by its name; those that cannot be read are left out and logged."""

    async def change(self, change: Callable[[Mapping[str, RegisteredAdapter]], RegisteredAdapter]) -> RegisteredAdapter:
        """Store and return what `change` makes of those there are; it is called again if another change came first.

        The files of versions that no adapter has any more go.
        """

    async def remove(self, name: str, check: Callable[[Mapping[str, RegisteredAdapter]], None] = ...) -> None:
        """Remove an adapter, after `check` has seen all there are, and the files of versions that no other has."""

    async def watch(self, on_change: Callable[[Mapping[str, RegisteredAdapter]], None]) -> None:
        """Pass all adapters to `on_change`, now and at once after each change, until cancelled, outages or not."""

    async def put_files(self, digest: str, files: Mapping[str, bytes]) -> None:
        """Keep the files of a version, by name, for good.

        Raises: ConfigError if they are not what the digest says, or larger than the store.
        """

    async def files(self, digest: str) -> Mapping[str, bytes] | None:
        """Return the files of a version by name, checked against what was stored; None if they are not there."""

    async def sweep(self) -> Collection[str]:
        """Remove the files of versions that no adapter has, as a crash leaves them; return their digests.

        Whoever registers a version meanwhile stores its files again.
        """

    async def sources(self, digest: str) -> bytes | None:
        """Return what says whose rows a version was trained on (`fleet.model.sources`); None if nothing does."""

    async def close(self) -> None: ...


class TurnStore(Protocol):
    """The turns of the learning loop. Every method raises `QueueUnavailable` if the broker does not answer."""

    async def read_all(self) -> Mapping[str, Turn]:
        """Return every turn by its name; those that cannot be read are left out and logged."""

    async def change(self, change: Callable[[Mapping[str, Turn]], Turn]) -> Turn:
        """Store and return what `change` makes of those there are; it is called again if another change came first."""

    async def close(self) -> None: ...


class KeyStore(Protocol):
    """The API keys of all tenants. Every method raises `QueueUnavailable` if the broker does not answer."""

    async def read_all(self) -> Mapping[str, ApiKey]:
        """Return every key by its id, the expired and the revoked too; those that cannot be read are logged."""

    async def add(self, key: ApiKey) -> None:
        """Store a new key."""

    async def revoke(self, key_id: str, at: float) -> ApiKey | None:
        """End the key at `at`, unless it has ended before, and return it; None if there is none of this id."""

    async def watch(self, on_change: Callable[[Mapping[str, ApiKey]], None]) -> None:
        """Pass all keys to `on_change`, now and after each change, until cancelled, outages or not."""

    async def close(self) -> None: ...

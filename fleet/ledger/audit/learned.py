"""What was learned from a tenant's or a person's jobs, and has to go with them: adapters, and calibrations.

An adapter knows its rows. A calibration has numbers alone and, where it knows texts, hashes of words that several of
them have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Protocol

from fleet.ledger.audit.erase import Answered, LineToErase, Subject
from fleet.model.adapter import RegisteredAdapter
from fleet.model.calibration import Calibration, CalibrationKey
from fleet.model.errors import ConfigError, InvalidAdapter
from fleet.model.sources import Sources
from fleet.ports import AdapterStore, CalibrationStore, ExperimentStore
from policies.adapters.steps import found, without
from policies.experiments.checks import stopped

WHY = "rows that it was trained on were erased"
WHY_CALIBRATION = "jobs that it may have been fitted on were erased"


@dataclass(frozen=True, slots=True)
class Learned:
    """The versions of adapters that were trained on the rows, those of which nobody can say, and the calibrations that
    may have been fitted on them. All by name, versions with the beginning of their digest.
    """

    adapters: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    calibrations: tuple[str, ...] = ()


NOTHING_LEARNED = Learned()


class ErasableKnowledge(Protocol):
    """What was learned. Every method raises QueueUnavailable."""

    async def count(self, subject: Subject, lines: Sequence[LineToErase], answered: Sequence[Answered]) -> Learned:
        """Return what would be erased."""

    async def erase(self, subject: Subject, lines: Sequence[LineToErase], answered: Sequence[Answered]) -> Learned:
        """Erase the adapters, and withdraw the calibrations if that is wanted; return which there were."""


class Calibrations(Protocol):
    """What erases the history of calibrations."""

    async def forget_before(self, keys: Iterable[CalibrationKey]) -> int: ...


class Knowledge:
    """Erases from the registry of adapters and, with `history`, withdraws calibrations and erases what came before."""

    def __init__(
        self,
        adapters: AdapterStore,
        calibrations: CalibrationStore,
        experiments: ExperimentStore,
        now: Callable[[], float],
        history: Calibrations | None = None,
    ) -> None:
        self._adapters = adapters
        self._calibrations = calibrations
        self._experiments = experiments
        self._now = now
        self._history = history

    async def count(self, subject: Subject, lines: Sequence[LineToErase], answered: Sequence[Answered]) -> Learned:
        trained, unknown = await self._trained(subject, lines)
        touched = fitted_on(await self._calibrations.read_all(), answered)
        named = (f"{name} {digest[:12]}" for name, digests in trained.items() for digest in digests)
        return Learned(tuple(named), unknown, tuple(str(each.key) for each in touched))

    async def erase(self, subject: Subject, lines: Sequence[LineToErase], answered: Sequence[Answered]) -> Learned:
        learned = await self.count(subject, lines, answered)
        for name, digests in (await self._trained(subject, lines))[0].items():
            await self._stop_trials(digests)
            await self._withdraw(name, digests)
        await self._adapters.sweep()  # an erasure that a crash ended may have left files
        if self._history is not None:
            touched = fitted_on(await self._calibrations.read_all(), answered)
            await self._calibrations.put([withdrawn(each) for each in touched])
            await self._history.forget_before([each.key for each in touched])
        return learned

    async def _trained(
        self, subject: Subject, lines: Sequence[LineToErase]
    ) -> tuple[Mapping[str, Collection[str]], tuple[str, ...]]:
        """Return the digests of versions that know the rows, by adapter, and the versions of which nobody can say."""
        trained: dict[str, list[str]] = {}
        unknown: list[str] = []
        for adapter in (await self._adapters.read_all()).values():
            for version in adapter.versions:
                knows = _is_of(adapter, subject) or await self._knows(version.digest, subject, lines)
                if knows:
                    trained.setdefault(adapter.name, []).append(version.digest)
                elif knows is None:
                    unknown.append(f"{adapter.name} {version.digest[:12]}")
        return trained, tuple(unknown)

    async def _knows(self, digest: str, subject: Subject, lines: Sequence[LineToErase]) -> bool | None:
        """Return whether a version was trained on such rows; None if it does not say what it was trained on."""
        data = await self._adapters.sources(digest)
        try:
            sources = None if data is None else Sources.from_json(data, digest)
        except ConfigError:
            sources = None
        if sources is None:
            return None
        jobs = (sources.has_job(line.tenant, line.job_id) for line in lines)
        return sources.has(subject.tenant, subject.person) or any(jobs)

    async def _stop_trials(self, digests: Collection[str]) -> None:
        """Stop the roll-outs that give jobs one of these versions: their arms would be the base's."""
        for trial in (await self._experiments.read_all()).values():
            if any(arm.adapter in digests for arm in trial.arms):
                await self._experiments.change(lambda there, trial=trial: stopped(there[trial.name], WHY, self._now()))  # type: ignore[misc]

    async def _withdraw(self, name: str, digests: Collection[str]) -> None:
        """Take the versions out of the registry, from which their files go as well; with its last, an adapter goes."""

        def change(there: Mapping[str, RegisteredAdapter]) -> RegisteredAdapter:
            return without(found(there, name), digests, WHY, self._now())

        def check(there: Mapping[str, RegisteredAdapter]) -> None:
            if found(there, name).versions:
                raise InvalidAdapter("versions", "has a new one")

        with suppress(InvalidAdapter):  # somebody else removed it, or registered another version meanwhile
            changed = await self._adapters.change(change)
            if not changed.versions:
                await self._adapters.remove(name, check)


def _is_of(adapter: RegisteredAdapter, subject: Subject) -> bool:
    """Return whether the adapter is for the tenant alone that is erased, whatever it was trained on."""
    return subject.person is None and adapter.tenants is not None and adapter.tenants == {str(subject.tenant)}


def fitted_on(calibrations: Mapping[CalibrationKey, Calibration], answered: Sequence[Answered]) -> list[Calibration]:
    """Return the calibrations that may have labels of what was answered: of the target and task, and fitted since."""
    return [each for key, each in sorted(calibrations.items()) if any(_may_hold(each, key, row) for row in answered)]


def _may_hold(calibration: Calibration, key: CalibrationKey, row: Answered) -> bool:
    is_scope = key.target == row.target and fnmatchcase(row.task, key.family)
    return is_scope and calibration.fitted_at >= row.since and calibration.withdrawn != WHY_CALIBRATION


def withdrawn(calibration: Calibration) -> Calibration:
    """Return the calibration without what it knows of texts, and with its promise taken back."""
    familiar = calibration.familiar and replace(calibration.familiar, region=None)
    version = calibration.version.removesuffix("+withdrawn") + "+withdrawn"
    return replace(calibration, familiar=familiar, withdrawn=WHY_CALIBRATION, version=version)

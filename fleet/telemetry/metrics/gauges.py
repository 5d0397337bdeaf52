"""The gauges of a dispatcher, made of what it knows at the moment of a reading."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fleet.model.calibration import CalibrationKey
from fleet.model.delivery import JobsOf, WorkOf
from fleet.model.job import Lane
from fleet.model.snapshot import FleetSnapshot
from fleet.telemetry.metrics import catalogue
from fleet.telemetry.metrics.families import Family, family


def gauges(seen: FleetSnapshot, targets: Iterable[str], limit_usd: float) -> Iterator[Family]:
    """Yield every gauge; `targets` are the names in the catalogue, `limit_usd` is the fleet's limit for a day."""
    yield from _of_queues(seen, targets)
    yield from _of_targets(seen)
    yield family(catalogue.BROKER_SILENT, {(): max(0.0, seen.at - seen.read_at)})
    yield family(catalogue.SPEND, {("fleet",): seen.spent / 1e9})
    yield family(catalogue.SPEND_LIMIT, {("fleet",): limit_usd})
    yield from _of_calibrations(seen)
    if seen.questions is not None:
        serving, withdrawn = seen.cache_promises
        yield family(catalogue.CACHE_QUESTIONS, {(): seen.questions})
        yield family(catalogue.CACHE_PROMISES, {("serving",): serving, ("withdrawn",): withdrawn})


def _of_queues(seen: FleetSnapshot, targets: Iterable[str]) -> Iterator[Family]:
    def age(source: JobsOf | WorkOf) -> float:
        stored_at = seen.oldest_at.get(source)
        return 0.0 if stored_at is None else max(0.0, seen.at - stored_at)

    names = dict.fromkeys((*targets, *(work.target for work in seen.work)))
    queues = [WorkOf(name, lane) for name in names for lane in Lane]
    yield family(catalogue.JOBS_WAITING, {(lane,): seen.jobs.get(lane, 0) for lane in Lane})
    yield family(catalogue.JOBS_OLDEST, {(lane,): age(JobsOf(lane)) for lane in Lane})
    yield family(catalogue.WORK_WAITING, {_place(work): seen.work.get(work, 0) for work in queues})
    yield family(catalogue.WORK_WAITING_TOKENS, {_place(work): seen.tokens.get(work, 0.0) for work in queues})
    yield family(catalogue.WORK_OLDEST, {_place(work): age(work) for work in queues})


def _of_targets(seen: FleetSnapshot) -> Iterator[Family]:
    targets = seen.targets.items()
    capacities = {name: each.capacity for name, each in targets if each.capacity is not None}
    yield family(catalogue.IN_FLIGHT, {(name,): each.in_flight for name, each in targets})
    yield family(catalogue.REPLICAS, {(name,): each.running for name, each in capacities.items()})
    yield family(catalogue.REPLICAS_STARTING, {(name,): each.starting for name, each in capacities.items()})
    yield family(catalogue.BREAKER_OPEN, {(name,): int(each.shut) for name, each in targets})


def _of_calibrations(seen: FleetSnapshot) -> Iterator[Family]:
    """Yield what judges each target's answers; one without any calibration has the series of all tasks, at 0."""
    found: dict[tuple[str, ...], bool | None] = {_key(CalibrationKey(name)): None for name in seen.targets}
    found |= {_key(key): holds for key, holds in seen.calibrations.items()}
    yield family(catalogue.CALIBRATION, {key: int(holds is True) for key, holds in found.items()})
    yield family(catalogue.PROMISE_WITHDRAWN, {key: int(holds is False) for key, holds in found.items()})


def _place(work: WorkOf) -> tuple[str, str]:
    return work.target, work.lane


def _key(key: CalibrationKey) -> tuple[str, str, str, str]:
    return key.target, key.family, key.kind, key.adapter

"""A snapshot: what one dispatcher knows of the fleet at a moment, for those who watch it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleet.model.calibration import CalibrationKey
from fleet.model.delivery import Source, WorkOf
from fleet.model.job import Lane
from fleet.model.money import NanoUsd
from fleet.model.scaling import Capacity


@dataclass(frozen=True, slots=True)
class TargetSnapshot:
    """A target that the dispatcher serves.

    `in_flight` are the jobs that run there for this dispatcher; `shut` says that it sends no jobs of the fleet's own
    account there now. `capacity` is None where nobody knows of replicas.
    """

    in_flight: int
    shut: bool
    capacity: Capacity | None


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """What a dispatcher knew at `at`, by its own time (unix seconds).

    `jobs` waited for a first decision, `work` is what was stored for targets, `tokens` the tokens of the latter, as
    estimated: all by the reading of `read_at`. `oldest_at` is when the oldest message of each source was stored, where
    there was one. `calibrations` are those in force; False where the promise is withdrawn. `questions` is how many
    cached ones the semantic cache compares with, None where it is off or has no encoder; `cache_promises` says for how
    many tenants and tasks it serves answers, and for how many its promise is withdrawn.
    """

    at: float
    read_at: float
    jobs: Mapping[Lane, int]
    work: Mapping[WorkOf, int]
    tokens: Mapping[WorkOf, float]
    oldest_at: Mapping[Source, float]
    targets: Mapping[str, TargetSnapshot]
    spent: NanoUsd
    calibrations: Mapping[CalibrationKey, bool]
    questions: int | None = None
    cache_promises: tuple[int, int] = (0, 0)

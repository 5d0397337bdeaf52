"""The arm a job belongs to: the same for all jobs of its tenant or conversation, whoever asks and whenever.

The first arm grows from 0 up and the second from 1 down, so that a larger share keeps everyone who was in the smaller
one, and nobody moves from one arm into the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

from fleet.model.experiment import CONTROL, Arm, Assignment, Experiment, Stage, Unit
from fleet.model.job import Job


def assigned(job: Job, experiments: Iterable[Experiment]) -> Assignment | None:
    """Return the arm of the one experiment that the job takes part in; None where there is none."""
    for experiment in experiments:
        if takes_part(experiment, job.tenant, job.task):
            unit = unit_of(experiment, job)
            return None if unit is None else drawn(experiment, unit)
    return None


def takes_part(experiment: Experiment, tenant: str, task: str) -> bool:
    """Return whether a job of this tenant and task takes part."""
    if experiment.stage is Stage.STOPPED:
        return False
    return _holds(experiment.tenants, tenant) and _holds(experiment.tasks, task)


def _holds(names: frozenset[str] | None, name: str) -> bool:
    return names is None or name in names


def unit_of(experiment: Experiment, job: Job) -> str | None:
    """Return the unit a job belongs to; None for one that names no conversation, and so takes no part."""
    match experiment.unit:
        case Unit.TENANT:
            return job.tenant
        case Unit.JOB:
            return f"{job.tenant}.{job.id}"
        case Unit.CONVERSATION:
            conversation = job.metadata.get(experiment.unit_field)
            return None if conversation is None else f"{job.tenant}.{conversation}"


def drawn(experiment: Experiment, unit: str) -> Assignment:
    """Return the arm of a unit and its probability."""
    if experiment.stage is Stage.PROMOTED:
        return Assignment(experiment.name, experiment.winner or CONTROL, 1.0)
    place = place_of(experiment.salt or experiment.name, unit)
    for from_its_end, arm in zip((place, 1.0 - place), experiment.arms, strict=False):
        if from_its_end < arm.share or arm.share == 1.0:
            return Assignment(experiment.name, arm.name, arm.share)
    return Assignment(experiment.name, CONTROL, control_share(experiment.arms))


def control_share(arms: Iterable[Arm]) -> float:
    """Return the share of units that no arm has."""
    return max(0.0, round(1.0 - sum(arm.share for arm in arms), 12))


@lru_cache(4096)
def place_of(salt: str, unit: str) -> float:
    """Return the unit's place in [0, 1), the same wherever it is computed."""
    digest = hashlib.blake2b(f"{salt}\0{unit}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64

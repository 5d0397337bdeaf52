"""The bucket `experiments`: each experiment under its name, as it stands now."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from pydantic_core import to_json

from fleet.model.experiment import EXPERIMENT_NAME, Arm, Experiment, Guardrail, Stage, Unit
from queues.wire.record import Version, Written, read

Name = Annotated[str, Field(pattern=f"^{EXPERIMENT_NAME.pattern}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class ArmRecord(Written):
    name: Name
    share: Share
    rules: dict[str, Any] | None = None
    target: str | None = None
    prompt: str | None = None
    cache: str | None = None
    adapter: str | None = None


class ExperimentRecord(Written):
    """An experiment. Times are unix seconds; null among `tenants` and `tasks` is all of them."""

    schema_: Version
    name: Name
    unit: Unit
    arms: Annotated[list[ArmRecord], Field(min_length=1, max_length=2)]
    salt: str
    unit_field: str
    tenants: list[str] | None
    tasks: list[str] | None
    tolerances: dict[Guardrail, float | None]
    margin: float
    stage: Stage
    winner: str | None
    why: str | None
    started_at: float
    changed_at: float


def encode_experiment(experiment: Experiment) -> bytes:
    record = {name: getattr(experiment, name) for name in ExperimentRecord.model_fields if name != "schema_"}
    arms = [{name: getattr(arm, name) for name in ArmRecord.model_fields} for arm in experiment.arms]
    names = {name: None if record[name] is None else sorted(record[name]) for name in ("tenants", "tasks")}
    return to_json({"schema": 1, **record, "arms": arms, **names}, fallback=dict)


def decode_experiment(body: bytes) -> Experiment:
    """Return the experiment in these bytes. Raises: ValueError, naming the field and the rule, if they hold none."""
    record: ExperimentRecord = read(ExperimentRecord, body, "experiment")
    held = vars(record)
    del held["schema_"]
    names = {name: None if held[name] is None else frozenset(held[name]) for name in ("tenants", "tasks")}
    return Experiment(**{**held, **names, "arms": tuple(Arm(**vars(arm)) for arm in record.arms)})

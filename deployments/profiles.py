"""The self-hosted models on each kind of machine: frozen descriptions, and the Ray configuration they become.

What differs between machines is in `profiles.yaml`; what holds on all of them is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fleet.model.errors import ConfigError

if TYPE_CHECKING:
    from ray.serve.llm import LLMConfig

HERE: Final = Path(__file__).parent

STANDINS: Final = "standins/"
"""How the source of a stand-in model begins, whose weights are a distribution of their own."""

INSTALL: Final = "pip install 'inference-fleet[cpu]', or run from a checkout"

GRACE_SECONDS: Final = 130.0
"""How long a replica that is to go may finish what it runs: a little more than the longest time-out of any target, for
the dispatcher is a replica too."""

HEALTH_CHECK_SECONDS: Final = 2.0
"""Serve restarts a replica after three failed checks in a row."""


class Profile(StrEnum):
    """Where the fleet runs: `local` on any CPU with small stand-in models, `gpu` with the real ones."""

    LOCAL = "local"
    GPU = "gpu"


def _bounds(replicas: tuple[int, int]) -> tuple[int, int]:
    least, most = replicas
    if not 0 <= least <= most or most == 0:
        raise ValueError("must be [least, most], with 0 <= least <= most and a most of 1 or more")
    return replicas


class ModelProfile(BaseModel):
    """One model on one kind of machine, as `profiles.yaml` describes it.

    `replicas` is the least and the most; with a least of 0 nothing is started before there is work for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    engine: Mapping[str, Any]
    worker: Mapping[str, float]
    replica_cpus: float = Field(gt=0)
    replicas: Annotated[tuple[int, int], AfterValidator(_bounds)]
    in_flight: int = Field(gt=0)
    engine_metrics: bool
    environment: Mapping[str, str] = Field(default_factory=dict)

    @property
    def shipped(self) -> bool:
        """Whether the weights are a folder on this machine."""
        return (HERE / self.source).is_dir()

    @property
    def weights(self) -> str:
        """A path where the weights are shipped, a name on the hub otherwise."""
        return str(HERE / self.source) if self.shipped else self.source


@cache
def models(profile: Profile, path: Path = HERE / "profiles.yaml") -> Mapping[str, ModelProfile]:
    """The models of a profile by target name. Raises `ConfigError` naming the field, or where weights are missing."""
    described = yaml.safe_load(path.read_text())[profile.value]
    try:
        found = TypeAdapter(dict[str, ModelProfile]).validate_python(described)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(".".join([path.name, profile.value, *map(str, first["loc"])]), first["msg"]) from error
    for each in found.values():
        if each.source.startswith(STANDINS) and not each.shipped:
            raise ConfigError("profile", f"{profile.value} needs the stand-in models: {INSTALL}")
    return found


def model(profile: Profile, target: str) -> ModelProfile:
    """Raises `ConfigError` if the profile has no such target."""
    known = models(profile)
    if target not in known:
        raise ConfigError("target", f"must be one of {', '.join(known)} in profile {profile.value}")
    return known[target]


def llm_config(target: str, described: ModelProfile) -> LLMConfig:
    """What Ray needs to serve the model under the target's name."""
    from ray.serve.llm import LLMConfig

    return LLMConfig(
        model_loading_config={"model_id": target, "model_source": described.weights},
        engine_kwargs={**described.engine, "logprobs_mode": "raw_logprobs"},
        # The workers of a replica talk with each other at every layer: all in one machine, or not at all.
        placement_group_config={"bundle_per_worker": dict(described.worker), "strategy": "STRICT_PACK"},
        runtime_env={"env_vars": dict(described.environment)},
        deployment_config=_deployment(described),
        callback_config=_callback(described),
        log_engine_metrics=described.engine_metrics,
    )


def _deployment(described: ModelProfile) -> dict[str, Any]:
    least, most = described.replicas
    return {
        "autoscaling_config": {
            "min_replicas": least,
            "max_replicas": most,
            "target_ongoing_requests": described.in_flight,
        },
        "ray_actor_options": {"num_cpus": described.replica_cpus},
        "health_check_period_s": HEALTH_CHECK_SECONDS,
        "logging_config": {"enable_access_log": False},
        "graceful_shutdown_timeout_s": GRACE_SECONDS,
    }


def _callback(described: ModelProfile) -> dict[str, Any]:
    return {"callback_class": "deployments.engine.WeightsAreHere"} if described.shipped else {}

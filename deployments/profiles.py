"""The self-hosted models on each kind of machine: frozen descriptions, and the Ray configuration made of them.

`profiles.yaml` holds what differs between machines; this module holds what is the same on all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from fleet.model.errors import ConfigError

if TYPE_CHECKING:
    from ray.serve.llm import LLMConfig

HERE: Final = Path(__file__).parent

STANDINS: Final = "standins/"
"""The prefix of the sources of stand-in models, whose weights are a distribution of their own."""

INSTALL: Final = "pip install 'inference-fleet[cpu]', or run from a checkout"

GRACE_SECONDS: Final = 130.0
"""Seconds in which a replica that must go may finish its work: a little more than the longest timeout of any target,
because the dispatcher is a replica too.
"""

HEALTH_CHECK_SECONDS: Final = 2.0
"""Seconds between health checks; Serve restarts a replica after three failed checks in a row."""

EVERY_ENGINE: Final = {
    "logprobs_mode": "raw_logprobs",
    "scheduling_policy": "priority",
    "enable_prompt_tokens_details": True,  # also the answers with tools say what was read from the prefix cache
}
"""The arguments of every engine, beside those of its description."""

ROUTED_BY_PREFIX: Final = {"request_router_config": {"request_router_class": "deployments.serve.affinity.PrefixRouter"}}
"""The option of a deployment with several replicas; with one there is nothing to choose."""


_HUB_NAME: Final = re.compile(r"[\w.-]+/[\w.-]+")

LLAMA: Final = "llama"
"""The architecture whose adapters the fleet serves; vLLM's kernels for mixtures of experts are for CUDA alone."""

RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks of adapters for which vLLM has kernels (`vllm.config.lora.MaxLoRARanks`)."""

KEPT_FOR_EACH_PLACE: Final = 4
"""Adapters that an engine keeps loaded for each that it serves at once: one of rank 16 for an 8B takes 80 MB."""

COMMIT: Final = r"^[0-9a-f]{40}$"
"""A commit of a repository of the hub. A branch may change under a fleet that runs."""


class Profile(StrEnum):
    """The kind of machine the fleet runs on: `local` is any CPU with small stand-in models, `gpu` has the real ones."""

    LOCAL = "local"
    GPU = "gpu"


def _has_kernels(rank: int) -> int:
    if rank not in RANKS:
        raise ValueError(f"must be one of {', '.join(map(str, RANKS))}, for which the engine has kernels")
    return rank


class AdapterSlots(BaseModel):
    """The room for adapters in an engine: how many different ones it answers with at once, and their highest rank.

    That is what `fleet learn` trains, unless it is told otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_once: int = Field(default=4, gt=0)
    rank: Annotated[int, AfterValidator(_has_kernels)] = 64


def _bounds(replicas: tuple[int, int]) -> tuple[int, int]:
    least, most = replicas
    if not 0 <= least <= most or most == 0:
        raise ValueError("must be [least, most], with 0 <= least <= most and a most of 1 or more")
    return replicas


class ModelProfile(BaseModel):
    """A model on one kind of machine, as described in `profiles.yaml`.

    `revision` is the commit of a model of the hub, and has to be there for one. `replicas` is the minimum and maximum;
    with a minimum of 0 nothing is started before there is work for it. Without `adapters` the engine serves none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    revision: str | None = Field(default=None, pattern=COMMIT)
    engine: Mapping[str, Any]
    worker: Mapping[str, float]
    replica_cpus: float = Field(gt=0)
    replicas: Annotated[tuple[int, int], AfterValidator(_bounds)]
    in_flight: int = Field(gt=0)
    engine_metrics: bool
    environment: Mapping[str, str] = Field(default_factory=dict)
    adapters: AdapterSlots | None = None

    @model_validator(mode="after")
    def _is_pinned(self) -> ModelProfile:
        if self.revision is None and _HUB_NAME.fullmatch(self.source) and not self.source.startswith(STANDINS):
            raise ValueError(f"revision is missing: the commit of {self.source} to serve, 40 hexadecimal digits")
        return self

    @property
    def shipped(self) -> bool:
        """True if the weights are a folder on this machine."""
        return (HERE / self.source).is_dir()

    @property
    def weights(self) -> str:
        """The path of shipped weights, or else the model's name on the hub."""
        return str(HERE / self.source) if self.shipped else self.source


@cache
def models(profile: Profile, path: Path = HERE / "profiles.yaml") -> Mapping[str, ModelProfile]:
    """Return the models of a profile by target name.

    Raises: ConfigError, naming the field, if a description is not valid or weights are missing.
    """
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
    """Return the model of the target.

    Raises: ConfigError if the profile has no such target.
    """
    known = models(profile)
    if target not in known:
        raise ConfigError("target", f"must be one of {', '.join(known)} in profile {profile.value}")
    return known[target]


def serving(target: str, described: ModelProfile, slots: AdapterSlots) -> ModelProfile:
    """Return the model with an engine that serves adapters.

    Raises: ConfigError if its shipped weights are of a type that takes none; those of the hub are checked at the start.
    """
    if described.shipped:
        kind = json.loads((Path(described.weights) / "config.json").read_bytes())["model_type"]
        if kind != LLAMA:
            raise ConfigError("adapters", f"are for models of type {LLAMA}, and {target} is of type {kind}")
    return described.model_copy(update={"adapters": slots})


def llm_config(target: str, described: ModelProfile) -> LLMConfig:
    """Return the configuration with which Ray serves the model under the target's name."""
    from ray.serve.llm import LLMConfig

    return LLMConfig(
        model_loading_config={"model_id": target, "model_source": described.weights},
        engine_kwargs=engine_arguments(described),
        # The workers of a replica talk with each other at every layer: all in one machine, or not at all.
        placement_group_config={"bundle_per_worker": dict(described.worker), "strategy": "STRICT_PACK"},
        runtime_env={"env_vars": dict(described.environment)},
        deployment_config=_deployment(described),
        callback_config=_callback(described),
        log_engine_metrics=described.engine_metrics,
    )


def engine_arguments(described: ModelProfile) -> dict[str, Any]:
    """Return the arguments of a model's engine and of its OpenAI front end."""
    return {**described.engine, **_pinned(described), **EVERY_ENGINE, **_adapters(described.adapters)}


def _adapters(slots: AdapterSlots | None) -> dict[str, Any]:
    if slots is None:
        return {}
    kept = slots.at_once * KEPT_FOR_EACH_PLACE
    return {"enable_lora": True, "max_loras": slots.at_once, "max_lora_rank": slots.rank, "max_cpu_loras": kept}


def _pinned(described: ModelProfile) -> dict[str, Any]:
    return {} if described.revision is None or described.shipped else {"revision": described.revision}


def _deployment(described: ModelProfile) -> dict[str, Any]:
    least, most = described.replicas
    return {
        "autoscaling_config": {
            "min_replicas": least,
            "max_replicas": most,
            "target_ongoing_requests": described.in_flight,
        },
        **(ROUTED_BY_PREFIX if most > 1 else {}),
        "ray_actor_options": {"num_cpus": described.replica_cpus},
        "health_check_period_s": HEALTH_CHECK_SECONDS,
        "logging_config": {"enable_access_log": False},
        "graceful_shutdown_timeout_s": GRACE_SECONDS,
    }


def _callback(described: ModelProfile) -> dict[str, Any]:
    return {"callback_class": "deployments.replica.engine.WeightsAreHere"} if described.shipped else {}

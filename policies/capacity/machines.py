"""GPUs and the machines they can be rented in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fleet.model.errors import ConfigError
from policies.rules.sections import STRICT, Strict


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card. Speeds are the maker's peaks for dense matrices, in 10^12 operations or 10^9 bytes a second.

    `memory_gib` is as CUDA reports it, less than the name says. Without `fp8_tflops` the card multiplies fp8 weights
    in bf16. `max_sequences` and `step_tokens` are vLLM's defaults for it
    (`max_num_seqs`, `max_num_batched_tokens`).
    """

    memory_gib: float
    bandwidth_gb_per_second: float
    bf16_tflops: float
    int8_tops: float
    max_sequences: int
    step_tokens: int
    fp8_tflops: float | None = None

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class Link:
    """The link between a machine's cards: the bus bandwidth of an all-reduce, and the time of the smallest one."""

    gb_per_second: float
    microseconds: float

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class InstanceType:
    """A machine for rent: `gpus` cards of one kind, joined by `link`. Without a spot price there was no spot market."""

    gpu: str
    gpus: int
    usd_per_hour: float
    spot_usd_per_hour: float | None = None
    link: str | None = None

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class Machines:
    """The machines for rent. `prices_as_of` dates the prices; `overview` names those a plan shows by default."""

    prices_as_of: str
    gpus: Mapping[str, Gpu]
    links: Mapping[str, Link]
    instances: Mapping[str, InstanceType]
    overview: tuple[str, ...]

    __pydantic_config__: ClassVar[Strict] = STRICT

    def gpu_of(self, instance: str) -> Gpu:
        return self.gpus[self.instances[instance].gpu]

    def link_of(self, instance: str) -> Link | None:
        name = self.instances[instance].link
        return None if name is None else self.links[name]


def checked(machines: Machines) -> Machines:
    """Return the same machines. Raises: ConfigError if a name leads nowhere or a number makes no sense."""
    for name, gpu in machines.gpus.items():
        for field in ("memory_gib", "bandwidth_gb_per_second", "bf16_tflops", "int8_tops", "max_sequences"):
            _positive(f"gpus.{name}.{field}", getattr(gpu, field))
        _positive(f"gpus.{name}.step_tokens", gpu.step_tokens)
        if gpu.fp8_tflops is not None:
            _positive(f"gpus.{name}.fp8_tflops", gpu.fp8_tflops)
    for name, link in machines.links.items():
        _positive(f"links.{name}.gb_per_second", link.gb_per_second)
        _positive(f"links.{name}.microseconds", link.microseconds)
    for name, instance in machines.instances.items():
        _check(machines, name, instance)
    if not machines.overview:
        raise ConfigError("overview", "must name an instance at least")
    for name in machines.overview:
        _known("overview", name, machines.instances)
    return machines


def _check(machines: Machines, name: str, instance: InstanceType) -> None:
    path = f"instances.{name}"
    _known(f"{path}.gpu", instance.gpu, machines.gpus)
    _positive(f"{path}.gpus", instance.gpus)
    _positive(f"{path}.usd_per_hour", instance.usd_per_hour)
    if instance.spot_usd_per_hour is not None:
        _positive(f"{path}.spot_usd_per_hour", instance.spot_usd_per_hour)
    if instance.gpus > 1 and instance.link is None:
        raise ConfigError(f"{path}.link", "must be given: several cards are joined by something")
    if instance.link is not None:
        _known(f"{path}.link", instance.link, machines.links)


def _known(path: str, name: str, among: Mapping[str, object]) -> None:
    if name not in among:
        raise ConfigError(path, f"must be one of {', '.join(among)}; got {name!r}")


def _positive(path: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise ConfigError(path, "must be more than zero, and finite")

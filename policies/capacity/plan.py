"""A plan: the models that fit on which machines, at how many sequences, how fast, and the price of a token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from policies.capacity.architecture import Architecture
from policies.capacity.machines import InstanceType, Machines
from policies.capacity.memory import KvDtype, ReplicaMemory, cannot_split, memory_of
from policies.capacity.quantization import OFFERED, Quantization
from policies.capacity.roofline import JobShape, Replica, Speed, speed_of

FETCH_MB_PER_SECOND = 300.0
"""Megabytes a second at which a new machine fetches weights: the 2.5 Gbit/s that the smallest g5 always has."""

OTHER_MACHINES = 3
"""Number of other machines named where nothing fits on the one asked for."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model and the longest context to serve it with, in tokens; `stored` is how its checkpoint is quantised.

    None: the weights are in 16 bits.
    """

    architecture: Architecture
    context_tokens: int
    stored: Quantization | None = None

    @property
    def kinds(self) -> tuple[Quantization, ...]:
        """The quantisations it can be served in."""
        return OFFERED if self.stored is None else (self.stored,)


@dataclass(frozen=True, slots=True)
class Wish:
    """The demands on a replica.

    It fits where `concurrency` sequences of the whole context fit at once (None: one, without which vLLM does not
    start). The batch is `concurrency`, or all the mean jobs that fit. `utilization` is the share of its time for which
    work is there, `fetch_mb_per_second` the rate at which a new machine gets the weights; `tensor_parallel` and `gpus`
    are free where None.
    """

    job: JobShape
    concurrency: int | None = None
    gpus: int | None = None
    tensor_parallel: int | None = None
    kv_dtype: KvDtype = KvDtype.BF16
    utilization: float = 1.0
    fetch_mb_per_second: float = FETCH_MB_PER_SECOND


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a replica's hour, a million output tokens, a million tokens of both kinds, and a job."""

    per_hour: float
    per_million_tokens: float
    per_million_total_tokens: float
    per_job: float


@dataclass(frozen=True, slots=True)
class ServingOption:
    """A way to serve a model on `gpus` cards of a machine: as many replicas as fit, each of `tensor_parallel` cards.

    `full_contexts` sequences of the whole context fit at once, `max_sequences` mean jobs, capped by the engine.
    Without a `speed` it does not fit, and `reason` says by how much.
    """

    model: str
    instance: str
    gpu: str
    gpus: int
    quantization: Quantization
    memory: ReplicaMemory
    full_contexts: int
    max_sequences: int
    reason: str
    speed: Speed | None = None
    on_demand: Price | None = None
    spot: Price | None = None

    @property
    def tensor_parallel(self) -> int:
        return self.memory.tensor_parallel

    @property
    def replicas(self) -> int:
        return self.gpus // self.tensor_parallel

    @property
    def fits(self) -> bool:
        return self.speed is not None

    @property
    def usd(self) -> float:
        """The figure to compare rows by: dollars per million output tokens, infinity where it does not fit."""
        return float("inf") if self.on_demand is None else self.on_demand.per_million_tokens


def best(
    served: Served, instance: str, quantization: Quantization, machines: Machines, wish: Wish
) -> ServingOption | None:
    """Return the cheapest way to split the model among the cards, or the closest one where none fits.

    None: the machine has fewer cards than the wish asks for, or the model cannot be split so.
    """
    rows = [
        _row(served, instance, quantization, machines, wish, tensor_parallel)
        for tensor_parallel in _splits(machines.instances[instance], wish)
        if cannot_split(served.architecture, quantization, tensor_parallel) is None
    ]
    return min(rows, key=lambda row: (row.usd, row.tensor_parallel if row.fits else -row.tensor_parallel), default=None)


def overview(served: Served, instance: str, machines: Machines, wish: Wish) -> Iterator[ServingOption]:
    """Yield the model as it is published, then the cheapest of all ways unless that is the same."""
    rows = [row for kind in served.kinds if (row := best(served, instance, kind, machines, wish)) is not None]
    if rows:
        yield rows[0]
        cheapest = min(rows, key=lambda row: row.usd)
        if cheapest is not rows[0]:
            yield cheapest


def what_fits(row: ServingOption, served: Served, machines: Machines, wish: Wish) -> str:
    """Say what fits instead of a row that does not: other weights on as many cards, more cards, other machines."""
    offers = [
        *_other_weights(row, served, machines, wish),
        *_more_cards(row, served, machines, wish),
    ] or list(_other_machines(row, served, machines, wish))
    return "; ".join(offers) if offers else "nothing here does"


def _other_weights(row: ServingOption, served: Served, machines: Machines, wish: Wish) -> Iterator[str]:
    fitting = [kind.value for kind in served.kinds if _fits(served, row.instance, kind, machines, wish, row.gpus)]
    if fitting:
        yield f"{'/'.join(fitting)} on {_cards(row.gpus)}"


def _more_cards(row: ServingOption, served: Served, machines: Machines, wish: Wish) -> Iterator[str]:
    for cards in range(row.gpus + 1, machines.instances[row.instance].gpus + 1):
        if _fits(served, row.instance, row.quantization, machines, wish, cards):
            yield f"{row.quantization.value} on {cards} cards"
            return


def _other_machines(row: ServingOption, served: Served, machines: Machines, wish: Wish) -> Iterator[str]:
    """Yield the cheapest machines that can serve the model in any of the weights, cheapest first."""
    found = []
    for name, instance in machines.instances.items():
        kinds = [kind.value for kind in served.kinds if _fits(served, name, kind, machines, wish, instance.gpus)]
        if kinds:
            found.append((instance.usd_per_hour, f"{name} in {'/'.join(kinds)}"))
    yield from (text for _, text in sorted(found)[:OTHER_MACHINES])


def _fits(served: Served, instance: str, quantization: Quantization, machines: Machines, wish: Wish, gpus: int) -> bool:
    row = best(served, instance, quantization, machines, replace(wish, gpus=gpus, tensor_parallel=None))
    return row is not None and row.fits


def _splits(instance: InstanceType, wish: Wish) -> Sequence[int]:
    """Return the numbers of cards to split a replica among, so that replicas fill the cards evenly."""
    gpus = instance.gpus if wish.gpus is None else wish.gpus
    if gpus > instance.gpus:
        return ()
    return [n for n in range(1, gpus + 1) if gpus % n == 0 and wish.tensor_parallel in (None, n)]


def _row(
    served: Served, instance: str, quantization: Quantization, machines: Machines, wish: Wish, tensor_parallel: int
) -> ServingOption:
    rented, gpu = machines.instances[instance], machines.gpu_of(instance)
    memory = memory_of(served.architecture, quantization, wish.kv_dtype, gpu, tensor_parallel)
    wanted = wish.concurrency or 1
    full_contexts = memory.sequences(served.context_tokens)
    most = min(gpu.max_sequences, memory.sequences(wish.job.tokens))
    fits = full_contexts >= wanted
    row = ServingOption(
        model=served.architecture.name,
        instance=instance,
        gpu=rented.gpu,
        gpus=rented.gpus if wish.gpus is None else wish.gpus,
        quantization=quantization,
        memory=memory,
        full_contexts=full_contexts,
        max_sequences=most,
        reason="fits" if fits else _shortage(memory, served, wanted),
    )
    if not fits:
        return row
    replica = Replica(
        served.architecture, quantization, wish.kv_dtype, gpu, machines.link_of(instance), tensor_parallel
    )
    return _priced(row, rented, wish, speed_of(replica, wish.job, min(wish.concurrency or most, most)))


def _priced(row: ServingOption, rented: InstanceType, wish: Wish, speed: Speed) -> ServingOption:
    share = row.tensor_parallel / rented.gpus
    spot = rented.spot_usd_per_hour
    return replace(
        row,
        speed=speed,
        on_demand=price_of(rented.usd_per_hour * share, speed, wish),
        spot=None if spot is None else price_of(spot * share, speed, wish),
    )


def price_of(usd_per_hour: float, speed: Speed, wish: Wish) -> Price:
    """Return the price of tokens on such a replica, with work for the share `utilization` of its time."""
    output_per_hour = speed.tokens_per_second * wish.utilization * 3600
    per_token = usd_per_hour / output_per_hour
    per_job = per_token * wish.job.output_tokens
    return Price(usd_per_hour, per_token * 1e6, per_job / wish.job.tokens * 1e6, per_job)


def _shortage(memory: ReplicaMemory, served: Served, sequences: int) -> str:
    needed = memory.needed_gib(sequences, served.context_tokens)
    contexts = "one context" if sequences == 1 else f"{sequences} contexts"
    cache = needed - memory.weights_gib - memory.overhead_gib
    return (
        f"a card needs {needed:.1f} GiB (weights {memory.weights_gib:.1f}, overhead {memory.overhead_gib:.1f}, "
        f"KV cache of {contexts} of {served.context_tokens:,} tokens {cache:.1f}) and has {memory.usable_gib:.1f}"
    )


def _cards(number: int) -> str:
    return "1 card" if number == 1 else f"{number} cards"


def rows_of(
    models: Mapping[str, Served],
    instances: Iterable[str],
    kinds: Sequence[Quantization],
    machines: Machines,
    wish: Wish,
) -> list[ServingOption]:
    """Return one row for each model, machine and quantisation asked for."""
    instances = list(instances)
    rows = (
        best(served, instance, kind, machines, wish)
        for served in models.values()
        for instance in instances
        for kind in kinds
    )
    return [row for row in rows if row is not None]

"""The rows of a plan: what is chosen, what is offered instead, how fast, what it costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.errors import ConfigError
from fleet.settings.capacity import load_machines, load_models
from policies.capacity.machines import Gpu, InstanceType, Link, Machines, checked
from policies.capacity.memory import KvDtype
from policies.capacity.plan import ServingOption, Wish, best, overview, price_of, rows_of, what_fits
from policies.capacity.quantization import Quantization
from policies.capacity.roofline import Bound, JobShape, Replica, Speed, distinct_experts, speed_of

MACHINES = load_machines(None)
MODELS = load_models()
MEAN = Wish(JobShape(400, 100))


def row(model: str, instance: str, kind: str = "bf16", wish: Wish = MEAN) -> ServingOption:
    found = best(MODELS[model], instance, Quantization(kind), MACHINES, wish)
    assert found is not None
    return found


def replica(model: str, instance: str, kind: str = "bf16", cards: int = 1) -> Replica:
    link = MACHINES.link_of(instance)
    gpu = MACHINES.gpu_of(instance)
    return Replica(MODELS[model].architecture, Quantization(kind), KvDtype.BF16, gpu, link, cards)


def test_mixtral_does_not_fit_two_cards_of_40_gb_and_is_told_what_does() -> None:
    wish = replace(MEAN, gpus=2)
    found = row("mixtral-8x7b", "p4d.24xlarge", wish=wish)
    assert not found.fits
    assert found.reason == (
        "a card needs 46.7 GiB (weights 43.5, overhead 2.2, KV cache of one context of 16,384 tokens 1.0) and has 35.5"
    )
    offer = what_fits(found, MODELS["mixtral-8x7b"], MACHINES, wish)
    assert offer == "fp8/int8/awq/gptq on 2 cards; bf16 on 4 cards"


@pytest.mark.parametrize(
    ("model", "instance", "kind", "offer"),
    [
        ("llama-70b", "g5.xlarge", "awq", "g5.12xlarge in fp8/int8/awq/gptq; p5.4xlarge in awq/gptq; g5.48xlarge in "),
        ("mixtral-8x7b", "g5.12xlarge", "bf16", "fp8/int8/awq/gptq on 4 cards"),
    ],
)
def test_what_fits_instead_is_the_same_cards_then_more_then_other_machines(
    model: str, instance: str, kind: str, offer: str
) -> None:
    assert what_fits(row(model, instance, kind), MODELS[model], MACHINES, MEAN).startswith(offer)


def test_where_nothing_fits_anywhere_nothing_is_offered() -> None:
    wish = replace(MEAN, concurrency=100_000)
    found = row("llama-70b", "p5en.48xlarge", wish=wish)
    assert "KV cache of 100000 contexts" in found.reason
    assert what_fits(found, MODELS["llama-70b"], MACHINES, wish) == "nothing here does"


@pytest.mark.parametrize(
    ("model", "instance", "kind", "cards"),
    [
        ("llama-8b", "p4d.24xlarge", "bf16", 1),
        ("mixtral-8x7b", "p4d.24xlarge", "bf16", 4),
        ("llama-70b", "p4d.24xlarge", "bf16", 8),
        ("llama-70b", "p5.48xlarge", "bf16", 4),
        ("mixtral-8x7b", "g5.12xlarge", "bf16", 4),
    ],
)
def test_a_replica_gets_the_cards_that_make_its_tokens_cheapest(
    model: str, instance: str, kind: str, cards: int
) -> None:
    """The last one fits no split: the one that comes closest is shown."""
    assert row(model, instance, kind).tensor_parallel == cards


def test_a_split_that_is_asked_for_is_taken() -> None:
    found = row("llama-8b", "p4d.24xlarge", wish=replace(MEAN, tensor_parallel=4))
    assert (found.tensor_parallel, found.replicas) == (4, 2)


@pytest.mark.parametrize("wish", [replace(MEAN, gpus=2), replace(MEAN, tensor_parallel=2)])
def test_a_machine_without_the_cards_has_no_row(wish: Wish) -> None:
    assert best(MODELS["llama-8b"], "g5.xlarge", Quantization.BF16, MACHINES, wish) is None
    assert list(overview(MODELS["llama-8b"], "g5.xlarge", MACHINES, wish)) == []
    assert rows_of(MODELS, ["g5.xlarge"], [Quantization.BF16], MACHINES, wish) == []


def test_replicas_fill_the_cards_evenly() -> None:
    wish = replace(MEAN, gpus=6, tensor_parallel=4)
    assert best(MODELS["llama-8b"], "p4d.24xlarge", Quantization.BF16, MACHINES, wish) is None


def test_the_overview_shows_the_published_weights_and_the_cheapest() -> None:
    shown = list(overview(MODELS["llama-8b"], "p5.48xlarge", MACHINES, MEAN))
    assert [found.quantization for found in shown] == [Quantization.BF16, Quantization.FP8]
    assert shown[1].usd < shown[0].usd


def test_the_batch_is_what_fits_what_the_engine_runs_or_what_is_asked_for() -> None:
    assert row("llama-8b", "g5.xlarge").max_sequences == 53
    assert row("llama-8b", "p4d.24xlarge").max_sequences == 256
    few = row("llama-8b", "p4d.24xlarge", wish=replace(MEAN, concurrency=4))
    assert few.speed is not None and few.speed.batch == 4


@pytest.mark.parametrize(
    ("instance", "usd", "spot"),
    [("g5.xlarge", 1.006, 0.436), ("p4d.24xlarge", 21.957642 / 8, 1.0), ("p5.4xlarge", 6.88, None)],
)
def test_a_replica_pays_for_its_share_of_the_machine(instance: str, usd: float, spot: float | None) -> None:
    """The share is of all the cards it has, however few are used."""
    for gpus in (None, 1):
        found = row("llama-8b", instance, wish=replace(MEAN, gpus=gpus))
        assert found.on_demand is not None and found.on_demand.per_hour == pytest.approx(usd)
        assert (found.spot and found.spot.per_hour) == spot


def test_a_price_is_the_hour_over_the_tokens_of_the_hour() -> None:
    speed = Speed(batch=1, tokens_per_second=1000, total_tokens_per_second=5000, bound=Bound.COMPUTE)
    full = price_of(3.6, speed, MEAN)
    assert full.per_million_tokens == pytest.approx(1.0)
    assert full.per_million_total_tokens == pytest.approx(0.2)
    assert full.per_job == pytest.approx(1e-4)
    assert price_of(3.6, speed, replace(MEAN, utilization=0.5)).per_job == pytest.approx(2e-4)


@pytest.mark.parametrize(
    ("cards", "job", "batch", "instance", "bound"),
    [
        (1, JobShape(1, 500), 1, "p4d.24xlarge", Bound.WEIGHTS),
        (1, JobShape(4000, 10), 8, "p4d.24xlarge", Bound.COMPUTE),
        (1, JobShape(1, 8000), 30, "p5.48xlarge", Bound.KV_CACHE),
        (4, JobShape(400, 100), 64, "g5.12xlarge", Bound.LINKS),
    ],
)
def test_the_slowest_part_is_named(cards: int, job: JobShape, batch: int, instance: str, bound: Bound) -> None:
    assert speed_of(replica("llama-8b", instance, cards=cards), job, batch).bound is bound


def test_a_tiny_model_waits_for_its_engine() -> None:
    tiny = replace(replica("llama-8b", "p5.4xlarge"), architecture=replace(MODELS["llama-8b"].architecture, layers=1))
    assert speed_of(tiny, JobShape(10, 100), 512).bound is Bound.ENGINE


def test_one_token_visits_two_of_eight_experts_and_many_visit_all() -> None:
    mixtral = MODELS["mixtral-8x7b"].architecture
    assert distinct_experts(mixtral, 1) == pytest.approx(2)
    assert distinct_experts(mixtral, 2) == pytest.approx(3.5)
    assert distinct_experts(mixtral, 1000) == pytest.approx(8)
    assert distinct_experts(MODELS["llama-8b"].architecture, 7) == 1


def test_a_single_sequence_reads_a_quarter_of_mixtrals_experts() -> None:
    sparse = replica("mixtral-8x7b", "p5en.48xlarge")
    dense = replace(sparse, architecture=replace(sparse.architecture, experts_per_token=8))
    few, all_of_them = (speed_of(served, JobShape(1, 100), 1).tokens_per_second for served in (sparse, dense))
    assert 3 < few / all_of_them < 4


def test_fp8_speeds_up_the_arithmetic_only_of_cards_that_have_it() -> None:
    job = JobShape(2000, 10)
    gain = {
        instance: speed_of(replica("llama-8b", instance, "fp8"), job, 8).tokens_per_second
        / speed_of(replica("llama-8b", instance), job, 8).tokens_per_second
        for instance in ("p4d.24xlarge", "p5.48xlarge")
    }
    assert gain["p4d.24xlarge"] < 1.1 < 1.5 < gain["p5.48xlarge"]


jobs = st.builds(JobShape, st.integers(1, 6000), st.integers(1, 2000))
"""Jobs within the shortest context of the models; `fleet plan` refuses longer ones before it plans."""


@given(st.sampled_from(list(MODELS)), st.sampled_from(list(MACHINES.instances)), st.sampled_from(Quantization), jobs)
def test_what_fits_has_a_speed_and_a_price_above_zero(
    model: str, instance: str, kind: Quantization, job: JobShape
) -> None:
    found = row(model, instance, kind, Wish(job))
    if found.fits:
        assert found.speed is not None and found.on_demand is not None
        assert found.max_sequences >= 1 and found.full_contexts >= 1
        assert 0 < found.speed.tokens_per_second < found.speed.total_tokens_per_second
        assert 0 < found.on_demand.per_million_total_tokens < found.on_demand.per_million_tokens < found.usd + 1
        assert found.spot is None or 0 < found.spot.per_job < found.on_demand.per_job
    else:
        assert found.usd == float("inf") and found.reason != "fits"


@given(st.sampled_from(list(MODELS)), st.sampled_from(Quantization), jobs, st.integers(1, 500))
def test_more_sequences_are_never_slower_together_nor_faster_each(
    model: str, kind: Quantization, job: JobShape, batch: int
) -> None:
    served = replica(model, "p5en.48xlarge", kind.value, 8)
    few, more = (speed_of(served, job, n).tokens_per_second for n in (batch, batch + 1))
    assert few <= more * (1 + 1e-9)
    assert few / batch >= more / (batch + 1) * (1 - 1e-9)


@given(st.sampled_from(list(MODELS)), jobs, st.integers(1, 256), st.floats(1, 4))
def test_a_faster_card_is_never_slower(model: str, job: JobShape, batch: int, factor: float) -> None:
    served = replica(model, "p4d.24xlarge", cards=8)
    gpu = served.gpu
    quick = replace(
        gpu,
        bandwidth_gb_per_second=gpu.bandwidth_gb_per_second * factor,
        bf16_tflops=gpu.bf16_tflops * factor,
    )
    slow, fast = (speed_of(replace(served, gpu=card), job, batch).tokens_per_second for card in (gpu, quick))
    assert slow <= fast * (1 + 1e-9)


def machines(**changes: object) -> Machines:
    plain = Machines(
        "2026-11",
        {"card": Gpu(24, 600, 70, 140, 256, 2048)},
        {"bus": Link(6, 50)},
        {"box": InstanceType("card", 2, 1.0, 0.5, "bus")},
        ("box",),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"gpus": {"card": Gpu(0, 600, 70, 140, 256, 2048)}}, "gpus.card.memory_gib"),
        ({"gpus": {"card": Gpu(24, 600, 70, 140, 256, 0)}}, "gpus.card.step_tokens"),
        ({"gpus": {"card": Gpu(24, 600, 70, 140, 256, 2048, -1)}}, "gpus.card.fp8_tflops"),
        ({"links": {"bus": Link(0, 50)}}, "links.bus.gb_per_second"),
        ({"links": {"bus": Link(6, -1)}}, "links.bus.microseconds"),
        ({"instances": {"box": InstanceType("other", 1, 1.0)}}, "instances.box.gpu"),
        ({"instances": {"box": InstanceType("card", 0, 1.0)}}, "instances.box.gpus"),
        ({"instances": {"box": InstanceType("card", 1, float("nan"))}}, "instances.box.usd_per_hour"),
        ({"instances": {"box": InstanceType("card", 1, 1.0, 0)}}, "instances.box.spot_usd_per_hour"),
        ({"instances": {"box": InstanceType("card", 2, 1.0)}}, "instances.box.link"),
        ({"instances": {"box": InstanceType("card", 2, 1.0, link="rope")}}, "instances.box.link"),
        ({"overview": ("crate",)}, "overview"),
        ({"overview": ()}, "overview"),
    ],
)
def test_a_machine_that_makes_no_sense_is_named(changes: dict[str, object], field: str) -> None:
    assert checked(machines()) == machines()
    with pytest.raises(ConfigError) as raised:
        checked(machines(**changes))
    assert raised.value.field == field

"""What holds for every decision about replicas, whatever is read."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fleet.model.delivery import Depths, JobsOf, WorkOf
from fleet.model.job import Lane
from fleet.model.scaling import Capacity, LaneLoad, Load, ScalingReason
from fleet.model.target import Serving
from fleet.settings.documents import load_rules
from policies.scaling.arrivals import ArrivalRates
from policies.scaling.dispatchers import DispatcherMemory, dispatchers
from policies.scaling.reading import ReplicaBounds, ScalingInputs
from policies.scaling.replicas import ScalerState, decide

RULES = load_rules(None, None, "gpu")
NOW = 10_000.0
NAMES = ("llama-8b", "mixtral-8x7b", "gpt-4o")
COLD_SECONDS = 100.0
TARGET = replace(RULES.catalogue.targets["llama-8b"], serving=Serving(4_000.0, COLD_SECONDS, 1.0))

lanes = st.sampled_from(Lane)
amounts = st.floats(0, 1e6)
works = st.builds(WorkOf, st.sampled_from(NAMES), lanes)
lane_loads = st.builds(LaneLoad, amounts, st.floats(0, 1e4), st.floats(-100, 1e5))
by_target = st.dictionaries(st.sampled_from(NAMES), amounts)
loads = st.lists(
    st.builds(
        Load,
        dispatcher=st.sampled_from(["one", "two", "three"]),
        at=st.floats(NOW - 30, NOW),
        lanes=st.dictionaries(works, lane_loads),
        tokens_done=by_target,
        tokens_missed=by_target,
        cpu_share=st.floats(0, 1.5),
    ),
    unique_by=lambda load: load.dispatcher,
    max_size=3,
)
counts = st.integers(0, 100_000)
depths = st.builds(
    Depths,
    jobs=st.dictionaries(st.builds(JobsOf, lanes, st.sampled_from(["acme", "example"])), counts),
    work=st.dictionaries(works, counts),
)
capacities = st.builds(Capacity, st.integers(0, 12), st.integers(0, 4), st.none() | st.floats(NOW - 500, NOW))
readings = st.builds(ScalingInputs, st.none() | depths, loads, capacities, st.floats(0, 2_000))
whole_readings = st.builds(ScalingInputs, depths, loads, capacities, st.floats(0, 2_000))
bounds = st.tuples(st.integers(0, 8), st.integers(0, 8)).map(lambda pair: ReplicaBounds(pair[0], pair[0] + pair[1]))
histories = st.lists(st.tuples(readings, st.floats(0.1, 60)), min_size=1, max_size=3)


def after(history):
    """The memory after these readings, and the time of the next; the reports of each are as old as they were then."""
    memory, now = ScalerState(), NOW - 600
    for reading, seconds in history:
        now += seconds
        moved = [replace(load, at=load.at - NOW + now) for load in reading.loads]
        _, memory = decide(replace(reading, loads=moved), memory, TARGET, ReplicaBounds(0, 16), RULES, now)
    return memory


@given(history=histories, reading=readings, bounds=bounds)
def test_the_same_arguments_give_the_same_decision_within_the_bounds(history, reading, bounds):
    memory = after(history)
    decision, then = decide(reading, memory, TARGET, bounds, RULES, NOW)
    assert (decision, then) == decide(reading, memory, TARGET, bounds, RULES, NOW)
    assert bounds.least <= decision.replicas <= bounds.most


@given(history=histories, reading=readings)
def test_a_memory_does_not_grow(history, reading):
    memory = after([*history, (reading, 1.0)])
    assert len(memory.window) <= 17 + 1
    assert len(memory.counters) <= 3
    assert len(memory.elsewhere) <= len(Lane)
    assert len(memory.arrivals.waited) <= len(Lane)


@given(history=histories, reading=readings)
def test_without_work_there_are_never_more_than_before(history, reading):
    memory = after(history)
    quiet = replace(reading, depths=Depths(), ongoing=0.0, loads=[])
    decision, _ = decide(quiet, memory, TARGET, ReplicaBounds(0, 99), RULES, NOW)
    assert decision.replicas <= quiet.there


@given(history=histories, reading=whole_readings, lane=lanes, more=st.integers(1, 100_000))
def test_more_work_never_asks_for_fewer(history, reading, lane, more):
    memory, work = after(history), WorkOf(TARGET.name, lane)
    deeper = replace(reading.depths, work={**reading.depths.work, work: reading.depths.work.get(work, 0) + more})
    fewer, _ = decide(reading, memory, TARGET, ReplicaBounds(0, 99), RULES, NOW)
    decision, _ = decide(replace(reading, depths=deeper), memory, TARGET, ReplicaBounds(0, 99), RULES, NOW)
    assert decision.replicas >= fewer.replicas


@given(
    history=histories,
    reading=readings,
    lane=lanes,
    tokens=st.tuples(st.floats(1, 10_000), st.floats(1, 10_000)),
    slacks=st.tuples(st.floats(COLD_SECONDS * 1.001, 1e5), st.floats(COLD_SECONDS * 1.001, 1e5)),
)
def test_larger_jobs_or_less_slack_never_ask_for_fewer_as_long_as_a_start_is_in_time(
    history, reading, lane, tokens, slacks
):
    memory = after(history)

    def chosen(tokens_per_job, slack_seconds):
        load = Load("one", NOW, {WorkOf(TARGET.name, lane): LaneLoad(10, tokens_per_job, slack_seconds)})
        # The lanes nobody reported count with the size of jobs in this one: so all grow together.
        return decide(replace(reading, loads=[load]), memory, TARGET, ReplicaBounds(0, 99), RULES, NOW)[0].replicas

    assert chosen(max(tokens), min(slacks)) >= chosen(min(tokens), max(slacks))


@given(history=histories, reading=readings)
def test_replicas_go_only_where_no_decision_of_the_window_wanted_them(history, reading):
    memory = after(history)
    decision, _ = decide(reading, memory, TARGET, ReplicaBounds(0, 99), RULES, NOW)
    fresh = [n for at, n in memory.window if NOW - at < RULES.scaling.settle_seconds]
    if decision.reason is not ScalingReason.IDLE:
        assert decision.replicas >= min(reading.there, max(fresh, default=0))


@given(reading=readings, least=st.integers(0, 3), more=st.integers(0, 5), share=st.floats(0, 1.5))
def test_dispatchers_keep_to_their_bounds_and_there_is_always_one(reading, least, more, share):
    bounds = ReplicaBounds(least, least + more)
    memory = DispatcherMemory(NOW - 1, share, ())
    decision, then = dispatchers(reading, memory, bounds, RULES, NOW)
    assert (decision, then) == dispatchers(reading, memory, bounds, RULES, NOW)
    assert max(1, least) <= decision.replicas <= max(1, bounds.most)


def test_a_mean_that_knows_nothing_is_nothing():
    assert (ArrivalRates().of(Lane.BULK), ArrivalRates().in_all()) == (0.0, 0.0)

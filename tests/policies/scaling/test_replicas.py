"""How many replicas a target shall have: one table per rule, with the word for it."""

from dataclasses import replace

import pytest

from fleet.model.delivery import Depths, JobsOf, WorkOf
from fleet.model.errors import ConfigError
from fleet.model.job import Lane
from fleet.model.scaling import Capacity, ColdStart, LaneLoad, Load, ScalingDecision, ScalingReason
from fleet.model.target import ServedAdapters, Serving
from policies.scaling.reading import ReplicaBounds, ScalingInputs
from policies.scaling.replicas import ScalerState, decide

NOW = 1_000.0
COLD_SECONDS = 100.0
RATE = 4_000.0
TOKENS = 400  # of a job: ten jobs a second and replica
BOUNDS = ReplicaBounds(0, 10)
NAME = "llama-8b"
NOTHING = Depths()


@pytest.fixture(scope="module")
def target(rules):
    return replace(rules.catalogue.targets[NAME], serving=Serving(RATE, COLD_SECONDS, 1.0), batch_size=64)


@pytest.fixture(scope="module")
def choose(target, rules):
    """Decide at NOW, or `later` with what an earlier decision handed on."""

    def build(reading, memory=None, bounds=BOUNDS, at=NOW):
        return decide(reading, memory or ScalerState(), target, bounds, rules, at)

    return build


def work(jobs, lane=Lane.STANDARD):
    return Depths(work={WorkOf(NAME, lane): jobs})


def load(lane=Lane.STANDARD, slack=900.0, at=NOW, done=0.0, missed=0.0, tokens=TOKENS):
    lanes = {WorkOf(NAME, lane): LaneLoad(100, tokens, slack)}
    return Load("one", at, lanes, {NAME: done}, tokens_missed={NAME: missed})


REPORT = load()


def seen(depths, running=0, starting=0, ongoing=0.0, loads=(REPORT,), starting_at=NOW):
    return ScalingInputs(depths, loads, Capacity(running, starting, starting_at if starting else None), ongoing)


@pytest.mark.parametrize(
    ("jobs", "slack", "running", "decision"),
    [
        (1, 900, 0, (1, ScalingReason.FIRST_WORK)),
        (1, 20, 0, (1, ScalingReason.FIRST_WORK)),
        (4_000, 900, 0, (1, ScalingReason.FIRST_WORK)),  # 400 s of work, 400 s for it once a replica is there
        (4_001, 900, 0, (2, ScalingReason.FIRST_WORK)),
        (40_000, 900, 0, (10, ScalingReason.FIRST_WORK)),
        (4_500, 900, 1, (1, ScalingReason.STEADY)),  # half of the slack
        (4_501, 900, 1, (1, ScalingReason.NOT_WORTH_A_START)),  # it gets done before another would have helped
        (5_001, 900, 1, (2, ScalingReason.DEADLINE)),
        (13_000, 900, 1, (3, ScalingReason.DEADLINE)),
        (50_000, 900, 1, (10, ScalingReason.DEADLINE)),
        (50_000, 86_400, 1, (1, ScalingReason.STEADY)),
        (2_000, 100, 1, (1, ScalingReason.NOT_WORTH_A_START)),  # a start takes all the time there is
        (2_000, 101, 1, (10, ScalingReason.DEADLINE)),
        (20, 101, 1, (1, ScalingReason.STEADY)),
        (64, 1, 1, (1, ScalingReason.NOT_WORTH_A_START)),
    ],
)
def test_a_backlog_gets_the_replicas_its_deadlines_need(choose, jobs, slack, running, decision):
    reading = seen(work(jobs), running, loads=[load(slack=slack)])
    assert choose(reading)[0] == ScalingDecision(*decision)


def test_an_engine_that_serves_adapters_is_slower_and_more_of_them_are_needed(target, rules):
    reading, adapted = seen(work(13_000), 1), replace(target, adapters=ServedAdapters(speed=0.5))

    decision, _ = decide(reading, ScalerState(), adapted, BOUNDS, rules, NOW)

    assert decision == ScalingDecision(7, ScalingReason.DEADLINE)


def test_no_replica_is_started_that_by_what_was_learned_would_come_too_late(choose):
    """900 s are left: 100 s for a start leave time for the work, 890 s do not."""
    guessed, reading = choose(seen(work(13_000), 1)), seen(work(13_000), 1)
    slow = replace(reading, capacity=replace(reading.capacity, cold_start=ColdStart(890.0, 3)))
    late = replace(reading, capacity=replace(reading.capacity, cold_start=ColdStart(900.0, 3)))
    assert guessed[0] == ScalingDecision(3, ScalingReason.DEADLINE)
    assert choose(slow)[0].replicas > 3, "little time is left once they are there"
    assert choose(late)[0] == ScalingDecision(1, ScalingReason.NOT_WORTH_A_START)


def test_what_was_learned_is_that_of_the_last_report_that_says_so():
    old, new = ({NAME: Capacity(1, cold_start=ColdStart(seconds, 3))} for seconds in (60.0, 90.0))
    loads = [Load("a", 9.0, replicas=new), Load("b", 7.0, replicas=old), Load("c", 10.0)]
    reading = ScalingInputs(NOTHING, loads, Capacity(0))
    assert (reading.learned(NAME), reading.learned("another")) == (ColdStart(90.0, 3), None)


@pytest.mark.parametrize(
    ("starting", "started_ago", "decision"),
    [
        (1, 0, (2, ScalingReason.STARTING)),
        (1, 90, (2, ScalingReason.STARTING)),
        (0, 0, (2, ScalingReason.DEADLINE)),
    ],
)
def test_what_starts_already_is_not_asked_for_again(choose, starting, started_ago, decision):
    reading = seen(work(5_001), 1, starting, starting_at=NOW - started_ago)
    assert choose(reading)[0] == ScalingDecision(*decision)


@pytest.mark.parametrize(
    ("running", "starting", "jobs", "decision"),
    [
        (0, 2, 3_600, (2, ScalingReason.STARTING)),
        (0, 2, 3_400, (2, ScalingReason.SETTLING)),
        (1, 1, 9_000, (2, ScalingReason.STARTING)),
        (1, 1, 9_001, (3, ScalingReason.DEADLINE)),
    ],
)
def test_what_starts_counts_from_when_it_will_be_there(choose, running, starting, jobs, decision):
    """Of the 450 seconds a backlog may take here, 100 are over before what starts does anything."""
    assert choose(seen(work(jobs), running, starting))[0] == ScalingDecision(*decision)


def test_a_replica_is_not_started_for_a_moment_of_work(choose):
    """One second is left when it is there; it is counted as if it had a tenth of the time its start takes."""
    loads = [load(slack=COLD_SECONDS + 1)]
    assert choose(seen(work(2_000), 1, loads=loads), bounds=ReplicaBounds(0, 99))[0].replicas == 10


@pytest.mark.parametrize("slacks", [(1_000, 2_000), (2_000, 1_000)])
def test_earlier_deadlines_go_first_and_the_later_wait_for_them(choose, slacks):
    """Alone, either backlog is for one replica; the later one behind the other is not, the earlier one is."""
    standard, bulk = WorkOf(NAME, Lane.STANDARD), WorkOf(NAME, Lane.BULK)
    lanes = {standard: LaneLoad(100, TOKENS, slacks[0]), bulk: LaneLoad(100, TOKENS, slacks[1])}
    loads = [Load("one", NOW, lanes)]
    first, second = (standard, bulk) if slacks[0] < slacks[1] else (bulk, standard)
    assert choose(seen(Depths(work={first: 4_999}), 1, loads=loads))[0].replicas == 1
    assert choose(seen(Depths(work={first: 4_999, second: 4_500}), 1, loads=loads))[0].replicas == 1
    assert choose(seen(Depths(work={first: 4_999, second: 6_500}), 1, loads=loads))[0].replicas == 2


@pytest.mark.parametrize(("jobs", "tokens", "replicas"), [(64, 40_000, 1), (65, 40_000, 2), (640, 40_000, 10)])
def test_there_are_no_more_replicas_than_full_batches(choose, jobs, tokens, replicas):
    loads = [load(slack=300, tokens=tokens)]
    assert choose(seen(work(jobs), 1, loads=loads), bounds=ReplicaBounds(0, 99))[0].replicas == replicas


@pytest.mark.parametrize(
    ("bounds", "jobs", "running", "decision"),
    [
        (ReplicaBounds(2, 5), 0, 0, (2, ScalingReason.BELOW_LEAST)),
        (ReplicaBounds(2, 5), 0, 1, (2, ScalingReason.BELOW_LEAST)),
        (ReplicaBounds(0, 3), 50_000, 8, (3, ScalingReason.ABOVE_MOST)),
        (ReplicaBounds(0, 0), 50_000, 1, (0, ScalingReason.ABOVE_MOST)),
        (ReplicaBounds(0, 0), 50_000, 0, (0, ScalingReason.AT_MOST)),
        (ReplicaBounds(0, 3), 50_000, 3, (3, ScalingReason.AT_MOST)),
        (ReplicaBounds(2, 2), 0, 2, (2, ScalingReason.STEADY)),
    ],
)
def test_bounds_are_kept_at_once_and_are_the_reason_then(choose, bounds, jobs, running, decision):
    assert choose(seen(work(jobs), running), bounds=bounds)[0] == ScalingDecision(*decision)


def run(choose, memory, seconds, reading, start=NOW, bounds=BOUNDS):
    """Decide once a second on the same sight; what each second said, and the memory after them."""
    said = []
    for second in range(1, seconds + 1):
        at = start + second
        loads = [replace(each, at=at) for each in reading.loads]
        decision, memory = choose(replace(reading, loads=loads), memory, bounds, at)
        said.append(decision)
    return said, memory


def test_fewer_are_wanted_only_when_nothing_asked_for_more_in_the_settle_window(choose, rules):
    _, memory = choose(seen(work(9_000), 3, loads=[load(slack=600)]))
    said, _ = run(choose, memory, 60, seen(work(64), 3))
    settle = int(rules.scaling.settle_seconds)
    assert said[: settle - 1] == [ScalingDecision(3, ScalingReason.SETTLING)] * (settle - 1)
    assert said[settle - 1] == ScalingDecision(1, ScalingReason.LESS_WORK)


def test_the_last_replica_goes_after_the_idle_time_and_only_then(choose, rules):
    _, memory = choose(seen(work(10), 2))
    idle, settle = int(rules.scaling.idle_seconds), int(rules.scaling.settle_seconds)
    said, _ = run(choose, memory, idle, seen(NOTHING, 2))
    assert {each.replicas for each in said[: settle - 1]} == {2}
    assert said[settle] == ScalingDecision(1, ScalingReason.LESS_WORK)
    assert said[idle - 2].replicas == 1
    assert said[idle - 1] == ScalingDecision(0, ScalingReason.IDLE)


@pytest.mark.parametrize(
    ("reading", "bounds"),
    [
        (seen(NOTHING, 1, ongoing=1.0), BOUNDS),
        (seen(work(1), 1), BOUNDS),
        (seen(NOTHING, 1), ReplicaBounds(1, 5)),
    ],
)
def test_the_last_replica_stays_while_there_is_anything_to_do_or_it_is_the_least(choose, rules, reading, bounds):
    said, _ = run(choose, ScalerState(), int(rules.scaling.idle_seconds) + 60, reading, bounds=bounds)
    assert {each.replicas for each in said} == {1}


def test_the_memory_of_wishes_does_not_grow_while_they_stay_the_same(choose):
    _, memory = run(choose, ScalerState(), 100, seen(work(64), 1))
    assert len(memory.window) == 1


def test_a_lost_memory_does_not_let_replicas_go_at_once(choose, rules):
    said, _ = run(choose, ScalerState(), 60, seen(work(64), 3))
    assert said[0] == ScalingDecision(3, ScalingReason.SETTLING)
    assert said[-1] == ScalingDecision(1, ScalingReason.LESS_WORK)


def arriving(choose, per_second, running, seconds, lane=Lane.INTERACTIVE, slack=30.0, key="done"):
    """Jobs come in and are done, or go elsewhere, at this rate; the last decision."""
    memory, decision = ScalerState(), None
    for second in range(seconds):
        at = NOW + second
        loads = [load(lane, slack, at, **{key: per_second * TOKENS * second})]
        waiting = work(5, lane) if key == "done" else NOTHING
        decision, memory = choose(seen(waiting, running, loads=loads), memory, at=at)
    return decision


@pytest.mark.parametrize(
    ("per_second", "running", "decision"),
    [
        (7, 1, (1, ScalingReason.STEADY)),
        (9, 1, (2, ScalingReason.ARRIVALS)),
        (30, 3, (4, ScalingReason.ARRIVALS)),
        (12.5, 3, (3, ScalingReason.STEADY)),  # two would be used to 62 %
        (11.5, 3, (2, ScalingReason.LESS_WORK)),
    ],
)
def test_traffic_that_cannot_wait_for_a_start_has_replicas_for_its_rate(choose, per_second, running, decision):
    assert arriving(choose, per_second, running, 90) == ScalingDecision(*decision)


@pytest.mark.parametrize(("lane", "slack"), [(Lane.STANDARD, 900.0), (Lane.BULK, 86_400.0)])
def test_traffic_that_can_wait_starts_nothing_and_only_keeps_what_it_needs(choose, lane, slack):
    assert arriving(choose, 15, 1, 90, lane, slack).replicas == 1
    assert arriving(choose, 15, 2, 90, lane, slack).replicas == 2
    assert arriving(choose, 15, 4, 90, lane, slack).replicas == 2


def test_jobs_that_go_elsewhere_because_the_target_is_cold_start_it(choose):
    assert arriving(choose, 0, 0, 10, key="missed").replicas == 0
    first = arriving(choose, 2, 0, 60, key="missed")
    assert first == ScalingDecision(1, ScalingReason.FIRST_WORK)
    assert arriving(choose, 20, 0, 60, key="missed").replicas == 3


def test_a_few_jobs_that_went_elsewhere_are_not_worth_a_replica(choose):
    """They were answered there. Below a tenth of what a replica does it would stand idle."""
    assert arriving(choose, 20, 0, 1, key="missed").replicas == 0
    assert arriving(choose, 0.9, 0, 600, key="missed").replicas == 0


def test_a_start_is_not_given_up_before_it_is_warm_and_idle(choose, rules):
    idle_seconds = rules.scaling.idle_seconds
    first, memory = choose(seen(work(1, Lane.INTERACTIVE)))
    assert first.replicas == 1
    for second in range(1, int(COLD_SECONDS + idle_seconds)):
        decision, memory = choose(seen(NOTHING, 0, starting=1), memory, at=NOW + second)
        assert decision.replicas == 1
    assert choose(seen(NOTHING, 0, starting=1), memory, at=NOW + COLD_SECONDS + idle_seconds)[0].replicas == 0


def test_jobs_that_expire_unserved_count_as_arrivals_as_well(choose):
    """Twenty jobs a second with thirty seconds each are six hundred waiting, of which one replica does half."""
    memory = ScalerState()
    for second in range(90):
        at = NOW + second
        loads = [load(Lane.INTERACTIVE, 30.0, at, done=10 * TOKENS * second)]
        decision, memory = choose(seen(work(600, Lane.INTERACTIVE), 1, loads=loads), memory, at=at)
    assert decision == ScalingDecision(3, ScalingReason.ARRIVALS)


@pytest.mark.parametrize(
    ("running", "ongoing", "bounds", "replicas"),
    [
        (3, 0, BOUNDS, 3),
        (0, 0, BOUNDS, 0),
        (0, 1, BOUNDS, 1),
        (1, 257, BOUNDS, 2),
        (3, 99_999, ReplicaBounds(0, 5), 5),
        (0, 0, ReplicaBounds(2, 5), 2),
    ],
)
def test_without_the_broker_all_stay_and_those_are_added_that_requests_under_way_need(
    choose, running, ongoing, bounds, replicas
):
    decision, _ = choose(seen(None, running, ongoing=ongoing), bounds=bounds)
    assert decision.replicas == replicas
    if bounds == BOUNDS:
        assert decision.reason is ScalingReason.BROKER_AWAY


def test_an_outage_is_no_idle_time_and_ends_without_a_loss(choose, rules):
    _, memory = choose(seen(work(500), 3))
    said, memory = run(choose, memory, 600, seen(None, 3, loads=()))
    assert set(said) == {ScalingDecision(3, ScalingReason.BROKER_AWAY)}
    said, _ = run(choose, memory, int(rules.scaling.settle_seconds) - 1, seen(NOTHING, 3), start=NOW + 600)
    assert set(said) == {ScalingDecision(3, ScalingReason.SETTLING)}


def test_jobs_without_a_target_yet_count_where_dispatchers_send_them(choose):
    """Once the target's work is filled up from them, warm or cold."""
    jobs = {JobsOf(Lane.STANDARD, "acme"): 9_000}
    filled, with_room = Depths(jobs, {WorkOf(NAME, Lane.STANDARD): 256}), Depths(jobs, {WorkOf(NAME, Lane.STANDARD): 9})
    other = WorkOf("gpt-4o", Lane.STANDARD)
    third = Load("one", NOW, {WorkOf(NAME, Lane.STANDARD): LaneLoad(30, TOKENS, 900), other: LaneLoad(70, 1, 1)})
    assert choose(seen(filled))[0].replicas == 3
    assert choose(seen(filled, loads=[third]))[0].replicas == 1
    assert choose(seen(with_room))[0].replicas == 1
    assert choose(seen(Depths(jobs)))[0] == ScalingDecision(0, ScalingReason.STEADY)


def test_a_target_that_does_not_say_what_a_replica_does_is_refused(target, rules):
    with pytest.raises(ConfigError, match=r"targets\.llama-8b\.serving"):
        decide(seen(work(1)), ScalerState(), replace(target, serving=None), BOUNDS, rules, NOW)

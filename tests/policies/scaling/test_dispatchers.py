"""How many dispatchers there shall be."""

import pytest

from fleet.model.delivery import Depths, JobsOf, WorkOf
from fleet.model.job import Lane
from fleet.model.scaling import Capacity, Load, ScalingDecision, ScalingReason
from policies.scaling.dispatchers import DispatcherMemory, dispatchers
from policies.scaling.reading import ReplicaBounds, ScalingInputs

NOW = 1_000.0
BOUNDS = ReplicaBounds(1, 8)
BACKLOG = Depths(jobs={JobsOf(Lane.BULK, "acme"): 100})


def seen(cpu_shares, depths=BACKLOG, there=None, starting=0, at=NOW):
    loads = [Load(f"d{number}", at, cpu_share=share) for number, share in enumerate(cpu_shares)]
    return ScalingInputs(depths, loads, Capacity(len(cpu_shares) if there is None else there, starting))


@pytest.mark.parametrize(
    ("reading", "decision"),
    [
        (seen([0.9]), (2, ScalingReason.BACKLOG)),
        (seen([0.8]), (1, ScalingReason.STEADY)),
        (seen([0.95, 0.95, 0.95]), (5, ScalingReason.BACKLOG)),
        (seen([5.0]), (2, ScalingReason.BACKLOG)),
        (seen([0.95, 0.0, 0.95, 0.0, 0.0], there=2), (4, ScalingReason.BACKLOG)),  # three that run elsewhere
        (seen([1.0] * 8), (8, ScalingReason.AT_MOST)),
        (seen([0.9], depths=Depths()), (1, ScalingReason.STEADY)),
        (seen([0.9], depths=Depths(jobs={JobsOf(Lane.BULK): 0})), (1, ScalingReason.STEADY)),
        (seen([0.95, 0.95], there=2, starting=1), (3, ScalingReason.STARTING)),
        (seen([0.95, 0.95], there=3), (3, ScalingReason.STEADY)),
        (seen([], there=0), (1, ScalingReason.BELOW_LEAST)),
        (seen([0.5] * 9, there=9), (8, ScalingReason.ABOVE_MOST)),
        (seen([0.9], depths=None), (1, ScalingReason.BROKER_AWAY)),
        (seen([0.9, 0.9], at=NOW - 60), (2, ScalingReason.BROKER_AWAY)),
    ],
)
def test_more_where_jobs_wait_for_busy_dispatchers(rules, reading, decision):
    assert dispatchers(reading, DispatcherMemory(), BOUNDS, rules, NOW)[0] == ScalingDecision(*decision)


def run(rules, memory, cpu_shares, seconds, depths=BACKLOG):
    said = []
    for second in range(1, seconds + 1):
        at = NOW + second
        decision, memory = dispatchers(seen(cpu_shares, depths, at=at), memory, BOUNDS, rules, at)
        said.append(decision)
    return said, memory


def test_fewer_where_the_rest_would_be_at_ease_for_the_whole_window(rules):
    settle = int(rules.scaling.settle_seconds)
    _, memory = dispatchers(seen([0.7] * 4), DispatcherMemory(), BOUNDS, rules, NOW)
    said, _ = run(rules, memory, [0.2] * 4, 6 * settle, depths=Depths())
    wished_for_three = said.index(ScalingDecision(4, ScalingReason.SETTLING))
    first = next(number for number, each in enumerate(said) if each.replicas < 4)
    assert first == wished_for_three + settle - 1
    assert said[first] == ScalingDecision(3, ScalingReason.LESS_WORK)
    assert said[-1] == ScalingDecision(2, ScalingReason.LESS_WORK)


def test_a_moment_of_haste_starts_no_dispatcher(rules):
    _, memory = run(rules, DispatcherMemory(NOW, 0.3), [0.3], 5)
    said, _ = run(rules, memory, [1.0], 5)
    assert {each.replicas for each in said} == {1}


def test_a_restart_of_whoever_decides_takes_none_away(rules):
    said, _ = run(rules, DispatcherMemory(), [0.1] * 3, 5)
    assert {each.replicas for each in said} == {3}


@pytest.mark.parametrize(("running", "replicas"), [(100, 1), (99, 2)])
def test_jobs_that_run_directly_do_not_wait(rules, running, replicas):
    load = Load("d0", NOW, cpu_share=0.9, direct={WorkOf("llama-8b", Lane.BULK): running})
    reading = ScalingInputs(BACKLOG, [load], Capacity(1, 0))
    assert dispatchers(reading, DispatcherMemory(), BOUNDS, rules, NOW)[0].replicas == replicas

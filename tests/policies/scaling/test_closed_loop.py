"""The scaling policy in a closed loop: a virtual clock, replicas with a cold start, arrivals of many shapes."""

import math
from dataclasses import replace
from functools import cache
from itertools import accumulate

import pytest
from scaling_loop import Arrival, Loop, burst, run_ongoing_requests, run_ours, stream

from fleet.model.job import Lane
from fleet.model.target import Serving
from policies.scaling.reading import ReplicaBounds

HOUR = 3_600.0
COLD_SECONDS = 120.0
RATE = 5_500.0
JOBS_PER_SECOND = RATE / 400  # what one replica does: a job has 400 tokens on average
BOUNDS = ReplicaBounds(0, 16)


@pytest.fixture(scope="module")
def target(rules):
    return replace(rules.catalogue.targets["llama-8b"], serving=Serving(RATE, COLD_SECONDS, 1.0))


def constant(per_second):
    return lambda _: per_second


def sine(low, high, period):
    return lambda at: (low + high) / 2 - (high - low) / 2 * math.cos(2 * math.pi * at / period)


def on_off(per_second, on_seconds, period):
    return lambda at: per_second if at % period < on_seconds else 0.0


SHAPES = {
    "steady interactive": lambda: stream(constant(30), 30, Lane.INTERACTIVE, 30, HOUR, seed=1),
    "quiet interactive": lambda: stream(constant(8), 8, Lane.INTERACTIVE, 30, HOUR, seed=2),
    "steady standard": lambda: stream(constant(30), 30, Lane.STANDARD, 900, HOUR, seed=3),
    "sine interactive": lambda: stream(sine(5, 40, HOUR), 40, Lane.INTERACTIVE, 30, 2 * HOUR, seed=4),
    "on and off standard": lambda: stream(on_off(20, 300, 900), 20, Lane.STANDARD, 900, 2 * HOUR, seed=5),
    "sparse standard": lambda: stream(constant(0.02), 0.02, Lane.STANDARD, 900, 2 * HOUR, seed=6),
    "burst standard": lambda: burst(10_000, Lane.STANDARD, 900, 60, seed=7),
    "burst bulk": lambda: burst(30_000, Lane.BULK, 86_400, 60, seed=8),
}


def ours(target, rules, arrivals, speed=1.0, until=None):
    until = until or max(each.at for each in arrivals) + HOUR
    return run_ours(Loop(target, arrivals, speed), BOUNDS, rules, until)


@pytest.fixture(scope="module")
def shaped(target, rules):
    """The arrivals of a shape and the loop after them."""

    @cache
    def run(shape):
        arrivals = SHAPES[shape]()
        return arrivals, ours(target, rules, arrivals)

    return run


@pytest.mark.parametrize("shape", SHAPES)
def test_every_load_is_worked_off_and_then_nothing_is_left_running(shaped, shape):
    arrivals, loop = shaped(shape)
    assert loop.ended == len(arrivals)
    assert loop.there == 0


@pytest.mark.parametrize(
    ("jobs", "lane", "slack_seconds", "most_replicas"),
    [
        (10_000, Lane.STANDARD, 900, 3),
        (30_000, Lane.STANDARD, 900, 8),
        (3_000, Lane.STANDARD, 300, 6),
        (30_000, Lane.BULK, 86_400, 1),
        (30_000, Lane.BULK, 7_200, 2),
    ],
)
def test_a_burst_is_done_by_its_deadline_with_no_more_replicas_than_that_takes(
    target, rules, jobs, lane, slack_seconds, most_replicas
):
    loop = ours(target, rules, burst(jobs, lane, slack_seconds, 60, seed=1), until=min(60 + slack_seconds, 3 * HOUR))
    assert (loop.missed, loop.ended) == (0, jobs)
    assert max(accumulate(loop.changes)) <= most_replicas


@pytest.mark.parametrize("per_second", [3, 8, 12, 20, 30, 41, 60])
@pytest.mark.parametrize(("lane", "slack_seconds"), [(Lane.INTERACTIVE, 30), (Lane.STANDARD, 900), (Lane.BULK, 86_400)])
def test_a_steady_load_does_not_make_the_number_go_up_and_down(target, rules, per_second, lane, slack_seconds):
    """Up to what it needs, and down at its end: one turn; two more are forgiven, in an hour of noise."""
    loop = ours(target, rules, stream(constant(per_second), per_second, lane, slack_seconds, HOUR, seed=9))
    assert loop.turns <= 3


@pytest.mark.parametrize("per_second", [8, 30, 60])
def test_steady_interactive_traffic_misses_deadlines_only_until_replicas_are_there(target, rules, per_second):
    arrivals = stream(constant(per_second), per_second, Lane.INTERACTIVE, 30, HOUR, seed=10)
    loop = run_ours(Loop(target, arrivals), BOUNDS, rules, 600)
    missed_at_first = loop.missed  # the policy's memory is lost here, as when Serve's controller restarts
    run_ours(loop, BOUNDS, rules, HOUR)
    assert loop.missed == missed_at_first
    assert loop.running >= per_second / JOBS_PER_SECOND


@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_replicas_slower_or_faster_than_the_catalogue_says_are_found_out(target, rules, speed):
    arrivals = burst(20_000, Lane.STANDARD, 2_000, 60, seed=11)
    loop = ours(target, rules, arrivals, speed)
    assert loop.missed == 0
    needed = sum(each.tokens for each in arrivals) / (RATE * speed)
    assert loop.replica_seconds <= 2 * needed + 4 * COLD_SECONDS + 2 * rules.scaling.idle_seconds


def test_interactive_jobs_do_not_wait_for_replicas_that_a_bulk_backlog_keeps_busy(target, rules):
    chats = stream(constant(8), 8, Lane.INTERACTIVE, 30, HOUR, seed=12)
    bulk = burst(20_000, Lane.BULK, 86_400, 1_000, seed=13)
    alone, together = ours(target, rules, chats), ours(target, rules, chats + bulk, until=4 * HOUR)
    assert together.missed == alone.missed
    assert together.replica_seconds <= alone.replica_seconds + 20_000 / JOBS_PER_SECOND + 4 * COLD_SECONDS


@pytest.mark.parametrize(("per_replica", "ratio"), [(2.0, 0.25), (64.0, 0.8)])
def test_it_takes_fewer_replica_seconds_than_counting_requests_and_misses_no_more(target, shaped, per_replica, ratio):
    """Against Ray Serve's default policy and delays: as it comes, two requests a replica, and with full batches."""
    mine = theirs = 0.0
    missed = missed_by_theirs = 0
    for shape in SHAPES:
        arrivals, one = shaped(shape)
        other = run_ongoing_requests(Loop(target, arrivals), BOUNDS, per_replica, one.now)
        mine, theirs = mine + one.replica_seconds, theirs + other.replica_seconds
        missed, missed_by_theirs = missed + one.missed, missed_by_theirs + other.missed
    assert missed <= missed_by_theirs
    assert mine <= ratio * theirs


def test_a_single_job_gets_one_replica_for_as_short_as_the_rules_allow(target, rules):
    loop = ours(target, rules, [Arrival(10, Lane.STANDARD, 400, 900)])
    assert loop.changes == [1, -1]
    assert loop.replica_seconds <= COLD_SECONDS + 400 / (RATE / target.batch_size) + rules.scaling.idle_seconds + 5

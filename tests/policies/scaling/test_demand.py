"""What readings are turned into: jobs and tokens that wait, what came in, what a replica does."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.delivery import Depths, JobsOf, WorkOf
from fleet.model.job import Lane
from fleet.model.scaling import LaneLoad, Load
from policies.scaling.demand import Outlook, elsewhere_after, share, waiting
from policies.scaling.progress import (
    FARTHEST,
    LEAD_IN_SECONDS,
    MEASURE_SECONDS,
    PRIOR_SECONDS,
    Rate,
    ThroughputStep,
    advance,
    learned,
)

NAME = "llama-8b"
STANDARD = WorkOf(NAME, Lane.STANDARD)
OTHER = WorkOf("mixtral-8x7b", Lane.STANDARD)


@pytest.fixture
def outlook(rules):
    def build(work=0, jobs=0, loads=(), running=0, name=NAME):
        depths = Depths({JobsOf(Lane.STANDARD, "acme"): jobs}, {WorkOf(name, Lane.STANDARD): work})
        return Outlook(depths, loads, running, rules.catalogue.targets[name], rules)

    return build


def report(dispatcher="one", at=0.0, done=0.0, missed=0.0, **lanes):
    return Load(dispatcher, at, lanes.get("lanes", {}), {NAME: done}, tokens_missed={NAME: missed})


def in_lane(outlook, elsewhere=None, lane=Lane.STANDARD):
    [found] = [each for each in waiting(outlook, elsewhere or {}) if each.lane is lane]
    return found


def test_reports_are_combined_by_how_much_each_remembers(outlook):
    loads = [
        Load("one", 0.0, {STANDARD: LaneLoad(30, 100, 900)}),
        Load("two", 0.0, {STANDARD: LaneLoad(10, 500, 100)}),
        Load("idle", 0.0, {STANDARD: LaneLoad(0, 9_999, 0)}),
    ]
    found = in_lane(outlook(work=7, loads=loads))
    assert (found.jobs, found.tokens_per_job, found.slack_seconds) == (7, 200, 700)
    assert found.tokens == 1_400


def test_a_lane_nobody_reported_takes_the_size_of_the_others_and_its_own_deadline(outlook, rules):
    loads = [Load("one", 0.0, {STANDARD: LaneLoad(30, 100, 900)})]
    found = in_lane(outlook(loads=loads), lane=Lane.BULK)
    assert (found.tokens_per_job, found.slack_seconds) == (100, rules.lane_seconds[Lane.BULK])


def test_without_any_report_sizes_are_the_estimates(outlook):
    assert in_lane(outlook(work=1)).tokens_per_job == 500 / 4 + 256


def test_jobs_that_come_too_late_have_no_slack_but_not_less(outlook):
    loads = [Load("one", 0.0, {STANDARD: LaneLoad(30, 100, -5)})]
    assert in_lane(outlook(loads=loads)).slack_seconds == 0


@pytest.mark.parametrize(
    ("name", "lanes", "expected"),
    [
        (NAME, {}, 1.0),
        ("mixtral-8x7b", {}, 0.0),
        (NAME, {OTHER: LaneLoad(99, 1, 1)}, 0.01),
        ("mixtral-8x7b", {OTHER: LaneLoad(99, 1, 1)}, 0.99),
        ("mixtral-8x7b", {OTHER: LaneLoad(25, 1, 1), STANDARD: LaneLoad(74, 1, 1)}, 0.25),
        (NAME, {OTHER: LaneLoad(25, 1, 1), STANDARD: LaneLoad(74, 1, 1)}, 0.75),
        (NAME, {WorkOf(OTHER.target, Lane.BULK): LaneLoad(99, 1, 1)}, 1.0),
    ],
)
def test_undecided_jobs_count_by_the_share_of_their_lane_that_goes_there_first(outlook, name, lanes, expected):
    loads = [Load("one", 0.0, lanes)]
    seen = outlook(work=256, jobs=1_000, loads=loads, name=name)
    assert share(Lane.STANDARD, seen) == pytest.approx(expected)
    assert in_lane(seen).jobs == pytest.approx(256 + 1_000 * expected)


@pytest.mark.parametrize("running", [0, 1])
def test_jobs_that_stay_although_the_target_has_room_are_not_for_it(outlook, running):
    """A million nudges for tomorrow start no replica and keep none; not even while others fill the target up."""
    elsewhere = {}
    for _ in range(600):
        seen = outlook(work=3, jobs=1_000_000, running=running)
        elsewhere = elsewhere_after(elsewhere, seen, 1.0)
        assert in_lane(seen, elsewhere).jobs == 3
    assert in_lane(outlook(work=300, jobs=1_000_500, running=1), elsewhere).jobs == pytest.approx(800, abs=1)


@pytest.mark.parametrize("share_of_slots", [0.5, 0.9, 0.99])
def test_jobs_wait_for_a_target_whose_slots_are_not_full_at_every_look(outlook, rules, share_of_slots):
    """A busy dispatcher runs a little behind: what it has not yet handed over does not count as bound elsewhere."""
    work = math.ceil(share_of_slots * rules.catalogue.targets[NAME].max_in_flight)
    seen, elsewhere = outlook(work=work, jobs=1_000, running=2), {}
    for _ in range(600):
        elsewhere = elsewhere_after(elsewhere, seen, 1.0)
    assert in_lane(seen, elsewhere).jobs == work + 1_000


def test_a_burst_counts_as_soon_as_its_first_jobs_fill_the_target_up(outlook):
    elsewhere = elsewhere_after({}, outlook(work=0, jobs=10_000, running=1), 1.0)
    full = outlook(work=512, jobs=9_488, running=1)
    elsewhere = elsewhere_after(elsewhere, full, 1.0)
    assert in_lane(full, elsewhere).jobs > 9_600


def test_what_goes_elsewhere_is_forgotten_as_it_goes(outlook):
    elsewhere = elsewhere_after({Lane.STANDARD: 1_000.0}, outlook(jobs=10), 1.0)
    assert elsewhere[Lane.STANDARD] == 10


# --- what was done


def test_steps_are_summed_over_dispatchers():
    _, counters = advance({}, [report("one", 0, 100), report("two", 0, 50)], NAME)
    step, _ = advance(counters, [report("one", 1, 130, 7), report("two", 1, 60)], NAME)
    assert step == ThroughputStep(40, 7, whole=True)


@pytest.mark.parametrize(
    ("loads", "done"),
    [
        ([report("one", 1, 130)], 30),  # two is gone
        ([report("one", 1, 130), report("two", 1, 3)], 30),  # two began anew
        ([report("one", 1, 130), report("two", 1, 60), report("new", 1, 9e9)], 40),
        ([report("one", 1, 130), report("else", 1, 9e9)], 30),
        ([], 0),
    ],
)
def test_a_dispatcher_that_comes_goes_or_starts_anew_moves_nothing(loads, done):
    _, counters = advance({}, [report("one", 0, 100), report("two", 0, 50)], NAME)
    step, after = advance(counters, loads, NAME)
    assert (step.done, step.whole) == (done, False)
    assert set(after) == {load.dispatcher for load in loads}


def test_while_no_dispatcher_reports_nothing_is_measured():
    step, counters = advance({}, [], NAME)
    assert (step, counters) == (ThroughputStep(whole=False), {})


def test_the_same_report_again_is_no_progress_and_loses_none():
    _, counters = advance({}, [report("one", 0, 100)], NAME)
    again, counters = advance(counters, [report("one", 0, 100)], NAME)
    later, _ = advance(counters, [report("one", 3, 160)], NAME)
    assert (again, later) == (ThroughputStep(), ThroughputStep(60, 0, whole=True))


@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1e6)), max_size=3), max_size=10))
def test_no_sequence_of_reports_moves_more_than_the_counters_rose(sequence):
    counters, rose, moved, last = {}, 0.0, 0.0, {}
    for at, reports in enumerate(sequence):
        latest = dict(reports)
        step, counters = advance(counters, [report(name, at, done) for name, done in latest.items()], NAME)
        assert step.done >= 0
        moved += step.done
        rose += sum(max(0.0, done - last.get(name, done)) for name, done in latest.items())
        last |= latest
    assert moved <= rose + 1e-6


def busy_for(seconds, tokens_per_second, prior=1_000.0, running=1, rate=None, busy=True):
    rate = rate or Rate()
    for second in range(seconds):
        rate = learned(rate, ThroughputStep(tokens_per_second), running, busy, prior, float(second))
    return rate


def test_the_rate_starts_at_the_catalogue_s_and_goes_where_measurements_are():
    assert Rate().blended(1_000) == 1_000
    minute = busy_for(int(LEAD_IN_SECONDS + PRIOR_SECONDS) + 1, 2_000)
    assert minute.blended(1_000) == pytest.approx(1_500, rel=0.02)
    assert busy_for(1_000, 2_000).blended(1_000) == pytest.approx(2_000, rel=0.1)
    assert busy_for(1_000, 6_000, running=3).blended(1_000) == pytest.approx(2_000, rel=0.1)


def test_what_it_did_at_first_is_forgotten_when_it_does_less():
    before = busy_for(1_000, 2_000)
    assert busy_for(3_000, 500, rate=replace(before, stint=None)).blended(1_000) == pytest.approx(500, rel=0.15)


@pytest.mark.parametrize(("measured", "believed"), [(1.0, 1_000 / FARTHEST), (1e9, 1_000 * FARTHEST)])
def test_a_rate_that_cannot_be_true_is_not_believed(measured, believed):
    assert busy_for(100, measured).tokens_per_second == pytest.approx(believed)


def test_a_target_that_answers_nothing_at_all_teaches_nothing():
    assert busy_for(1_000, 0.0).tokens_per_second == 0.0
    assert busy_for(1_000, 0.0, rate=replace(busy_for(100, 2_000), stint=None)).tokens_per_second == pytest.approx(
        2_000
    )


def test_nothing_is_learned_while_there_was_not_enough_to_do_or_replicas_changed():
    assert busy_for(1_000, 10, busy=False) == Rate()
    assert busy_for(1_000, 10, running=0) == Rate()
    rate = Rate()
    for second in range(100):
        rate = learned(rate, ThroughputStep(10), 1 + second // int(MEASURE_SECONDS) % 2, True, 1_000, float(second))
    assert rate.seconds == 0


def test_nothing_is_learned_across_a_dispatcher_s_end():
    rate = busy_for(int(LEAD_IN_SECONDS) + 5, 2_000)
    cut = learned(rate, ThroughputStep(0, 0, whole=False), 1, True, 1_000, 16.0)
    assert (cut.stint, cut.seconds) == (None, 0.0)


def test_jobs_that_run_directly_count_as_work_of_their_target_and_no_longer_as_undecided(outlook, rules):
    loads = [Load("one", 0.0, direct={STANDARD: 5}), Load("two", 0.0, direct={STANDARD: 2, OTHER: 4})]
    found = outlook(work=3, jobs=20, loads=loads, running=1)
    assert found.work(Lane.STANDARD) == 3 + 5 + 2
    assert found.jobs(Lane.STANDARD) == 20 - 11
    assert outlook(jobs=2, loads=loads).jobs(Lane.STANDARD) == 0
    assert in_lane(found).jobs == 10
    full = rules.catalogue.targets[NAME].batch_size
    assert outlook(running=1, loads=[Load("one", 0.0, direct={STANDARD: full})]).busy

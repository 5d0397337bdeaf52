"""Deficit round robin in tokens: laws that hold for any tenants, jobs and rooms."""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import given, settings
from hypothesis import strategies as st

from policies.fairness.round_robin import TURN_JOBS, TURN_TOKENS, Grant, TenantTabs, allot, book

LARGEST = 20_000
TURN_AT_MOST = TURN_JOBS * LARGEST + TURN_TOKENS
"""Tokens of a turn that was planned with the smallest jobs and met the largest."""

sizes = st.integers(1, LARGEST)
queues = st.lists(st.lists(sizes, min_size=1, max_size=60), min_size=1, max_size=6)
rooms = st.lists(st.integers(0, 64), min_size=1, max_size=40)


class Lane:
    """Tenants' queues, emptied as `allot` says; `served` are the tokens that each has had."""

    def __init__(self, jobs):
        self.queues = {f"tenant-{n}": deque(each) for n, each in enumerate(jobs)}
        self.turns = TenantTabs()
        self.served = Counter()

    def waiting(self):
        return {tenant: len(queue) for tenant, queue in self.queues.items()}

    def round(self, room):
        self.turns, grants = allot(self.turns, self.waiting(), room)
        for tenant, grant in grants.items():
            taken = [self.queues[tenant].popleft() for _ in range(grant.jobs)]
            self.turns = book(self.turns, tenant, grant, len(taken), sum(taken))
            self.served[tenant] += sum(taken)
        return {tenant: grant.jobs for tenant, grant in grants.items()}


@given(queues, rooms)
def test_as_much_is_allotted_as_there_is_room_for_and_waits(jobs, rooms):
    lane = Lane(jobs)
    for room in rooms:
        waiting = sum(lane.waiting().values())
        assert sum(lane.round(room).values()) == min(room, waiting)


@given(st.lists(sizes, min_size=1, max_size=200), st.integers(1, 300))
def test_a_tenant_alone_gets_everything(jobs, room):
    assert Lane([jobs]).round(room) == {"tenant-0": min(room, len(jobs))}


@settings(max_examples=40)
@given(st.lists(st.lists(sizes, min_size=1, max_size=8), min_size=2, max_size=5), st.integers(1, 64))
def test_tenants_that_always_have_jobs_get_the_same_tokens_whatever_the_size_of_their_jobs(jobs, room):
    lane = Lane([each * 60 for each in jobs])
    while all(len(queue) > room for queue in lane.queues.values()):
        lane.round(room)
        assert _spread(lane) <= TURN_AT_MOST


@settings(max_examples=40)
@given(st.lists(st.integers(100, LARGEST), min_size=2, max_size=5), st.integers(1, 64))
def test_where_jobs_are_as_large_as_they_were_shares_differ_by_no_more_than_a_turn_and_a_job(each, room):
    lane = Lane([[size] * (400_000 // size + 1) for size in each])
    for tenant, size in zip(lane.queues, each, strict=True):  # one job each, to learn its size
        lane.turns = book(lane.turns, tenant, Grant(), 1, size)
        lane.served[tenant] = size
    while all(len(queue) > room for queue in lane.queues.values()):
        lane.round(room)
        assert _spread(lane) <= TURN_TOKENS + LARGEST


def _spread(lane):
    return max(lane.served.values()) - min(lane.served[tenant] for tenant in lane.queues)


@given(queues, rooms, sizes)
def test_a_tenant_that_comes_anew_waits_for_at_most_one_turn_of_every_other(jobs, rooms, size):
    lane = Lane(jobs)
    for room in rooms:
        lane.round(room)
    others = lane.waiting()
    lane.queues["newcomer"] = deque([size])
    most = sum(min(TURN_JOBS, jobs) for jobs in others.values())
    before = Counter()
    while "newcomer" not in (granted := lane.round(1)):
        before.update(granted)
    assert before.total() <= most
    assert all(count <= TURN_JOBS for count in before.values())


@given(queues, rooms)
def test_nobody_who_has_jobs_waits_while_another_has_more_than_what_it_took_and_a_turn(jobs, rooms):
    lane = Lane(jobs)
    waited = {tenant: Counter() for tenant in lane.queues}
    owed = dict.fromkeys(lane.queues, TURN_AT_MOST)
    for room in rooms:
        before = Counter(lane.served)
        granted = lane.round(min(room, 1))
        for tenant, queue in lane.queues.items():
            if tenant in granted or not queue:
                waited[tenant].clear()
                owed[tenant] = max(TURN_AT_MOST, lane.served[tenant] - before[tenant])
            else:
                waited[tenant].update(lane.served - before)
        for tenant in lane.queues:
            assert all(tokens <= owed[tenant] + TURN_AT_MOST for tokens in waited[tenant].values())


@given(st.lists(sizes, min_size=1, max_size=50))
def test_the_tabs_of_tenants_that_left_are_forgotten(each):
    lane = Lane([[size] for size in each])
    while any(lane.waiting().values()):
        lane.round(3)
    lane.queues = {"last": deque([LARGEST] * 50 * TURN_JOBS)}
    for _ in range(50):
        lane.round(TURN_JOBS)
    assert set(lane.turns.tabs) == {"last"}


def test_whoever_took_more_than_planned_waits_until_the_others_have_had_as_much():
    turns, grants = allot(TenantTabs(), {"a": 1, "b": 100}, 2)
    turns = book(turns, "a", grants["a"], 1, 50_000)
    served = 0
    while "a" not in (granted := allot(turns, {"a": 1, "b": 100}, 1)[1]):
        turns = book(allot(turns, {"a": 1, "b": 100}, 1)[0], "b", granted["b"], 1, 1000)
        served += 1000
    assert 45_000 <= served <= 50_000


def test_jobs_that_came_by_themselves_are_on_the_tab_as_well():
    turns = book(TenantTabs(), "a", Grant(), 4, 9_000)
    assert allot(turns, {"a": 50, "b": 50}, 10)[1].keys() == {"b"}

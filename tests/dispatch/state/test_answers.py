"""Who asks a model for all who ask the same, and which answers the other dispatchers are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from cache_entries import KEY as REQUEST
from cache_entries import OTHER, entry
from patience import eventually

from fleet.dispatch.state import answers as telling
from fleet.dispatch.state.answers import LONGEST_LEAD_SECONDS, Answers
from fleet.model.cache_entry import UNTOLD
from fleet.model.errors import QueueUnavailable
from fleet.settings.documents import load_rules
from queues.jetstream.stores.cache import MemoryCache

KEY = ("acme", "0" * 64)


@pytest.fixture
def answers():
    return Answers(None, load_rules(None, None, "local"))


def test_one_job_leads_at_a_time_and_stays_the_one(answers):
    assert answers.leads(KEY, "acme.first", 0.0)
    assert not answers.leads(KEY, "acme.second", 1.0)
    assert answers.leads(KEY, "acme.first", 2.0)


def test_a_job_of_which_nothing_was_heard_for_long_leads_no_more(answers):
    answers.leads(KEY, "acme.first", 0.0)
    assert answers.leads(KEY, "acme.second", LONGEST_LEAD_SECONDS)
    assert not answers.leads(KEY, "acme.third", LONGEST_LEAD_SECONDS + 1.0)
    assert not answers.land(KEY, "acme.first") and answers.land(KEY, "acme.second")


def test_the_end_of_a_job_that_nobody_waits_for_wakes_nobody(answers):
    answers.leads(KEY, "acme.first", 0.0)
    assert not answers.land(KEY, "acme.first") and answers.landings == 0
    answers.leads(KEY, "acme.second", 1.0)
    answers.leads(KEY, "acme.third", 2.0)
    assert answers.land(KEY, "acme.second") and answers.landings == 1


def test_nobody_waits_for_an_answer_that_could_not_be_kept(answers):
    answers.leads(KEY, "acme.first", 0.0)
    answers.not_kept(KEY)
    answers.land(KEY, "acme.first")
    assert all(answers.leads(KEY, f"acme.{number}", 1.0) for number in range(3))


@asynccontextmanager
async def telling_to(store: MemoryCache) -> AsyncIterator[Answers]:
    found, stop = Answers(store, load_rules(None, None, "local")), asyncio.Event()
    watching = asyncio.create_task(found.watch(stop))
    try:
        yield found
    finally:
        stop.set()
        await watching


async def told(store: MemoryCache) -> set[str]:
    return {each.key for each in await store.read_all()}


@pytest.fixture
def _only_asked_again(monkeypatch):
    monkeypatch.setattr(telling, "TOLD_AT_ONCE", 0)


async def test_answers_are_told_little_by_little(monkeypatch):
    monkeypatch.setattr(telling, "TOLD_AT_ONCE", 1)
    store = Portions()
    async with telling_to(store) as answers:
        for key in (REQUEST, OTHER):
            answers.keep(entry(key))
        await eventually(lambda: len(store.portions) == 2)
    assert store.portions == [[REQUEST], [OTHER]]


class Portions(MemoryCache):
    def __init__(self):
        super().__init__()
        self.portions = []

    async def put(self, entries):
        self.portions.append([each.key for each in entries])
        await super().put(entries)


@pytest.mark.usefixtures("_only_asked_again")
async def test_an_answer_given_again_is_told_at_once_and_the_rest_when_the_dispatcher_stops():
    store = MemoryCache()
    async with telling_to(store) as answers:
        answers.keep(entry(REQUEST))
        answers.keep(entry(OTHER))
        answers.given(("acme", OTHER))
        await eventually(store.read_all)
        assert await told(store) == {OTHER}
    assert await told(store) == {REQUEST, OTHER}


@pytest.mark.usefixtures("_only_asked_again")
async def test_where_answers_are_purged_those_that_nobody_was_told_of_go_and_the_others_stay():
    store = MemoryCache()
    async with telling_to(store) as answers:
        await store.put([entry(OTHER)])
        answers.keep(entry(REQUEST))
        await eventually(lambda: len(answers.entries) == 2)
        await store.drop([UNTOLD])
        await eventually(lambda: list(answers.entries) == [("acme", OTHER)])
    assert await told(store) == {OTHER}


class AwayAtFirst(MemoryCache):
    puts = 0

    async def put(self, entries):
        self.puts += 1
        if self.puts == 1:
            raise QueueUnavailable("the broker is away")
        await super().put(entries)


async def test_what_could_not_be_told_is_told_when_the_broker_is_back():
    store = AwayAtFirst()
    async with telling_to(store) as answers:
        answers.keep(entry(REQUEST))
        await eventually(store.read_all)
    assert store.puts == 2


async def test_a_million_requests_that_never_come_again_take_the_memory_of_so_many_as_are_kept():
    rules = load_rules(None, None, "local")
    answers = Answers(MemoryCache(), replace(rules, cache=replace(rules.cache, entries=5)))
    for number in range(100):
        answers.leads(("acme", f"{number:064x}"), f"acme.{number}", 0.0)
        answers.keep(entry(f"{number:064x}"))
    assert [key for _, key in answers.entries] == [f"{number:064x}" for number in range(95, 100)]


async def test_the_tenant_with_the_most_answers_makes_room_where_there_are_too_many(monkeypatch):
    monkeypatch.setattr(telling, "MOST_ENTRIES", 10)
    answers = Answers(MemoryCache(), load_rules(None, None, "local"))
    answers.keep(entry(tenant="globex"))
    for number in range(100):
        answers.keep(entry(f"{number:064x}"))
    assert len(answers.entries) == 10 and ("globex", REQUEST) in answers.entries


async def test_long_answers_make_room_for_others_whosever_they_are_and_count_while_they_are_kept(monkeypatch):
    monkeypatch.setattr(telling, "MOST_CHARACTERS", 100)
    found = Answers(MemoryCache(), load_rules(None, None, "local"))
    long = {"role": "assistant", "content": "x" * 40}
    for number in range(6):
        found.keep(entry(f"{number:064x}", job=number, message=long))
        found.keep(entry(f"{number:064x}", job=number, message=long))
    found.keep(entry(REQUEST, "globex"))
    assert [key[-1] for tenant, key in found.entries if tenant == "acme"] == ["4", "5"]
    assert ("globex", REQUEST) in found.entries
    found.evict({f"job-{4:016d}"}, "acme")
    found.keep(entry(OTHER, message=long))
    assert len(found.entries) == 3

"""Malformed messages among good ones: each is answered, kept and accounted for, and no neighbour notices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random

from fuzzing import seeds
from fuzzing.mutation import mutate

from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Malformed, Status
from policies.resilience import delivery
from queues.wire.dead_letter import decode_dead
from queues.wire.job import decode_job
from queues.wire.letters import Message
from queues.wire.result import decode_result
from queues.wire.work import decode_work

MALFORMED = 400
NEIGHBOURS = 40


def mutated(valid: list[bytes], subject: str) -> Iterator[Message]:
    """Each under an id of its own, so that none can pass for another's repetition."""
    random = Random(11)
    while True:
        job_id = f"fuzz-{random.randrange(10**12):012d}"
        yield Message(subject, mutate(random.choice(valid).replace(seeds.ID.encode(), job_id.encode()), random))


async def test_every_malformed_job_is_rejected_kept_and_accounted_for(bench, sure):
    bench.backend("llama-8b", sure)
    bad: dict[str, Message] = {}
    for message in mutated(seeds.jobs(), "jobs.bulk.acme"):
        read = decode_job(message.data, None, message.subject, 1.0)
        if isinstance(read, Malformed):
            bad[read.job_id] = message
        if len(bad) == MALFORMED:
            break
    for message in bad.values():
        bench.broker.store(message)
    neighbours = await bench.submit(NEIGHBOURS, Lane.BULK)
    async with bench.running():
        ends = {job_id: await bench.result(job_id) for job_id in (*neighbours, *bad)}

    assert {ends[job_id].status for job_id in neighbours} == {Status.SUCCEEDED}
    assert {(ends[job_id].status, ends[job_id].reason) for job_id in bad} == {(Status.REJECTED, Reason.INVALID)}
    assert all(ends[job_id].problem.rule for job_id in bad)
    kept = {letter.job_id: letter.body for letter in map(decode_dead, data(bench, "dead"))}
    assert kept == {job_id: message.data for job_id, message in bad.items()}
    rejected = [line["id"] for line in bench.ledger() if line["status"] == "rejected"]
    assert sorted(rejected) == sorted(bad)
    assert len(data(bench, "results")) == MALFORMED + NEIGHBOURS


async def test_every_message_among_the_work_comes_to_an_end_whatever_it_holds(bench, sure, monkeypatch):
    monkeypatch.setattr(delivery, "UNREADABLE_TRIES", 1)
    bench.backend("llama-8b", sure)
    expected: dict[str, Message] = {}
    for message in mutated(seeds.work()[:2], "work.llama-8b.bulk.acme"):
        read = decode_work(message.data, message.subject)
        if isinstance(read, Malformed) and read.is_comparison:  # nobody waits for an answer
            continue
        expected[read.job_id if isinstance(read, Malformed) else read.job.id] = message
        if len(expected) == MALFORMED:
            break
    for message in expected.values():
        bench.broker.store(message)
    neighbours = await bench.submit(NEIGHBOURS, Lane.BULK)
    async with bench.running():
        ends = {job_id: await bench.result(job_id) for job_id in (*neighbours, *expected)}

    assert {ends[job_id].status for job_id in neighbours} == {Status.SUCCEEDED}
    ended = [decode_result(body).job_id for body in data(bench, "results")]
    assert sorted(ended) == sorted([*neighbours, *expected])
    lost = {job_id for job_id, end in ends.items() if end.answer is None and end.status is Status.FAILED}
    assert lost <= {json.loads(body)["id"] for body in data(bench, "dead")}


def data(bench, stream: str) -> list[bytes]:
    return [message.data for message in bench.broker.stored(stream)]

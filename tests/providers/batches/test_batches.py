"""Calls go out in a provider's batches, and each gets its own outcome, whatever becomes of the batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from batch_bench import call
from batch_server import BAD_REQUEST, CANCELLED, EXPIRED, GOOD, MISSING, ODD, SERVER_ERROR
from patience import eventually

from fleet.model.attempt import Answer, Failure, FailureKind
from fleet.model.errors import QueueUnavailable
from queues.jetstream.stores.cells import MemoryCells

CALLS = [call(number) for number in range(3)]


def fates(*kinds: str) -> Callable[[str], str]:
    """Return what becomes of rows, in the order in which they are first asked about."""
    left, known = list(kinds), dict[str, str]()

    def fate(custom_id: str) -> str:
        if custom_id not in known:
            known[custom_id] = left.pop(0)
        return known[custom_id]

    return fate


async def test_every_call_of_a_batch_gets_the_answer_to_its_own_question(bench):
    found = await bench.outcomes(CALLS)
    assert [each.text for each in found] == ["re: question 0", "re: question 1", "re: question 2"]
    assert found[0].usage.input_tokens == 11
    [batch] = bench.server.batches.values()
    assert len(batch.rows) == 3 and bench.server.charged.total() == 3


async def test_tenants_and_common_beginnings_have_batches_of_their_own(bench):
    ruled = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "question 9"}]
    calls = [*CALLS, call(7, tenant="globex"), call(8, messages=ruled), call(9, messages=ruled)]
    assert all(isinstance(each, Answer) for each in await bench.outcomes(calls))
    assert sorted(len(batch.rows) for batch in bench.server.batches.values()) == [1, 2, 3]


@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        (BAD_REQUEST, FailureKind.INVALID_REQUEST),
        (SERVER_ERROR, FailureKind.SERVER_ERROR),
        (EXPIRED, FailureKind.OVERLOADED),
        (CANCELLED, FailureKind.OVERLOADED),
        (MISSING, FailureKind.MALFORMED),
        (ODD, FailureKind.MALFORMED),
    ],
)
async def test_a_row_that_went_wrong_fails_alone(bench, kind, failure):
    bench.server.row = fates(GOOD, kind, GOOD)
    found = await bench.outcomes(CALLS)
    assert isinstance(found[0], Answer) and isinstance(found[2], Answer)
    assert isinstance(found[1], Failure) and found[1].kind is failure


@pytest.mark.parametrize("provider", ["openai", "groq"], indirect=True)
@pytest.mark.parametrize("ends_as", ["expired", "cancelled"])
async def test_answered_rows_of_a_batch_that_was_cut_short_are_kept_and_those_in_no_file_were_not_run(bench, ends_as):
    bench.server.row = fates(GOOD, MISSING, EXPIRED)
    bench.server.ends_as = ends_as
    first, *rest = await bench.outcomes(CALLS)
    assert isinstance(first, Answer)
    assert [each.kind for each in rest] == [FailureKind.OVERLOADED] * 2


async def test_rows_whose_file_is_lost_may_have_been_charged(bench):
    bench.server.lost_files = True
    assert {each.kind for each in await bench.outcomes(CALLS)} == {FailureKind.MALFORMED}


@pytest.mark.parametrize("provider", ["openai", "groq"], indirect=True)
@pytest.mark.parametrize(
    ("refusal", "kind"),
    [("token_limit_exceeded", FailureKind.OVERLOADED), ("invalid_json_line", FailureKind.INVALID_REQUEST)],
)
async def test_a_batch_that_is_refused_after_it_was_made_fails_every_row(bench, refusal, kind):
    bench.server.refusal = refusal
    found = await bench.outcomes(CALLS)
    assert {each.kind for each in found} == {kind}
    assert refusal in found[0].detail


@pytest.mark.parametrize("status", [400, 401, 429])
async def test_a_batch_that_is_refused_at_once_is_told_apart_and_may_be_tried_again(bench, status):
    bench.server.fail = {"POST": [status]}
    first = await bench.outcomes(CALLS)
    assert all(isinstance(each, Failure) for each in first)
    assert all(isinstance(each, Answer) for each in await bench.outcomes(CALLS))


async def test_errors_while_it_is_polled_and_states_nobody_knows_are_waited_out(bench):
    bench.server.polls = 4
    bench.server.ends_as = "completed"
    bench.server.fail = {r"GET .*batch-0": [500, 503, 429]}
    assert all(isinstance(each, Answer) for each in await bench.outcomes(CALLS))


async def test_a_batch_that_is_gone_fails_its_rows(bench):
    bench.server.fail = {r"GET .*batch-0": [404]}
    assert {each.kind for each in await bench.outcomes(CALLS)} == {FailureKind.MALFORMED}


@pytest.mark.parametrize("state", ["paused", "completed"])
async def test_a_batch_of_a_day_gives_way_in_the_time_of_the_call_and_is_cancelled(bench, state):
    bench.server.polls = 10**9
    bench.server.ends_as = state  # a word that nobody knows is no end
    backend = bench.backend()
    found = await bench.outcomes([call(1, timeout_seconds=0.2)], backend)
    assert [each.kind for each in found] == [FailureKind.TIMEOUT]
    assert sum("cancel" in each for each in bench.server.asked) == 1


async def test_a_call_that_is_called_off_leaves_the_others_their_batch(bench):
    bench.server.polls = 10**9
    backend = bench.backend()
    running = asyncio.create_task(bench.outcomes(CALLS, backend))
    await eventually(lambda: any("GET" in each for each in bench.server.asked))
    await backend.stop([CALLS[0].id])
    assert not any("cancel" in each for each in bench.server.asked)
    bench.server.polls = 0
    found = await running
    assert [type(each) for each in found] == [Failure, Answer, Answer]
    assert found[0].kind is FailureKind.CANCELLED


async def test_without_the_broker_nothing_is_sent(bench):
    class Away(MemoryCells):
        async def write(self, key: str, value: bytes, revision: int) -> int | None:
            raise QueueUnavailable("away")

    found = await bench.outcomes(CALLS, bench.backend(Away()))
    assert {each.kind for each in found} == {FailureKind.OVERLOADED}
    assert not bench.server.asked


async def test_an_id_that_is_used_again_for_another_question_is_another_row(bench):
    [first] = await bench.outcomes([call(1)])
    again = call(1, messages=[{"role": "user", "content": "something else"}])
    assert [first.text, (await bench.outcomes([again]))[0].text] == ["re: question 1", "re: something else"]
    [same] = await bench.outcomes([call(1, max_tokens=5)])  # the limit of the moment makes no other row
    assert same.text == first.text and len(bench.server.batches) == 2

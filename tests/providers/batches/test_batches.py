"""Calls go out in a provider's batches, and each gets its own outcome, whatever becomes of the batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from batch_bench import call
from batch_server import BAD_REQUEST, CANCELLED, EXPIRED, GOOD, MISSING, ODD, SERVER_ERROR
from patience import eventually

from fleet.model.attempt import Answer, Failure, FailureKind
from fleet.model.batched import Observed
from fleet.model.errors import QueueUnavailable
from fleet.model.money import Deposit, Quote, Reservation
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
async def test_a_batch_of_a_day_is_cancelled_once_nobody_waits_for_it(bench, state):
    bench.server.polls = 10**9
    bench.server.ends_as = state  # a word that nobody knows is no end
    batches = bench.batches()
    assert await batches.send([(CALLS[0], None)]) == [True]
    [looked] = await batches.look(CALLS[:1])
    assert looked.outcome is None
    bench.now += 7_200.0
    bench.nobody_waits.set()
    await eventually(lambda: any("cancel" in each for each in bench.server.asked))
    bench.now += 99_999.0
    assert batches.observed() == (Observed(7_200.0, ended=False),)  # nobody knows how long it would have run
    await batches.close()


async def test_a_batch_that_has_ended_is_read_once_and_never_cancelled(bench):
    batches = bench.batches()
    await batches.send([(each, None) for each in CALLS])
    bench.now += 30
    await batches.look(CALLS[:1])
    bench.now += 30
    for each in CALLS:
        [looked] = await batches.look([each])
        assert isinstance(looked.outcome, Answer)
    assert sum("content" in each or "results" in each for each in bench.server.asked) in (1, 2)
    bench.nobody_waits.set()
    await asyncio.sleep(0)
    await batches.close()
    assert not any("cancel" in each for each in bench.server.asked)


async def test_the_money_set_aside_comes_back_with_the_outcome_to_the_first_who_looks(bench):
    deposit = Deposit(Reservation("acme", 1_500, bench.now), Quote(1_500, 64, 1_100))
    assert await bench.batches().send([(CALLS[0], deposit)]) == [True]
    [waiting] = await bench.batches().look(CALLS[:1])
    assert (waiting.deposit, waiting.begun_at, waiting.size, waiting.outcome) == (None, bench.now, 1, None)
    found = [(await bench.batches().look(CALLS[:1]))[0] for _ in range(2)]
    assert [each.deposit for each in found] == [deposit, None]  # nobody settles it twice
    assert found[0].outcome == found[1].outcome is not None


async def test_what_was_seen_of_batches_says_how_long_they_took_and_how_long_they_run(bench):
    batches = bench.batches()
    await batches.send([(CALLS[0], None)])
    bench.now += 30
    await batches.look(CALLS[:1])
    assert batches.observed() == (Observed(30.0, ended=False),)
    bench.now += 30
    await batches.look(CALLS[:1])
    bench.now += 999
    assert batches.observed() == (Observed(60.0, ended=True),)


async def test_without_the_broker_nothing_is_sent(bench):
    class Away(MemoryCells):
        async def write(self, key: str, value: bytes, revision: int) -> int | None:
            raise QueueUnavailable("away")

    with pytest.raises(QueueUnavailable):
        await bench.outcomes(CALLS, bench.batches(Away()))
    assert not bench.server.asked


async def test_an_id_that_is_used_again_for_another_question_is_another_row(bench):
    [first] = await bench.outcomes([call(1)])
    again = call(1, messages=[{"role": "user", "content": "something else"}])
    assert [first.text, (await bench.outcomes([again]))[0].text] == ["re: question 1", "re: something else"]
    [same] = await bench.outcomes([call(1, max_tokens=5)])  # the limit of the moment makes no other row
    assert same.text == first.text and len(bench.server.batches) == 2

"""What the fleet pays for outside: set aside before a call, settled after it, and never more than the day's limit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from fleet.dispatch.runner.cost_reservations import alerts
from fleet.model.attempt import Answer, Failure, FailureKind, Usage
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane, Plan
from fleet.model.money import Account, Claim, Reservation
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.model.target import Reasoning
from policies.money import day_of, nano_of
from queues.jetstream.stores.cells import Cell, MemoryCells
from queues.jetstream.stores.spend import CellSpendBook, accounts_of

CLOUD = "groq-gpt-oss-120b"
REQUEST = {"messages": [{"role": "user", "content": "All is well."}]}
PINNED = {"request": {**REQUEST, "model": CLOUD}}
COST = 10 * 150 + 2 * 600
"""Of an answer of the scripted backend, in nano-dollars: 10 tokens in and 2 out at $0.15 and $0.60 a million."""


@pytest.fixture
def good():
    return lambda call: Answer({"role": "assistant", "content": "positive"}, "stop", Usage(10, 2), "scripted")


@pytest.fixture
def limit(bench):
    """Change the rules on money."""

    def change(**changes):
        bench.rules = replace(bench.rules, money=replace(bench.rules.money, **changes))

    return change


@pytest.fixture
def cloud(bench):
    """Change the entry of the paid target."""

    def change(**changes):
        targets = bench.rules.catalogue.targets
        targets = {**targets, CLOUD: replace(targets[CLOUD], **changes)}
        bench.rules = replace(bench.rules, catalogue=replace(bench.rules.catalogue, targets=targets))

    return change


@pytest.fixture(autouse=True)
def unthinking(cloud):
    """The sums of these tests are of a target that thinks about nothing."""
    cloud(reasoning=None)


async def accounts(bench):
    return await accounts_of(bench.cells, day_of(bench.broker.now()))


async def spend_elsewhere(bench, usd, tenant="beta"):
    """As another dispatcher of the fleet does."""
    book = CellSpendBook(bench.cells, bench.broker, bench.rules.money.open_seconds)
    [reservation] = await book.reserve([Claim(tenant, nano_of(usd), 10**18)])
    assert isinstance(reservation, Reservation)
    book.settle(reservation, nano_of(usd))
    await book.close()


async def test_a_paid_call_is_bounded_and_booked_with_what_it_came_to(bench, good):
    backend = bench.backend(CLOUD, good)
    [job_id] = await bench.submit(**PINNED)
    async with bench.running():
        await bench.result(job_id)
    [[call]] = backend.batches
    assert call.request == {**PINNED["request"], "max_tokens": 4096}
    assert await accounts(bench) == {None: Account(COST, {}), "acme": Account(COST, {})}


async def test_cached_and_thought_tokens_are_in_the_result_the_ledger_and_the_accounts(bench, cloud):
    cloud(cached_input_usd_per_million_tokens=0.075, cache_write_usd_per_million_tokens=0.1875)
    usage = Usage(1_000, 50, cached_input_tokens=600, cache_write_tokens=300, reasoning_tokens=40)
    bench.backend(CLOUD, lambda call: Answer({"role": "assistant", "content": "positive"}, "stop", usage, "scripted"))
    [job_id] = await bench.submit(**PINNED)
    async with bench.running():
        result = await bench.result(job_id)
    cost = 100 * 150 + 600 * 75 + 300 * 187.5 + 50 * 600
    assert result.attempts[0].outcome.usage == usage
    details = {"cached_input_tokens": 600, "cache_write_tokens": 300, "reasoning_tokens": 40}
    assert bench.ledger()[-1]["attempt"]["usage"] == {"input_tokens": 1_000, "output_tokens": 50, **details}
    assert result.cost_usd == nano_of(cost / 1e9) / 1e9
    assert await accounts(bench) == {None: Account(cost, {}), "acme": Account(cost, {})}


async def test_a_bound_of_the_answer_leaves_room_for_reasoning_whoever_pays(bench, cloud, good):
    cloud(reasoning=Reasoning(tokens=500))
    backend = bench.backend(CLOUD, good)
    short = {**PINNED["request"], "max_tokens": 64}
    mine = {"plan": Plan.OWN_KEY, "own_key": "groq/main"}
    ids = [*await bench.submit(request=short), *await bench.submit(lane=Lane.STANDARD, request=short, **mine)]
    async with bench.running():
        for job_id in ids:
            await bench.result(job_id)
    assert [call.request["max_tokens"] for batch in backend.batches for call in batch] == [564, 564]


async def test_the_jobs_own_bound_and_its_own_limit_are_kept(bench, good):
    backend = bench.backend(CLOUD, good)
    bounded = {"request": {**PINNED["request"], "max_completion_tokens": 9_000}}
    [first] = await bench.submit(**bounded)
    [second] = await bench.submit(lane=Lane.STANDARD, max_cost_usd=0.0006, **PINNED)
    async with bench.running():
        await bench.result(first)
        await bench.result(second)
    calls = {call.request.get("max_completion_tokens") or call.request["max_tokens"] for [call] in backend.batches}
    assert 9_000 in calls
    [other] = calls - {9_000}
    assert 990 <= other <= 1_000  # $0.0006 at $0.60 a million, less the prompt


async def test_a_tenants_own_key_and_the_fleets_own_models_are_nobodys_budget(bench, good, sure):
    cloud = bench.backend("gpt-4o", good)
    own = bench.backend("llama-8b", sure)
    mine = {"plan": Plan.OWN_KEY, "own_key": "openai/main", "request": {**REQUEST, "model": "gpt-4o"}}
    ids = [*await bench.submit(**mine), *await bench.submit(lane=Lane.STANDARD)]
    async with bench.running():
        for job_id in ids:
            await bench.result(job_id)
    assert [batch[0].request for batch in (*cloud.batches, *own.batches)] == [mine["request"], REQUEST]
    assert await accounts(bench) == {None: Account()}


async def test_once_others_have_spent_the_limit_an_answer_of_the_fleets_own_is_the_best_there_is(bench, good, unsure):
    bench.backend("llama-8b", unsure)
    cloud = bench.backend(CLOUD, good)
    await spend_elsewhere(bench, 49.9999)
    [job_id] = await bench.submit()
    async with bench.running():
        result = await bench.result(job_id)
    assert (result.status, result.reason, result.target) == (Status.BEST_EFFORT, Reason.OUT_OF_MONEY, "llama-8b")
    assert cloud.batches == []
    assert (await accounts(bench))[None] == Account(nano_of(49.9999), {})


async def test_a_job_that_only_money_could_serve_is_told_whose_money_is_spent(bench, good, limit):
    limit(tenants={"acme": 1.0})
    bench.backend("gpt-4o", good)
    await spend_elsewhere(bench, 0.99, tenant="acme")
    [job_id] = await bench.submit(request={**REQUEST, "model": "gpt-4o"})
    async with bench.running():
        result = await bench.result(job_id)
    assert (result.status, result.reason) == (Status.FAILED, Reason.OUT_OF_MONEY)
    assert "with $0.010000 left of tenant acme's $1.00 a day" in result.problem.message


async def test_jobs_wait_for_money_that_is_only_set_aside(bench, good, limit):
    limit(daily_usd=0.0035)  # room for one call of at most $0.0026 at a time, and for many that cost $0.0000027
    backend = bench.backend(CLOUD, good, open_gate=False)
    ids = await bench.submit(6, lane=Lane.STANDARD, **PINNED)
    async with bench.running():
        await backend.begun.wait()
        backend.gate.set()
        results = [await bench.result(job_id) for job_id in ids]
    assert {result.status for result in results} == {Status.SUCCEEDED}
    assert backend.most_running == 1
    assert (await accounts(bench))[None] == Account(6 * COST, {})


class FailingCells(MemoryCells):
    """Away for the first reading."""

    failures = 1

    async def read(self, key: str) -> Cell:
        if self.failures:
            self.failures -= 1
            raise QueueUnavailable("away")
        return await super().read(key)


async def test_without_the_book_nothing_is_spent_and_the_job_waits(bench, good):
    bench.cells = FailingCells()
    backend = bench.backend(CLOUD, good)
    [job_id] = await bench.submit(**PINNED)
    async with bench.running():
        result = await bench.result(job_id)
    assert (result.status, len(backend.batches), bench.cells.failures) == (Status.SUCCEEDED, 1, 0)
    assert (await accounts(bench))[None] == Account(COST, {})


@pytest.mark.parametrize(
    ("kind", "most"),
    [(FailureKind.INVALID_REQUEST, 0), (FailureKind.TIMEOUT, nano_of(0.003))],
    ids=lambda kind: str(kind),
)
async def test_a_failure_is_booked_with_what_may_have_been_charged_for_it(bench, kind, most):
    bench.rules = replace(bench.rules, retry=replace(bench.rules.retry, max_tries=1))
    bench.backend(CLOUD, lambda call: Failure(kind, "no reply"))
    [job_id] = await bench.submit(**PINNED)
    async with bench.running():
        await bench.result(job_id)
    account = (await accounts(bench))[None]
    assert account.open == {}
    assert (account.spent > 0) == (most > 0)
    assert account.spent <= most


async def test_two_dispatchers_together_never_pass_the_limit(bench, limit):
    dear = Answer({"role": "assistant", "content": "positive"}, "stop", Usage(10, 4096), "scripted")
    limit(daily_usd=0.01, cheap_at=1.0)
    bench.backend(CLOUD, lambda call: dear)
    ids = await bench.submit(20, lane=Lane.STANDARD, **PINNED)
    async with bench.running(), bench.running():
        results = [await bench.result(job_id) for job_id in ids]
    spent = (await accounts(bench))[None].spent
    assert nano_of(0.01) - nano_of(0.0035) < spent <= nano_of(0.01)
    assert spent == sum(nano_of(result.cost_usd) for result in results)
    assert {result.status for result in results} == {Status.SUCCEEDED, Status.FAILED}


def test_operators_are_told_of_each_step_of_each_limit(bench, limit):
    limit(tenants={"acme": 1.0})
    tell = alerts(bench.rules.money)
    with capture_logs() as lines:
        tell(None, nano_of(39.0), nano_of(39.9))
        tell(None, nano_of(39.9), nano_of(46.0))
        tell(None, nano_of(46.0), nano_of(46.1))
        tell("acme", nano_of(0.95), nano_of(1.0))
        tell("beta", nano_of(0.0), nano_of(100.0))
    assert [(line["step"], line["scope"], line["limit_usd"]) for line in lines] == [
        ("alert", "fleet", 50),
        ("cheap_targets_only", "fleet", 50),
        ("spent", "tenant acme", 1.0),
    ]


IMPOSSIBLE = [
    Usage(),
    Usage(-40_000_000, 5),
    Usage(10, -5),
    Usage(10**12, 5),
    Usage(10, 10**12),
    Usage(10, 4097),
    Usage(float("nan"), 2),
    Usage(10, float("inf")),
    Usage(True, True),
    Usage("10", 2),
    Usage(None, None),
]


@pytest.mark.parametrize("usage", IMPOSSIBLE, ids=repr)
async def test_a_usage_that_cannot_be_is_booked_alike_everywhere(bench, tracer, usage):
    """With all that was set aside: no more, and never less than nothing."""
    answered = Answer({"role": "assistant", "content": "positive"}, "stop", usage, "scripted")
    bench.backend(CLOUD, lambda call: answered)
    [job_id] = await bench.submit(**PINNED)
    async with bench.running():
        result = await bench.result(job_id)
    spent = {tenant: account.spent for tenant, account in (await accounts(bench)).items()}
    assert 4096 * 600 < spent[None] == spent["acme"] < nano_of(0.003)
    assert result.status is Status.SUCCEEDED
    assert nano_of(result.cost_usd) == spent[None]
    assert sum(nano_of(line["attempt"]["cost_usd"]) for line in bench.ledger() if line.get("attempt")) == spent[None]
    assert result.answer.usage == Usage()
    costs = [span.attributes["cost_usd"] for span in tracer.spans if "cost_usd" in span.attributes]
    assert costs
    assert {nano_of(cost) for cost in costs} == {spent[None]}


async def test_a_call_that_timed_out_costs_the_job_what_is_booked_for_it(bench):
    bench.rules = replace(bench.rules, retry=replace(bench.rules.retry, max_tries=1))
    bench.backend(CLOUD, lambda call: Failure(FailureKind.TIMEOUT, "no reply"))
    [job_id] = await bench.submit(**PINNED)
    async with bench.running():
        result = await bench.result(job_id)
    assert 0 < nano_of(result.cost_usd) == (await accounts(bench))[None].spent


async def test_no_usage_of_the_fleets_own_models_is_believed_beyond_their_context(bench, sure):
    bench.backend("llama-8b", lambda call: replace(sure(call), usage=Usage(10**12, 5)))
    [job_id] = await bench.submit()
    async with bench.running():
        result = await bench.result(job_id)
    assert (result.status, result.answer.usage, result.cost_usd) == (Status.SUCCEEDED, Usage(), 0.0)

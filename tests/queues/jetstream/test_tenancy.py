"""Who may do what on servers started with what `fleet nats-config` writes; every attempt is a real one.

The attempts and the servers' answers are left in build/tenancy.json, where the documentation takes them from.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
from production_nats import ProductionNats
from raw_session import RawSession
from structlog.testing import capture_logs

from fleet.model.attempt import Answer, Usage
from fleet.model.delivery import Stored
from fleet.model.errors import ConfigError, QueueUnavailable
from fleet.model.reason import Reason
from fleet.model.result import Result, Status
from fleet.model.submission import Submission
from queues.jetstream.client.connection import connect
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import ChangeKind, apply

REPORT = Path("build/tenancy.json")

JOB_OF_BETA = "job-of-beta-0001"
RESULT_OF_BETA = f"results.beta.{JOB_OF_BETA}"
DIRECT_GET = "$JS.API.DIRECT.GET.RESULTS"
DIRECT_GET_BATCH = "$JS.API.DIRECT.GET.KV_batches.$KV.batches"
DIRECT_GET_LARGE = "$JS.API.DIRECT.GET.OBJ_results-large.$O.results-large.C"
PIECE_OF_BETA = f"{DIRECT_GET_LARGE}.beta.{JOB_OF_BETA}.0123456789abcdef.0"
READING_RESULTS = b'{"stream_name":"RESULTS","config":{"ack_policy":"none","filter_subject":"results.beta.*"}}'


@dataclass(frozen=True)
class Attempt:
    """Something a user tries: a request to `subject`, or with `listens` a subscription to it."""

    who: str
    tries: str
    subject: str
    answer: str
    listens: bool = False
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()


PUBLISH = "-ERR 'Permissions Violation for Publish to"
ADAPTER_PART = "$JS.API.DIRECT.GET.OBJ_adapters.$O.adapters.C.x.0"
LISTEN = "-ERR 'Permissions Violation for Subscription to"

ATTEMPTS = [
    Attempt("acme", "publish a job", "jobs.bulk.acme", '{"stream":"JOBS"'),
    Attempt("acme", "give feedback", "feedback.acme", '{"stream":"FEEDBACK"'),
    Attempt("acme", "read a result of its own that is not there yet", f"{DIRECT_GET}.results.acme.x", "404", body=b""),
    Attempt("acme", "write a part of a file of its own", "files.acme.file-1.0123456789abcdef.0", '{"stream":"FILES"'),
    Attempt("acme", "write a batch of its own", "$KV.batches.acme.batch.batch_1", '{"stream":"KV_batches"'),
    Attempt("acme", "read a batch of its own that is not there", f"{DIRECT_GET_BATCH}.acme.batch.x", "404", body=b""),
    Attempt("acme", "watch its own batches", "$KV.batches.acme.*.*", "", listens=True),
    Attempt("acme", "write a part of a file of beta", "files.beta.file-1.0123456789abcdef.0", PUBLISH),
    Attempt("acme", "write a batch of beta", "$KV.batches.beta.batch.batch_1", PUBLISH),
    Attempt("acme", "read a batch of beta", f"{DIRECT_GET_BATCH}.beta.batch.x", PUBLISH, body=b""),
    Attempt("acme", "read a part of a file of beta", "$JS.API.DIRECT.GET.FILES.files.beta.f.s.0", PUBLISH, body=b""),
    Attempt("acme", "watch the batches of beta", "$KV.batches.beta.*.*", LISTEN, listens=True),
    Attempt("acme", "list the batches of all", "$JS.API.STREAM.INFO.KV_batches", PUBLISH),
    Attempt("acme", "listen to its own results", "results.acme.*", "", listens=True),
    Attempt("acme", "publish a job as beta", "jobs.bulk.beta", PUBLISH),
    Attempt("acme", "publish to a lane that does not exist", "jobs.express.acme", PUBLISH),
    Attempt("acme", "give feedback as beta", "feedback.beta", PUBLISH),
    Attempt("acme", "pass feedback off as a dispatcher's", "feedback.acme.shadow", PUBLISH),
    Attempt("acme", "write a result of its own", "results.acme.job-of-acme-0001", PUBLISH),
    Attempt("acme", "write a result of beta", RESULT_OF_BETA, PUBLISH),
    Attempt("acme", "write work past the intake", "work.llama-8b.bulk.acme", PUBLISH),
    Attempt("acme", "write the accounts", "ledger.acme", PUBLISH),
    Attempt("acme", "write the money spent today", "$KV.spend.2030-01-31.fleet", PUBLISH),
    Attempt("acme", "write a calibration", "$KV.calibrations.llama-8b.chat.short", PUBLISH),
    Attempt("acme", "announce an event of its own", "events.acme", PUBLISH),
    Attempt("acme", "send its endpoints something", "events.acme.we_1.evt_1", PUBLISH),
    Attempt("acme", "add a webhook endpoint", "$KV.webhooks.acme.we_1", PUBLISH),
    Attempt("acme", "read the webhook endpoints", "$JS.API.STREAM.MSG.GET.KV_webhooks", PUBLISH, body=b'{"seq":1}'),
    Attempt("acme", "read a result of beta", f"{DIRECT_GET}.{RESULT_OF_BETA}", PUBLISH, body=b""),
    Attempt(
        "acme",
        "read a result of beta, named in the body",
        DIRECT_GET,
        PUBLISH,
        body=json.dumps({"last_by_subj": RESULT_OF_BETA}).encode(),
    ),
    Attempt(
        "acme",
        "read a result of beta, named in the body of an allowed request",
        f"{DIRECT_GET}.results.acme.x",
        "408",
        body=json.dumps({"last_by_subj": RESULT_OF_BETA}).encode(),
    ),
    Attempt(
        "acme",
        "read a piece of a large answer of its own that is not there",
        f"{DIRECT_GET_LARGE}.acme.job-of-acme-0001.0123456789abcdef.0",
        "404",
        body=b"",
    ),
    Attempt("acme", "read a piece of a large answer of beta", PIECE_OF_BETA, PUBLISH, body=b""),
    Attempt(
        "acme",
        "read a piece of a large answer of beta, named in the body of an allowed request",
        f"{DIRECT_GET_LARGE}.acme.x.y.0",
        "408",
        body=json.dumps({"last_by_subj": PIECE_OF_BETA}).encode(),
    ),
    Attempt("acme", "list the large answers", "$JS.API.STREAM.INFO.OBJ_results-large", PUBLISH),
    Attempt("acme", "read a message of JOBS", "$JS.API.STREAM.MSG.GET.JOBS", PUBLISH, body=b'{"seq":1}'),
    Attempt("acme", "list the streams", "$JS.API.STREAM.NAMES", PUBLISH),
    Attempt("acme", "list the subjects, and in them the ids", "$JS.API.STREAM.INFO.RESULTS", PUBLISH),
    Attempt("acme", "list the consumers", "$JS.API.CONSUMER.LIST.JOBS", PUBLISH),
    Attempt("acme", "read results with a consumer", "$JS.API.CONSUMER.CREATE.RESULTS", PUBLISH, body=READING_RESULTS),
    Attempt("acme", "take jobs away", "$JS.API.CONSUMER.MSG.NEXT.JOBS.bulk", PUBLISH, body=b'{"batch":1}'),
    Attempt("acme", "acknowledge somebody's job", "$JS.ACK.JOBS.bulk.1.1.1.1.0", PUBLISH, body=b"+ACK"),
    Attempt("acme", "purge the jobs of beta", "$JS.API.STREAM.PURGE.JOBS", PUBLISH, body=b'{"filter":"jobs.*.beta"}'),
    Attempt("acme", "delete a message", "$JS.API.STREAM.MSG.DELETE.JOBS", PUBLISH, body=b'{"seq":1}'),
    Attempt("acme", "delete a stream", "$JS.API.STREAM.DELETE.JOBS", PUBLISH),
    Attempt("acme", "see who is connected", "$SYS.REQ.SERVER.PING.CONNZ", PUBLISH),
    Attempt("acme", "listen to the results of beta", "results.beta.*", LISTEN, listens=True),
    Attempt("acme", "listen to all results", "results.>", LISTEN, listens=True),
    Attempt("acme", "listen to one result of beta", RESULT_OF_BETA, LISTEN, listens=True),
    Attempt("acme", "listen to the money and the calibrations", "$KV.>", LISTEN, listens=True),
    Attempt("acme", "listen to the jobs", "jobs.>", LISTEN, listens=True),
    Attempt("acme", "listen to the dispatchers' deliveries", "_INBOX_dispatcher.>", LISTEN, listens=True),
    Attempt("acme", "listen to everything", ">", LISTEN, listens=True),
    Attempt(
        "acme",
        "have a job traced onto a result of beta",
        "jobs.bulk.acme",
        PUBLISH,
        headers=(("Nats-Trace-Dest", RESULT_OF_BETA),),
    ),
    Attempt(
        "acme",
        "schedule a job of beta",
        "jobs.bulk.acme",
        '"err_code":10188',
        headers=(("Nats-Schedule", "@at 2030-01-31T12:00:00Z"), ("Nats-Schedule-Target", "jobs.bulk.beta")),
    ),
    Attempt(
        "acme",
        "roll the stream up to its own job",
        "jobs.bulk.acme",
        '"err_code":10111',
        headers=(("Nats-Rollup", "all"),),
    ),
    Attempt("dispatcher", "look at a stream", "$JS.API.STREAM.INFO.JOBS", "stream_info_response"),
    Attempt("dispatcher", "submit a job", "jobs.bulk.beta", PUBLISH),
    Attempt("dispatcher", "purge a stream", "$JS.API.STREAM.PURGE.JOBS", PUBLISH),
    Attempt("dispatcher", "delete a stream", "$JS.API.STREAM.DELETE.JOBS", PUBLISH),
    Attempt("dispatcher", "change a stream", "$JS.API.STREAM.UPDATE.JOBS", PUBLISH),
    Attempt("dispatcher", "read dead letters", "$JS.API.CONSUMER.CREATE.DEAD", PUBLISH),
    Attempt("dispatcher", "listen to another's replies", "_INBOX_operator.>", LISTEN, listens=True),
    Attempt("ledger", "read the accounts", "$JS.API.CONSUMER.CREATE.LEDGER", "consumer_create_response"),
    Attempt("ledger", "see how much is to be read", "$JS.API.STREAM.INFO.LEDGER", "stream_info_response"),
    Attempt("ledger", "see the depths of the queues", "$JS.API.STREAM.INFO.JOBS", PUBLISH),
    Attempt("ledger", "acknowledge somebody's job", "$JS.ACK.JOBS.bulk.1.1.1.1.0", PUBLISH, body=b"+ACK"),
    Attempt("ledger", "purge the accounts", "$JS.API.STREAM.PURGE.LEDGER", PUBLISH),
    Attempt("ledger", "write the accounts", "ledger.beta", PUBLISH),
    Attempt("ledger", "read prompts", "$JS.API.CONSUMER.CREATE.JOBS", PUBLISH),
    Attempt("ledger", "read results", "$JS.API.CONSUMER.CREATE.RESULTS", PUBLISH),
    Attempt("ledger", "listen to the dispatchers' deliveries", "_INBOX_dispatcher.>", LISTEN, listens=True),
    Attempt("sre", "see depths", "$JS.API.STREAM.LIST", "stream_list_response"),
    Attempt("sre", "see consumers", "$JS.API.CONSUMER.LIST.JOBS", "consumer_list_response"),
    Attempt("sre", "read a prompt", "$JS.API.STREAM.MSG.GET.JOBS", PUBLISH, body=b'{"seq":1}'),
    Attempt("sre", "read a result", f"{DIRECT_GET}.{RESULT_OF_BETA}", PUBLISH, body=b""),
    Attempt("sre", "pause a consumer", "$JS.API.CONSUMER.PAUSE.JOBS.bulk", PUBLISH),
    Attempt("sre", "submit a job", "jobs.bulk.beta", PUBLISH),
    Attempt("sre", "write the money spent today", "$KV.spend.2030-01-31.fleet", PUBLISH),
    Attempt("sre", "listen to results", "results.>", LISTEN, listens=True),
    Attempt("console", "see depths", "$JS.API.STREAM.LIST", "stream_list_response"),
    Attempt("console", "see calibrations", "$JS.API.CONSUMER.CREATE.KV_calibrations", "consumer_create_response"),
    Attempt("console", "look for a dead letter", "$JS.API.STREAM.MSG.GET.DEAD", "no message found", body=b'{"seq":1}'),
    Attempt("console", "read a prompt", "$JS.API.STREAM.MSG.GET.JOBS", PUBLISH, body=b'{"seq":1}'),
    Attempt("console", "read a result", f"{DIRECT_GET}.{RESULT_OF_BETA}", PUBLISH, body=b""),
    Attempt("console", "remove a dead letter", "$JS.API.STREAM.MSG.DELETE.DEAD", PUBLISH, body=b'{"seq":1}'),
    Attempt("console", "submit a job", "jobs.bulk.beta", PUBLISH),
    Attempt("console", "put a calibration in force", "$KV.calibrations.a.b.c", PUBLISH),
    Attempt("bulk", "submit a row", "jobs.bulk.beta", '{"stream":"JOBS"'),
    Attempt("bulk", "see whether a row waits", "$JS.API.STREAM.MSG.GET.JOBS", '"err_code":10037', body=b'{"seq":1}'),
    Attempt("bulk", "see the batches of all", "$JS.API.STREAM.INFO.KV_batches", "stream_info_response"),
    Attempt("bulk", "watch the batches of all", "$KV.batches.*.*.*", "", listens=True),
    Attempt("bulk", "submit a job that somebody waits for", "jobs.interactive.beta", PUBLISH),
    Attempt("bulk", "write a result", RESULT_OF_BETA, PUBLISH),
    Attempt("bulk", "take jobs away", "$JS.API.CONSUMER.MSG.NEXT.JOBS.bulk", PUBLISH, body=b'{"batch":1}'),
    Attempt("bulk", "purge the files", "$JS.API.STREAM.PURGE.FILES", PUBLISH),
    Attempt("acme", "read the API keys", "$JS.API.CONSUMER.CREATE.KV_keys", PUBLISH),
    Attempt("acme", "write an API key", "$KV.keys.0123456789abcdef", PUBLISH),
    Attempt("gateway", "read the API keys", "$JS.API.CONSUMER.CREATE.KV_keys", "consumer_create_response"),
    Attempt("gateway", "write an API key", "$KV.keys.0123456789abcdef", PUBLISH),
    Attempt("sre", "read the API keys", "$JS.API.CONSUMER.CREATE.KV_keys", PUBLISH),
    Attempt("gateway", "submit a job", "jobs.interactive.beta", '{"stream":"JOBS"'),
    Attempt("gateway", "write a part of a file", "files.beta.file-1.0123456789abcdef.0", '{"stream":"FILES"'),
    Attempt("gateway", "write a result", RESULT_OF_BETA, PUBLISH),
    Attempt("gateway", "read the jobs of others", "$JS.API.STREAM.MSG.GET.JOBS", PUBLISH, body=b'{"seq":1}'),
    Attempt("gateway", "read the accounts", "$JS.API.CONSUMER.CREATE.LEDGER", PUBLISH),
    Attempt("gateway", "see depths", "$JS.API.STREAM.INFO.JOBS", "stream_info_response"),
    Attempt("gateway", "read a result", f"{DIRECT_GET}.{RESULT_OF_BETA}", "what beta was told", body=b""),
    Attempt("gateway", "keep a record", "$KV.responses.beta.job-of-beta-0001", '{"stream":"KV_responses"'),
    Attempt("gateway", "write the money spent today", "$KV.spend.2030-01-31.fleet", PUBLISH),
    Attempt("gateway", "purge the jobs", "$JS.API.STREAM.PURGE.JOBS", PUBLISH),
    Attempt("gateway", "listen to the dispatchers' deliveries", "_INBOX_dispatcher.>", LISTEN, listens=True),
    Attempt("bulk", "announce an event", "events.beta", '{"stream":"EVENTS"'),
    Attempt("bulk", "add a webhook endpoint", "$KV.webhooks.beta.we_1", PUBLISH),
    Attempt("gateway", "add a webhook endpoint", "$KV.webhooks.beta.we_1", '{"stream":"KV_webhooks"'),
    Attempt("gateway", "expect a response", "events.beta", '{"stream":"EVENTS"'),
    Attempt("gateway", "take events away", "$JS.API.CONSUMER.MSG.NEXT.EVENTS.webhooks", PUBLISH, body=b'{"batch":1}'),
    Attempt("webhooks", "see how much waits", "$JS.API.STREAM.INFO.EVENTS", "stream_info_response"),
    Attempt("webhooks", "see whether a job has its result", f"{DIRECT_GET}.results.beta.x", "404", body=b""),
    Attempt("webhooks", "announce an event", "events.beta", PUBLISH),
    Attempt("webhooks", "delete an endpoint", "$JS.API.STREAM.MSG.DELETE.KV_webhooks", PUBLISH, body=b'{"seq":1}'),
    Attempt("webhooks", "read a prompt", "$JS.API.STREAM.MSG.GET.JOBS", PUBLISH, body=b'{"seq":1}'),
    Attempt("webhooks", "submit a job", "jobs.bulk.beta", PUBLISH),
    Attempt("webhooks", "write a result", RESULT_OF_BETA, PUBLISH),
    Attempt("dispatcher", "stop a roll-out", "$KV.experiments.trial", '{"stream":"KV_experiments"'),
    Attempt("dispatcher", "follow the adapters", "$JS.API.CONSUMER.CREATE.KV_adapters", "consumer_create_response"),
    Attempt("dispatcher", "promote an adapter", "$KV.adapters.scheduler", PUBLISH),
    Attempt("dispatcher", "read a part of an adapter", ADAPTER_PART, "404", body=b""),
    Attempt("dispatcher", "write a part of an adapter", "$O.adapters.C.x.0", PUBLISH),
    Attempt("dispatcher", "change a turn of the learning loop", "$KV.turns.schedule-1", PUBLISH),
    Attempt("gateway", "promote an adapter", "$KV.adapters.scheduler", PUBLISH),
    Attempt("flags", "follow the experiments", "$JS.API.CONSUMER.CREATE.KV_experiments", "consumer_create_response"),
    Attempt("flags", "stop a roll-out", "$KV.experiments.trial", PUBLISH),
    Attempt("flags", "read the accounts", "$JS.API.CONSUMER.CREATE.LEDGER", PUBLISH),
    Attempt("acme", "stop a roll-out", "$KV.experiments.trial", PUBLISH),
]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProductionNats]:
    with ProductionNats(tmp_path_factory.mktemp("production"), options=("--sync", "2m")) as running:
        yield running


@pytest.fixture
async def fleet(servers: ProductionNats) -> AsyncIterator[ProductionNats]:
    """The servers with the streams of a fleet, and a result of beta in them."""
    operator = await connect(servers.url, login=servers.login("operator"))
    await apply(operator.nats.jetstream(), TopologySpec())
    await operator.nats.request(RESULT_OF_BETA, b"what beta was told")
    yield servers
    await operator.close()


async def tried(fleet: ProductionNats, attempt: Attempt) -> str:
    """What the server said to it; empty where it said nothing against a subscription."""
    async with RawSession(fleet.url, fleet.login(attempt.who)) as session:
        if attempt.listens:
            return await session.listen(attempt.subject, 7)
        return await session.ask(attempt.subject, attempt.body, **dict(attempt.headers))


@pytest.mark.proves("Every NATS user can do what it needs and nothing else", how="real")
async def test_everybody_can_do_what_they_need_and_nothing_else(fleet: ProductionNats) -> None:
    answers = [await tried(fleet, attempt) for attempt in ATTEMPTS]

    _report(answers)
    wrong = [(a.who, a.tries, said) for a, said in zip(ATTEMPTS, answers, strict=True) if not _as_expected(a, said)]
    assert wrong == []


def _as_expected(attempt: Attempt, answer: str) -> bool:
    return attempt.answer in answer if attempt.answer else answer == ""


def _report(answers: Sequence[str]) -> None:
    REPORT.parent.mkdir(exist_ok=True)
    rows = [_row(attempt, answer) for attempt, answer in zip(ATTEMPTS, answers, strict=True)]
    REPORT.write_text(json.dumps(rows, indent=2) + "\n")


def _row(attempt: Attempt, answer: str) -> dict[str, str]:
    about = asdict(attempt)
    return {name: about[name] for name in ("who", "tries", "subject")} | {"answer": answer or "allowed"}


async def test_a_listener_hears_its_own_results_and_no_others(fleet: ProductionNats) -> None:
    async with AsyncExitStack() as stack:
        acme, beta, dispatcher = [
            await stack.enter_async_context(RawSession(fleet.url, fleet.login(name)))
            for name in ("acme", "beta", "dispatcher")
        ]
        for tenant, session in (("acme", acme), ("beta", beta)):
            assert await session.listen(f"results.{tenant}.*", 7) == ""
        for tenant in ("beta", "acme"):
            await dispatcher.ask(f"results.{tenant}.listened-to-00001", tenant.encode())

        assert await acme.heard() == "MSG results.acme.listened-to-00001 acme"
        assert await beta.heard() == "MSG results.beta.listened-to-00001 beta"


@pytest.mark.proves("A tenant reads its own results and nobody else's", how="real", subject="Security")
async def test_a_tenant_reads_its_own_large_result_and_nobody_elses(fleet: ProductionNats) -> None:
    dispatcher = await connect(fleet.url, login=fleet.login("dispatcher"))
    message = {"role": "assistant", "content": "well " * 2_000_000}
    answer = Answer(message, "stop", Usage(1, 1), "m")
    large = Result("large-of-acme-0001", "acme", Status.SUCCEEDED, Reason.CONFIDENT, 1.0, answer=answer)
    assert await JetStreamQueue(dispatcher).publish([large]) == [Stored.NEW]
    desk = await JetStreamDesk.connect(fleet.url, "acme", fleet.login("acme"))
    stranger = await JetStreamDesk.connect(fleet.url, "acme", fleet.login("beta"))

    found = await desk.result(large.job_id)

    assert found is not None and found.answer is not None and found.answer.message == message
    with pytest.raises(QueueUnavailable, match=r"may not publish to \$JS.API.DIRECT.GET.RESULTS.results.acme"):
        await stranger.result(large.job_id)
    with pytest.raises(QueueUnavailable, match=r"may not listen to results\.acme"):
        await anext(aiter(stranger.results()))
    for connected in (desk, stranger, dispatcher):
        await connected.close()


@pytest.mark.proves("The operator's login submits a job in a tenant's name and reads its result", how="real")
async def test_the_operator_submits_in_a_tenants_name_and_reads_the_result(fleet: ProductionNats) -> None:
    operator = await connect(fleet.url, login=fleet.login("operator"))
    desk = await JetStreamDesk.connect(fleet.url, "acme", fleet.login("operator"))
    job = Submission("first-job-of-acme-01", "classify.intent", {"messages": [{"role": "user", "content": "Hello."}]})
    answer = Answer({"role": "assistant", "content": "Hi."}, "stop", Usage(1, 1), "m")
    told = Result(job.id, "acme", Status.SUCCEEDED, Reason.CONFIDENT, 1.0, answer=answer)

    assert await desk.submit([job]) == [True]
    stored = await operator.nats.jetstream().get_last_msg("JOBS", "jobs.standard.acme")
    assert job.id.encode() in (stored.data or b"")
    assert await JetStreamQueue(operator).publish([told]) == [Stored.NEW]
    assert await desk.result(job.id) == told

    for connected in (desk, operator):
        await connected.close()


async def test_nobody_can_have_anothers_job_dropped_by_being_first_with_its_id(fleet: ProductionNats) -> None:
    """The broker compares message ids across tenants, and a publisher chooses them freely."""
    known = Submission("known-to-others-0001", "nudge", {"messages": [{"role": "user", "content": "Hello."}]})
    body = b'{"id":"another-job-00001","task":"nudge","request":{"messages":[{"role":"user","content":"!"}]}}'
    async with RawSession(fleet.url, fleet.login("acme")) as acme:
        for claimed in ("beta.known-to-others-0001", "known-to-others-0001"):
            assert '"stream":"JOBS"' in await acme.ask("jobs.bulk.acme", body, **{"Nats-Msg-Id": claimed})
    beta = await JetStreamDesk.connect(fleet.url, "beta", fleet.login("beta"))

    assert await beta.submit([known]) == [True]
    assert await beta.submit([known]) == [False]

    await beta.close()


async def test_who_may_not_make_the_streams_is_told_which_one_and_by_which_right(
    fleet: ProductionNats,
) -> None:
    operator = await connect(fleet.url, login=fleet.login("operator"))
    dispatcher = await connect(fleet.url, login=fleet.login("dispatcher"))
    streams, lesser = operator.nats.jetstream(), dispatcher.nats.jetstream()
    assert all(change.kind is ChangeKind.UNCHANGED for change in await apply(lesser, TopologySpec()))

    await streams.delete_stream("DEAD")
    with capture_logs() as lines:
        with pytest.raises(ConfigError, match=r"DEAD: is not there.* publish to \$JS\.API\.STREAM\.CREATE\.DEAD$"):
            await apply(lesser, TopologySpec())
        await apply(streams, TopologySpec())
        with pytest.raises(ConfigError, match=r"RESULTS: has other settings.*\$JS\.API\.STREAM\.UPDATE\.RESULTS$"):
            await apply(lesser, TopologySpec(result_max_age_seconds=60.0))

    assert lines == []
    for connected in (operator, dispatcher):
        await connected.close()


async def test_a_wrong_password_opens_nothing(fleet: ProductionNats) -> None:
    with pytest.raises(ConfigError, match="refuses this login"):
        await connect(fleet.url, login=replace(fleet.login("acme"), password="guessed"), timeout_seconds=2)


async def test_a_user_may_not_come_without_a_name(fleet: ProductionNats) -> None:
    with pytest.raises(ConfigError, match="refuses this login"):
        await connect(fleet.url, timeout_seconds=2)

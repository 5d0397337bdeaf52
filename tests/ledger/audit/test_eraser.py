"""`fleet erase` on a real broker: nothing of a tenant or a person is left in any stream, and the accounts stand."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from ledger_lines import entry
from queue_rigs import STREAMS, JetStreamRig, jetstream_rig
from sqlalchemy import Engine

from fleet.cli.books.erase import open_eraser
from fleet.ledger.audit.erase import Subject, erase
from fleet.ledger.audit.eraser import Eraser
from fleet.ledger.audit.learned import Learned
from fleet.ledger.audit.verify import verify
from fleet.ledger.database import database_url, engine_for
from fleet.ledger.locks import LockName, lock_on
from fleet.ledger.store import LedgerStore
from fleet.ledger.writer import LedgerWriter
from fleet.model.adapter import AdapterVersion, Alias, RegisteredAdapter, adapter_digest
from fleet.model.attempt import Answer, Usage
from fleet.model.cache_entry import UNTOLD
from fleet.model.calibration import Calibration, CalibrationKey, Fit, Scorer
from fleet.model.content import Content
from fleet.model.errors import ConfigError, FleetError
from fleet.model.feedback import Feedback, Verdict, Witness
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, Problem, Result, Start, Status
from fleet.model.sources import Sources
from fleet.model.submission import Submission
from fleet.settings.environment import load
from queues.jetstream.maintenance.erasing import JetStreamErasing
from queues.jetstream.stores.calibrations import promises_subject, store_key
from queues.jetstream.stores.ledger import JetStreamLedger
from queues.server.embedded import EmbeddedServer
from queues.wire.letters import message_of
from queues.wire.subjects import (
    batches_subject,
    cache_subject,
    calibration_subject,
    delivery_subject,
    endpoint_subject,
    event_subject,
    file_chunk_subject,
    response_subject,
)

ANNA, NOBODY = "person-anna", None
OURS, THEIRS = "acme", "globex"


def job(tenant: str, number: int) -> str:
    return f"job-of-{tenant}-{number:08d}"


class Scene:
    """Two tenants whose jobs have left something everywhere, and the ledger's writer."""

    def __init__(self, rig: JetStreamRig, engine: Engine) -> None:
        self.rig = rig
        self.engine = engine
        self.store = LedgerStore(engine, time.time)
        self.store.open()
        self.eraser = Eraser(JetStreamErasing(rig.connection), engine)
        self.start_writing()

    def start_writing(self) -> None:
        feed = JetStreamLedger(self.rig.connection)
        self.writer = LedgerWriter(feed, self.store, gather_seconds=0.0, pause_seconds=(0.1,))
        self._writing = asyncio.ensure_future(self.writer.run())

    async def stop_writing(self) -> None:
        self.writer.drain()
        await self._writing

    async def leave(self, tenant: str, number: int, person: str | None, characters: int = 10) -> None:
        """Have a job leave a result, a line, feedback, a dead letter, a begun call and a cancellation."""
        name = job(tenant, number)
        answer = Answer({"role": "assistant", "content": f"to {tenant} " + "x" * characters}, "stop", Usage(1, 2), "m")
        asked = {"messages": [{"role": "user", "content": f"by {tenant}"}]}
        await self.rig.queue.publish(
            [
                Result(name, tenant, Status.SUCCEEDED, Reason.CONFIDENT, 1.0, answer=answer),
                DeadLetter(tenant, name, Reason.INVALID, Problem("no"), b"prompt", 1.0, Lane.BULK),
                Feedback(name, tenant, Verdict.GOOD, 1.0, Witness.SHADOW, target="t", propensity=0.5, id=f"f-{name}"),
                Start(name, tenant, 1, 1, "t", 1.0, "x"),
                Content(name, tenant, "chat", 1.0, asked, {}, "t", person),
            ]
        )
        await self.rig.desk(tenant).give_feedback(Feedback(name, tenant, Verdict.BAD, 1.0, id=f"feedback-{name}"))
        await self.rig.desk(tenant).cancel(name)
        message = message_of(entry(number, tenant=tenant))
        said = {**json.loads(message.data), "id": name, "person": person}
        headers = {"Nats-Msg-Id": f"{tenant}.{name}.1"}
        await self.rig.inject(message.subject, json.dumps(said).encode(), headers)

    async def keep(self, tenant: str) -> None:
        """Have a tenant keep a file, a batch, a response, a webhook endpoint, an event and a delivery of it."""
        for subject in (
            file_chunk_subject(tenant, "file-1", "0011223344556677", 0),
            batches_subject(f"{tenant}.file.file-1"),
            batches_subject(f"{tenant}.batch.batch_1"),
            response_subject(tenant, job(tenant, 1)),
            endpoint_subject(tenant, "we_1"),
            cache_subject(tenant, "0f" * 32),
            promises_subject(tenant).replace("*", "plan"),
            event_subject(tenant),
            delivery_subject(tenant, "we_1", "evt_1"),
        ):
            await self.rig.inject(subject, b"{}")

    async def found(self, *words: str) -> set[str]:
        """Return the streams in which any of these words stand, in a subject or a body."""
        js = self.rig.connection.nats.jetstream()
        hits = set()
        for stream in STREAMS:
            state = (await js.stream_info(stream)).state
            for sequence in range(state.first_seq, state.last_seq + 1):
                try:
                    message = await js.get_msg(stream, sequence)
                except Exception as error:  # a message that was deleted
                    assert "no message found" in str(error)
                    continue
                text = message.subject.encode() + b" " + (message.data or b"")
                if any(word.encode() in text for word in words):
                    hits.add(stream)
        return hits

    def faults(self) -> list[str]:
        return [fault.what for report in verify(self.engine, "n", None, None) for fault in report.faults]


EVERYWHERE = {"RESULTS", "LEDGER", "DEAD", "FEEDBACK", "STARTS", "CANCELS", "CONTENT"}
KEPT = {"KV_cache", "KV_calibrations", "FILES", "KV_batches", "KV_responses", "KV_webhooks", "EVENTS"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture
async def scene(server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        rig = await jetstream_rig(stack, server.url, ack_wait_seconds=30.0)
        engine = engine_for(database_url(f"sqlite:///{tmp_path / 'ledger.sqlite3'}"))
        stack.callback(engine.dispose)
        made = Scene(rig, engine)
        yield made
        await made.stop_writing()


async def test_nothing_of_an_erased_tenant_is_left_in_any_stream(scene: Scene) -> None:
    for number in range(3):
        await scene.leave(OURS, number, NOBODY)
        await scene.leave(THEIRS, number, NOBODY)
    await scene.leave(OURS, 3, NOBODY, characters=9_000_000)
    for tenant in (OURS, THEIRS):
        await scene.keep(tenant)
    assert await scene.found(OURS) == {*EVERYWHERE, *KEPT, "OBJ_results-large"}

    done = await scene.eraser.erase(Subject(OURS))

    assert (done.rows, done.unfinished, len(done.erasures)) == (4, 0, 1)
    assert await scene.found(OURS) == set()
    assert await scene.found(THEIRS) == {*EVERYWHERE, *KEPT}
    assert await scene.found(cache_subject(*UNTOLD)) == {"KV_cache"}  # dispatchers forget what only they know
    assert scene.faults() == []


async def test_nothing_of_an_erased_person_is_left_and_the_tenants_other_jobs_are(scene: Scene) -> None:
    for number, person in enumerate((ANNA, NOBODY, "person-ben")):
        await scene.leave(OURS, number, person)
        await scene.leave(THEIRS, number, person)
    await scene.leave(OURS, 3, ANNA, characters=9_000_000)

    done = await scene.eraser.erase(Subject(OURS, ANNA))

    assert done.rows == 2
    assert await scene.found(job(OURS, 0), job(OURS, 3)) == set()
    for kept in (job(OURS, 1), job(OURS, 2), job(THEIRS, 0)):
        assert await scene.found(kept) == EVERYWHERE
    assert await scene.found(ANNA) == {"LEDGER", "CONTENT"}  # the other tenant's line
    assert scene.faults() == []


async def test_what_calibrations_were_before_the_one_in_force_is_erased(scene: Scene) -> None:
    key = CalibrationKey("llama-8b", "plan.*", "token")
    subject = calibration_subject(store_key(key))
    for words in (b"anna lives here", b"numbers"):
        await scene.rig.inject(subject, words)
    assert await JetStreamErasing(scene.rig.connection).forget_before([key]) == 1
    assert await scene.found("anna lives here") == set()
    assert await scene.found("numbers") == {"KV_calibrations"}


async def test_a_person_is_erased_from_a_stream_that_went_back_and_no_other_line_is(scene: Scene) -> None:
    await scene.leave(THEIRS, 1, NOBODY)
    await scene.eraser.erase(Subject("nobody"))  # returns once the ledger has all lines
    await scene.stop_writing()
    scene.store.rewind(1)
    scene.start_writing()
    await scene.leave(OURS, 2, ANNA)
    await scene.leave(THEIRS, 3, NOBODY)

    assert (await scene.eraser.erase(Subject(person=ANNA))).rows == 1

    assert await scene.found(job(OURS, 2)) == set()
    assert await scene.found(job(THEIRS, 1)) == await scene.found(job(THEIRS, 3)) == EVERYWHERE


@pytest.mark.parametrize("subject", [Subject(OURS), Subject(OURS, ANNA)], ids=["tenant", "person"])
async def test_a_dry_run_counts_what_is_then_erased_and_erases_nothing(scene: Scene, subject: Subject) -> None:
    for number, person in enumerate((ANNA, NOBODY, ANNA)):
        await scene.leave(OURS, number, person, characters=10 if number else 9_000_000)
    await scene.keep(OURS)
    await scene.eraser.erase(Subject("nobody"))  # returns once the ledger has all lines
    before = await scene.found(OURS)
    counted = await scene.eraser.count(subject)
    assert await scene.found(OURS) == before
    done = await scene.eraser.erase(subject)
    assert counted == replace(done, erasures=())
    assert not counted.is_nothing(subject)


async def test_of_a_name_that_nobody_knows_any_more_or_ever_knew_nothing_is_found(scene: Scene) -> None:
    await scene.leave(OURS, 1, NOBODY)
    await scene.eraser.erase(Subject(OURS))
    for subject in (Subject(OURS), Subject("acmee"), Subject(person="nobody")):
        assert (await scene.eraser.erase(subject)).is_nothing(subject)
        assert (await scene.eraser.count(subject)).is_nothing(subject)


async def test_a_tenant_whose_jobs_still_wait_is_not_unknown_and_a_person_of_it_may_be(scene: Scene) -> None:
    waiting = Submission("job-0123456789abcdef", "chat", {"messages": [{"role": "user", "content": "Hi"}]})
    await scene.rig.desk(OURS).submit([waiting])
    for subject, is_nothing in ((Subject(OURS), False), (Subject(OURS, "annna"), True)):
        counted = await scene.eraser.count(subject)
        assert (counted.unfinished, counted.is_nothing(subject)) == (1, is_nothing)


async def test_erasing_again_changes_nothing(scene: Scene) -> None:
    await scene.leave(OURS, 1, NOBODY)
    await scene.eraser.erase(Subject(OURS))
    again = await scene.eraser.erase(Subject(OURS))
    assert (again.rows, again.messages, again.erasures) == (0, 0, ())
    assert scene.faults() == []


async def test_an_erasure_that_a_crash_kept_off_the_record_is_recorded_by_the_next(scene: Scene) -> None:
    await scene.leave(OURS, 1, NOBODY)
    await scene.eraser.erase(Subject(THEIRS))  # returns once the ledger has all lines
    erase(scene.engine, Subject(OURS))
    assert len(scene.faults()) == 1
    await scene.eraser.erase(Subject(OURS))
    assert scene.faults() == []
    assert await scene.found(OURS) == set()


async def test_an_erasure_begins_when_the_ledger_is_verified(scene: Scene) -> None:
    await scene.leave(OURS, 1, NOBODY)
    verifying, steps = lock_on(scene.engine, LockName.ERASURE, is_shared=True), []
    assert verifying.claim()

    def on_progress(step: str) -> None:
        steps.append(step)
        verifying.release()

    await scene.eraser.erase(Subject(OURS), on_progress)
    assert "`fleet ledger verify`" in steps[0]
    assert verifying.claim()  # nothing is left held
    verifying.release()


async def test_jobs_that_still_wait_are_counted_and_left(scene: Scene) -> None:
    await scene.leave(OURS, 1, NOBODY)
    waiting = Submission("job-0123456789abcdef", "chat", {"messages": [{"role": "user", "content": "Hi"}]})
    await scene.rig.desk(OURS).submit([waiting])
    done = await scene.eraser.erase(Subject(OURS))
    assert done.unfinished == 1
    assert await scene.found(OURS) == {"JOBS"}


async def test_an_erased_tenant_cannot_be_erased_once_more(scene: Scene) -> None:
    with pytest.raises(ConfigError, match="erased already"):
        await scene.eraser.erase(Subject("erased-0011223344556677"))


async def test_nothing_is_erased_while_the_ledger_is_behind(scene: Scene) -> None:
    await scene.leave(OURS, 1, NOBODY)
    await scene.eraser.erase(Subject("nobody"))
    await scene.stop_writing()
    await scene.leave(OURS, 2, NOBODY)
    behind = Eraser(JetStreamErasing(scene.rig.connection), scene.engine, writer_seconds=0.0)
    with pytest.raises(FleetError, match="is `fleet ledger run` running"):
        await behind.erase(Subject(OURS))
    assert await scene.found(OURS) == EVERYWHERE


@pytest.mark.proves(
    "An adapter that was trained on an erased person's rows is removed, and the base answers",
    how="real",
    subject="Security",
)
async def test_the_command_erases_with_its_real_parts_what_was_learned(
    scene: Scene, server: EmbeddedServer, tmp_path: Path
) -> None:
    await scene.leave(OURS, 1, ANNA)
    await scene.eraser.erase(Subject("nobody"))  # returns once the ledger has all lines
    files = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights"}
    digest = adapter_digest(files)
    sources = Sources.of([(OURS, job(OURS, 1), None)], bytes(16)).to_json()  # whose content named no person
    await scene.rig.adapters().put_files(digest, files | {"sources.json": sources})
    adapter = RegisteredAdapter("classifier", "llama-8b", frozenset({"classify"}))
    version = AdapterVersion(digest, "b" * 64, 8, 9, 1.0)
    await scene.rig.adapters().change(lambda _: replace(adapter, versions=(version,), aliases={Alias.STABLE: digest}))
    key = CalibrationKey("llama-8b", "classify", "token")
    scorer = Scorer(Fit.PRIOR, ("min_logit",), (1.0,), 0.0)
    fitted = Calibration(key, "m", "r", "raw", "v1", time.time() + 60.0, 40, scorer)
    await scene.rig.calibrations().put([fitted])
    settings = load(nats_url=server.url, ledger_url=str(scene.engine.url), data_dir=tmp_path / "data")

    async with open_eraser(settings, withdraw=True) as eraser:
        done = await eraser.erase(Subject(person=ANNA))

    assert done.learned == Learned((f"classifier {digest[:12]}",), (), (str(key),))
    assert await scene.rig.adapters().read_all() == {}
    assert await scene.rig.adapters().files(digest) is None
    assert (await scene.rig.calibrations().read_all())[key].withdrawn is not None
    with pytest.raises(ConfigError, match="no earlier calibration"):
        await scene.rig.calibrations().roll_back(key)

"""The process that runs batches, on NATS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from fleet import logs
from fleet.app.broker import login_of
from fleet.app.metrics import metrics_of
from fleet.app.worker import rules_of
from fleet.batches.run import Announce
from fleet.batches.runner import BatchRunner
from fleet.batches.settings import RowCheck, RowPrice, RunSettings
from fleet.logs import get_logger
from fleet.model.errors import InvalidJob, LoginRefused, QueueUnavailable
from fleet.model.money import NanoUsd
from fleet.model.scaling import Load
from fleet.model.submission import Submission
from fleet.model.view import TargetView, View
from fleet.ports import LoadBook
from fleet.settings.environment import Settings
from fleet.signals import when_told_to_end
from fleet.telemetry.metrics import catalogue
from fleet.telemetry.metrics.families import Family, family
from fleet.webhooks.announcing import announce, event_of_batch
from policies.features.needs import needs_of
from policies.prefixes import planned_order
from policies.routing import admission
from policies.routing.ladder_cost import most_cost
from policies.rules.rules import Rules
from queues.batches import EveryBatch, JetStreamShelf
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.client.login import Login
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.stores.load import JetStreamLoads
from queues.jetstream.webhooks.events import JetStreamOutbox
from queues.wire.job import job_of

log = get_logger(__name__)


async def run_batches(settings: Settings) -> None:
    """Run batches in this process until SIGTERM or SIGINT, then hand them over.

    Raises: ConfigError; QueueUnavailable if no broker answers; LoginRefused, so that a supervisor starts it again.
    """
    logs.configure(settings.log_level.upper())
    assert settings.nats_url is not None, "settings_for gave the address"
    login, closed = login_of(settings), asyncio.Event()
    connection = await connect(settings.nats_url, name="fleet-batches", login=login, on_closed=closed.set)
    try:
        runner = batch_runner(connection, login, run_settings(settings, JetStreamLoads(connection)))
        when_told_to_end(runner.drain)
        ending = asyncio.create_task(_end_when_closed(runner, closed))
        async with metrics_of("batches", lambda: batch_metrics(runner), lambda: True, settings):
            await runner.run()
        ending.cancel()
    finally:
        await connection.close()


def batch_metrics(runner: BatchRunner) -> Iterator[Family]:
    """Yield the metrics of the process that runs batches."""
    yield family(catalogue.BATCHES_RUNNING, {(): runner.running})


def run_settings(settings: Settings, loads: LoadBook) -> RunSettings:
    """Return how rows are checked and submitted: those whose prompts begin alike together, so that engines gain by it.

    Raises: ConfigError if the rules cannot be used.
    """
    rules = rules_of(settings)

    def order(rows: Sequence[Submission]) -> Sequence[int]:
        return planned_order((row.request for row in rows), rules.estimates)

    async def prices() -> RowPrice:
        return price_of_rows(rules, await _reported(loads))

    return RunSettings(check_of_rows(rules), order, prices, lease_seconds=settings.lease_seconds)


def check_of_rows(rules: Rules) -> RowCheck:
    """Return the check that refuses what a dispatcher with these rules would, as an unknown task or model.

    Whether a row comes too late is decided when it runs, so that a file that is read twice is judged alike.
    """

    def check(submission: Submission, tenant: str) -> None:
        job = replace(job_of(submission, tenant, stored_at=0.0), deadline_at=None, not_before_at=None)
        problem = admission.problem_with(job, needs_of(job.request, rules.estimates), rules)
        if problem is not None:
            raise InvalidJob(problem.field or "request", problem.rule or problem.message)

    return check


def price_of_rows(rules: Rules, reported: Sequence[Load]) -> RowPrice:
    """Return what a row may cost on those targets of its ladder that dispatchers serve.

    Where no dispatcher says which it serves, or one does not, it is all of them.
    """
    view = _view_of(rules, reported)

    def price(submission: Submission, tenant: str) -> NanoUsd:
        try:
            return most_cost(job_of(submission, tenant, time.time()), view, rules)
        except InvalidJob:  # it is refused where it is submitted
            return 0

    return price


def _view_of(rules: Rules, reported: Sequence[Load]) -> View:
    if not reported or any(load.serves is None for load in reported):
        return View(dict.fromkeys(rules.catalogue.targets, TargetView()))
    served = {name for load in reported for name in load.serves or ()}
    with_fleets_key = {name for load in reported for name in (load.serves or frozenset()) - load.own_key_only}
    return View({name: TargetView(own_key_only=name not in with_fleets_key) for name in served})


async def _reported(loads: LoadBook) -> Sequence[Load]:
    try:
        return await loads.read()
    except LoginRefused:
        raise
    except QueueUnavailable as error:  # dearer than it will be, and so never over the budget
        log.warning("batch_targets_not_read", error=str(error))
        return ()


def batch_runner(connection: Connection, login: Login, settings: RunSettings) -> BatchRunner:
    """Return what runs the batches of all tenants over this connection."""
    batches = EveryBatch(JetStreamShelf(connection, by_leader=True))
    secret = login.secret()
    return BatchRunner(
        batches, lambda tenant: JetStreamDesk(connection, tenant, secret), _announcing(connection), settings
    )


async def _end_when_closed(runner: BatchRunner, closed: asyncio.Event) -> None:
    await closed.wait()
    runner.refuse(LoginRefused("NATS ended the connection for good, as where a login is changed or expires"))


def _announcing(connection: Connection) -> Announce:
    outbox = JetStreamOutbox(connection)
    return lambda batch: announce(outbox, event_of_batch(batch))

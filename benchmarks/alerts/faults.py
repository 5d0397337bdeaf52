"""The faults: what each does to the fleet, and which alerts must then fire, within how many minutes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.alerts.beside import batch_runner_on, gateway_on, webhook_sender_on
from benchmarks.alerts.pretended import SURE, UNSURE
from benchmarks.alerts.recorded import prove, series_of, total
from benchmarks.alerts.stage import COLLECTED, LATE_SECONDS, OWN, PAID, PLENTY_USD, SLOTS, TASK, Process, Stage
from fleet.model.calibration import Calibration, CalibrationKey, Fit, OutputKind, Scorer
from fleet.model.job import Lane
from queues.jetstream.queue import store
from queues.jetstream.stores.calibrations import JetStreamCalibrations
from queues.wire.letters import Message

Strike = Callable[[Stage, AsyncExitStack], Awaitable[None]]
"""Brings a fault about, and returns once it shows; what ends the fault goes on the stack."""

Minute = Callable[[Stage], Awaitable[None]]
"""Does what happens in a minute, before it is scraped."""


async def as_usual(stage: Stage) -> None:
    """Answer a few jobs, each surely."""
    await stage.answer()


async def no_more_jobs(stage: Stage) -> None:
    """Publish nothing; the broker is as it was."""
    await stage.is_answered()


async def nothing(stage: Stage) -> None:
    """Let the minute pass."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, told by `about`. `due` are the alerts that must fire, by the minutes from the fault until they do.

    `before` is a minute before it, `during` one of the `minutes` that it lasts.
    """

    name: str
    about: str
    due: Mapping[str, int]
    strike: Strike
    minutes: int = 20
    calm_minutes: int = 20
    before: Minute = as_usual
    during: Minute = no_more_jobs
    daily_usd: float = PLENTY_USD

    async def prove(self, folder: Path) -> None:
        """Bring the fault about in a fleet below `folder`, and check which alerts fire.

        Raises: NotAsDeclared.
        """
        async with Stage.open(folder, self.daily_usd) as stage:
            for _ in range(self.calm_minutes):
                await self.before(stage)
                await stage.pass_minute()
            async with AsyncExitStack() as ending:
                await self.strike(stage, ending)
                for _ in range(self.minutes):
                    await self.during(stage)
                    await stage.pass_minute()
        fires_at = {alert: self.calm_minutes + minutes for alert, minutes in self.due.items()}
        prove(series_of(stage.minutes), self.calm_minutes - 1, fires_at, folder)


async def _end_dispatcher(stage: Stage, _: AsyncExitStack) -> None:
    await stage.dispatcher.end()


async def _take_replicas(stage: Stage, _: AsyncExitStack) -> None:
    stage.replicas.running[OWN] = 0
    await stage.shows(lambda text: total(text, "fleet_replicas") == 0)
    await stage.submit([SURE] * 8, cloud="deny")
    await stage.shows(lambda text: total(text, "fleet_work_waiting") > 0)


async def _hang_engine(stage: Stage, ending: AsyncExitStack) -> None:
    stage.own.answers.clear()
    ending.callback(stage.own.answers.set)
    await stage.submit([SURE] * 8)
    await stage.shows(lambda text: total(text, "fleet_work_in_flight") > 0)


async def _late_jobs(stage: Stage) -> None:
    """Keep every slot of an engine busy for longer than some jobs may wait behind it."""
    stage.own.answers.clear()
    await stage.submit([SURE] * SLOTS, cloud="deny")
    await stage.shows(lambda text: total(text, "fleet_work_in_flight") >= FOR_STANDARD)
    await stage.submit([SURE], cloud="deny", lane=Lane.BULK)
    await asyncio.sleep(LATE_SECONDS)
    stage.own.answers.set()
    await stage.answer()


async def _paid_jobs(stage: Stage) -> None:
    """Spend five cents."""
    await stage.answer([SURE] * 5, model=PAID)


async def _unsure_jobs(stage: Stage) -> None:
    await stage.answer([UNSURE] * 4)


async def _begin(stage: Stage, _: AsyncExitStack) -> None:
    """Do nothing: the fault comes minute by minute."""


FOR_STANDARD: Final = SLOTS - 1
"""One slot of eight is kept for interactive jobs."""

SPREAD: Final = tuple(f"0.{tenths}5" for tenths in range(10))
"""Confidences that lie evenly between 0 and 1, as the labels of the calibration below did."""


async def _spread_jobs(stage: Stage) -> None:
    """Answer jobs as the calibration knows them, which is put in force with the first."""
    if not stage.minutes:
        target = stage.rules.catalogue.targets[OWN]
        key = CalibrationKey(OWN, TASK, OutputKind.TOKEN)
        scorer = Scorer(Fit.PLATT, ("min_logit",), (1.0,), 0.0)
        edges = tuple(tenths / 10 for tenths in range(1, 10))
        fitted = (target.model, target.revision, target.logprobs_mode, "fitted", 1.0, 300, scorer)
        await JetStreamCalibrations(stage.connection).put([Calibration(key, *fitted, edges=edges)])
        await stage.shows(lambda text: total(text, "fleet_calibration_in_force") > 0)
    await stage.answer(SPREAD)


async def _send_no_job(stage: Stage, _: AsyncExitStack) -> None:
    await store(stage.connection, [Message("jobs.standard.acme", b"\x00 this is no job", None)])
    await stage.shows(lambda text: total(text, "fleet_dead_letters_total") > 0)


async def _freeze_broker(stage: Stage, ending: AsyncExitStack) -> None:
    ending.enter_context(stage.frozen_broker())
    await stage.shows(lambda text: total(text, "fleet_broker_silent_seconds") > 5)


async def _lock_database(stage: Stage, ending: AsyncExitStack) -> None:
    stage.clock_runs = True
    ending.enter_context(stage.locked_database())


async def _end_writer(stage: Stage, _: AsyncExitStack) -> None:
    await stage.writer.end()


async def _lose_lines(stage: Stage, ending: AsyncExitStack) -> None:
    """Let jobs end while no writer runs, and the stream lose their lines before the next one starts."""
    await stage.writer.end()
    await stage.answer()
    await stage.empty_ledger_stream()
    stage.writer = await stage.start_writer(ending)
    ending.push_async_callback(stage.writer.stop)


async def _collected_jobs(stage: Stage) -> None:
    await stage.answer(task=COLLECTED)


def _with(start: Callable[[Stage], Awaitable[Process]]) -> Minute:
    """Return a minute in which nothing happens, with a process beside the fleet that is started in the first one."""

    async def minute(stage: Stage) -> None:
        if stage.beside is None:
            stage.beside = await start(stage)

    return minute


async def _end_process_beside(stage: Stage, _: AsyncExitStack) -> None:
    assert stage.beside is not None
    await stage.beside.end()


FAULTS: Final = (
    Fault(
        "the only dispatcher ends",
        "The only dispatcher ends where it stands; no other starts.",
        {"FleetNoDispatcher": 4},
        _end_dispatcher,
        minutes=6,
        during=nothing,
    ),
    Fault(
        "a target loses its replicas",
        "A target of our own loses its last replica and gets none, while jobs that may not leave wait for it.",
        {"FleetBacklogWithoutCapacity": 12},
        _take_replicas,
    ),
    Fault(
        "an engine hangs",
        "An engine takes its calls and answers none.",
        {"FleetEngineSilent": 18},
        _hang_engine,
    ),
    Fault(
        "an engine is late",
        "An engine is so slow that jobs wait beyond their deadlines.",
        {"FleetDeadlinesMissed": 8},
        _begin,
        during=_late_jobs,
    ),
    Fault(
        "spending runs away",
        "Jobs go to a paid target: five cents a minute, of a dollar a day.",
        {"FleetSpendTooFast": 14},
        _begin,
        minutes=16,
        during=_paid_jobs,
        daily_usd=1.0,
    ),
    Fault(
        "the day's money is spent",
        "The same, until nothing is left of the day's limit.",
        {"FleetSpendTooFast": 14, "FleetOutOfMoney": 24},
        _begin,
        minutes=25,
        during=_paid_jobs,
        daily_usd=1.0,
    ),
    Fault(
        "answers lose confidence",
        "A model's answers lose their confidence: all of them escalate, where none did.",
        {"FleetEscalationsDrift": 45},
        _begin,
        minutes=46,
        calm_minutes=65,
        during=_unsure_jobs,
    ),
    Fault(
        "traffic leaves its calibration",
        "All answers have one confidence, where a calibration was fitted on the whole range.",
        {"FleetPromiseWithdrawn": 20},
        _begin,
        minutes=25,
        before=_spread_jobs,
        during=as_usual,
    ),
    Fault(
        "a publisher sends no job",
        "A publisher sends bytes that are no job.",
        {"FleetDeadLetters": 2},
        _send_no_job,
        minutes=4,
        during=as_usual,
    ),
    Fault(
        "the broker freezes",
        "The broker stands still: its process is stopped, its connections stay.",
        {"FleetBrokerLag": 4},
        _freeze_broker,
        minutes=6,
        during=nothing,
    ),
    Fault(
        "the ledger's database is locked",
        "The ledger's database is locked by somebody else who writes, while jobs go on.",
        {"FleetLedgerBehind": 13},
        _lock_database,
        minutes=16,
        during=as_usual,
    ),
    Fault(
        "the ledger's writer ends",
        "The ledger's writer ends; no other starts.",
        {"FleetLedgerBehind": 12},
        _end_writer,
        minutes=14,
        during=as_usual,
    ),
    Fault(
        "the ledger's stream loses lines",
        "The ledger's writer ends, the stream loses lines that it had not read, and another writer starts.",
        {"FleetLedgerLinesLost": 2},
        _lose_lines,
        minutes=4,
        during=as_usual,
    ),
    Fault(
        "contents have no collector",
        "A task's contents are collected, and no collector runs.",
        {"FleetContentsBehind": 13},
        _begin,
        minutes=15,
        during=_collected_jobs,
    ),
    Fault(
        "the runner of batches ends",
        "The only runner of batches ends; no other starts.",
        {"FleetNoBatchRunner": 4},
        _end_process_beside,
        minutes=6,
        before=_with(batch_runner_on),
    ),
    Fault(
        "the gateway ends",
        "The only gateway ends; no other starts.",
        {"FleetNoGateway": 4},
        _end_process_beside,
        minutes=6,
        before=_with(gateway_on),
    ),
    Fault(
        "the sender of webhooks ends",
        "The only sender of webhooks ends; no other starts.",
        {"FleetWebhooksUndelivered": 4},
        _end_process_beside,
        minutes=6,
        before=_with(webhook_sender_on),
    ),
)

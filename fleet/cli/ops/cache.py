"""`fleet cache`: what is kept to be answered again, and how to get rid of it."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fleet.cli.connection import opened, settings_for
from fleet.cli.lab.cache_promises import calibrate_cache, state_of
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import Output, friendly
from fleet.model.cache_entry import UNTOLD
from fleet.model.errors import FleetError

if TYPE_CHECKING:
    from fleet.model.cache_entry import CacheEntry
    from fleet.model.caching import CacheCalibration
    from fleet.ports import CachePromises, CacheStore

cache_app = typer.Typer(help="Answers that are kept to be given again.", no_args_is_help=True)
cache_app.command("calibrate")(calibrate_cache)

MOST_SHOWN = 100

OfTenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's.")]
OfTask = Annotated[str | None, typer.Option("--task", help="Only those of this task.")]
OfJob = Annotated[str | None, typer.Option("--job", help="Only the answer that this job got from a model.")]


@cache_app.command()
def stats(nats_url: NatsUrl = None, as_json: AsJson = False) -> None:
    """Count the answers that are kept, by tenant and task, and say what the semantic cache promises there."""
    with friendly(as_json):
        asyncio.run(_show_stats(nats_url, Output(as_json)))


@cache_app.command()
def show(
    tenant: OfTenant = None,
    task: OfTask = None,
    job: OfJob = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest ones, so many.")] = MOST_SHOWN,
    body: Annotated[bool, typer.Option("--body", help="Also show the answers.")] = False,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the answers that are kept, oldest first."""
    with friendly(as_json):
        asyncio.run(
            _with_cache(nats_url, lambda cache: show_list(cache, Output(as_json), tenant, task, job, limit, body))
        )


@cache_app.command()
def purge(
    tenant: OfTenant = None,
    task: OfTask = None,
    job: OfJob = None,
    everything: Annotated[bool, typer.Option("--all", help="All answers of all tenants.")] = False,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Drop answers: no dispatcher gives them again."""
    with friendly(as_json):
        if everything == any((tenant, task, job)):
            raise FleetError("say which answers to drop, with --tenant, --task and --job, or --all and none of these")
        asyncio.run(_with_cache(nats_url, lambda cache: drop_all(cache, Output(as_json), tenant, task, job)))


async def _with_cache(nats_url: str | None, do: Callable[[CacheStore], Awaitable[None]]) -> None:
    from fleet.app import open_cache

    async with opened(settings_for(nats_url), open_cache) as cache:
        await do(cache)


async def _show_stats(nats_url: str | None, output: Output) -> None:
    from fleet.app import open_cache, open_cache_promises

    settings = settings_for(nats_url)
    async with opened(settings, open_cache) as cache, opened(settings, open_cache_promises) as promises:
        show_stats(await cache.read_all(), await promises.read_all(), output)


def show_stats(kept: Sequence[CacheEntry], promises: CachePromises, output: Output) -> None:
    groups: dict[tuple[str, str], list[CacheEntry]] = defaultdict(list)
    for entry in kept:
        groups[entry.tenant, entry.task].append(entry)
    now = time.time()
    rows = [_stats_of(*key, groups[key], now) for key in sorted(groups)]
    said = [_promise_of(promises[key]) for key in sorted(promises)]
    output.object({"answers": sum(row["answers"] for row in rows), "groups": rows, "promises": said})
    table = Table("tenant", "task", "answers", "bytes", "oldest", box=None)
    for row in rows:
        age = f"{row['oldest_seconds'] / 3600:.1f} h"
        table.add_row(row["tenant"], row["task"], str(row["answers"]), str(row["bytes"]), age)
    output.show(table if rows else "no answer is kept")
    for each in said:
        output.show(f"semantic cache, {each['tenant']} {each['task']}: {each['state']}")


def _promise_of(promise: CacheCalibration) -> dict[str, Any]:
    told = {name: getattr(promise, name) for name in ("tenant", "task", "version", "encoder", "withdrawn")}
    return {**told, "labels_missing": promise.threshold.labels_missing, "state": state_of(promise)}


def _stats_of(tenant: str, task: str, entries: Sequence[CacheEntry], now: float) -> dict[str, Any]:
    size = sum(len(str(entry.message).encode()) for entry in entries)
    oldest = max(now - entry.answered_at for entry in entries)
    return {
        "tenant": tenant,
        "task": task,
        "answers": len(entries),
        "bytes": size,
        "oldest_seconds": round(oldest, 1),
    }


async def show_list(
    cache: CacheStore, output: Output, tenant: str | None, task: str | None, job: str | None, limit: int, body: bool
) -> None:
    found = sorted(await _found(cache, tenant, task, job), key=lambda entry: entry.answered_at)[-limit:]
    now = time.time()
    output.object({"answers": [_as_object(entry, body) for entry in found]})
    table = Table("tenant", "task", "answered by", "for job", "age", "goes in", "calibration", box=None)
    for entry in found:
        age, left = (f"{seconds / 60:.0f} min" for seconds in (now - entry.answered_at, entry.expires_at - now))
        table.add_row(entry.tenant, entry.task, entry.target, entry.job_id, age, left, entry.calibration or "-")
    output.show(table if found else "no answer is kept")
    if body:
        output.show(*(f"{entry.job_id}: {entry.message.get('content')}" for entry in found))


def _as_object(entry: CacheEntry, body: bool) -> dict[str, Any]:
    names = ("tenant", "task", "target", "job_id", "answered_at", "expires_at", "calibration", "key")
    shown = {name: getattr(entry, name) for name in names}
    return {**shown, "message": entry.message} if body else shown


async def drop_all(cache: CacheStore, output: Output, tenant: str | None, task: str | None, job: str | None) -> None:
    found = await _found(cache, tenant, task, job)
    await cache.drop([*((entry.tenant, entry.key) for entry in found), UNTOLD])
    output.object({"dropped": len(found)})
    output.show(f"{len(found)} answers dropped")


async def _found(cache: CacheStore, tenant: str | None, task: str | None, job: str | None) -> list[CacheEntry]:
    """Return the answers kept of a tenant, a task and a job, as far as each is given."""
    every = await cache.read_all(tenant)
    return [each for each in every if task in (None, each.task) and job in (None, each.job_id)]

"""`fleet cache calibrate`: tests what the semantic cache may promise, and puts it in force."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fleet.cli.connection import opened, settings_for
from fleet.cli.extras import needs_cache, needs_learn
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import Output, friendly

if TYPE_CHECKING:
    from fleet.embedding.encoder import Encoder
    from fleet.lab.caching.promise import PromiseOutcome
    from fleet.model.caching import CacheCalibration
    from fleet.settings.environment import Settings


def calibrate_cache(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Test on the labels of the ledger from which score on the semantic cache may serve, and put that in force."""
    with friendly(as_json), needs_learn("fleet cache calibrate"), needs_cache("fleet cache calibrate"):
        asyncio.run(_calibrate(settings_for(nats_url), Output(as_json), dry_run))


async def _calibrate(settings: Settings, output: Output, dry_run: bool) -> None:
    """Fit, put in force and show. Raises: QueueUnavailable; ConfigError or FleetError if there is no encoder."""
    from fleet.app import open_cache, open_cache_promises, open_journal, rules_of
    from fleet.lab.caching.promise import collect, fit_promises
    from policies.caching.verifying import name_of

    fleet_rules = rules_of(settings)
    rules = fleet_rules.cache.semantic
    verifier = None if rules.verify is None else name_of(fleet_rules.catalogue.targets[rules.verify])
    async with opened(settings, open_journal) as journal:
        labels = await collect(journal)
    async with opened(settings, open_cache) as cache:
        kept = await cache.read_all()
    async with opened(settings, open_cache_promises) as store:
        before = await store.read_all()
        encoder = load_encoder(settings)
        output.progress(f"testing {sum(map(len, labels.values())):,} labels")
        outcomes = await asyncio.to_thread(fit_promises, labels, kept, *encoder, before, rules, time.time(), verifier)
        changed = [each.promise for each in outcomes if each.promise is not None]
        if changed and not dry_run:
            await store.put(changed)
    output.object({"promises": [_as_object(each) for each in outcomes], "written": not dry_run})
    output.show(_view(outcomes) if outcomes else "no labels yet: have the rules put a task in mode shadow first")


def load_encoder(settings: Settings) -> tuple[Encoder, str]:
    """Return the encoder of the settings, and what it is called."""
    from fleet.embedding.encoder import OnnxEncoder
    from fleet.embedding.files import encoder_files

    files = encoder_files(settings.encoder_path)
    return OnnxEncoder(files), files.name


def state_of(promise: CacheCalibration) -> str:
    """Return what a promise says now, in a few words."""
    if promise.withdrawn is not None:
        return f"withdrawn: {promise.withdrawn}"
    if promise.threshold.value == math.inf:
        return f"serves nothing: {promise.threshold.labels_missing} labels are missing"
    return f"serves from {promise.threshold.value:.2f} on, at most {promise.threshold.risk:.1%} wrong"


def _as_object(outcome: PromiseOutcome) -> dict[str, Any]:
    names = ("tenant", "task", "labels", "questions", "served", "labels_missing", "why")
    threshold = None if outcome.promise is None else outcome.promise.threshold.value
    finite = threshold if threshold is not None and math.isfinite(threshold) else None
    version = None if outcome.promise is None else outcome.promise.version
    return {**{name: getattr(outcome, name) for name in names}, "threshold": finite, "version": version}


def _view(outcomes: Sequence[PromiseOutcome]) -> Table:
    table = Table("tenant", "task", "labels", "questions kept", "served", "labels missing", "promise", box=None)
    for each in outcomes:
        told = each.why or ("" if each.promise is None else state_of(each.promise))
        counts = (f"{each.labels:,}", f"{each.questions:,}", f"{each.served:.1%}", f"{each.labels_missing:,}")
        table.add_row(each.tenant, each.task, *counts, told)
    return table

"""The commands and their options. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import asyncio
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from fleet.cli.adapters.commands import adapters_app
from fleet.cli.books import receipts
from fleet.cli.books.content import content_app
from fleet.cli.books.cost import cost
from fleet.cli.books.erase import erase
from fleet.cli.books.ledger import ledger_app
from fleet.cli.books.report import report_app
from fleet.cli.books.table import table
from fleet.cli.bulk.commands import bulk_app
from fleet.cli.connection import settings_for
from fleet.cli.data.commands import data_app
from fleet.cli.lab.calibrate import calibrate
from fleet.cli.lab.evaluate import evaluate
from fleet.cli.lab.router import router
from fleet.cli.lab.simulate import simulate
from fleet.cli.learn.commands import learn_app
from fleet.cli.ops.cache import cache_app
from fleet.cli.ops.catalogue import catalogue_app
from fleet.cli.ops.console import console
from fleet.cli.ops.dead import dead_app
from fleet.cli.ops.gateway import gateway_app
from fleet.cli.ops.keys import keys_app
from fleet.cli.ops.nats_config import nats_config
from fleet.cli.ops.patterns import patterns_app
from fleet.cli.ops.plan import plan
from fleet.cli.ops.scale import scale
from fleet.cli.options import AsJson, NatsUrl, Tenant, cloud_of, names_of
from fleet.cli.output import Output, friendly
from fleet.cli.rollout.commands import rollout_app
from fleet.cli.webhooks import webhooks_app
from fleet.model.feedback import Verdict
from fleet.model.job import JobOptions, Lane, Plan, Tier
from fleet.supervision.guardian import guard

app = typer.Typer(
    help="Answers LLM jobs from NATS on the cheapest model that can be trusted.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
batches_app = typer.Typer(help="The process that runs batches.", no_args_is_help=True)
topology_app = typer.Typer(help="The streams on NATS.", no_args_is_help=True)
app.add_typer(adapters_app, name="adapters")
app.add_typer(bulk_app, name="bulk")
app.add_typer(batches_app, name="batches")
app.add_typer(topology_app, name="topology")
app.add_typer(dead_app, name="dead")
app.add_typer(keys_app, name="keys")
app.add_typer(ledger_app, name="ledger")
app.add_typer(report_app, name="report")
app.add_typer(content_app, name="content")
app.add_typer(data_app, name="data")
app.add_typer(learn_app, name="learn")
app.add_typer(cache_app, name="cache")
app.add_typer(catalogue_app, name="catalogue")
app.add_typer(gateway_app, name="gateway")
app.add_typer(rollout_app, name="rollout")
app.add_typer(patterns_app, name="patterns")
app.add_typer(webhooks_app, name="webhooks")
ledger_app.command()(receipts.verify)
ledger_app.command()(receipts.prove)
ledger_app.command()(receipts.key)
app.command()(cost)
app.command()(erase)
app.command()(evaluate)
app.command()(calibrate)
app.command()(router)
app.command()(table)
app.command()(plan)
app.command()(scale)
app.command()(console)
app.command()(simulate)
app.command(name="nats-config")(nats_config)

SUBMITTED = "The job's id, as `fleet submit` printed it."
JobId = Annotated[str, typer.Argument(metavar="JOB", help=SUBMITTED)]

Request = Annotated[Path | None, typer.Option(help="A chat request as JSON in a file; - is stdin.")]
InLane = Annotated[
    Lane, typer.Option(help="interactive: somebody waits; standard: it is wanted in minutes; bulk: files of jobs.")
]
Cloud = Annotated[str, typer.Option(help="allow, deny, or the providers that may be used, with commas between.")]
Regions = Annotated[str | None, typer.Option(help="The only regions where it may be processed, with commas between.")]
DeadlineSeconds = Annotated[
    float | None, typer.Option(min=0.001, help="How long its result is of use; without it, by its lane.")
]
Person = Annotated[
    str | None, typer.Option(help="An opaque id of whom it is about: what is stored of it can be erased by it.")
]
Metadata = Annotated[list[str] | None, typer.Option(help="KEY=VALUE, comes back with the result; repeatable.")]
ChosenId = Annotated[str | None, typer.Option("--id", help="16 to 64 of A-Z a-z 0-9 _ -; makes a repetition harmless.")]


def _show_version(asked: bool) -> None:
    if asked:
        try:
            typer.echo(version("inference-fleet"))
        except PackageNotFoundError:
            typer.echo("fleet: this copy is not installed, so it has no version", err=True)
            raise typer.Exit(1) from None
        raise typer.Exit


@app.callback()
def fleet(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


@app.command()
def up(nats_url: NatsUrl = None, as_json: AsJson = False) -> None:
    """Start NATS, Ray, the models and the dispatcher on this machine, until Ctrl-C."""
    from fleet.cli.ops import running
    from fleet.settings.environment import load

    guard()
    with friendly(as_json):
        asyncio.run(running.up(load(nats_url=nats_url), as_json))


@app.command()
def status(nats_url: NatsUrl = None, as_json: AsJson = False) -> None:
    """Show the streams and the targets of a running fleet."""
    from fleet.cli.ops import fleet_status

    with friendly(as_json):
        asyncio.run(fleet_status.show(settings_for(nats_url), Output(as_json)))


@app.command()
def submit(
    task: Annotated[str, typer.Argument(help="What kind of job it is, such as classify.intent.")],
    prompt: Annotated[str | None, typer.Argument(help="The user message.")] = None,
    request: Request = None,
    lane: InLane = Lane.STANDARD,
    plan: Annotated[Plan, typer.Option(help="What the tenant has subscribed to.")] = Plan.PAID,
    tier: Annotated[Tier | None, typer.Option(help="How demanding it is; without it, by its task.")] = None,
    cloud: Cloud = "allow",
    regions: Regions = None,
    deadline_seconds: DeadlineSeconds = None,
    not_before_seconds: Annotated[float | None, typer.Option(min=0.001, help="Run it that much later.")] = None,
    own_key: Annotated[str | None, typer.Option(help="With --plan own_key: whose key, as provider/name.")] = None,
    max_cost_usd: Annotated[float | None, typer.Option(min=1e-9, help="What all attempts may cost together.")] = None,
    above: Annotated[str | None, typer.Option(help="Run it on a stronger target than this one.")] = None,
    person: Person = None,
    metadata: Metadata = None,
    job_id: ChosenId = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result.")] = False,
    timeout_seconds: Annotated[float, typer.Option(min=0.001, help="How long --wait waits.")] = 120.0,
    nats_url: NatsUrl = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Submit one job and print its id, or with --wait its result."""
    from fleet.cli import jobs

    said = JobOptions(id=job_id, lane=lane, plan=plan, tier=tier, person=person, metadata=_metadata(metadata or []))
    said |= JobOptions(deadline_seconds=deadline_seconds, not_before_seconds=not_before_seconds)
    said |= JobOptions(max_cost_usd=max_cost_usd, own_key=own_key, above=above, cloud=cloud_of(cloud))
    said |= JobOptions(regions=None if regions is None else names_of(regions))
    with friendly(as_json):
        body = jobs.request_of(prompt, request)
        settings = settings_for(nats_url, tenant)
        asyncio.run(jobs.submit(settings, Output(as_json), task, body, said, timeout_seconds if wait else None))


@app.command()
def result(
    job_id: Annotated[str, typer.Argument(metavar="ID", help=SUBMITTED)],
    nats_url: NatsUrl = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show the result of a job."""
    from fleet.cli import jobs

    with friendly(as_json):
        asyncio.run(jobs.result(settings_for(nats_url, tenant), Output(as_json), job_id))


@app.command()
def cancel(
    job_id: JobId,
    nats_url: NatsUrl = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a job, waiting or running. Exits 1 if it already had its result."""
    from fleet.cli import jobs

    with friendly(as_json):
        asyncio.run(jobs.cancel(settings_for(nats_url, tenant), Output(as_json), job_id))


@app.command()
def explain(
    job_id: JobId,
    nats_url: NatsUrl = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show every decision of a job: features, confidence, threshold and its version, reason, price."""
    from fleet.cli.explain import explain as explain_job

    with friendly(as_json):
        asyncio.run(explain_job(settings_for(nats_url, tenant), Output(as_json), job_id))


@app.command()
def trace(
    job_id: JobId,
    tenant: Annotated[str | None, typer.Option(help="Whose job it is, if several tenants have one of this id.")] = None,
    export: Annotated[
        bool, typer.Option("--export", help="Also send it to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names.")
    ] = False,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show what happened to a job, step by step: times, targets, confidence, price, reasons."""
    from fleet.cli.trace import trace as trace_job

    with friendly(as_json):
        asyncio.run(trace_job(settings_for(nats_url), Output(as_json), job_id, tenant, export))


@app.command()
def feedback(
    job_id: JobId,
    verdict: Annotated[Verdict, typer.Argument(help="better: the answer was not good enough, a stronger model's is.")],
    text: Annotated[str | None, typer.Option(help="With edited: the answer as edited. Otherwise a remark.")] = None,
    nats_url: NatsUrl = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Say what the answer of a job was worth; `fleet calibrate` learns from it."""
    from fleet.cli import jobs

    with friendly(as_json):
        asyncio.run(jobs.feedback(settings_for(nats_url, tenant), Output(as_json), job_id, verdict, text))


@app.command()
def demo(
    jobs: Annotated[int, typer.Option(min=1, help="How many jobs.")] = 90,
    seed: Annotated[int, typer.Option(help="Which held-out examples.")] = 1,
    deadline_seconds: Annotated[float, typer.Option(min=0.001, help="How long a job may take.")] = 300.0,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Run invented jobs through a running fleet, or one of its own, and show what became of them."""
    from fleet.cli.demo.run import demo as run_demo
    from fleet.settings.environment import load

    guard()
    with friendly(as_json):
        asyncio.run(run_demo(load(nats_url=nats_url), as_json, jobs, seed, deadline_seconds))


@batches_app.command("run")
def batches_run(nats_url: NatsUrl = None, as_json: AsJson = False) -> None:
    """Run the batches of all tenants, until SIGTERM. Any number of processes may; each batch is run by one."""
    import uvloop

    from fleet.app import run_batches

    with friendly(as_json), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_batches(settings_for(nats_url)))
        Output(as_json).object({"stopped": True})


@topology_app.command("apply")
def topology_apply(
    replicas: Annotated[
        int | None, typer.Option(min=1, max=5, help="Servers that hold each stream; without it, as they are or 1.")
    ] = None,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Create or update the streams; repeating it changes nothing."""
    from fleet.cli.ops import topology

    with friendly(as_json):
        asyncio.run(topology.apply(settings_for(nats_url), Output(as_json), replicas))


@app.command()
def dispatcher(nats_url: NatsUrl = None, as_json: AsJson = False) -> None:
    """Run a dispatcher as a plain process, without Ray, until SIGTERM; then it drains."""
    import uvloop

    from fleet.app import run_dispatcher

    with friendly(as_json), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_dispatcher(settings_for(nats_url)))
        Output(as_json).object({"stopped": True})


def _metadata(pairs: list[str]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    if not all(key and equals for key, equals, _ in split):
        raise typer.BadParameter("must be KEY=VALUE", param_hint="--metadata")
    return {key: value for key, _, value in split}

"""`fleet evaluate`: the command and its options, which choose the evaluation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer
from rich.console import RenderableType

from fleet.cli.extras import needs_cache, needs_learn
from fleet.cli.lab.cache_promises import load_encoder
from fleet.cli.lab.cache_view import cache_view
from fleet.cli.lab.evaluation_view import Found, view
from fleet.cli.lab.table_view import table_view
from fleet.cli.options import AsJson
from fleet.cli.output import Output, friendly
from fleet.files import check_output
from fleet.model.errors import ConfigError
from fleet.supervision.guardian import guard

if TYPE_CHECKING:
    from fleet.embedding.encoder import Encoder

LIVE_JOBS = 1800
"""Examples per model. Half of them calibrate: a hundred of each of the nine tasks."""
LIVE_SEED = 11
"""The seed of the held-out examples, which differ from the demo's."""

Guarantee = Annotated[
    str | None, typer.Option(metavar="EPS,DELTA", help="Try this promise on resampled labels, such as 0.05,0.1.")
]
Stream = Annotated[Path | None, typer.Option(help="A second recorded cascade, watched for drift row by row.")]
WithAnswer = Annotated[bool, typer.Option("--with-answer", help="Let the router read the weak answer too.")]
Cache = Annotated[Path | None, typer.Option(help="Requests with their answer's class as CSV: what is safe to cache?")]
Traps = Annotated[Path | None, typer.Option(help="Pairs of questions as CSV: is one's answer served to the other?")]
Cached = Annotated[int | None, typer.Option(min=1, help="With --cache: cached rows of each class; 15.")]
Table = Annotated[Path | None, typer.Option(help="Answers of many models as CSV: which one for which task?")]
On = Annotated[Path | None, typer.Option(help="With --table: the file that it is judged on.")]
Price = Annotated[float | None, typer.Option(min=0.0, help="With --table: its most, as a share of the best model's.")]
Live = Annotated[bool, typer.Option("--live", help="Start a fleet and measure its own models on their held-out tasks.")]


class EvaluationReport(Protocol):
    """The report that every evaluation returns."""

    def as_json(self) -> dict[str, Any]: ...


def evaluate(
    replay: Annotated[Path | None, typer.Option(help="A recorded cascade as CSV: how good is its confidence?")] = None,
    labels: Annotated[int | None, typer.Option(min=1, help="Calibrate on this many labelled rows at a time.")] = None,
    guarantee: Guarantee = None,
    resamples: Annotated[int | None, typer.Option(min=1, help="How often --guarantee is tried; 2000, or 500.")] = None,
    stream: Stream = None,
    router: Annotated[Path | None, typer.Option(help="Labelled prompts as CSV: how good is a learned router?")] = None,
    train: Annotated[int | None, typer.Option(min=1, help="Train the router on this many prompts.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Average over this many random splits.")] = None,
    with_answer: WithAnswer = False,
    ask: Annotated[Path | None, typer.Option(help="A second file of prompts that the router is asked about.")] = None,
    cache: Cache = None,
    cached: Cached = None,
    traps: Traps = None,
    table: Table = None,
    on: On = None,
    price: Price = None,
    live: Live = False,
    jobs: Annotated[int | None, typer.Option(min=100, help="Examples per model with --live; 1800.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the calibrations fitted with --live here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the result into this PNG.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a cascade, a router, a table, a semantic cache or a whole fleet: quality, cost, promises, drift."""
    with friendly(as_json), needs_learn("fleet evaluate"), needs_cache("fleet evaluate"):
        check_output("--plot", plot, (replay, stream, router, ask, save, cache, traps, table, on))
        check_output("--save", save, ())
        promise = promise_in(guarantee)
        recorded = {"labels": labels, "guarantee": promise, "resamples": resamples, "stream": stream}
        tried = {"labels": labels, "guarantee": promise, "resamples": resamples, "cached": cached}
        routed = {"train": train, "seeds": seeds, "with_answer": with_answer or None, "ask": ask}
        chosen = {"on": on, "guarantee": promise, "resamples": resamples, "price": price}
        given: Mapping[str, Mapping[str, object]] = {
            "--replay": recorded,
            "--router": routed,
            "--cache": tried,
            "--traps": {"guarantee": promise},
            "--table": chosen,
            "--live": {"jobs": jobs, "save": save},
        }
        asked: dict[str, Callable[[], EvaluationReport] | None] = {
            "--replay": partial(_replay, replay, recorded) if replay else None,
            "--router": partial(_router, router, routed) if router else None,
            "--cache": partial(_cache, cache, tried) if cache else None,
            "--traps": partial(_traps, traps, {"guarantee": promise}) if traps else None,
            "--table": partial(_table, table, chosen) if table else None,
            "--live": partial(_live, as_json, jobs or LIVE_JOBS, save) if live else None,
        }
        _show(_the_one(asked, given)(), plot, Output(as_json))


def _the_one(
    asked: Mapping[str, Callable[[], EvaluationReport] | None], given: Mapping[str, Mapping[str, object]]
) -> Callable[[], EvaluationReport]:
    """Return the one evaluation asked for. `given` are the options of each way to evaluate.

    Raises: ConfigError unless exactly one is asked for, with its own options only.
    """
    modes = [(name, run) for name, run in asked.items() if run is not None]
    if len(modes) != 1:
        raise ConfigError("evaluate", f"give exactly one of {', '.join(asked)}")
    [(mode, run)] = modes
    strange = [name for options in given.values() for name in _said(options) if name not in given[mode]]
    if strange:
        raise ConfigError(f"--{strange[0].replace('_', '-')}", f"does not go with {mode}")
    return run


def promise_in(text: str | None) -> tuple[float, float] | None:
    """Return the promise that --guarantee names. Raises: ConfigError."""
    if text is None:
        return None
    try:
        risk, delta = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError("--guarantee", f"must be EPS,DELTA, such as 0.05,0.1; got {text!r}") from None
    return risk, delta


def _replay(path: Path, options: Mapping[str, Any]) -> EvaluationReport:
    from fleet.lab.evaluation.replay import evaluate_replay

    return evaluate_replay(path, **_said(options))


def _router(path: Path, options: Mapping[str, Any]) -> EvaluationReport:
    from fleet.lab.router.evaluate import evaluate_router

    return evaluate_router(path, **_said(options))


def _cache(path: Path, options: Mapping[str, Any]) -> EvaluationReport:
    from fleet.lab.caching.evaluate import evaluate_cache

    return evaluate_cache(path, *_encoder(), **_said(options))


def _traps(path: Path, options: Mapping[str, Any]) -> EvaluationReport:
    from fleet.lab.caching.traps import evaluate_traps

    return evaluate_traps(path, *_encoder(), **_said(options))


def _table(path: Path, options: Mapping[str, Any]) -> EvaluationReport:
    from fleet.lab.table.evaluate import evaluate_table

    if options["on"] is None:
        raise ConfigError("--on", "must name the file that the table is judged on")
    if options["on"].resolve() == path.resolve():
        raise ConfigError("--on", "must be another file than that of --table: a table knows its own questions")
    return evaluate_table(path, **_said(options))


def _encoder() -> tuple[Encoder, str]:
    """Return the encoder of the settings, and what it is called."""
    from fleet.settings.environment import load

    return load_encoder(load())


def _live(as_json: bool, jobs: int, save: Path | None) -> EvaluationReport:
    guard()
    from fleet.cli.lab.live import live
    from fleet.settings.environment import load

    return asyncio.run(live(load(), as_json, jobs, LIVE_SEED, save))


def _said(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return only the options that were given, so that each evaluation has its own defaults."""
    return {name: value for name, value in options.items() if value is not None}


def _show(report: EvaluationReport, plot: Path | None, output: Output) -> None:
    found = report.as_json()
    if plot is not None:
        drawn = getattr(report, "drawing", None)
        if drawn is None:
            raise ConfigError("--plot", "goes with --replay, --router and --live only")
        from fleet.lab.evaluation.plot import plot as draw

        draw(drawn, plot)
    output.object(found)
    output.show(*_view_of(found))
    if plot is not None:
        output.say(f"plot  {plot}")


def _view_of(found: Found) -> Iterator[RenderableType]:
    if "traps_served" in found or "cosine_hits" in found:
        return cache_view(found)
    return table_view(found) if "best_single" in found else view(found)

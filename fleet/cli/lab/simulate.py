"""`fleet simulate`: the command and its options, which choose the simulation."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleet.cli.extras import needs_learn
from fleet.cli.options import AsJson
from fleet.cli.output import Output, friendly
from fleet.files import check_output
from fleet.model.errors import ConfigError

if TYPE_CHECKING:
    from fleet.cli.lab.simulated import Documents
    from fleet.lab.simulation.simulate import SimulationReport

DEFAULT_SCENARIO = "day"

Scenario = Annotated[
    str, typer.Option(help="A shipped scenario or a YAML file; after an @ another phase or way of scaling.")
]
Compare = Annotated[
    list[str] | None,
    typer.Option(help="Another scenario to set beside it, such as day@ray_serve, or other rules for it; repeatable."),
]
RulesFile = Annotated[
    Path | None, typer.Option(help="The rules to run it by; without it, those of FLEET_RULES_PATH or the shipped.")
]
CatalogueFile = Annotated[
    Path | None, typer.Option(help="The catalogue; without it, that of FLEET_CATALOGUE_PATH or the shipped one.")
]
CostTables = Annotated[
    bool,
    typer.Option("--scenarios", help="The cost tables of docs/explanation/cost-models.md beside simulated ones."),
]
MechanismsFlag = Annotated[
    bool, typer.Option("--mechanisms", help="What each mechanism of the scenario saves, one left out at a time.")
]
Replay = Annotated[Path | None, typer.Option(help="A recorded run of the local fleet, as JSONL: predict it.")]
Fit = Annotated[list[Path] | None, typer.Option(help="With --replay: learn from this other run instead; repeatable.")]


def simulate(
    scenario: Scenario = DEFAULT_SCENARIO,
    compare: Compare = None,
    rules: RulesFile = None,
    catalogue: CatalogueFile = None,
    jobs: Annotated[int | None, typer.Option(help="How many jobs; without it, as many as the scenario says.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same jobs.")] = 1,
    scenarios: CostTables = False,
    mechanisms: MechanismsFlag = False,
    replay: Replay = None,
    fit: Fit = None,
    plot: Annotated[Path | None, typer.Option(help="Draw arrivals, replicas and queues into this PNG.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run invented jobs through a simulated fleet with the decisions of production: cost, quality, waits, replicas."""
    with friendly(as_json), needs_learn("fleet simulate"):
        output = Output(as_json)
        _check(jobs, compare, _modes(scenarios, mechanisms, replay), fit, plot)
        if scenarios and (rules or catalogue):
            raise ConfigError("--rules" if rules else "--catalogue", "does not go with --scenarios")
        check_output("--plot", plot, (Path(each.partition("@")[0]) for each in (scenario, *(compare or []))))
        documents = _documents(rules, catalogue)
        if replay is not None:
            _replay(replay, fit or [], documents, output)
        elif scenarios:
            _figures(jobs, seed, output)
        elif mechanisms:
            _mechanisms(scenario, documents, jobs, seed, output)
        else:
            _simulate(scenario, compare or [], documents, jobs, seed, plot, output)


def _documents(rules: Path | None, catalogue: Path | None) -> Documents:
    """Return the files to simulate with: those named, else those of the settings.

    Raises: ConfigError if the settings cannot be used.
    """
    from fleet.cli.lab.simulated import Documents
    from fleet.settings.environment import load

    settings = load()
    return Documents(rules or settings.rules_path, catalogue or settings.catalogue_path)


def _modes(scenarios: bool, mechanisms: bool, replay: Path | None) -> list[str]:
    """Return the options given that ask for something else than a simulation."""
    given = {"--replay": replay is not None, "--scenarios": scenarios, "--mechanisms": mechanisms}
    return [option for option, is_given in given.items() if is_given]


def _check(
    jobs: int | None, compare: list[str] | None, modes: list[str], fit: list[Path] | None, plot: Path | None
) -> None:
    """Check the options.

    Raises: ConfigError if options do not go together, or a number makes no sense.
    """
    if jobs is not None and jobs < 1:
        raise ConfigError("--jobs", f"must be 1 or more, not {jobs}")
    if fit and "--replay" not in modes:
        raise ConfigError("--fit", "goes with --replay")
    if len(modes) > 1:
        raise ConfigError(modes[0], f"does not go with {modes[1]}")
    for option, value in (("--compare", compare), ("--plot", plot)):
        if modes and value:
            raise ConfigError(option, f"does not go with {modes[0]}")


def _simulate(
    scenario: str,
    compare: Sequence[str],
    documents: Documents,
    jobs: int | None,
    seed: int,
    plot: Path | None,
    output: Output,
) -> None:
    from fleet.cli.lab.simulated import cases, change
    from fleet.cli.lab.simulation_view import beside, view
    from fleet.lab.simulation.report.figures import run
    from fleet.lab.simulation.workload.scenario import left_out

    reports, found = [], []
    for case in cases(scenario, compare, documents):
        started = time.perf_counter()
        report = run(case.scenario, jobs, seed, case.rules)
        reports.append(report)
        took = {"seconds": round(time.perf_counter() - started, 3), "rss_mb": _rss_mb()}
        found.append(report.as_json() | {"left_out": left_out(case.scenario, case.rules)} | took)
    _draw(reports, plot)
    changed = change(*found) if len(found) == 2 else None
    output.object(found[0] if len(found) == 1 else {"scenarios": found} | ({"change": changed} if changed else {}))
    output.show(*(view(found[0]) if len(found) == 1 else beside(found, changed)))
    if plot is not None:
        output.say(f"plot  {plot}")


def _draw(reports: Sequence[SimulationReport], path: Path | None) -> None:
    if path is not None:
        from fleet.lab.simulation.report.plot import plot

        plot(reports, path)


def _figures(jobs: int | None, seed: int, output: Output) -> None:
    from fleet.cli.lab.simulation_view import figures
    from fleet.lab.simulation.report.figures import rows

    found: list[dict[str, Any]] = []
    for row in rows(seed, jobs):
        output.progress(f"{row.document}: {row.what}")
        found.append(row.as_json())
    output.object({"figures": found})
    output.show(*figures(found))


def _mechanisms(scenario: str, documents: Documents, jobs: int | None, seed: int, output: Output) -> None:
    from fleet.cli.lab.savings_view import view
    from fleet.cli.lab.simulated import cases
    from fleet.lab.simulation.saving.savings import savings

    [case] = cases(scenario, (), documents)
    found = savings(case.scenario, case.rules, jobs, seed).as_json()
    output.object(found)
    output.show(*view(found))


def _replay(path: Path, others: Sequence[Path], documents: Documents, output: Output) -> None:
    from fleet.cli.lab.simulation_view import prediction
    from fleet.lab.simulation.replay import predict
    from fleet.lab.simulation.workload.traces import read_trace
    from fleet.settings.documents import load_rules

    rules = load_rules(documents.rules, documents.catalogue, "local")
    predicted = predict(read_trace(path), [read_trace(other) for other in others], rules)
    found = predicted.as_json() | {"file": str(path), "learned_from": [str(other) for other in others] or "first part"}
    output.object(found)
    output.show(*prediction(found))


def _rss_mb() -> float:
    """Return the maximum memory this process has had, in MiB; the kernel of a Mac counts bytes, others KiB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)

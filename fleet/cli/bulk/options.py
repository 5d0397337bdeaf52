"""The options of `fleet bulk submit`, and what their values mean."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleet.cli.options import cloud_of
from fleet.model.errors import ConfigError
from fleet.model.job import JobOptions, Plan, Tier

if TYPE_CHECKING:
    from fleet.bulk.reading.sources import TableJobs
    from fleet.model.money import NanoUsd

Rows = Annotated[Path, typer.Argument(help="JSONL of jobs; or with --template CSV, TSV, Parquet or JSONL of rows.")]
Template = Annotated[
    Path | None, typer.Option(help="A Jinja2 template that makes the message of each row, from its columns.")
]
TaskOfRows = Annotated[str | None, typer.Option(help="With --template: the task of every row; without it, chat.")]
IdColumn = Annotated[
    str | None, typer.Option(help="With --template: the column that names the rows; without it, custom_id or id.")
]
Fields = Annotated[
    list[str] | None,
    typer.Option("--set", help="With --template: FIELD=JSON, a field of every request; repeatable."),
]
KeepGoing = Annotated[bool, typer.Option("--keep-going", help="Run the good rows even if others are no jobs.")]
WaitedFor = Annotated[
    Path | None, typer.Option("--output", "-o", help="Wait until the batch ends, and write its rows here.")
]
Problems = Annotated[Path | None, typer.Option(help="Write every row that is no job here, as JSONL.")]
Deadline = Annotated[str, typer.Option(help="How long the rows may take, such as 90m, 8h or 2d.")]
MaxCost = Annotated[
    float | None, typer.Option("--max-cost", min=1e-9, help="What all rows may cost together, in US dollars.")
]
PlanOfRows = Annotated[Plan | None, typer.Option(help="The plan of rows that state none.")]
TierOfRows = Annotated[Tier | None, typer.Option(help="The tier of rows that state none.")]
CloudOfRows = Annotated[
    str | None, typer.Option(help="allow, deny, or providers with commas between; for rows that do not say.")
]
Metadata = Annotated[list[str] | None, typer.Option(help="KEY=VALUE, shown with the batch; repeatable.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Run nothing: forecast cost and time, as intervals, by simulation.")
]
Recorded = Annotated[
    list[Path] | None,
    typer.Option(help="With --dry-run: a recorded run of this fleet, to learn its speeds from; repeatable."),
]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def table_of(template: Path | None, task: str | None, id_column: str | None, fields: Sequence[str]) -> TableJobs | None:
    """Return what makes jobs of the rows of a table; None without a template.

    Raises: ConfigError if the template cannot be used, or if an option lacks it.
    """
    from fleet.bulk.lines import DEFAULT_TASK
    from fleet.bulk.reading.sources import TableJobs

    if template is not None:
        return TableJobs(template, task or DEFAULT_TASK, id_column, _request_of(fields))
    if task or id_column or fields:
        raise ConfigError("--task" if task else "--id-column" if id_column else "--set", "goes with --template")
    return None


def nano_usd(dollars: float | None) -> NanoUsd | None:
    """Return the dollars in billionths; None stays None."""
    from policies.money import nano_of

    return None if dollars is None else nano_of(dollars)


def seconds_of(option: str, text: str) -> float:
    """Return a duration such as 90m. Raises: ConfigError."""
    found = _DURATION.fullmatch(text)
    if found is None or float(found[1]) == 0:
        raise ConfigError(option, f"must be a number and a unit, such as 90m, 8h or 2d, not {text}")
    return float(found[1]) * _UNITS[found[2]]


def _request_of(pairs: Sequence[str]) -> dict[str, Any]:
    request = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        try:
            request[name] = json.loads(text)
        except ValueError:
            said = f"must be FIELD=JSON, such as max_tokens=60, not {pair}"
            quoted = f"; a text has quotes: --set {shlex.quote(f'{name}={json.dumps(text)}')}" if text else ""
            raise ConfigError("--set", said + quoted) from None
    return request


def defaults_of(plan: Plan | None, tier: Tier | None, cloud: str | None) -> JobOptions:
    """Return what holds for the rows that say nothing of it."""
    defaults = JobOptions()
    if plan is not None:
        defaults["plan"] = plan
    if tier is not None:
        defaults["tier"] = tier
    if cloud is not None:
        defaults["cloud"] = cloud_of(cloud)
    return defaults


def metadata_of(pairs: Sequence[str]) -> dict[str, str]:
    """Return the pairs by their keys. Raises: ConfigError if one is no pair."""
    split = [pair.partition("=") for pair in pairs]
    if not all(key and equals for key, equals, _ in split):
        raise ConfigError("--metadata", "must be KEY=VALUE")
    return {key: value for key, _, value in split}

"""`fleet data`: what there is to train a small model on, and the files to train it with."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleet.cli.books.content import ContentUrl
from fleet.cli.connection import settings_for
from fleet.cli.extras import needs_learn, needs_ledger
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import FAILED, Output, friendly
from fleet.lab.data.formats import DataFormat
from fleet.model.errors import ConfigError

if TYPE_CHECKING:
    from fleet.lab.data.examples import Source
    from fleet.lab.data.export import Wish
    from fleet.settings.environment import Settings
    from policies.rules.rules import Rules

data_app = typer.Typer(help="Training data of what was collected.", no_args_is_help=True)

Tasks = Annotated[list[str] | None, typer.Option("--task", help="Only this task; repeatable.")]
Destination = Annotated[str, typer.Option(help="The family of the base model that is to be trained.")]
LicencesFile = Annotated[
    Path | None, typer.Option("--licences", help="A table of your own: whose answers may train which models.")
]
Against = Annotated[
    list[Path] | None, typer.Option(help="JSON lines that judge: nothing like them is trained on; repeatable.")
]
Validation = Annotated[float, typer.Option(help="Share of the rows that is held out.")]
Most = Annotated[int | None, typer.Option(min=1, help="Train on this many rows of a task at most.")]
Seed = Annotated[int, typer.Option(help="Another one holds out other rows.")]
PersonalWords = Annotated[
    bool, typer.Option("--allow-personal-words", help="Do not hold back what has one of the rules' personal words.")
]
Graders = Annotated[
    bool, typer.Option("--trust-graders", help="A grader's word counts as a user's: it is no model that answers.")
]


@contextmanager
def _prepared(as_json: bool) -> Iterator[None]:
    with friendly(as_json), needs_ledger("fleet data"), needs_learn("fleet data"):
        yield


@data_app.command()
def status(
    task: Tasks = None,
    destination: Destination = "llama",
    licences: LicencesFile = None,
    trust_graders: Graders = False,
    content_url: ContentUrl = None,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show what there is to learn, by task, by who answered and by what was said of it. The reading is on record."""
    with _prepared(as_json):
        from fleet.app import rules_of
        from fleet.cli.data.reading import choose
        from fleet.cli.data.view import status_of, status_view
        from fleet.lab.data.licences import load_licences

        settings = settings_for(nats_url, content_url=content_url)
        rules, table = rules_of(settings), load_licences(licences)
        chosen = asyncio.run(choose(settings, rules, task, "data status", trust_graders=trust_graders))
        found = status_of(chosen, table, destination, rules.training.goal)
        output = Output(as_json)
        output.object(found)
        output.show(*status_view(found))


@data_app.command()
def export(
    task: Annotated[list[str], typer.Option("--task", help="The task to train for; repeatable.")],
    form: Annotated[DataFormat, typer.Option("--format", help="What the trainer reads.")],
    folder: Annotated[Path, typer.Option("--output", "-o", help="A new folder.")],
    destination: Destination = "llama",
    against: Annotated[
        list[Path] | None,
        typer.Option(help="JSON lines of an evaluation: nothing like them is trained on; repeatable."),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(help="Also hold out rows of this task, to see what a training does to it; repeatable."),
    ] = None,
    tenant: Annotated[
        list[str] | None, typer.Option(help="Only what this tenant agreed to; repeatable. Else all that agreed.")
    ] = None,
    licences: LicencesFile = None,
    validation: Validation = 0.1,
    most: Most = None,
    seed: Seed = 1,
    trust_graders: Graders = False,
    allow_personal_words: PersonalWords = False,
    content_url: ContentUrl = None,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write training data: cleaned, split, and with a datasheet. Nothing is written where too little is left."""
    with _prepared(as_json):
        from fleet.app import rules_of
        from fleet.cli.data.reading import of_tenants
        from fleet.cli.data.view import export_view
        from fleet.lab.data.export import Wish
        from fleet.lab.data.folder import check_new

        check_new(folder)
        settings, output = settings_for(nats_url, content_url=content_url), Output(as_json)
        rules = of_tenants(rules_of(settings), tenant)
        words = frozenset[str]() if allow_personal_words else rules.complexity.personal_words
        tasks, others = (tuple(dict.fromkeys(names)) for names in (task, beside or ()))
        wish = Wish(tasks, form, destination, validation, most, seed, words, trust_graders, others)
        sheet = _export(settings, rules, wish, folder, against or [], licences, output)
        output.object(sheet)
        output.show(*export_view(sheet, str(folder)))


def _export(
    settings: Settings,
    rules: Rules,
    wish: Wish,
    folder: Path,
    against: Sequence[Path],
    licences: Path | None,
    output: Output,
) -> Mapping[str, Any]:
    from fleet.cli.data.reading import choose
    from fleet.lab.data.export import prepare
    from fleet.lab.data.folder import write_export
    from fleet.lab.data.judging import read_judging
    from fleet.lab.data.licences import load_licences
    from fleet.settings.documents import read_bytes, shipped

    for option, names in (("--task", wish.tasks), ("--beside", wish.beside)):
        for name in names:
            if name not in rules.tasks:
                raise ConfigError(option, f"{name!r} is not among the tasks of the rules")
    table = load_licences(licences)
    judging = [text for path in against for text in read_judging(path)]
    asked_for = (*wish.tasks, *wish.beside)
    chosen = asyncio.run(choose(settings, rules, asked_for, "data export", trust_graders=wish.trust_graders))
    output.progress(f"cleaning {len(chosen.examples):,} examples")
    prepared = prepare(chosen.examples, chosen.reasons, [*judging, *chosen.for_calibration], table, wish)
    source = settings.rules_path or shipped("policies", "rules.yaml")
    about = {
        "made_at": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds"),
        "rules": hashlib.sha256(read_bytes(source)).hexdigest(),
        "against": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in against},
        "calibration_texts": len(chosen.for_calibration),
    }
    return write_export(folder, prepared, wish, table, about)


@data_app.command()
def erased(
    folder: Annotated[Path, typer.Argument(metavar="EXPORT", help="The folder of an export.")],
    tenant: Annotated[str | None, typer.Option(help="Whatever came of this tenant; with --person, of theirs.")] = None,
    person: Annotated[str | None, typer.Option(help="Whatever was about this person.")] = None,
    job: Annotated[list[str] | None, typer.Option("--job", help="Whatever came of this job; repeatable.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the rest into this new folder.")] = None,
    members: Annotated[
        Path | None, typer.Option("--gone", help="Write the lines of train.jsonl that go into this file, for a probe.")
    ] = None,
    content_url: ContentUrl = None,
    as_json: AsJson = False,
) -> None:
    """Say which lines of an export have to go after an erasure; exit 1 if there are any and no rest is written.

    Without a name it asks the content store: what it has no more, and would still keep, was erased.
    """
    with _prepared(as_json):
        from fleet.cli.data.reading import gone_from_store
        from fleet.cli.data.view import erased_view
        from fleet.files import write_secret
        from fleet.lab.data.folder import lines_of, lines_that_go, read_map, write_without

        mapped = read_map(folder)
        if tenant is None and person is None and not job:
            settings = settings_for(None, content_url=content_url)
            is_gone, unknown = gone_from_store(settings, [each.source for each in mapped], time.time())
        else:
            is_gone, unknown = _named(tenant, person, frozenset(job or ())), 0
        gone = lines_of(mapped, is_gone)
        if members is not None:
            write_secret(members, lines_that_go(folder, gone))
        if output is not None:
            write_without(folder, output, is_gone)
        shown = Output(as_json)
        lines = sorted({(each.file, each.line) for each in gone})
        shown.object({"lines": [{"file": name, "line": line} for name, line in lines], "unknown": unknown})
        shown.show(*erased_view(gone), *([] if gone else ["no line has to go"]))
        if unknown:
            shown.say(f"{unknown:,} jobs are older than contents are kept: name the tenant or person that was erased")
    if gone and output is None:
        raise typer.Exit(FAILED)


def _named(tenant: str | None, person: str | None, jobs: frozenset[str]) -> Callable[[Source], bool]:
    def is_gone(source: Source) -> bool:
        return (
            (tenant is None or source.tenant == tenant)
            and (person is None or source.person == person)
            and (not jobs or source.job_id in jobs)
        )

    return is_gone

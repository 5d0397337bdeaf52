"""`fleet ledger verify`, `prove` and `key`: checks the accounts, and gives receipts that others check."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fleet.cli.books.ledger import LedgerUrl
from fleet.cli.connection import settings_for
from fleet.cli.extras import needs_ledger
from fleet.cli.options import AsJson
from fleet.cli.output import FAILED, Output, friendly
from fleet.model.errors import FleetError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from fleet.ledger.audit.log import Signing
    from fleet.ledger.audit.prove import LineProof
    from fleet.ledger.audit.verify import DayReport
    from fleet.receipts.notes import VerifierKey
    from fleet.settings.environment import Settings

SUFFIX = ".tlog-proof"

Key = Annotated[
    str | None,
    typer.Option(help="The log's public key, as `fleet ledger key` prints it; without it, that of the key file."),
]


def verify(key: Key = None, ledger_url: LedgerUrl = None, as_json: AsJson = False) -> None:
    """Check every row, sum, file and signature of the accounts. Exits 1 and says where if anything was changed."""
    with friendly(as_json), needs_ledger("fleet ledger"):
        settings = settings_for(None, ledger_url=ledger_url)
        with _opened(settings) as (engine, signing):
            reports = _verified(engine, settings, signing, key, Output(as_json))
    _show(reports, Output(as_json))
    if any(report.faults for report in reports):
        raise typer.Exit(FAILED)


def _verified(
    engine: Engine, settings: Settings, signing: Signing | None, key: str | None, output: Output
) -> list[DayReport]:
    """Verify while nothing is erased: half an erasure looks like rows that somebody emptied."""
    from fleet.ledger.audit.verify import verify
    from fleet.ledger.locks import LockName, held, lock_on
    from fleet.ledger.store import first_day_kept

    keep_days = settings.ledger_keep_days
    first_kept = first_day_kept(time.time(), keep_days) if keep_days else None
    archive = settings.archive_dir if settings.archive_dir.is_dir() else None
    verifier = _verifier(engine, signing, key)
    lock = lock_on(engine, LockName.ERASURE, is_shared=True)
    with held(lock, partial(output.progress, "waiting for an erasure to end")):
        return list(verify(engine, settings.ledger_name, verifier, first_kept, archive))


def _verifier(engine: Engine, signing: Signing | None, key: str | None) -> VerifierKey | None:
    from fleet.ledger.audit.log import identity_of
    from fleet.receipts.notes import VerifierKey

    if key is not None:
        try:
            return VerifierKey.parsed(key)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--key") from None
    if signing is None:
        return None
    with engine.connect() as connection:
        try:
            return signing.key(identity_of(connection)).verifier
        except LookupError:
            return None


def _show(reports: list[DayReport], output: Output) -> None:
    *of_days, _ = reports
    faults = [fault for report in reports for fault in report.faults]
    days = [
        {"day": each.day, "seal": each.seal.value, "rows": each.rows, "erased": each.erased, "deleted": each.deleted}
        | {"file_unchecked": each.file_unchecked}
        for each in of_days
    ]
    output.object({"clean": not faults, "days": days, "faults": [asdict(fault) for fault in faults]})
    table = Table(box=None, padding=(0, 2))
    for name in ("day", "rows", "erased", "seal", ""):
        table.add_column(name)
    for each in of_days:
        note = f"{len(each.faults) + each.unnamed} faults" if each.faults else "rows deleted" if each.deleted else ""
        table.add_row(each.day, f"{each.rows:,}", f"{each.erased:,}", each.seal.value, note)
    output.show(table if of_days else "the ledger is empty")
    for fault in faults:
        where = " ".join(filter(None, (fault.day, f"row {fault.seq}" if fault.seq is not None else "")))
        output.say(f"{where or 'ledger'}: {fault.what}")
    for each in reports:
        if each.unnamed:
            output.say(f"{each.day or 'ledger'}: and {each.unnamed} more rows")
    if not faults:
        output.say(f"clean: {sum(each.rows for each in of_days):,} rows" + _unsealed(of_days))


def _unsealed(reports: list[DayReport]) -> str:
    """Return what the signatures do not vouch for, and what was not looked at."""
    from fleet.ledger.audit.verify import Seal

    counts = {seal: sum(report.seal is seal for report in reports) for seal in (Seal.UNSIGNED, Seal.NOT_CHECKED)}
    unsealed = "".join(f"; {count} days {seal.value}" for seal, count in counts.items() if count)
    files = sum(report.file_unchecked for report in reports)
    return unsealed + (f"; files of {files} days not checked: the folder of the archive is not here" if files else "")


def prove(
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")],
    tenant: Annotated[str | None, typer.Option(help="Whose job; needed where two tenants have one of that id.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a file for each line into this folder.")
    ] = None,
    ledger_url: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Print the receipt of each line of a job: a proof that anybody can check with the log's public key alone."""
    from fleet.ledger.audit.prove import prove

    with friendly(as_json), needs_ledger("fleet ledger"):
        with _opened(settings_for(None, ledger_url=ledger_url)) as (engine, signing):
            proofs = prove(engine, job_id, tenant, signing)
        output = Output(as_json)
        if folder is None:
            for each in proofs:
                output.say(each.proof.text.rstrip("\n"))
        else:
            for place, each in enumerate(proofs):
                again = sum(before.line == each.line for before in proofs[:place])
                output.say(str(_written(each, f"{job_id}.{each.line}" + (f".{again}" if again else ""), folder)))
        output.object({"proofs": [{"line": p.line, "day": p.day, "proof": p.proof.text} for p in proofs]})


def _written(proof: LineProof, title: str, folder: Path) -> Path:
    """Write a proof to a file called by the job and the line; their names may hold what a file's name may not."""
    from fleet.files import write_whole

    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(c if c.isalnum() or c in "-_." else "_" for c in title)
    path = folder / f"{name}{SUFFIX}"
    write_whole(path, proof.proof.text.encode())
    return path


def key(ledger_url: LedgerUrl = None, as_json: AsJson = False) -> None:
    """Print the public key that receipts are checked with. Publish it where tenants will look for it."""
    from fleet.ledger.audit.keys import KEY_VARIABLE

    with friendly(as_json), needs_ledger("fleet ledger"):
        with _opened(settings_for(None, ledger_url=ledger_url)) as (engine, signing):
            if signing is None:
                raise FleetError(f"there is no key: set {KEY_VARIABLE}")
            verifier = _verifier(engine, signing, None)
            if verifier is None:
                raise FleetError("the ledger has no line yet, and a log gets its name with the first")
        facts: dict[str, Any] = {"key": str(verifier)}
        Output(as_json).object(facts)
        Output(as_json).say(str(verifier))


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Engine, Signing | None]]:
    from fleet.ledger.audit.keys import signing_with
    from fleet.ledger.database import check_migrated, database_url, engine_for

    signing = signing_with(settings.ledger_key_file, settings.ledger_name)
    engine = engine_for(database_url(settings.ledger_address))
    try:
        check_migrated(engine)
        yield engine, signing
    finally:
        engine.dispose()

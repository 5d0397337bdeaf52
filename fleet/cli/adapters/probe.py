"""`fleet adapters probe`: whether an adapter still knows rows that were erased."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fleet.cli.adapters.training import BaseTarget, Weights, base_of_target
from fleet.cli.extras import needs_learn, needs_train
from fleet.cli.options import AsJson
from fleet.cli.output import FAILED, Output, friendly
from fleet.model.errors import ConfigError

if TYPE_CHECKING:
    from fleet.lab.gates.membership import Probed

SAID: Final[Mapping[str, str]] = {
    "told_apart": "told apart: the adapter knows these rows, or some very like them",
    "at_chance": "at chance: the adapter does not tell these rows from others",
    "too_few": "nobody can say: it takes more rows, or others of the same kind",
    "unlike": "nobody can say: the others are more like what was learnt, so they are of another kind",
}


def probe(
    folder: Annotated[Path, typer.Argument(help="The adapter, in the layout of peft.")],
    members: Annotated[Path, typer.Option(help="Chats that were erased, or that it should not know.")],
    others: Annotated[Path, typer.Option(help="Chats of the same kind that were never trained on.")],
    base: BaseTarget = "llama-8b",
    weights: Weights = None,
    limit: Annotated[
        float | None,
        typer.Option(
            min=0.5, max=1.0, help="Rows are at chance if the upper bound of the AUC is below this; else 0.6."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Test whether an adapter tells rows from others that it never saw. Exits 1 unless it is at chance."""
    output = Output(as_json)
    with friendly(as_json), needs_train("fleet adapters probe"), needs_learn("fleet adapters probe"):
        _check_distinct(members, others)
        found = base_of_target(base, weights)
        from deployments.adapters.layout import check_adapter, read_adapter

        adapter = read_adapter(folder)
        check_adapter(adapter, found)
        from deployments.adapters.losses import eased
        from fleet.lab.gates.membership import LIMIT, Membership, probed

        asked, never = eased(found, adapter, (members, others))
        result = probed(asked, never, LIMIT if limit is None else limit)
        at_chance = result.verdict is Membership.AT_CHANCE
        output.object({"digest": adapter.digest, **asdict(result)})
        output.show(f"{adapter.digest[:12]}  {_told(result)}")
    if not at_chance:
        raise typer.Exit(FAILED)


def _told(found: Probed) -> str:
    rows = f"{found.members:,} rows against {found.others:,} others"
    return f"{SAID[found.verdict]} (AUC {found.auc:.3f}, {found.low:.3f} to {found.high:.3f}; {rows})"


def _check_distinct(members: Path, others: Path) -> None:
    """Refuse rows that are in both files: they would make any adapter look innocent. Raises: ConfigError, OSError."""
    there = set(members.read_bytes().split(b"\n")) - {b""}
    for number, line in enumerate(others.read_bytes().split(b"\n"), start=1):
        if line in there:
            raise ConfigError(f"{others}, line {number}", f"must not be in {members} as well: it was trained on")

"""Shows registered adapters to people and as JSON, for `fleet adapters`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from fleet.cli.output import Output
from fleet.model.adapter import AdapterVersion, Alias, RegisteredAdapter


def show_all(adapters: Iterable[RegisteredAdapter], output: Output) -> None:
    """Show every adapter in a line."""
    ordered = sorted(adapters, key=lambda each: each.name)
    output.object({"adapters": [as_object(each) for each in ordered]})
    table = Table("adapter", "target", "tasks", "tenants", *Alias, "versions", "why", box=None)
    for each in ordered:
        named = (_short(each.aliases.get(alias)) for alias in Alias)
        table.add_row(
            each.name, each.target, _names(each.tasks), _tenants(each), *named, str(len(each.versions)), each.why or ""
        )
    output.show(table if ordered else "no adapter is registered: `fleet adapters register`")


def show_step(adapter: RegisteredAdapter, output: Output) -> None:
    """Show which version answers after a step."""
    output.object(as_object(adapter))
    stable, candidate = adapter.at(Alias.STABLE), adapter.at(Alias.CANDIDATE)
    answers = f"the base {adapter.target}" if stable is None else stable.digest[:12]
    trial = "" if candidate is None else f", {candidate.digest[:12]} is the candidate"
    why = f": {adapter.why}" if adapter.why else ""
    output.show(f"{adapter.name}: {answers} answers {_names(adapter.tasks)}{trial}{why}")


def show_one(adapter: RegisteredAdapter, output: Output) -> None:
    """Show an adapter with its versions, the newest first, what the gates found of each, and whole digests."""
    if output.as_json:
        output.object(as_object(adapter))
        return
    show_step(adapter, output)
    output.show(f"for tenants: {_tenants(adapter)}")
    table = Table("version", "", "rank", "MB", "registered (UTC)", "trained on", "gates", box=None)
    for each in reversed(adapter.versions):
        named = " ".join(alias for alias in Alias if adapter.aliases.get(alias) == each.digest)
        when = datetime.fromtimestamp(each.registered_at, UTC).strftime("%Y-%m-%d %H:%M")
        size = f"{each.size / 1e6:.1f}"
        table.add_row(each.digest[:12], named, str(each.rank), size, when, _training(each), _gates(each))
    output.show(table)
    for alias, digest in sorted(adapter.aliases.items()):
        output.show(f"{alias}: {digest}")


def as_object(adapter: RegisteredAdapter) -> dict[str, Any]:
    """Return all that is known of an adapter, as JSON takes it."""
    return {
        "name": adapter.name,
        "target": adapter.target,
        "tasks": sorted(adapter.tasks),
        "tenants": None if adapter.tenants is None else sorted(adapter.tenants),
        **{str(alias): adapter.aliases.get(alias) for alias in Alias},
        "why": adapter.why,
        "changed_at": adapter.changed_at,
        "versions": [asdict(each) for each in adapter.versions],
    }


def _training(version: AdapterVersion) -> str:
    card = version.card or {}
    return f"{card['examples']:,} examples" if isinstance(card.get("examples"), int) else "not known"


def _gates(version: AdapterVersion) -> str:
    if version.evidence is None:
        return "not tried"
    gates = version.evidence.get("gates")
    rows = [each for each in gates if isinstance(each, Mapping)] if isinstance(gates, list) else []
    stopping = [str(each.get("name")) for each in rows if not each.get("passed") and each.get("required", True)]
    return "passed" if version.evidence.get("passed") is True else f"stopped by {_names(stopping) or 'its gates'}"


def _tenants(adapter: RegisteredAdapter) -> str:
    return "all" if adapter.tenants is None else _names(adapter.tenants)


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _short(digest: str | None) -> str:
    return "-" if digest is None else digest[:12]

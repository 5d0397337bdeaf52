"""`fleet adapters register` and `fetch`: from a folder into the fleet's store, and back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleet.cli.adapters.registry import Name
from fleet.cli.adapters.registry_view import show_step
from fleet.cli.adapters.store import adapters_at, with_experiments
from fleet.cli.adapters.training import Weights, base_of_target
from fleet.cli.connection import settings_for
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import Output, friendly
from fleet.model.adapter import ADAPTER_FILES, AdapterVersion, Alias, RegisteredAdapter
from fleet.model.errors import ConfigError, InvalidAdapter
from policies.adapters import steps

if TYPE_CHECKING:
    from deployments.adapters.layout import Adapter


def register(
    folder: Annotated[Path, typer.Argument(help="The adapter, in the layout of peft.")],
    name: Annotated[str, typer.Option(help="What it is called from now on; its versions share the name.")],
    task: Annotated[
        list[str] | None, typer.Option(help="A task that it answers; repeatable. Else the one it was trained for.")
    ] = None,
    tenant: Annotated[list[str] | None, typer.Option(help="A tenant that it is for; repeatable. Else all.")] = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="TARGET", help="The fleet's model it is for; else what it says.")
    ] = None,
    weights: Weights = None,
    evidence: Annotated[
        Path | None, typer.Option(help="What `fleet adapters try` found of it; it may be promoted if it passed.")
    ] = None,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Register an adapter as the candidate of its name, after all checks that the engine makes when it loads one."""
    output = Output(as_json)
    with friendly(as_json):
        from deployments.adapters.layout import check_adapter, read_adapter
        from fleet.app import register_adapter, rules_of

        adapter = read_adapter(folder)
        card = adapter.card or {}
        target = base or _word(card, "base") or "llama-8b"
        found = base_of_target(target, weights)
        check_adapter(adapter, found)
        settings = settings_for(nats_url)
        _check_rank(adapter.rank, target, settings.profile)
        rules = rules_of(settings)
        version, files = _version(adapter, found.digest, evidence)

        def scope(there: Mapping[str, RegisteredAdapter]) -> RegisteredAdapter:
            tasks, tenants = (frozenset(each) if each else None for each in (task, tenant))
            scoped = steps.scoped(there, name, target, tasks, tenants, _word(card, "task"))
            steps.check(scoped, rules)
            return scoped

        async def do() -> None:
            async with with_experiments(nats_url) as (store, experiments):
                there = (await experiments.read_all()).values()
                show_step(await register_adapter(store, scope, version, files, there, "registered"), output)

        asyncio.run(do())


def _check_rank(rank: int, target: str, profile: str) -> None:
    """Raise ConfigError if the engines of the target have no room for this rank, as far as a profile says.

    On a cluster the deploy file may say more, which nobody knows here.
    """
    from deployments.profiles import AdapterSlots, Profile, model

    usual = AdapterSlots() if profile == Profile.LOCAL else None
    slots = model(Profile(profile), target).adapters or usual
    if slots is not None and rank > slots.rank:
        rule = f"must be at most {slots.rank}, the highest that the engines of {target} serve (`rank` in profiles)"
        raise ConfigError("r", f"{rule}; not {rank}")


def _word(card: Mapping[str, Any], name: str) -> str | None:
    return found if isinstance(found := card.get(name), str) else None


def _version(adapter: Adapter, base_digest: str, evidence: Path | None) -> tuple[AdapterVersion, Mapping[str, bytes]]:
    from deployments.adapters.layout import FILES

    files = {name: path.read_bytes() for name in FILES if (path := adapter.folder / name).is_file()}
    size = sum(len(files[name]) for name in ADAPTER_FILES)
    said = None if evidence is None else _evidence(evidence, adapter.digest)
    return AdapterVersion(adapter.digest, base_digest, adapter.rank, size, time.time(), adapter.card, said), files


def _evidence(path: Path, digest: str) -> Mapping[str, Any]:
    from deployments.adapters.strict import read_json

    found = read_json(path)
    if not isinstance(found.get("passed"), bool):
        raise ConfigError(str(path), "must say whether its gates `passed`, as `fleet adapters try -o` writes it")
    if found.get("adapter") != digest or not isinstance(found.get("serves"), list):
        raise ConfigError(str(path), f"must be of adapter {digest[:12]}, and name the tasks it `serves`")
    return found


def fetch(
    name: Name,
    out: Annotated[Path, typer.Option("-o", "--output", help="A new folder for the files.")],
    which: Annotated[
        str, typer.Option("--version", help="stable, candidate, previous, or a digest's first digits.")
    ] = "stable",
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write the files of a version into a folder, in the layout of peft, which other tools read."""
    output = Output(as_json)
    with friendly(as_json):
        if out.exists() and any(out.iterdir()):
            raise ConfigError(str(out), "must be a new or an empty folder")

        async def do() -> None:
            async with adapters_at(nats_url) as store:
                version = _which(steps.found(await store.read_all(), name), which)
                files = await store.files(version.digest)
            if files is None:
                raise InvalidAdapter("files", f"of {version.digest[:12]} are not in the store: register it again")
            _write(out, version, files)
            output.object({"digest": version.digest, "folder": str(out), "files": sorted(files)})
            output.show(f"{version.digest[:12]}  in {out}: {', '.join(sorted(files))}")

        asyncio.run(do())


def _which(adapter: RegisteredAdapter, which: str) -> AdapterVersion:
    if which not in list(Alias):
        return steps.version_of(adapter, which)
    if (version := adapter.at(Alias(which))) is None:
        known = ", ".join(each.digest[:12] for each in adapter.versions)
        raise InvalidAdapter("version", f"{adapter.name!r} has no {which} version: name another, or a digest: {known}")
    return version


def _write(out: Path, version: AdapterVersion, files: Mapping[str, bytes]) -> None:
    from deployments.adapters.layout import CARD

    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (out / name).write_bytes(content)
    if version.card is not None:
        (out / CARD).write_text(json.dumps(version.card, indent=2) + "\n")

"""What is wrong with an adapter, and the steps it may take: register, nominate, promote, roll back, withdraw."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from fleet.model.adapter import ADAPTER_DIGEST, ADAPTER_NAME, AdapterVersion, Alias, RegisteredAdapter
from fleet.model.errors import ConfigError, InvalidAdapter
from fleet.model.experiment import Experiment, Stage
from fleet.model.job import TENANT
from policies.experiments.checks import meet
from policies.rules.rules import Rules

MOST_VERSIONS: Final = 16
"""Versions kept of an adapter. One more, and the oldest that no alias names goes."""

MOST_BYTES: Final[Mapping[str, int]] = {"card": 16 * 1024, "evidence": 40 * 1024}
"""Bytes of a version's notes as JSON. All that is known of an adapter is one message: 16 versions fill most of 1 MB.

The evidence of an adapter that serves many tasks has some 1.1 kB for each.
"""

SHORTEST: Final = 8
"""The fewest characters of a digest that may stand for all of it."""

Adapters = Mapping[str, RegisteredAdapter]


def check(adapter: RegisteredAdapter, rules: Rules) -> None:
    """Check an adapter against the rules in force. Raises: ConfigError naming the field and the rule."""
    if adapter.target not in rules.catalogue.targets:
        raise ConfigError("target", f"{adapter.target!r} is not in the catalogue: {', '.join(rules.catalogue.targets)}")
    for task in sorted(adapter.tasks):
        if task not in rules.tasks:
            raise ConfigError("tasks", f"{task!r} is not among the tasks of the rules")


def registered(there: Adapters, adapter: RegisteredAdapter, version: AdapterVersion, now: float) -> RegisteredAdapter:
    """Return the adapter with this version beside those it had; one of equal content stays as it was registered first.

    `adapter` says name, target, tasks and tenants; `there` what is registered already. Raises: InvalidAdapter.
    """
    for field, rule in (*_violations(adapter, version), *_against(there, adapter, version)):
        raise InvalidAdapter(field, rule)
    known = there.get(adapter.name, replace(adapter, versions=(), aliases={}, why=None))
    if known.version(version.digest) is not None:
        return known
    return replace(known, versions=(*_with_room(known), version), changed_at=now)


def _violations(adapter: RegisteredAdapter, version: AdapterVersion) -> Iterator[tuple[str, str]]:
    if ADAPTER_NAME.fullmatch(adapter.name) is None:
        yield "name", f"must match {ADAPTER_NAME.pattern}"
    for name, names in (("tasks", adapter.tasks), ("tenants", adapter.tenants)):
        if names is not None and not names:
            yield name, "needs at least one name"
    for tenant in sorted(adapter.tenants or ()):
        if TENANT.fullmatch(tenant) is None:
            yield "tenants", f"{tenant!r} must match {TENANT.pattern}"
    for name in ("digest", "base_digest"):
        if ADAPTER_DIGEST.fullmatch(getattr(version, name)) is None:
            yield name, "must be a SHA-256 as 64 hexadecimal digits"
    yield from _too_long("card", version.card)


def _too_long(field: str, notes: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    size = 0 if notes is None else len(json.dumps(notes, default=dict).encode())
    if size > MOST_BYTES[field]:
        yield field, f"must have at most {MOST_BYTES[field]:,} bytes as JSON, not {size:,}"


def _against(there: Adapters, adapter: RegisteredAdapter, version: AdapterVersion) -> Iterator[tuple[str, str]]:
    known = there.get(adapter.name)
    if known is not None:
        yield from _against_itself(known, adapter, version)
    for other in there.values():
        overlaps = other.target == adapter.target and meet(other.tenants, adapter.tenants)
        if other.name != adapter.name and overlaps and other.tasks & adapter.tasks:
            both = ", ".join(sorted(other.tasks & adapter.tasks))
            rule = f"overlap with those of {other.name!r} in {both}: a job of {adapter.target} has one adapter at most"
            yield "tenants, tasks", rule


def _against_itself(
    known: RegisteredAdapter, adapter: RegisteredAdapter, version: AdapterVersion
) -> Iterator[tuple[str, str]]:
    for name in ("target", "tasks", "tenants"):
        if getattr(known, name) != getattr(adapter, name):
            was = _said(getattr(known, name))
            yield name, f"must be {was}, as {known.name!r} was registered: take another name, or remove that one first"
    equal = known.version(version.digest)
    if equal is not None and equal.base_digest != version.base_digest:
        rule = f"must be {equal.base_digest[:12]}, the base this content was registered for: remove the version first"
        yield "base_digest", rule


def _said(scope: str | frozenset[str] | None) -> str:
    if scope is None:
        return "all"
    return scope if isinstance(scope, str) else ", ".join(sorted(scope))


def _with_room(adapter: RegisteredAdapter) -> tuple[AdapterVersion, ...]:
    """Return its versions with room for one more."""
    if len(adapter.versions) < MOST_VERSIONS:
        return adapter.versions
    named = set(adapter.aliases.values())
    oldest = next(each for each in adapter.versions if each.digest not in named)
    return tuple(each for each in adapter.versions if each is not oldest)


def scoped(
    there: Adapters,
    name: str,
    target: str | None,
    tasks: frozenset[str] | None,
    tenants: frozenset[str] | None,
    trained_for: str | None = None,
) -> RegisteredAdapter:
    """Return the adapter of this name with the scope given, or else the one it was registered with.

    Without either it is of all tenants, for the task that it was trained for. Raises: InvalidAdapter if nobody says
    of which target, or for which tasks, it is.
    """
    known = there.get(name)
    alone = None if trained_for is None else frozenset({trained_for})
    if known is None:
        known = RegisteredAdapter(name, target or "", alone or frozenset(), None)
    elif alone is not None and not alone <= known.tasks:
        known = replace(known, tasks=alone)
    scope = RegisteredAdapter(name, target or known.target, tasks or known.tasks, tenants or known.tenants)
    for field, said in (("target", scope.target), ("tasks", scope.tasks)):
        if not said:
            raise InvalidAdapter(field, "must be given: the adapter does not say what it is for")
    return scope


def found(there: Adapters, name: str) -> RegisteredAdapter:
    """Return the adapter of this name. Raises: InvalidAdapter if there is none."""
    if (adapter := there.get(name)) is None:
        raise InvalidAdapter(
            "name", f"{name!r} is none of the adapters: {', '.join(sorted(there)) or 'none is registered'}"
        )
    return adapter


def version_of(adapter: RegisteredAdapter, digest: str) -> AdapterVersion:
    """Return the version of this digest, or of the only one that begins so. Raises: InvalidAdapter."""
    alike = [each for each in adapter.versions if each.digest.startswith(digest) and len(digest) >= SHORTEST]
    if len(alike) != 1:
        known = ", ".join(each.digest[:12] for each in adapter.versions)
        raise InvalidAdapter("digest", f"{digest[:12]!r} is no version of {adapter.name!r}: {known or 'it has none'}")
    return alike[0]


def entered(
    there: Adapters,
    adapter: RegisteredAdapter,
    version: AdapterVersion,
    experiments: Iterable[Experiment],
    why: str,
    now: float,
) -> RegisteredAdapter:
    """Return the adapter with this version, which is its candidate unless it is stable.

    Raises: InvalidAdapter, also if a roll-out tries another version: no arm has one that no alias names.
    """
    done = registered(there, adapter, version, now)
    if version.digest in (done.aliases.get(Alias.STABLE), done.aliases.get(Alias.CANDIDATE)):
        return done
    _check_untried(done, experiments)
    return nominated(done, version.digest, why, now)


def nominated(adapter: RegisteredAdapter, digest: str, why: str, now: float) -> RegisteredAdapter:
    """Return the adapter with this version as its candidate. Raises: InvalidAdapter if it has none such."""
    version = version_of(adapter, digest)
    if adapter.at(Alias.STABLE) == version:
        raise InvalidAdapter("digest", f"{version.digest[:12]} is stable already")
    return _moved(adapter, {**adapter.aliases, Alias.CANDIDATE: version.digest}, why, now)


def with_evidence(
    adapter: RegisteredAdapter, digest: str, evidence: Mapping[str, Any], now: float
) -> RegisteredAdapter:
    """Return the adapter with what its gates found of a version. Raises: InvalidAdapter if it has none such."""
    version = version_of(adapter, digest)
    for field, rule in _too_long("evidence", evidence):
        raise InvalidAdapter(field, rule)
    if evidence.get("adapter", version.digest) != version.digest:
        raise InvalidAdapter("evidence", f"is of another adapter than {version.digest[:12]}")
    tried = replace(version, evidence=evidence)
    versions = tuple(tried if each is version else each for each in adapter.versions)
    return replace(adapter, versions=versions, changed_at=now)


def promoted(
    adapter: RegisteredAdapter,
    digest: str | None,
    experiments: Iterable[Experiment],
    why: str | None,
    now: float,
    forced: bool = False,
) -> RegisteredAdapter:
    """Return the adapter with a version, or without a digest its candidate, as the one that answers.

    Without `why`, its gates are the reason, or that they are passed over. Raises: InvalidAdapter if a roll-out tries a
    version, or if no gates were passed and it is not `forced`.
    """
    version = _candidate(adapter) if digest is None else version_of(adapter, digest)
    stable = adapter.at(Alias.STABLE)
    if stable == version:
        raise InvalidAdapter("digest", f"{version.digest[:12]} is stable already")
    _check_untried(adapter, experiments, version.digest)
    lacks = _lacks(adapter, version)
    if lacks is not None and not forced:
        raise InvalidAdapter(
            "evidence",
            f"must say that {version.digest[:12]} passed its gates: {lacks}; `fleet adapters try` does",
        )
    aliases = {Alias.STABLE: version.digest} | ({} if stable is None else {Alias.PREVIOUS: stable.digest})
    candidate = adapter.at(Alias.CANDIDATE)
    if candidate is not None and candidate != version:
        aliases[Alias.CANDIDATE] = candidate.digest
    because = "passed its gates" if lacks is None else f"forced: {lacks}"
    return _moved(adapter, aliases, why or because, now)


def _lacks(adapter: RegisteredAdapter, version: AdapterVersion) -> str | None:
    """Return what the evidence for a version lacks, or None."""
    found = version.evidence
    if found is None:
        return "nobody has tried it"
    if found.get("passed") is not True:
        return "its gates did not pass"
    untried = adapter.tasks - frozenset(found.get("serves", adapter.tasks))
    return f"nobody has tried it on {', '.join(sorted(untried))}" if untried else None


def _candidate(adapter: RegisteredAdapter) -> AdapterVersion:
    if (version := adapter.at(Alias.CANDIDATE)) is None:
        raise InvalidAdapter("digest", f"must be given: {adapter.name!r} has no candidate")
    return version


def trying(adapter: RegisteredAdapter, experiments: Iterable[Experiment]) -> list[Experiment]:
    """Return the experiments that give jobs a version of the adapter."""
    return [
        each
        for each in experiments
        if each.stage is not Stage.STOPPED and any(arm.adapter and adapter.version(arm.adapter) for arm in each.arms)
    ]


def check_arms(there: Adapters, experiment: Experiment) -> None:
    """Check that each adapter that an arm names can answer jobs of the experiment. Raises: InvalidAdapter.

    Jobs get none that no alias names, or that is for others: such an arm would be the control by another name.
    """
    for arm in experiment.arms:
        if arm.adapter is not None and not any(_may_answer(each, arm.adapter, experiment) for each in there.values()):
            rule = "answers none of these jobs: no adapter for them has it as stable, candidate or previous"
            raise InvalidAdapter(f"arms.{arm.name}.adapter", f"{arm.adapter[:12]} {rule}")


def _may_answer(adapter: RegisteredAdapter, digest: str, experiment: Experiment) -> bool:
    is_for_them = meet(adapter.tenants, experiment.tenants) and meet(adapter.tasks, experiment.tasks)
    return is_for_them and digest in adapter.aliases.values()


def _check_untried(adapter: RegisteredAdapter, experiments: Iterable[Experiment], digest: str | None = None) -> None:
    """Raise InvalidAdapter if a roll-out gives jobs a version of the adapter, unless it gives everybody this one."""
    for each in trying(adapter, experiments):
        winner = each.arm(each.winner) if each.winner is not None else None
        if winner is None or winner.adapter != digest:
            rule = f"{each.name!r}, which is {each.stage}, gives jobs a version of {adapter.name!r}"
            raise InvalidAdapter("roll-out", f"{rule}: promote that arm, or stop it first (fleet rollout)")


def rolled_back(adapter: RegisteredAdapter, seen: str | None, why: str, now: float) -> RegisteredAdapter:
    """Return the adapter with what was stable before, or with nothing stable if nothing was: then the base answers.

    It never goes forward: another roll-back goes on to the base. `seen` is the stable digest that is to go. Raises:
    InvalidAdapter if that is stable no more, as somebody else was faster, or if nothing is.
    """
    if (stable := adapter.aliases.get(Alias.STABLE)) != seen:
        now_stable = "nothing is" if stable is None else f"{stable[:12]} is"
        raise InvalidAdapter("stable", f"was moved by somebody else a moment ago: {now_stable} stable, so look again")
    if stable is None:
        raise InvalidAdapter("stable", f"{adapter.name!r} has no stable version to roll back from: the base answers")
    aliases = {Alias.CANDIDATE: candidate} if (candidate := adapter.aliases.get(Alias.CANDIDATE)) else {}
    if (previous := adapter.aliases.get(Alias.PREVIOUS)) is not None:
        aliases[Alias.STABLE] = previous
    return _moved(adapter, aliases, why, now)


def dismissed(
    adapter: RegisteredAdapter, digest: str, why: str, now: float, of: Collection[Alias] = (Alias.CANDIDATE,)
) -> RegisteredAdapter:
    """Return the adapter with this version on trial no more; what is stable stays, and so does another candidate.

    `of` are the aliases that it loses: without PREVIOUS, no roll-back makes it stable again.
    """
    left = {alias: each for alias, each in adapter.aliases.items() if alias not in of or each != digest}
    return adapter if left == adapter.aliases else _moved(adapter, left, why, now)


def withdrawn(adapter: RegisteredAdapter, why: str, now: float) -> RegisteredAdapter:
    """Return the adapter without any alias, so that the base answers; its versions stay."""
    return _moved(adapter, {}, why, now)


def without(adapter: RegisteredAdapter, digests: Collection[str], why: str, now: float) -> RegisteredAdapter:
    """Return the adapter without these versions, nor any alias of theirs: where one was stable, the base answers."""
    left = tuple(each for each in adapter.versions if each.digest not in digests)
    aliases = {alias: digest for alias, digest in adapter.aliases.items() if digest not in digests}
    return _moved(replace(adapter, versions=left), aliases, why, now)


def check_removal(adapter: RegisteredAdapter, experiments: Iterable[Experiment], forced: bool = False) -> None:
    """Check that nothing answers with the adapter that is to be removed. Raises: InvalidAdapter."""
    _check_untried(adapter, experiments)
    if not forced and (stable := adapter.at(Alias.STABLE)) is not None:
        raise InvalidAdapter("stable", f"{stable.digest[:12]} answers jobs: withdraw {adapter.name!r} first")


def _moved(adapter: RegisteredAdapter, aliases: Mapping[Alias, str], why: str, now: float) -> RegisteredAdapter:
    return replace(adapter, aliases=dict(aliases), why=why, changed_at=now)

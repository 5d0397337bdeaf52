"""A job's adapter: of its target, tenant and task, the stable version or what the job's arm names of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from fleet.model.adapter import AdapterVersion, Alias, RegisteredAdapter
from fleet.model.target import ServedAdapters
from fleet.settings.documents import load_rules
from policies.adapters.routing import digest_for, indexed

OLD, NEW, TRIED, FOREIGN = (letter * 64 for letter in "abcd")

OWNERS = frozenset({"acme", "birch"})


def version(digest: str) -> AdapterVersion:
    return AdapterVersion(digest, "0" * 64, 16, 1_000, 1.0)


def adapter(
    name: str, *digests: str, tenants: frozenset[str] | None = None, target: str = "llama-8b", **aliases: str
) -> RegisteredAdapter:
    named = {Alias(alias): digest for alias, digest in aliases.items()}
    return RegisteredAdapter(
        name, target, frozenset({"plan.schedule", "chat"}), tenants, tuple(map(version, digests)), named
    )


TARGETS = {
    name: replace(target, adapters=None if name == "mixtral-8x7b" else ServedAdapters(2))
    for name, target in load_rules(None, None, "local").catalogue.targets.items()
}
THERE = (
    adapter("own", OLD, NEW, TRIED, tenants=OWNERS, stable=NEW, previous=OLD, candidate=TRIED),
    adapter("all", FOREIGN, target="llama-70b", stable=FOREIGN),
    adapter("unserved", FOREIGN, target="mixtral-8x7b", stable=FOREIGN),
)


def chosen(
    target: str, tenant: str, task: str, on_trial: str | None = None, there: Iterable[RegisteredAdapter] = THERE
) -> str | None:
    return digest_for(TARGETS[target], tenant, task, indexed(there), on_trial)


@pytest.mark.parametrize(
    ("target", "tenant", "task", "digest"),
    [
        ("llama-8b", "acme", "plan.schedule", NEW),
        ("llama-8b", "birch", "chat", NEW),
        ("llama-8b", "cedar", "plan.schedule", None),
        ("llama-8b", "acme", "classify.intent", None),
        ("mixtral-8x7b", "acme", "plan.schedule", None),
        ("llama-70b", "cedar", "chat", FOREIGN),
    ],
)
def test_an_adapter_answers_the_jobs_of_its_target_tenants_and_tasks_where_the_target_takes_any(
    target: str, tenant: str, task: str, digest: str | None
) -> None:
    assert chosen(target, tenant, task) == digest


@pytest.mark.parametrize(
    ("tenant", "on_trial", "digest"), [("acme", TRIED, TRIED), ("acme", FOREIGN, NEW), ("cedar", TRIED, None)]
)
def test_an_arm_gives_its_jobs_another_version_of_their_own_adapter_and_no_other(
    tenant: str, on_trial: str, digest: str | None
) -> None:
    assert chosen("llama-8b", tenant, "chat", on_trial) == digest


def test_an_adapter_without_a_stable_version_answers_on_trial_alone() -> None:
    there = [adapter("new", TRIED, candidate=TRIED)]
    assert chosen("llama-8b", "acme", "chat", there=there) is None
    assert chosen("llama-8b", "acme", "chat", TRIED, there) == TRIED


def test_what_was_rolled_back_or_withdrawn_answers_in_no_arm_either() -> None:
    rolled_back, withdrawn = [adapter("own", OLD, NEW, stable=OLD)], [adapter("own", OLD, NEW)]
    assert chosen("llama-8b", "acme", "chat", NEW, rolled_back) == OLD
    assert chosen("llama-8b", "acme", "chat", NEW, withdrawn) is None


def test_only_what_an_alias_names_may_be_relied_on() -> None:
    assert indexed([adapter("own", OLD, NEW, TRIED, stable=NEW, candidate=TRIED)]).named == {NEW, TRIED}

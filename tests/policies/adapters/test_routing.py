"""A job's adapter: of its target, tenant and task, the stable version or what the job's arm names of it."""

from __future__ import annotations

import pytest

from fleet.model.adapter import AdapterVersion, Alias, RegisteredAdapter
from policies.adapters.routing import AdapterRoutes

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


ROUTES = AdapterRoutes(
    [
        adapter("own", OLD, NEW, TRIED, tenants=OWNERS, stable=NEW, previous=OLD, candidate=TRIED),
        adapter("all", FOREIGN, target="llama-70b", stable=FOREIGN),
    ]
)


@pytest.mark.parametrize(
    ("target", "tenant", "task", "digest"),
    [
        ("llama-8b", "acme", "plan.schedule", NEW),
        ("llama-8b", "birch", "chat", NEW),
        ("llama-8b", "cedar", "plan.schedule", None),
        ("llama-8b", "acme", "classify.intent", None),
        ("mixtral", "acme", "plan.schedule", None),
        ("llama-70b", "cedar", "chat", FOREIGN),
    ],
)
def test_an_adapter_answers_the_jobs_of_its_target_tenants_and_tasks(
    target: str, tenant: str, task: str, digest: str | None
) -> None:
    assert ROUTES.digest(target, tenant, task) == digest


@pytest.mark.parametrize(
    ("tenant", "on_trial", "digest"), [("acme", TRIED, TRIED), ("acme", FOREIGN, NEW), ("cedar", TRIED, None)]
)
def test_an_arm_gives_its_jobs_another_version_of_their_own_adapter_and_no_other(
    tenant: str, on_trial: str, digest: str | None
) -> None:
    assert ROUTES.digest("llama-8b", tenant, "chat", on_trial) == digest


def test_an_adapter_without_a_stable_version_answers_on_trial_alone() -> None:
    routes = AdapterRoutes([adapter("new", TRIED, candidate=TRIED)])
    assert routes.digest("llama-8b", "acme", "chat") is None
    assert routes.digest("llama-8b", "acme", "chat", TRIED) == TRIED


def test_what_was_rolled_back_or_withdrawn_answers_in_no_arm_either() -> None:
    rolled_back = AdapterRoutes([adapter("own", OLD, NEW, stable=OLD)])
    withdrawn = AdapterRoutes([adapter("own", OLD, NEW)])
    assert rolled_back.digest("llama-8b", "acme", "chat", NEW) == OLD
    assert withdrawn.digest("llama-8b", "acme", "chat", NEW) is None


def test_only_what_an_alias_names_may_be_relied_on() -> None:
    assert AdapterRoutes([adapter("own", OLD, NEW, TRIED, stable=NEW, candidate=TRIED)]).named == {NEW, TRIED}

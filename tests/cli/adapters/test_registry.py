"""`fleet adapters`: an adapter from its folder to its end, and what is refused on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_app import App
from made_adapters import base, make_adapter
from typer.testing import Result

import policies
from deployments.adapters.layout import CARD, CONFIG, SOURCES, TENSORS, read_adapter
from fleet.model.adapter import Alias
from fleet.model.experiment import Arm, Experiment, Stage, Unit
from queues.jetstream.stores.adapters import MemoryAdapters

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_adapter(tmp_path / "first")


@pytest.fixture
def digest(folder: Path) -> str:
    return read_adapter(folder).digest


@pytest.fixture
def second(tmp_path: Path) -> Path:
    return make_adapter(tmp_path / "second", fill=0.5)


def evidence(folder: Path, passed: bool = True, **other: Any) -> str:
    """A file of what its gates found."""
    path = folder.parent / f"{folder.name}.json"
    gates = [{"name": "improves", "passed": passed, "required": True, "n": 200, "value": 0.3, "low": 0.2, "high": 0.4}]
    found = {"passed": passed, "gates": gates, "adapter": read_adapter(folder).digest, "serves": ["plan.schedule"]}
    path.write_text(json.dumps(found | other))
    return str(path)


@pytest.fixture
def served(fake_app: App, invoke: Invoke, folder: Path, second: Path) -> App:
    """The first version is stable, the second its candidate; both have passed."""
    for each in (folder, second):
        done = invoke("adapters", "register", str(each), "--name", "scheduler", "--evidence", evidence(each))
        assert done.exit_code == 0, done.output
        if each is folder:
            assert invoke("adapters", "promote", "scheduler").exit_code == 0
    return fake_app


def refusal(invoke: Invoke, *arguments: str) -> str:
    done = invoke("adapters", *arguments)
    assert done.exit_code == 1, done.output
    assert done.stdout == ""
    return done.stderr


def trial_of(fake_app: App, digest: str) -> None:
    trial = Experiment("trial", Unit.TENANT, (Arm("candidate", 0.1, adapter=digest),))
    asyncio.run(fake_app.experiments.change(lambda _: trial))


def test_an_adapter_goes_from_its_folder_to_its_end(
    fake_app: App, invoke: Invoke, folder: Path, second: Path, digest: str
) -> None:
    new = read_adapter(second).digest
    said = invoke("adapters", "register", str(folder), "--name", "scheduler").stdout
    assert said == (f"scheduler: the base llama-8b answers plan.schedule, {digest[:12]} is the candidate: registered\n")
    assert "evidence: must say that" in refusal(invoke, "promote", "scheduler")
    assert "nobody has tried it" in refusal(invoke, "promote", "scheduler")
    assert invoke("adapters", "promote", "scheduler", "--force").stdout.endswith(
        f"{digest[:12]} answers plan.schedule: forced: nobody has tried it\n"
    )
    invoke("adapters", "register", str(second), "--name", "scheduler", "--evidence", evidence(second))
    assert invoke("adapters", "promote", "scheduler").stdout == (
        f"scheduler: {new[:12]} answers plan.schedule: passed its gates\n"
    )
    assert invoke("adapters", "rollback", "scheduler", "--why", "complaints").stdout == (
        f"scheduler: {digest[:12]} answers plan.schedule: complaints\n"
    )
    assert invoke("adapters", "rollback", "scheduler").stdout == (
        "scheduler: the base llama-8b answers plan.schedule: rolled back by hand\n"
    )
    assert "the base answers" in refusal(invoke, "rollback", "scheduler")
    assert invoke("adapters", "remove", "scheduler").stdout == "scheduler is removed\n"
    assert invoke("adapters", "list").stdout == "no adapter is registered: `fleet adapters register`\n"
    assert asyncio.run(fake_app.adapters.files(digest)) is None


def test_what_is_registered_is_listed_and_shown(
    served: App, invoke: Invoke, invoke_json: InvokeJson, folder: Path, second: Path, digest: str
) -> None:
    new = read_adapter(second).digest
    [listed] = invoke_json("adapters", "list")["adapters"]
    assert (listed["name"], listed["target"], listed["tasks"], listed["tenants"]) == (
        *("scheduler", "llama-8b"),
        *(["plan.schedule"], None),
    )
    assert (listed["stable"], listed["candidate"], listed["previous"]) == (digest, new, None)
    shown = invoke_json("adapters", "show", "scheduler")
    [first, _] = shown["versions"]
    assert (first["base_digest"], first["rank"], first["card"]["examples"]) == (base().digest, 8, 1000)
    assert first["size"] == sum((folder / name).stat().st_size for name in (CONFIG, TENSORS))
    assert first["evidence"]["passed"] is True
    text = invoke("adapters", "show", "scheduler").stdout
    assert [line.split()[:2] for line in text.splitlines()[3:5]] == [[new[:12], "candidate"], [digest[:12], "stable"]]
    assert text.splitlines()[5:] == [f"candidate: {new}", f"stable: {digest}"]
    assert "1,000 examples" in text
    assert "scheduler" in invoke("adapters", "list").stdout


def test_equal_content_is_the_same_version_and_brings_its_evidence(
    served: App, invoke: Invoke, invoke_json: InvokeJson, folder: Path
) -> None:
    failed = evidence(folder, passed=False)
    again = invoke_json("adapters", "register", str(folder), "--name", "scheduler", "--evidence", failed)
    assert len(again["versions"]) == 2
    assert again["versions"][0]["evidence"]["passed"] is False
    assert again["candidate"] == again["versions"][1]["digest"]
    assert "stopped by improves" in invoke("adapters", "show", "scheduler").stdout


def test_a_version_takes_the_scope_it_was_registered_with(
    fake_app: App, invoke_json: InvokeJson, folder: Path, second: Path
) -> None:
    scope = ("--task", "plan.schedule", "--task", "chat", "--tenant", "acme")
    first = invoke_json("adapters", "register", str(folder), "--name", "scheduler", *scope)
    assert (first["tasks"], first["tenants"]) == (["chat", "plan.schedule"], ["acme"])
    more = invoke_json("adapters", "register", str(second), "--name", "scheduler")
    assert (more["tasks"], more["tenants"], len(more["versions"])) == (["chat", "plan.schedule"], ["acme"], 2)


@pytest.mark.parametrize(
    ("made", "options", "said"),
    [
        ({"rank": 24}, (), "r: must be one of 1, 8, 16"),
        ({"rank": 128}, (), "r: must be at most 64, the highest that the engines of llama-8b serve"),
        ({"base_digest": "0" * 64}, (), "base_digest: is of another model than llama-8b"),
        ({}, ("--base", "mixtral-8x7b"), "is of type 'mixtral'"),
        ({"base": "llama-70b"}, (), "base_digest: is of another model than llama-70b"),
        ({"task": "sing"}, (), "tasks: 'sing' is not among the tasks of the rules"),
        ({"task": None}, (), "tasks: must be given: the adapter does not say what it is for"),
        ({}, ("--task", "sing"), "tasks: 'sing' is not among the tasks"),
        ({}, ("--tenant", "a b"), "tenants: 'a b' must match"),
        ({}, ("--name", "No Spaces"), "name: must match"),
        ({"why": "x" * 20_000}, (), "card: must have at most 16,384 bytes"),
    ],
)
def test_what_cannot_be_served_is_not_registered(
    fake_app: App, invoke: Invoke, tmp_path: Path, made: dict[str, Any], options: tuple[str, ...], said: str
) -> None:
    folder = make_adapter(tmp_path / "wrong", **made)
    assert said in refusal(invoke, "register", str(folder), "--name", "scheduler", *options)
    assert asyncio.run(fake_app.adapters.read_all()) == {}
    assert asyncio.run(fake_app.adapters.files(read_adapter(folder).digest)) is None


def test_for_a_cluster_any_rank_is_registered(
    fake_app: App, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_PROFILE", "gpu")
    folder = make_adapter(tmp_path / "high", rank=128)
    done = invoke("adapters", "register", str(folder), "--name", "scheduler", "--weights", str(base().folder))
    assert done.exit_code == 0, done.output


def test_an_adapter_larger_than_the_store_is_refused(fake_app: App, invoke: Invoke, folder: Path) -> None:
    fake_app.adapters = MemoryAdapters(room=1000)
    assert "larger than the store: 1,000 of 1,000 bytes are left" in refusal(
        invoke, "register", str(folder), "--name", "scheduler"
    )
    assert asyncio.run(fake_app.adapters.read_all()) == {}


def test_a_second_adapter_for_the_same_jobs_is_refused_before_its_files_are_stored(
    served: App, invoke: Invoke, tmp_path: Path
) -> None:
    other = make_adapter(tmp_path / "other", fill=0.25)
    assert "overlap with those of 'scheduler'" in refusal(invoke, "register", str(other), "--name", "rival")
    assert asyncio.run(served.adapters.files(read_adapter(other).digest)) is None


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"adapter": "0" * 64}, "must be of adapter"),
        ({"serves": None}, "name the tasks it `serves`"),
        ({"passed": "yes"}, "must say whether its gates `passed`"),
        ({"notes": "x" * 50_000}, "evidence: must have at most 40,960 bytes"),
    ],
)
def test_evidence_that_is_not_of_the_adapter_is_refused(
    fake_app: App, invoke: Invoke, folder: Path, found: dict[str, Any], said: str
) -> None:
    path = evidence(folder, **{"passed": True, **found})
    assert said in refusal(invoke, "register", str(folder), "--name", "scheduler", "--evidence", path)


@pytest.mark.parametrize(
    "step", [("show",), ("promote",), ("rollback",), ("withdraw", "--why", "x"), ("remove",), ("fetch", "-o", "new")]
)
def test_a_name_that_is_none_is_refused_with_those_there_are(
    served: App, invoke: Invoke, step: tuple[str, ...]
) -> None:
    command, *options = step
    assert "name: 'rival' is none of the adapters: scheduler" in refusal(invoke, command, "rival", *options)


def test_who_promotes_for_a_target_that_takes_no_adapters_is_told(
    served: App, invoke: Invoke, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "the base answers on until llama-8b takes adapters" in invoke("adapters", "promote", "scheduler").stderr
    monkeypatch.setenv("FLEET_ADAPTERS", "llama-8b")
    invoke("adapters", "rollback", "scheduler")
    again = invoke("adapters", "promote", "scheduler", "--digest", read_adapter(second).digest)
    said = "the rules here never send plan.schedule to llama-8b: put it on the ladder (phases.phase3.tasks)"
    assert (again.exit_code, again.stderr) == (0, f"· {said}\n")


def test_nothing_is_said_where_the_ladder_of_the_task_has_the_target(
    served: App, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = yaml.safe_load((Path(policies.__file__).parent / "rules.yaml").read_text())
    rules["phases"]["phase3"]["tasks"] = {"plan.schedule": ["llama-8b", "llama-70b"]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    monkeypatch.setenv("FLEET_RULES_PATH", str(tmp_path / "rules.yaml"))
    monkeypatch.setenv("FLEET_ADAPTERS", "llama-8b")
    promoted = invoke("adapters", "promote", "scheduler")
    assert (promoted.exit_code, promoted.stderr) == (0, "")


def test_a_digest_that_is_none_is_refused(served: App, invoke: Invoke, digest: str) -> None:
    assert "'ffffffffffff' is no version of 'scheduler'" in refusal(
        invoke, "promote", "scheduler", "--digest", "f" * 64
    )
    assert f"{digest[:12]} is stable already" in refusal(invoke, "promote", "scheduler", "--digest", digest[:8])


def test_nothing_is_promoted_during_a_roll_out(served: App, invoke: Invoke, second: Path) -> None:
    trial_of(served, read_adapter(second).digest)
    for options in ((), ("--force",)):
        said = refusal(invoke, "promote", "scheduler", *options)
        assert "roll-out: 'trial', which is running, gives jobs a version of 'scheduler'" in said
    assert "roll-out: 'trial'" in refusal(invoke, "remove", "scheduler", "--force")


def test_what_a_roll_out_tries_stays_the_candidate(
    served: App, invoke: Invoke, second: Path, folder: Path, tmp_path: Path
) -> None:
    trial_of(served, read_adapter(second).digest)
    third = make_adapter(tmp_path / "third", fill=0.25)
    assert "roll-out: 'trial'" in refusal(invoke, "register", str(third), "--name", "scheduler")
    assert asyncio.run(served.adapters.files(read_adapter(third).digest)) is None
    for known in (folder, second):
        assert invoke("adapters", "register", str(known), "--name", "scheduler").exit_code == 0


def test_what_is_withdrawn_is_tried_no_more(served: App, invoke: Invoke, invoke_json: InvokeJson, second: Path) -> None:
    trial_of(served, read_adapter(second).digest)
    done = invoke_json("adapters", "withdraw", "scheduler", "--why", "erased")
    assert (done["stable"], done["candidate"], done["why"], len(done["versions"])) == (None, None, "erased", 2)
    [trial] = asyncio.run(served.experiments.read_all()).values()
    assert (trial.stage, trial.why) == (Stage.STOPPED, "erased")


def test_what_answers_is_removed_by_force_alone(served: App, invoke: Invoke, invoke_json: InvokeJson) -> None:
    assert "answers jobs: withdraw 'scheduler' first" in refusal(invoke, "remove", "scheduler")
    assert len(asyncio.run(served.adapters.read_all())) == 1
    assert invoke_json("adapters", "remove", "scheduler", "--force") == {"name": "scheduler", "removed": True}


def test_of_two_operators_the_second_is_told(
    served: App, invoke: Invoke, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("adapters", "promote", "scheduler")
    change = served.adapters.change

    async def after_another(step: Any) -> Any:
        monkeypatch.undo()
        await change(
            lambda there: replace(there["scheduler"], aliases={Alias.STABLE: there["scheduler"].aliases["previous"]})
        )
        return await change(step)

    monkeypatch.setattr(served.adapters, "change", after_another)
    assert "was moved by somebody else a moment ago" in refusal(invoke, "rollback", "scheduler")


def test_files_that_go_with_another_adapter_meanwhile_are_stored_again(
    fake_app: App, invoke: Invoke, folder: Path, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("adapters", "register", str(folder), "--name", "first", "--task", "chat")
    change = fake_app.adapters.change

    async def after_a_removal(step: Any) -> Any:
        await fake_app.adapters.remove("first")
        return await change(step)

    monkeypatch.setattr(fake_app.adapters, "change", after_a_removal)
    assert invoke("adapters", "register", str(folder), "--name", "scheduler").exit_code == 0
    assert asyncio.run(fake_app.adapters.files(digest)) is not None


def test_files_come_back_as_they_were_registered(
    fake_app: App, invoke: Invoke, invoke_json: InvokeJson, folder: Path, tmp_path: Path, digest: str
) -> None:
    (folder / SOURCES).write_text(json.dumps({"salt": "00" * 16, "sources": ["ab" * 16]}))
    invoke("adapters", "register", str(folder), "--name", "scheduler")
    new = tmp_path / "new"
    assert "has no stable version" in refusal(invoke, "fetch", "scheduler", "-o", str(new))
    fetched = invoke_json("adapters", "fetch", "scheduler", "-o", str(new), "--version", "candidate")
    assert fetched == {"digest": digest, "folder": str(new), "files": sorted((CONFIG, TENSORS, SOURCES))}
    for name in (CONFIG, TENSORS, SOURCES):
        assert (new / name).read_bytes() == (folder / name).read_bytes()
    assert json.loads((new / CARD).read_text()) == json.loads((folder / CARD).read_text())
    assert "must be a new or an empty folder" in refusal(invoke, "fetch", "scheduler", "-o", str(new))
    assert invoke("adapters", "fetch", "scheduler", "-o", str(tmp_path / "b"), "--version", digest[:12]).exit_code == 0


def test_without_a_fleet_the_command_says_so(fake_app: App, invoke: Invoke) -> None:
    fake_app.is_up = False
    assert "no fleet answers" in refusal(invoke, "list")

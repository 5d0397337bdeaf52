"""What was learned from somebody goes with them: adapters that know their rows, and calibrations if that is wanted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from fleet.ledger.audit.erase import Answered, LineToErase, Subject
from fleet.ledger.audit.learned import WHY_CALIBRATION, Knowledge, Learned
from fleet.model.adapter import AdapterVersion, Alias, RegisteredAdapter, adapter_digest
from fleet.model.calibration import Calibration, CalibrationKey, Familiarity, Fit, Region, Scorer
from fleet.model.experiment import Arm, Experiment, Stage, Unit
from fleet.model.sources import Sources
from queues.jetstream.stores.adapters import MemoryAdapters
from queues.jetstream.stores.calibrations import MemoryCalibrations
from queues.jetstream.stores.experiments import MemoryExperiments

ANNA = "person-anna"
REGION = Region(
    frozenset({1}), (0.0,) * 23, tuple((0.0,) * place + (1.0,) for place in range(23)), (1.0,) * 23, 3.0, 0.5
)
ADA = LineToErase(7, "acme", "job-of-ada")


def files_of(name: str) -> dict[str, bytes]:
    return {"adapter_config.json": b"{}", "adapter_model.safetensors": name.encode()}


def calibration(key: CalibrationKey, fitted_at: float) -> Calibration:
    familiar = Familiarity(("plan.schedule",), REGION)
    scorer = Scorer(Fit.PRIOR, ("min_logit",), (1.0,), 0.0)
    return Calibration(key, "m", "r", "raw", f"v-{fitted_at}", fitted_at, 40, scorer, familiar=familiar)


class History:
    """Notes of which calibrations the history was erased."""

    def __init__(self) -> None:
        self.forgotten: list[CalibrationKey] = []

    async def forget_before(self, keys: Iterable[CalibrationKey]) -> int:
        self.forgotten += keys
        return 0


class Fleet:
    """A registry of adapters, and calibrations."""

    def __init__(self) -> None:
        self.adapters = MemoryAdapters()
        self.calibrations = MemoryCalibrations()
        self.experiments = MemoryExperiments()
        self.history = History()

    def knowledge(self, withdraws: bool = False) -> Knowledge:
        history = self.history if withdraws else None
        return Knowledge(self.adapters, self.calibrations, self.experiments, lambda: 9.0, history)

    async def register(self, name: str, *rows: tuple[str, str, str | None], **scope: Any) -> str:
        """Register another version of an adapter, trained on these rows; without any, nobody knows on which."""
        adapter = (await self.adapters.read_all()).get(
            name, RegisteredAdapter(name, "llama-8b", frozenset({f"task.{name}"}), **scope)
        )
        files = files_of(f"{name} {len(adapter.versions)}")
        digest = adapter_digest(files)
        said = {"sources.json": Sources.of(rows, bytes(16)).to_json()} if rows else {}
        await self.adapters.put_files(digest, files | said)
        version = AdapterVersion(digest, "b" * 64, 8, 1, 1.0)
        stable = {Alias.STABLE: digest}
        changed = replace(adapter, versions=(*adapter.versions, version), aliases=stable)
        await self.adapters.change(lambda _: changed)
        return digest


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


ROW = ("acme", "job-1", ANNA)
OTHER = ("globex", "job-2", None)


@pytest.mark.parametrize(
    ("subject", "lines"),
    [
        (Subject("acme"), []),
        (Subject("acme", ANNA), []),
        (Subject(person=ANNA), []),
        (Subject("acme", "somebody"), [LineToErase(1, "acme", "job-1")]),
    ],
    ids=["tenant", "person of a tenant", "person", "job"],
)
async def test_an_adapter_that_knows_the_rows_goes_with_its_files_and_no_other_does(
    fleet: Fleet, subject: Subject, lines: list[LineToErase]
) -> None:
    digest = await fleet.register("knows", ROW, OTHER)
    other = await fleet.register("other", OTHER)
    counted = await fleet.knowledge().count(subject, lines, [])
    assert set(await fleet.adapters.read_all()) == {"knows", "other"}
    assert await fleet.knowledge().erase(subject, lines, []) == counted == Learned((f"knows {digest[:12]}",))
    assert set(await fleet.adapters.read_all()) == {"other"}
    assert await fleet.adapters.files(digest) is None
    assert await fleet.adapters.files(other) is not None
    assert await fleet.knowledge().erase(subject, lines, []) == Learned()


async def test_of_an_adapter_the_versions_without_the_rows_stay_and_the_base_answers(fleet: Fleet) -> None:
    before = await fleet.register("adapter", OTHER)
    await fleet.register("adapter", OTHER, ROW)
    await fleet.knowledge().erase(Subject(person=ANNA), [], [])
    [adapter] = (await fleet.adapters.read_all()).values()
    assert ([each.digest for each in adapter.versions], dict(adapter.aliases)) == ([before], {})
    assert (adapter.why, adapter.changed_at) == ("rows that it was trained on were erased", 9.0)


async def test_a_roll_out_of_the_version_is_stopped_and_no_other_is(fleet: Fleet) -> None:
    knows, other = await fleet.register("knows", ROW), await fleet.register("other", OTHER)
    for name, digest in (("trial", knows), ("another", other)):
        trial = Experiment(name, Unit.JOB, (Arm("candidate", 0.1, adapter=digest),))
        await fleet.experiments.change(lambda _, trial=trial: trial)  # type: ignore[misc]
    await fleet.knowledge().erase(Subject(person=ANNA), [], [])
    stages = {name: (each.stage, each.why) for name, each in (await fleet.experiments.read_all()).items()}
    assert stages["trial"] == (Stage.STOPPED, "rows that it was trained on were erased")
    assert stages["another"][0] is not Stage.STOPPED


async def test_an_adapter_of_the_tenant_alone_goes_whatever_it_knows(fleet: Fleet) -> None:
    await fleet.register("ours", tenants=frozenset({"acme"}))
    assert (await fleet.knowledge().erase(Subject("acme", ANNA), [], [])).adapters == ()
    await fleet.knowledge().erase(Subject("acme"), [], [])
    assert await fleet.adapters.read_all() == {}


async def test_an_adapter_that_does_not_say_whose_rows_it_knows_is_named_and_left(fleet: Fleet) -> None:
    digest = await fleet.register("foreign")
    found = await fleet.knowledge().erase(Subject("acme"), [], [])
    assert found == Learned(unknown=(f"foreign {digest[:12]}",))
    assert set(await fleet.adapters.read_all()) == {"foreign"}


HELD = CalibrationKey("llama-8b", "plan.*", "token")
FITTED = [
    calibration(HELD, 200.0),
    calibration(CalibrationKey("llama-8b", "*", "*"), 200.0),
    calibration(CalibrationKey("llama-8b", "plan.schedule", "token", "a" * 64), 50.0),  # before
    calibration(CalibrationKey("llama-8b", "classify.intent", "token"), 200.0),  # another task
    calibration(CalibrationKey("llama-70b", "plan.schedule", "token"), 200.0),  # another target
]
ANSWERED = [Answered("llama-8b", "plan.schedule", 100.0)]


async def test_calibrations_fitted_since_on_such_jobs_are_named_and_stay(fleet: Fleet) -> None:
    await fleet.calibrations.put(FITTED)
    found = await fleet.knowledge().erase(Subject("acme"), [], ANSWERED)
    assert found.calibrations == ("llama-8b/*/*", "llama-8b/plan.*/token")
    assert set((await fleet.calibrations.read_all()).values()) == set(FITTED)


async def test_calibrations_are_withdrawn_if_that_is_wanted_with_their_words_and_their_history(fleet: Fleet) -> None:
    await fleet.calibrations.put(FITTED)
    await fleet.knowledge(withdraws=True).erase(Subject("acme"), [], ANSWERED)
    there = await fleet.calibrations.read_all()
    assert (there[HELD].withdrawn, there[HELD].version) == (WHY_CALIBRATION, "v-200.0+withdrawn")
    assert there[HELD].familiar == Familiarity(("plan.schedule",), None)
    assert fleet.history.forgotten == [CalibrationKey("llama-8b", "*", "*"), HELD]
    assert sum(each.withdrawn is not None for each in there.values()) == 2
    assert (await fleet.knowledge().count(Subject("acme"), [], ANSWERED)).calibrations == ()

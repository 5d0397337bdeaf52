"""The steps of a turn, each done by commands of the fleet or by its stores; doing one again changes nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from fleet.cli.learn.parts import Against, CommandFailed, Done, Found, Later, Loop, StepOutcome
from fleet.lab.data.folder import SHEET, TRAIN
from fleet.model.adapter import Alias
from fleet.model.calibration import Calibration, ThresholdMode
from fleet.model.experiment import Arm, Experiment, Guardrail, Stage, Unit
from fleet.model.turn import Turn, TurnStep
from policies.adapters import steps
from policies.experiments import checks
from policies.experiments.evidence import Evidence
from policies.learning.turns import WEEK_SECONDS
from policies.rules.rules import Rules

ARM: Final = "taught"
"""The arm of a roll-out that is answered with the adapter."""

HELD_OUT: Final = 0.3
"""Share of an export that nothing is trained on: the gates need questions, and a promise labels of its own."""

DATA, ADAPTER, FINDINGS, CALIBRATIONS = "data", "adapter", "findings.json", "calibrations.json"
IN_FORCE = "in-force.json"
"""What lies in a turn's folder: the export, the adapter, what its trial found, and what was in force before."""


async def export(turn: Turn, loop: Loop) -> StepOutcome:
    folder = loop.place(turn) / DATA
    if not (folder / SHEET).is_file():
        shutil.rmtree(folder, ignore_errors=True)  # of an export that was killed; one that is whole has its datasheet
    if not folder.exists():
        tenants = [word for name in sorted(turn.tenants) for word in ("--tenant", name)]
        words = ["data", "export", "--task", turn.task, "--format", "openai-sft", "-o", str(folder)]
        done = loop.run([*words, "--validation", str(HELD_OUT), *tenants])
        if done.code:
            return Against(done.said)
    sheet = _read(folder / SHEET)
    files = {name: each["sha256"] for name, each in sheet["files"].items()}
    return Found({"rows": sheet["rows"], "sha256": files[TRAIN], "folder": str(folder)})


def _erased(turn: Turn, loop: Loop) -> Against | None:
    """Return what speaks against a turn whose rows were erased since its export; an erasure does not know its files."""
    done = loop.run(["data", "erased", str(loop.place(turn) / DATA)])
    if "lines" not in done.printed:
        raise CommandFailed(done.said)
    gone = len(done.printed["lines"])
    return Against(f"{gone:,} rows of its export were erased since") if gone else None


async def train(turn: Turn, loop: Loop) -> StepOutcome:
    """Train, or go on with a training that was interrupted; one that is finished is not done again."""
    if (gone := _erased(turn, loop)) is not None:
        return gone
    out, recipe = loop.place(turn) / ADAPTER, loop.recipe
    if _is_trained(out):
        printed: Mapping[str, Any] = _checked(loop.run(["adapters", "check", str(out), "--base", turn.target]))
    else:
        options = {"--rank": recipe.rank, "--rate": recipe.rate, "--steps": recipe.steps}
        words = ["adapters", "train", str(loop.place(turn) / DATA / TRAIN), "--task", turn.task, "--base", turn.target]
        chosen = [str(word) for pair in options.items() for word in pair]
        printed = _checked(loop.run([*words, "-o", str(out), *chosen]))
    card = printed.get("card") or {}
    return Found({"digest": printed["digest"], **{name: card.get(name) for name in ("examples", "loss", "recipe")}})


def _is_trained(folder: Path) -> bool:
    from deployments.adapters.layout import CONFIG, TENSORS, UNFINISHED

    return all((folder / name).is_file() for name in (CONFIG, TENSORS)) and not (folder / UNFINISHED).exists()


async def register(turn: Turn, loop: Loop) -> StepOutcome:
    name = await _name_of(turn, loop)
    return await _registered(turn, name, loop) or Found({"adapter": name, "digest": digest_of(turn)})


async def _registered(turn: Turn, name: str, loop: Loop, *evidence: str) -> Against | None:
    """Register the adapter of the turn, or add evidence to the version; return what speaks against it."""
    if (gone := _erased(turn, loop)) is not None:
        return gone
    adapter = (await loop.stores.adapters.read_all()).get(name)
    if evidence and (adapter is None or adapter.version(digest_of(turn)) is None):
        return Against("its version was removed from the registry, as in an erasure")
    found = _checked(loop.run(["adapters", "check", str(loop.place(turn) / ADAPTER), "--base", turn.target]))
    if found["digest"] != digest_of(turn):
        return Against(f"the adapter in its folder is another than was trained: {found['digest'][:12]}")
    _checked(loop.run([*_registration(turn, name, loop), *evidence]))
    return None


async def _name_of(turn: Turn, loop: Loop) -> str:
    """Return the name of the adapter that is for these jobs already, or else the turn's."""
    for each in (await loop.stores.adapters.read_all()).values():
        if (each.target, each.tasks, each.tenants) == (turn.target, frozenset({turn.task}), turn.tenants):
            return each.name
    return turn.name


def _registration(turn: Turn, name: str, loop: Loop) -> list[str]:
    tenants = [word for each in sorted(turn.tenants) for word in ("--tenant", each)]
    words = ["adapters", "register", str(loop.place(turn) / ADAPTER), "--name", name]
    return [*words, "--task", turn.task, "--base", turn.target, *tenants]


async def try_out(turn: Turn, loop: Loop) -> StepOutcome:
    """Take the adapter through its gates, and keep what they found with the version."""
    place = loop.place(turn)
    await _write_in_force(place / IN_FORCE, turn, loop)
    words = ["adapters", "try", str(place / ADAPTER), "--data", str(place / DATA), "--task", turn.task]
    files = [
        "-o",
        str(place / FINDINGS),
        "--calibrations",
        str(place / CALIBRATIONS),
        "--in-force",
        str(place / IN_FORCE),
    ]
    done = loop.run([*words, "--base", turn.target, *files])
    if "gates" not in done.printed:
        raise CommandFailed(done.said)
    if (against := await _registered(turn, adapter_of(turn), loop, "--evidence", str(place / FINDINGS))) is not None:
        return against
    stops = [each for each in done.printed["gates"] if each["required"] and not each["passed"]]
    if stops:
        return Against("; ".join(f"{each['name']}: {each['why']}" for each in stops))
    return Found({"gates": done.printed["gates"]})


async def _write_in_force(path: Path, turn: Turn, loop: Loop) -> None:
    """Write down the calibrations of the target: the trial's test of a promise is one more of all those."""
    from fleet.app import save_calibrations

    there = await loop.stores.calibrations.read_all()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_calibrations(path, [each for key, each in there.items() if key.target == turn.target])


async def recalibrate(turn: Turn, loop: Loop) -> StepOutcome:
    """Put the calibrations of the adapter's answers in force; those of the base stay as they are."""
    from fleet.app import load_calibrations
    from fleet.lab.learning.looking import tests_so_far

    path = loop.place(turn) / CALIBRATIONS
    found = load_calibrations(path, loop.rules.catalogue) if path.is_file() else {}
    there = await loop.stores.calibrations.read_all()
    # A kill between putting and recording must spend no second test of the promise, nor may two tests be one number.
    spent = tests_so_far(there.values())
    made = [each for key, each in found.items() if key not in there and _is_next(each, spent[key.without_adapter])]
    await loop.stores.calibrations.put(made)
    versions = {str(key): each.version for key, each in found.items()}
    thresholds = {str(key): each.threshold.value for key, each in found.items() if each.threshold is not None}
    return Found({"versions": versions, "thresholds": {key: round(each, 4) for key, each in thresholds.items()}})


def _is_next(calibration: Calibration, spent: int) -> bool:
    """Return whether its test of a promise, if it made one, came after all others: those share one delta."""
    return calibration.looks.count == 0 or calibration.looks.count > spent


async def roll_out(turn: Turn, loop: Loop) -> StepOutcome:
    """Start the experiment: a share of the jobs is answered with the adapter, and guardrails stop it."""
    wanted = experiment_of(turn, loop.rules, loop.share)
    checks.check(wanted, loop.rules)
    experiments = loop.stores.experiments
    if turn.name not in await experiments.read_all():
        await experiments.change(lambda there: checks.started(wanted, there.values(), loop.now()))
    return Found({"experiment": turn.name, "share": loop.share, "digest": digest_of(turn)})


def experiment_of(turn: Turn, rules: Rules, share: float) -> Experiment:
    """Return the roll-out of a turn. Where the rules promise a risk, quality may be lower by as much, and no more."""
    promised = rules.confidence.mode is ThresholdMode.GUARANTEE
    risk = {Guardrail.QUALITY: rules.confidence.risk} if promised else {}
    margin = rules.confidence.risk if promised else 0.02
    arm = Arm(ARM, share, adapter=digest_of(turn))
    return Experiment(
        turn.name, Unit.JOB, (arm,), turn.name, tenants=turn.tenants, tasks=frozenset({turn.task}),
        tolerances=risk, margin=margin,
    )  # fmt: skip


async def promote(turn: Turn, loop: Loop) -> StepOutcome:
    """Give all jobs the adapter once the roll-out shows that it is as good and cheaper; stop where it does not."""
    from fleet.app import evidence_on

    experiments = loop.stores.experiments
    experiment = (await experiments.read_all()).get(turn.name)
    if experiment is None:
        return Against("its experiment is gone")
    if experiment.stage is Stage.STOPPED:
        return Against(f"the roll-out was stopped: {experiment.why}")
    found = await evidence_on(experiments, experiment)
    if experiment.stage is Stage.RUNNING and (waits := _not_shown(experiment, found, loop)) is not None:
        return waits
    await _promoted(turn, loop, experiment.why or "as good and cheaper")
    return Found(_of_arms(found))


def _not_shown(experiment: Experiment, found: Evidence, loop: Loop) -> StepOutcome | None:
    if (tripped := found.tripped()) is not None:
        return Against(f"{tripped[1].name} is worse: {tripped[1]}")
    if found.may_promote(ARM):
        return None
    lacking = [f"{each.name} has evidence {each.evidence:.3g} of {each.needed:.3g}" for each in found.promotion(ARM)]
    if loop.now() - experiment.started_at > loop.weeks * WEEK_SECONDS:
        return Against(f"nothing is shown after {loop.weeks:g} weeks: {'; '.join(lacking)}")
    return Later(f"{found.jobs[ARM]:,} jobs: {'; '.join(lacking)}")


async def _promoted(turn: Turn, loop: Loop, why: str) -> None:
    """Move the alias, with the experiment promoted meanwhile: no job is answered without the adapter in between."""
    stores, digest = loop.stores, digest_of(turn)
    running = await stores.experiments.read_all()
    if running[turn.name].stage is Stage.RUNNING:
        await stores.experiments.change(lambda there: checks.promoted(there[turn.name], ARM, why, loop.now()))
    experiments = (await stores.experiments.read_all()).values()
    name = adapter_of(turn)
    adapter = steps.found(await stores.adapters.read_all(), name)
    if adapter.aliases.get(Alias.STABLE) != digest:
        await stores.adapters.change(
            lambda there: steps.promoted(steps.found(there, name), digest, experiments, why, loop.now())
        )
    await stores.experiments.change(lambda there: checks.stopped(there[turn.name], "it is stable now", loop.now()))


def _of_arms(found: Evidence) -> Mapping[str, Any]:
    shown = {each.name: {"evidence": round(each.evidence, 1), "needed": each.needed} for each in found.promotion(ARM)}
    prices = {arm: round(found.usd[arm] / jobs, 9) for arm, jobs in found.jobs.items()}
    return {"jobs": dict(found.jobs), "usd_per_job": prices, "shown": shown}


def digest_of(turn: Turn) -> str:
    """Return the digest of the adapter that the turn trained."""
    trained = turn.of(TurnStep.TRAINED)
    assert trained is not None, "a turn is trained before what asks for its digest"
    return str(trained.evidence["digest"])


def adapter_of(turn: Turn) -> str:
    """Return the name of the adapter that the turn registered."""
    registered = turn.of(TurnStep.REGISTERED)
    assert registered is not None, "a turn is registered before what asks for its name"
    return str(registered.evidence["adapter"])


def _checked(done: Done) -> Mapping[str, Any]:
    if done.code:
        raise CommandFailed(done.said)
    return done.printed


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


DOING: Final[Mapping[TurnStep, Callable[[Turn, Loop], Awaitable[StepOutcome]]]] = {
    TurnStep.EXPORTED: export,
    TurnStep.TRAINED: train,
    TurnStep.REGISTERED: register,
    TurnStep.TRIED: try_out,
    TurnStep.RECALIBRATED: recalibrate,
    TurnStep.ROLLED_OUT: roll_out,
    TurnStep.PROMOTED: promote,
}
"""How each step is done that comes after the first, which only counts."""

"""How `fleet rollout` shows experiments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from fleet.cli.output import Output
from fleet.model.experiment import CONTROL, Experiment
from policies.experiments.assignment import control_share
from policies.experiments.evidence import MEASURED_FIRST, Evidence, Standing


def show_all(experiments: Sequence[Experiment], output: Output) -> None:
    """Show every experiment in a line, the one that changed last first."""
    ordered = sorted(experiments, key=lambda each: -each.changed_at)
    output.object({"experiments": [_as_object(each) for each in ordered]})
    table = Table("experiment", "stage", "unit", "arms", "why", box=None)
    for each in ordered:
        table.add_row(each.name, str(each.stage), str(each.unit), _arms(each), each.why or "")
    output.show(table if ordered else "no experiment")


def show_step(experiment: Experiment, output: Output) -> None:
    """Show an experiment as a command left it."""
    output.object(_as_object(experiment))
    why = f": {experiment.why}" if experiment.why else ""
    output.show(f"{experiment.name} is {experiment.stage}, {_arms(experiment)}{why}")


def show_one(experiment: Experiment, evidence: Evidence, output: Output) -> None:
    """Show an experiment with what its jobs say."""
    arms = {arm.name: _of_arm(evidence, arm.name) for arm in experiment.arms}
    jobs = {name: evidence.jobs[name] for name in (CONTROL, *arms)}
    output.object({**_as_object(experiment), "jobs": jobs, "evidence": arms})
    show_step(experiment, Output(as_json=False)) if not output.as_json else None
    table = Table("arm", "what", "arm's mean", "control's", "jobs", "control's jobs", "evidence", "needed", box=None)
    for arm in experiment.arms:
        for kind, standings in (("stops", evidence.guardrails(arm.name)), ("promotes", evidence.promotion(arm.name))):
            for each in standings:
                table.add_row(arm.name, f"{kind}: {each.name}", *_row(each))
    output.show(table)
    if evidence.jobs[CONTROL] < MEASURED_FIRST:
        output.show(f"late, price and cheaper are not known before {MEASURED_FIRST} jobs of the control")


def _row(standing: Standing) -> tuple[str, ...]:
    means = ("-" if mean is None else f"{mean:.4g}" for mean in (standing.candidate, standing.control))
    counts = (str(standing.candidates), str(standing.controls))
    return (*means, *counts, f"{standing.evidence:.3g}", f"{standing.needed:.3g}")


def _of_arm(evidence: Evidence, arm: str) -> dict[str, Any]:
    jobs = evidence.jobs[arm]
    return {
        "usd_per_job": evidence.usd[arm] / jobs if jobs else None,
        "guardrails": [asdict(each) for each in evidence.guardrails(arm)],
        "promotion": [asdict(each) for each in evidence.promotion(arm)],
        "may_promote": evidence.may_promote(arm),
    }


def _as_object(experiment: Experiment) -> dict[str, Any]:
    names = ("name", "unit", "stage", "winner", "why", "started_at", "changed_at", "margin")
    shares = {CONTROL: control_share(experiment.arms), **{arm.name: arm.share for arm in experiment.arms}}
    return {**{name: getattr(experiment, name) for name in names}, "shares": shares}


def _arms(experiment: Experiment) -> str:
    if experiment.winner is not None:
        return f"{experiment.winner} for all"
    return ", ".join(f"{arm.name} {arm.share:.0%}" for arm in experiment.arms)

"""Experiments with their real store and the rules of these settings."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

from fleet.dispatch.state.experiments import Trials
from fleet.model.experiment import Experiment
from fleet.ports import ExperimentStore
from fleet.settings.documents import read_document, shipped
from fleet.settings.environment import Settings
from fleet.settings.experiments import ArmRules, load_experiment
from policies.experiments.checks import check
from policies.experiments.evidence import Evidence
from policies.experiments.tally import Tally
from policies.rules.rules import Rules
from queues.jetstream.client.connection import Connection
from queues.jetstream.stores.experiments import JetStreamExperiments

open_experiments = JetStreamExperiments.connect
"""Connects to the experiments of the fleet."""


def trials_of(settings: Settings, rules: Rules, connection: Connection) -> Trials:
    """Return where a dispatcher finds experiments, and how it makes the rules of their arms."""
    return Trials(JetStreamExperiments(connection), arm_rules(settings, rules))


def arm_rules(settings: Settings, rules: Rules) -> ArmRules:
    """Return what makes the rules of an arm from the operator's document."""
    path = settings.rules_path or shipped("policies", "rules.yaml")
    return ArmRules(read_document(path), rules)


def read_experiment(path: Path, settings: Settings, rules: Rules) -> Experiment:
    """Return the experiment in a file. Raises: ConfigError if it, or an arm of it, does not fit these rules."""
    return checked(load_experiment(path), settings, rules)


def checked(experiment: Experiment, settings: Settings, rules: Rules) -> Experiment:
    """Return the experiment. Raises: ConfigError if it, or an arm of it, does not fit these rules."""
    of_arm = arm_rules(settings, rules)
    check(experiment, rules)
    for arm in experiment.arms:
        of_arm(experiment, arm)
    return experiment


async def evidence_on(store: ExperimentStore, experiment: Experiment) -> Evidence:
    """Return what the accounts say of an experiment's arms, from its start to now."""
    tally = Tally()
    tally.begin(experiment)
    async with aclosing(store.lines(experiment.started_at)) as told:
        async for lines, missing in told:
            for line in lines:
                tally.line(line)
            if missing <= 0:
                break
    async with aclosing(store.verdicts(experiment.started_at)) as said:
        async for verdicts, missing in said:
            for each in verdicts:
                tally.verdict(each)
            if missing <= 0:
                break
    return tally.evidence[experiment.name]

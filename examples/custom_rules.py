# Shows: own rules and an own catalogue: a new task, a stricter threshold, a price; decided by both without a fleet.
# Needs: nothing that runs. An operator edits copies of the two shipped files by hand; here a program does.
# Run:   .venv/bin/python examples/custom_rules.py build/rules   and then start the fleet as it tells you to.

import sys
from pathlib import Path

import yaml

from fleet.model.action import GiveUp, Run
from fleet.model.job import Job, Lane, Plan
from fleet.model.view import TargetView, View
from fleet.settings.documents import load_rules, shipped
from policies.plan import next_action
from policies.rules.rules import Rules

JOB = Job(
    id="example-0123456789",
    tenant="demo",
    lane=Lane.STANDARD,
    task="triage.ticket",
    plan=Plan.PAID,
    request={"messages": [{"role": "user", "content": "The export fails since Monday."}]},
    submitted_at=0.0,
)


def write(folder: Path) -> tuple[Path, Path]:
    """Copy the shipped files into `folder`, and change what shall be different."""
    rules = yaml.safe_load(shipped("policies", "rules.yaml").read_text())
    rules["tasks"]["triage.ticket"] = {"tier": "medium"}
    rules["plans"]["paid"]["thresholds"]["simple"] = 0.9

    catalogue = yaml.safe_load(shipped("deployments", "catalogue.yaml").read_text())
    for row in catalogue["targets"]:
        if row["name"] == "mixtral-8x7b" and row["profile"] == "local":
            row["output_usd_per_million_tokens"] = 0.03

    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "rules.yaml", folder / "catalogue.yaml"
    for path, document in zip(paths, (rules, catalogue), strict=True):
        path.write_text(yaml.safe_dump(document, sort_keys=False))
    return paths


def decided(rules: Rules) -> str:
    """Return what these rules do first with the job, where every target is there."""
    everything = View({name: TargetView() for name in rules.catalogue.targets})
    match next_action(JOB, (), everything, now=0.0, rules=rules):
        case Run(target, reason):
            return f"runs on {target} ({reason})"
        case GiveUp(status, _, problem):
            return f"is {status}: {problem.message}"
        case other:
            return str(other)


def shown(rules: Rules) -> dict[str, object]:
    price = rules.catalogue.targets["mixtral-8x7b"].output_usd_per_million_tokens
    threshold = rules.plans[Plan.PAID].thresholds.simple
    return {f"a job of {JOB.task}": decided(rules), "threshold, paid and simple": threshold, "mixtral's price": price}


rules_path, catalogue_path = write(Path(sys.argv[1] if len(sys.argv) > 1 else "build/rules"))
before, after = shown(load_rules(None, None, "local")), shown(load_rules(rules_path, catalogue_path, "local"))
for question, old in before.items():
    print(f"{question}\n    shipped  {old}\n    yours    {after[question]}")
print(f"\nFLEET_RULES_PATH={rules_path} FLEET_CATALOGUE_PATH={catalogue_path} fleet up")
print("fleet submit triage.ticket 'The export fails since Monday.' --wait, then: fleet explain <its id>")

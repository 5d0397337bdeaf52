"""The example of docs/how-to/residency.md decides as the page says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import ROOT, blocks

from fleet.bulk.lines import read_line, run_key
from fleet.model.job import Job
from fleet.model.view import TargetView, View
from fleet.settings.documents import load_rules, shipped
from policies.plan import next_action
from policies.routing.residency import permits
from policies.rules.rules import Rules
from queues.wire.job import decode_job, encode_submission

PROVIDERS, RULE, JOB = (block.text for block in blocks(ROOT / "docs" / "how-to" / "residency.md"))


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    """The shipped files with what the page adds to them."""

    def with_added(source: Path, added: str) -> Path:
        path = tmp_path / source.name
        path.write_text(yaml.safe_dump(yaml.safe_load(source.read_text()) | yaml.safe_load(added)))
        return path

    catalogue = with_added(shipped("deployments", "catalogue.yaml"), PROVIDERS)
    return load_rules(with_added(shipped("policies", "rules.yaml"), RULE), catalogue, "local")


def job_of(tenant: str, **said: Any) -> Job:
    line = json.dumps({**json.loads(JOB), **said}).encode()
    submission = read_line(run_key(tenant, "page"), 1, line, now=1.0).submission
    read = decode_job(encode_submission(submission, tenant), None, f"jobs.bulk.{tenant}", 1.0)
    assert isinstance(read, Job)
    return read


@pytest.mark.parametrize(
    ("tenant", "said", "providers"),
    [
        ("acme", {}, {"fleet", "anthropic"}),
        ("acme", {"regions": None, "cloud": "allow"}, {"fleet", "anthropic"}),
        ("globex", {}, {"fleet"}),
        ("initech", {}, {"fleet", "anthropic"}),
        ("initech", {"regions": None, "cloud": "allow"}, {"fleet", "anthropic", "openai"}),
        ("initech", {"regions": ["us-east-1"], "cloud": "allow"}, {"openai"}),
    ],
)
def test_a_job_reaches_the_providers_that_rule_and_job_leave(
    rules: Rules, tenant: str, said: dict[str, Any], providers: set[str]
) -> None:
    job = job_of(tenant, **said)
    assert {target.provider for target in rules.catalogue.targets.values() if permits(job, target, rules)} == providers


def test_the_reason_the_page_names_is_the_one_given(rules: Rules) -> None:
    view = View({name: TargetView() for name in rules.catalogue.targets})
    ended = next_action(job_of("acme", regions=["us-east-1"]), (), view, 2.0, rules)
    assert str(getattr(ended, "reason", None)) == "residency"

"""The places where a job's content may be processed: the rule of its tenant and the job's own word both hold."""

from __future__ import annotations

from collections.abc import Collection

from fleet.model.job import Job
from fleet.model.target import Target
from policies.rules.rules import Rules


def permits(job: Job, target: Target, rules: Rules) -> bool:
    """Return whether the job's content may go to the target at all, whatever the moment."""
    leaves = target.is_cloud and not job.cloud.permits(target.provider)
    return not leaves and objection(target, job, rules) is None


def objection(target: Target, job: Job, rules: Rules) -> str | None:
    """Return why the job's content may not be processed in the target's region or by its provider, or None.

    A target whose region is not stated is in none of those that somebody names.
    """
    rule = rules.residency.of(job.tenant)
    if job.regions is not None and target.region not in job.regions:
        return f"the job permits {_regions(job.regions)} only, not {_region(target)}"
    if rule.regions is not None and target.region not in rule.regions:
        return f"the rules permit {job.tenant} {_regions(rule.regions)} only, not {_region(target)}"
    if rule.providers is not None and target.provider not in rule.providers:
        return f"the rules permit {job.tenant} provider {', '.join(sorted(rule.providers))} only, not {target.provider}"
    return None


def _regions(names: Collection[str]) -> str:
    return f"region {', '.join(sorted(names))}"


def _region(target: Target) -> str:
    return "an unknown region" if target.region is None else target.region

"""The check that a job makes sense at all, before anything is spent on it."""

from __future__ import annotations

from fleet.model.job import Job, Plan
from fleet.model.result import Problem
from fleet.model.target import FLEET, Auth, Capability
from policies.features.needs import Needs
from policies.routing.tiers import own_provider, pinned_target, unpinned
from policies.rules.rules import Rules

DAY = 86_400.0
LONGEST_DELAY_SECONDS = 30 * DAY
"""Maximum delay: a job takes room in its queue until it runs."""


def problem_with(job: Job, needs: Needs, rules: Rules) -> Problem | None:
    """Return the first rule the job breaks, or None. The answer never changes while the rules do not."""
    if job.task not in rules.tasks:
        return _problem("task", f"must be one of {', '.join(rules.tasks)}", f"unknown task {job.task!r}")
    if job.deadline_at is not None and job.deadline_at <= job.submitted_at:
        return _problem("deadline", "must lie after the submission", "the deadline had passed when the job arrived")
    if (problem := _problem_with_delay(job)) is not None:
        return problem
    if job.above is not None and job.above not in rules.catalogue.targets:
        rule = f"must be one of {', '.join(rules.catalogue.targets)}"
        return _problem("above", rule, f"unknown target {job.above!r}")
    if Capability.FILES in needs.capabilities and (problem := _problem_with_files(job)) is not None:
        return problem
    if (problem := _problem_with_cloud(job, rules) or _problem_with_regions(job, rules)) is not None:
        return problem
    if job.plan is Plan.OWN_KEY:
        return _problem_with_key(job, rules) or _problem_with_model(job, needs, rules)
    return _problem_with_model(job, needs, rules)


def _problem_with_delay(job: Job) -> Problem | None:
    if job.not_before_at is None:
        return None
    if job.not_before_at > job.submitted_at + LONGEST_DELAY_SECONDS:
        rule = f"must lie within {LONGEST_DELAY_SECONDS / DAY:g} days of the submission"
        return _problem("not_before", rule, "the job is to start too late")
    if job.deadline_at is not None and job.deadline_at <= job.not_before_at:
        return _problem("deadline", "must lie after not_before", "the deadline passes before the job may run")
    return None


def _problem_with_cloud(job: Job, rules: Rules) -> Problem | None:
    """Refuse a provider that nobody knows: taken for one that serves nothing, a slip would keep a job inside."""
    if not job.cloud.providers:
        return None
    known = rules.catalogue.providers.keys() - {FLEET}
    unknown = sorted(job.cloud.providers - known)
    if not unknown:
        return None
    return _problem(
        "cloud", f"must be allow, deny, or a list of {', '.join(sorted(known))}", f"unknown provider {unknown[0]!r}"
    )


def _problem_with_regions(job: Job, rules: Rules) -> Problem | None:
    """Refuse a region that the catalogue does not state: a slip would keep a job from every target."""
    if job.regions is None or not (unknown := sorted(set(job.regions) - (known := rules.catalogue.regions))):
        return None
    rule = f"must be a list of {', '.join(sorted(known))}" if known else "needs a catalogue that states regions"
    return _problem("regions", rule, f"unknown region {unknown[0]!r}")


def _problem_with_files(job: Job) -> Problem | None:
    """Refuse a file's id where the fleet's account is used: it names a file in one account only."""
    if own_provider(job) is not None:
        return None
    for index, message in enumerate(job.request["messages"]):
        content = message.get("content")
        for position, part in enumerate(content if isinstance(content, list) else ()):
            if part.get("type") == "file" and part["file"].get("file_id"):
                field = f"request.messages.{index}.content.{position}.file.file_id"
                return _problem(field, "needs plan own_key; send file_data", "a file of an account cannot be read here")
    return None


def _problem_with_key(job: Job, rules: Rules) -> Problem | None:
    provider, entries = own_provider(job), rules.catalogue.providers
    with_targets = {name for _, name in rules.routes.by_provider}
    providers = sorted(name for name in with_targets if entries[name].auth is Auth.KEY)
    if provider in providers:
        return None
    rule = f"must read <provider>/<name>, with a provider of {', '.join(providers)}"
    return _problem("own_key", rule, "plan own_key needs the name of a key for a known provider")


def _problem_with_model(job: Job, needs: Needs, rules: Rules) -> Problem | None:
    """Refuse a pinned target that is unknown, or that neither the plan pays for nor the fleet would choose itself."""
    pinned = pinned_target(job)
    if pinned is None:
        return None
    target = rules.catalogue.get(pinned)
    if target is None:
        rule = f"must be auto or one of {', '.join(rules.catalogue.targets)}"
        return _problem("request.model", rule, f"unknown model {pinned!r}")
    allowed = _providers(job, rules)
    if allowed is None or target.provider in allowed or target in unpinned(job, needs, rules):
        return None
    rule = f"plan {job.plan} is served by {', '.join(sorted(allowed))}"
    return _problem("request.model", rule, f"{pinned} is not part of plan {job.plan}")


def _providers(job: Job, rules: Rules) -> frozenset[str] | None:
    provider = own_provider(job)
    return rules.plans[job.plan].providers if provider is None else frozenset({provider})


def _problem(field: str, rule: str, message: str) -> Problem:
    return Problem(message=message, field=field, rule=rule)

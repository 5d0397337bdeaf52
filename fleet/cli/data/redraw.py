"""Asks the questions of decisive answers again, so that the weekly report can tell what is chance."""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fleet.cli.connection import open_client
from fleet.model.errors import ConfigError
from fleet.model.job import Lane
from fleet.model.redraw import redraw_of
from fleet.model.target import FLEET

if TYPE_CHECKING:
    from fleet.lab.learning.collected import LabelledAnswer
    from fleet.model.content import Content
    from fleet.reports.periods import Period
    from fleet.settings.environment import Settings
    from policies.rules.rules import Rules


async def ask_again(
    settings: Settings, labels: Sequence[LabelledAnswer], week: Period, most: int, rules: Rules
) -> tuple[int, int]:
    """Submit up to `most` questions of the settings' tenant again; return how many, and how many were not collected.

    Raises: ConfigError if there is nothing to ask; Undecipherable, LedgerUnavailable, QueueUnavailable.
    """
    from fleet.lab.weekly.redraws import to_redraw
    from policies.rules.sections import CacheMode

    tenant = settings.tenant
    fresh = [each for each in labels if (task := rules.tasks.get(each.task)) and task.cache is CacheMode.OFF]
    wanted = to_redraw(fresh, tenant, week.since, week.until, most)
    if not wanted:
        rule = f"must find decisive answers of {tenant} in this week, of tasks without a cache, not asked for again yet"
        raise ConfigError("--redraw", rule)
    found = list(_contents(settings, wanted))
    async with open_client(settings) as client:
        for each in found:
            await client.submit(
                task=each.task,
                request=each.request,
                id=redraw_of(tenant, each.job_id),
                lane=Lane.BULK,
                person=each.person,
                cloud=_seen_by(each),
                regions=_regions(each, rules),
            )
    return len(found), len(wanted) - len(found)


def _contents(settings: Settings, labels: Iterable[LabelledAnswer]) -> Iterable[Content]:
    """Yield what was collected of these jobs; each reading is put on record."""
    from fleet.content.reading import open_content_reader
    from fleet.content.vault import Vault
    from fleet.lab.learning.collected import key_of

    vault = Vault.from_environment()
    with open_content_reader(settings.content_address) as reader:
        for label in labels:
            found = reader.show(vault, *key_of(label.job), getpass.getuser())
            if found is not None:
                yield found


def _seen_by(content: Content) -> str | list[str]:
    """Return the providers outside the fleet that saw the question before: no other one may see it now."""
    known = sorted({each.provider for each in content.answers if each.provider not in (None, FLEET)} - {None})
    return [name for name in known if name is not None] or "deny"


def _regions(content: Content, rules: Rules) -> list[str] | None:
    """Return the regions where the question was processed; None where one of them is not known."""
    targets = [rules.catalogue.get(each.target) for each in content.answers]
    regions = {None if target is None else target.region for target in targets}
    return None if None in regions or not regions else sorted(name for name in regions if name is not None)

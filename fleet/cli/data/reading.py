"""Reads what was collected and what was said of it, and chooses the examples."""

from __future__ import annotations

import getpass
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fleet.cli.connection import opened
from fleet.model.errors import ConfigError

if TYPE_CHECKING:
    from fleet.content.reading import ContentReader
    from fleet.content.vault import Vault
    from fleet.lab.data.choosing import Chooser
    from fleet.lab.data.examples import Example, Source, Unusable
    from fleet.settings.environment import Settings
    from policies.rules.rules import Rules

DAY_SECONDS = 86_400.0

NOBODY_AGREED = "must name a tenant that agreed to have models trained on what is collected of it (rules: training)"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The examples, why other contents are none by task, and the texts of jobs that calibrations learn from.

    `not_agreed` contents are of tenants that did not agree; nobody opened those.
    """

    examples: Sequence[Example]
    unusable: Mapping[str, Mapping[Unusable, int]]
    for_calibration: Sequence[str]
    not_agreed: int

    @property
    def reasons(self) -> Mapping[Unusable, int]:
        """Return the counts over all tasks, those who did not agree among them."""
        from fleet.lab.data.examples import Unusable

        counts = sum((Counter(each) for each in self.unusable.values()), Counter({Unusable.TENANT: self.not_agreed}))
        return +counts


def of_tenants(rules: Rules, tenants: Collection[str] | None) -> Rules:
    """Return the rules as if nobody but these tenants had agreed; None: all who did.

    Raises: ConfigError if one of them did not agree.
    """
    if tenants is None:
        return rules
    for name in sorted(tenants):
        if name not in rules.training.tenants:
            raise ConfigError("--tenant", f"{name!r} is not among the tenants that agreed (rules: training.tenants)")
    return replace(rules, training=replace(rules.training, tenants=frozenset(tenants)))


async def choose(
    settings: Settings, rules: Rules, tasks: Collection[str] | None, purpose: str, *, trust_graders: bool = False
) -> Chosen:
    """Open the contents of the tenants that agreed, on record, and choose.

    Raises: ConfigError where nobody agreed; LedgerUnavailable, QueueUnavailable.
    """
    from fleet.app import open_journal
    from fleet.content.vault import Vault
    from fleet.lab.data.choosing import Chooser
    from fleet.lab.data.examples import prompt_of
    from fleet.lab.learning.collected import feedback_by_job

    if not rules.training.tenants:
        raise ConfigError("training.tenants", NOBODY_AGREED)
    vault = Vault.from_environment()
    async with opened(settings, open_journal) as journal:
        said = await feedback_by_job(journal)
    chooser = Chooser(said, rules, trust_graders=trust_graders)
    examples: list[Example] = []
    unusable: dict[str, Counter[Unusable]] = {}
    with content_reader(settings) as reader:
        for task, found in _outcomes(reader, vault, chooser, rules, tasks, purpose):
            if isinstance(found, str):
                unusable.setdefault(task, Counter())[found] += 1
            else:
                examples.append(found)
        not_agreed = reader.count_others(rules.training.tenants, tasks)
    return Chosen(examples, unusable, [prompt_of(each) for each in chooser.for_calibration], not_agreed)


def _outcomes(
    reader: ContentReader,
    vault: Vault,
    chooser: Chooser,
    rules: Rules,
    tasks: Collection[str] | None,
    purpose: str,
) -> Iterator[tuple[str, Example | Unusable]]:
    from fleet.content.vault import Undecipherable
    from fleet.lab.data.examples import Unusable

    for task, found in reader.open_all(vault, rules.training.tenants, tasks, getpass.getuser(), purpose):
        yield task, Unusable.SEALED if isinstance(found, Undecipherable) else chooser.choose(found)


@contextmanager
def content_reader(settings: Settings) -> Iterator[ContentReader]:
    """Open the content store of the settings. Raises: LedgerUnavailable, ConfigError."""
    from fleet.content.reading import open_content_reader

    with open_content_reader(settings.content_address) as reader:
        yield reader


def gone_from_store(settings: Settings, sources: Sequence[Source], now: float) -> tuple[Callable[[Source], bool], int]:
    """Return which sources the store has no more and would still keep, and how many are too old for it to say.

    Raises: LedgerUnavailable if there is no store; ConfigError.
    """
    kept_since = now - settings.content_keep_days * DAY_SECONDS
    with content_reader(settings) as reader:
        there = reader.there((each.tenant, each.job_id) for each in sources)
    missing = {(each.tenant, each.job_id): each.at for each in sources if (each.tenant, each.job_id) not in there}
    unknown = sum(at < kept_since for at in missing.values())
    return lambda each: missing.get((each.tenant, each.job_id), kept_since - 1.0) >= kept_since, unknown

"""The steps from examples to training rows, each of which says what it dropped and why. The order matters.

Licences come before duplicates: else an answer that may not be used would take the place of the same one from a teacher
that may.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np

from fleet.lab.data.examples import Example, Origin, texts_of
from fleet.lab.data.formats import DataFormat, line_of, violation
from fleet.lab.data.licences import Licences
from fleet.lab.data.scrubbing import scrubbed, scrubbed_text
from fleet.lab.data.similar import Quotations, clusters, normal, resemblance, signatures
from policies.caching.personal import is_personal
from policies.features.agreement import CLOSED_WORDS

SAME = 0.9
"""Resemblance from which two prompts are one that was asked twice."""

ALIKE = 0.7
"""Resemblance from which prompts may not be on both sides of a split, and no row may be like one that judges."""

QUOTED = 0.8
"""Share of a judging text that a row may not quote."""

DOUBTED_BELOW, DOUBTED_ABOVE = 0.05, 0.95
"""Calibrated probabilities of being good against which an opinion is doubted: somebody should read it."""

EASY_SHARE = 0.2
"""Largest share of rows on which the weaker target was right as well: it learns little from them."""

Reasons = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Step:
    """What a step was given and what it left; `dropped` counts the rest by reason, `note` says what else it did."""

    name: str
    given: int
    left: int
    dropped: Reasons
    note: str = ""


@dataclass(slots=True)
class Worked:
    """What is left of the examples so far, what each step did, and what somebody should read, with the reason."""

    rows: list[Example]
    steps: list[Step] = field(default_factory=list)
    review: list[tuple[str, Example]] = field(default_factory=list)

    def keep(self, name: str, reason_of: Callable[[Example], str | None], note: str = "", review: bool = False) -> None:
        """Keep the examples that there is no reason to drop; with `review` somebody should read the others."""
        judged = [(each, reason_of(each)) for each in self.rows]
        dropped = [(reason, each) for each, reason in judged if reason is not None]
        self.rows = [each for each, reason in judged if reason is None]
        self.steps.append(Step(name, len(judged), len(self.rows), Counter(reason for reason, _ in dropped), note))
        if review:
            self.review += dropped


def evaluating(worked: Worked) -> list[Example]:
    """Take what was called bad out of the rows, and return it: nobody learns from it, and it shows what is to learn."""
    bad = [each for each in worked.rows if each.origin is Origin.BAD]
    worked.keep("evaluation", lambda each: "called bad: to evaluate with" if each.origin is Origin.BAD else None)
    return bad


def other_tasks(worked: Worked, tasks: Collection[str]) -> list[Example]:
    """Take the rows of tasks that are not trained on out of the rows, and return those with a good answer."""
    beside = [each for each in worked.rows if each.task in tasks and each.origin.is_learnt]
    worked.keep("other tasks", lambda each: "of a task that is only held out" if each.task in tasks else None)
    return beside


def licensed(worked: Worked, licences: Licences, destination: str, form: DataFormat) -> None:
    """Drop what the terms of a teacher forbid to train this destination on; a rejected answer trains as well."""

    def reason(each: Example) -> str | None:
        teachers = (each.teacher, each.rejected_teacher if form.has_preferences else None)
        for row in (licences.of(teacher) for teacher in teachers if teacher is not None):
            if not row.allows(destination):
                return f"{row.licence}: not for {destination}"
        return None

    worked.keep("licence", reason)


def fitting(worked: Worked, form: DataFormat) -> None:
    """Drop what the format cannot say: SFT has one answer, DPO two."""

    def reason(each: Example) -> str | None:
        if not form.has_preferences:
            return None if each.origin.is_learnt else "it says which answer is better, not that one is good"
        return "it has no answer that it is preferred over" if each.rejected is None else None

    worked.keep("kind", reason)


def scrub(worked: Worked, words: frozenset[str]) -> Counter[str]:
    """Replace secrets and personal data, and hold back what has one of the rules' personal words. Return the counts."""
    found = [scrubbed(each) for each in worked.rows]
    worked.rows = [each for each, _ in found]
    counts = sum((kinds for _, kinds in found), Counter[str]())
    replaced = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items())) or "nothing"

    def reason(each: Example) -> str | None:
        if is_personal(each.texts, frozenset()):
            return "personal data is left in it"
        return "one of the rules' personal words is in it" if words and is_personal(each.texts, words) else None

    worked.keep("personal data", reason, f"replaced: {replaced}", review=True)
    return counts


def distinct(worked: Worked) -> None:
    """Keep one of those that ask the same: the surest, and of these the newest.

    Prompts that are nearly the same are one only where their answers are the same too, or long: what tells two short
    answers apart is worth learning.
    """
    order = {origin: place for place, origin in enumerate(Origin)}
    worked.rows.sort(key=lambda each: (order[each.origin], -each.source.at, each.source.tenant, each.source.job_id))
    seen: set[tuple[str, str]] = set()

    def exact(each: Example) -> str | None:
        key = each.task, normal("\n".join(text for message in each.messages for text in texts_of(message)))
        if key in seen:
            return "asked before, word for word"
        seen.add(key)
        return None

    worked.keep("exact duplicates", exact)
    chosen = {id(each) for each in _apart(worked.rows)}
    worked.keep("near duplicates", lambda each: None if id(each) in chosen else "asked before, nearly")


def _apart(rows: Sequence[Example]) -> list[Example]:
    """Return the rows but those that ask and answer nearly what one before them does."""
    signed = signatures([each.prompt for each in rows])
    answers = [(each.task, _closed(each)) for each in rows]
    kept: list[int] = []
    compared = np.empty_like(signed)
    for row, answer in enumerate(answers):
        near = np.flatnonzero(resemblance(signed[row], compared[: len(kept)]) >= SAME)
        if not any(answers[kept[place]] == answer for place in near):
            compared[len(kept)] = signed[row]
            kept.append(row)
    return [rows[row] for row in kept]


def _closed(example: Example) -> str:
    """Return a short answer, by which two prompts differ; empty for a long one."""
    said = normal("\n".join(texts_of(example.answer)))
    return said if len(said.split()) <= CLOSED_WORDS else ""


def decontaminate(worked: Worked, judging: Sequence[str]) -> None:
    """Drop what resembles or quotes a text that judges: of an evaluation, or of a job that calibrations learn from.

    The texts are scrubbed as the rows are: else a placeholder would hide that two are the same.
    """
    judging = [scrubbed_text(text) for text in judging]
    signed = signatures(judging)
    quotations = Quotations(judging)
    rows = {id(each): row for each, row in zip(worked.rows, signatures([e.prompt for e in worked.rows]), strict=True)}

    def reason(each: Example) -> str | None:
        if len(signed) and resemblance(rows[id(each)], signed).max() >= ALIKE:
            return "like one that judges"
        return "quotes one that judges" if quotations.quotes(each.prompt, QUOTED) else None

    worked.keep("decontamination", reason, f"against {len(judging):,} texts")


def trusted(worked: Worked) -> None:
    """Hold back what is said of an answer against a calibrated probability that is sure of the opposite."""

    def reason(each: Example) -> str | None:
        if each.confidence is None:
            return None
        if each.said_good and each.confidence < DOUBTED_BELOW:
            return f"called good, and its probability of that was below {DOUBTED_BELOW}"
        if not each.said_good and each.confidence > DOUBTED_ABOVE:
            return f"called not good, and its probability of being so was above {DOUBTED_ABOVE}"
        return None

    worked.keep("label quality", reason, review=True)


def checked(worked: Worked, form: DataFormat) -> None:
    """Drop what would make a line that the format's readers refuse."""
    worked.keep("format", lambda each: violation(line_of(each, form), form))


def split(worked: Worked, validation: float, seed: int) -> list[Example]:
    """Take whole clusters of prompts for validation, about this share of the rows, and return them."""
    labels = clusters(signatures([each.prompt for each in worked.rows]), ALIKE)
    members = defaultdict[int, list[Example]](list)
    for label, each in zip(labels.tolist(), worked.rows, strict=True):
        members[label].append(each)
    drawn = {label for label, rows in members.items() if _draw(rows, seed) < validation}
    taken = [each for label in sorted(drawn) for each in members[label]]
    aside = set(map(id, taken))
    note = f"{len(members):,} clusters, {len(drawn):,} for validation"
    worked.keep("split", lambda each: "for validation" if id(each) in aside else None, note)
    return taken


def _draw(rows: Iterable[Example], seed: int) -> float:
    name = min(f"{each.source.tenant}.{each.source.job_id}" for each in rows)
    digest = hashlib.sha256(f"split:{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def balance(worked: Worked, most: int | None) -> None:
    """Take few easy rows, and `most` rows of each task: of tenants and teachers in turn, so that all are seen."""
    by_task = defaultdict[str, list[Example]](list)
    for each in worked.rows:
        by_task[each.task].append(each)
    easy, chosen = set[int](), set[int]()
    for rows in by_task.values():
        hard = sum(each.origin is not Origin.AGREED for each in rows)
        room = int(hard * EASY_SHARE / (1 - EASY_SHARE))
        easy |= {id(each) for each in [each for each in rows if each.origin is Origin.AGREED][room:]}
        left = [each for each in rows if id(each) not in easy]
        chosen |= {id(each) for each in _in_turn(left)[:most]}

    def reason(each: Example) -> str | None:
        if id(each) in easy:
            return f"easy: the weaker target was right too, and {EASY_SHARE:.0%} are enough of these"
        return None if id(each) in chosen else f"more than {most:,} of its task"

    worked.keep("balance", reason)


def _in_turn(rows: Iterable[Example]) -> list[Example]:
    """Return the rows so that tenants, and within them teachers, take turns."""
    groups = defaultdict[tuple[str, str], list[Example]](list)
    for each in rows:
        groups[each.source.tenant, each.teacher.target].append(each)
    turns = zip_longest(*(groups[name] for name in sorted(groups)))
    return [each for turn in turns for each in turn if each is not None]

"""Feedback: somebody's opinion of the answer a job got."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

FEEDBACK_ID = re.compile(r"[A-Za-z0-9_-]{16,128}")
"""Pattern of a feedback's id: longer than a job's, so that it may hold one."""


class Verdict(StrEnum):
    """The opinion of an answer.

    EDITED brings the text the reader made of it. BETTER ("better, please") asks for the job to be run again above
    the target that answered it.
    """

    GOOD = "good"
    BAD = "bad"
    EDITED = "edited"
    BETTER = "better"


class Witness(StrEnum):
    """The source of a verdict: somebody who used the answer, a grader (a model or a rubric), or a dispatcher.

    SHADOW is a dispatcher's own comparison of an answer with a stronger target's; nobody else may say it.
    """

    USER = "user"
    JUDGE = "judge"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True)
class Feedback:
    """A verdict on a job's answer. `at` is when the broker stored it, in unix seconds; a writer's is ignored.

    `target` names the target whose answer is meant; None: the delivered one. `text` is the edited answer, or a remark.
    `changed` says whether an edit changed more than whitespace, case and punctuation; None: nobody compared.
    `propensity` is the probability with which a shadow comparison was drawn. A second feedback with the same `id`
    changes nothing.
    """

    job_id: str
    tenant: str
    verdict: Verdict
    at: float
    source: Witness = Witness.USER
    text: str | None = None
    target: str | None = None
    propensity: float | None = None
    changed: bool | None = None
    id: str = field(kw_only=True)

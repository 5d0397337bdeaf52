"""The demo's jobs: held-out examples the stand-in models were never trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deployments.standins.tasks import TASKS, TaskExample, examples, is_correct
from fleet.client import submission
from fleet.model.job import Lane, Tier
from fleet.model.result import Result
from fleet.model.submission import Submission

LANES = tuple(Lane)

SMALL_MODEL, LARGEST_MODEL = "llama-8b", "llama-70b"

CHEAPEST_FIRST = 4
"""One job in this many asks for the smallest model first, whatever its task: its publisher knows no better."""

MAX_TOKENS = 64
"""Three times the longest reference answer, which is 22 tokens of the stand-ins."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A job and the answer expected."""

    submission: Submission
    example: TaskExample

    @property
    def prompt(self) -> str:
        return self.example.messages[-1]["content"]

    def is_answered_by(self, result: Result | None) -> bool:
        """Return whether the result holds an answer and it is right."""
        if result is None or result.answer is None:
            return False
        return is_correct(self.example.task, self.example.answer, result.answer.text)


def jobs(count: int, seed: int, deadline_seconds: float) -> list[Asked]:
    """Return an equal share of every task, with each task in every lane."""
    drawn = enumerate(examples("heldout", seed, count))
    return [
        Asked(
            submission(
                task=example.task,
                request=_request(example),
                lane=LANES[(index + index // len(TASKS)) % len(LANES)],
                deadline_seconds=deadline_seconds,
                tier=Tier.SIMPLE if (index + 1) % CHEAPEST_FIRST == 0 else None,
            ),
            example,
        )
        for index, example in drawn
    ]


def alone_on(model: str, asked: Sequence[Asked], deadline_seconds: float) -> list[Asked]:
    """Pin the same prompts to one model, on a tier whose ladder ends with it or lacks it: nothing can escalate."""
    return _again(asked, deadline_seconds, Tier.COMPLEX, {"model": model})


def up_the_ladder(asked: Sequence[Asked], deadline_seconds: float) -> list[Asked]:
    """Send the same prompts in at the first rung of the longest ladder within the fleet."""
    return _again(asked, deadline_seconds, Tier.SIMPLE, {})


def _again(asked: Sequence[Asked], deadline_seconds: float, tier: Tier, request: dict[str, Any]) -> list[Asked]:
    return [
        Asked(
            submission(
                task=one.example.task,
                request=_request(one.example) | request,
                lane=Lane.BULK,
                tier=tier,
                cloud="deny",
                deadline_seconds=deadline_seconds,
            ),
            one.example,
        )
        for one in asked
    ]


def _request(example: TaskExample) -> dict[str, Any]:
    return {"messages": list(example.messages), "temperature": 0, "max_tokens": MAX_TOKENS}

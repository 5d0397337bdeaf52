"""Work always fits into a message: what cannot be carried on is given up oldest first."""

from __future__ import annotations

import pytest

from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Usage
from fleet.model.job import Job, Lane, Plan
from fleet.model.reason import Reason
from fleet.model.result import Work
from queues.wire.job import MAX_BODY_BYTES
from queues.wire.letters import DEFAULT_MAX_BYTES, message_of
from queues.wire.work import decode_work

REQUEST = {"messages": [{"role": "user", "content": "x" * (MAX_BODY_BYTES - 1000)}]}
JOB = Job("job-0123456789ab", "acme", Lane.BULK, "nudge", Plan.PAID, REQUEST, 1.0)


def answered(number: int, size: int) -> Attempt:
    answer = Answer({"role": "assistant", "content": "y" * size}, "stop", Usage(1, 1), "m")
    return Attempt(number, "t", Reason.ROUTED, 1.0, 2.0, answer, confidence=0.5, cost_usd=0.25)


FAILED = Attempt(1, "t", Reason.ROUTED, 1.0, 2.0, Failure(FailureKind.TIMEOUT, "late"))


@pytest.mark.parametrize(
    ("sizes", "kept"), [((10, 10), (True, True)), ((300_000, 300_000), (False, True)), ((10, 900_000), (False, False))]
)
def test_the_oldest_answers_are_given_up_first(sizes: tuple[int, int], kept: tuple[bool, bool]) -> None:
    first, second = answered(2, sizes[0]), answered(3, sizes[1])

    message = message_of(Work(JOB, "t", Reason.LOW_CONFIDENCE, 1, (FAILED, first, second)))
    carried = decode_work(message.data, message.subject)

    assert len(message.data) <= DEFAULT_MAX_BYTES
    assert isinstance(carried, Work)
    assert carried.job == JOB
    assert carried.attempts[0] == FAILED
    assert tuple(isinstance(attempt.outcome, Answer) for attempt in carried.attempts[1:]) == kept
    assert [attempt.cost_usd for attempt in carried.attempts] == [0.0, 0.25, 0.25]
    assert all((attempt.confidence is None) != keep for attempt, keep in zip(carried.attempts[1:], kept, strict=True))

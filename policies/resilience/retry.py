"""Retries of the same target: whether, and after how long."""

from __future__ import annotations

import zlib

from fleet.model.attempt import Attempt, Failure, FailureKind, Outcome
from fleet.model.target import Target
from policies.rules.rules import Rules


def is_retryable(kind: FailureKind) -> bool:
    """Return whether the same request may succeed on the same target a little later."""
    match kind:
        case (
            FailureKind.RATE_LIMITED
            | FailureKind.OVERLOADED
            | FailureKind.SERVER_ERROR
            | FailureKind.TIMEOUT
            | FailureKind.CONNECTION
            | FailureKind.MALFORMED
            | FailureKind.INTERNAL
        ):
            return True
        case (
            FailureKind.CONTENT_FILTER
            | FailureKind.CONTEXT_TOO_LONG
            | FailureKind.INVALID_REQUEST
            | FailureKind.AUTHENTICATION
            | FailureKind.ACCOUNT
            | FailureKind.ADAPTER
            | FailureKind.CANCELLED
            | FailureKind.INTERRUPTED
        ):
            return False


OF_THE_ACCOUNT = frozenset({FailureKind.AUTHENTICATION, FailureKind.ACCOUNT})
"""Failures that the owner of the key has to mend, operator or tenant; the same for every job until then."""


def is_of_account(outcome: Outcome) -> bool:
    return isinstance(outcome, Failure) and outcome.kind in OF_THE_ACCOUNT


def counts_against_target(kind: FailureKind) -> bool:
    """Return whether the failure is about the target's health, and not about the request, our quota or account.

    Those that pass by themselves are, but for a limit: it says that we ask too often, not that the target is ill.
    """
    return is_retryable(kind) and kind is not FailureKind.RATE_LIMITED


def tries_on(target: str, attempts: tuple[Attempt, ...]) -> int:
    return sum(attempt.target == target and not failed_adapter(attempt) for attempt in attempts)


def may_retry(attempts: tuple[Attempt, ...], rules: Rules) -> bool:
    """Return whether the target of the last attempt, a failure, may be tried once more."""
    last = attempts[-1]
    return (
        isinstance(last.outcome, Failure)
        and is_retryable(last.outcome.kind)
        and tries_on(last.target, attempts) < rules.retry.max_tries
    )


def failed_adapter(attempt: Attempt) -> bool:
    """Return whether the model could not use its adapter: its base may answer the same request at once."""
    outcome = attempt.outcome
    return attempt.adapter is not None and isinstance(outcome, Failure) and outcome.kind is FailureKind.ADAPTER


def has_attempt_left(attempts: tuple[Attempt, ...], rules: Rules) -> bool:
    """Return whether the job may be tried once more: its tries are counted without one that only lacked its adapter."""
    return sum(not failed_adapter(each) for each in attempts) < rules.retry.max_attempts


def backoff_seconds(attempts: tuple[Attempt, ...], jitter_seed: str, rules: Rules) -> float:
    """Return the seconds from the end of the last attempt to the next try on its target.

    Exponential with equal jitter (half fixed, half spread), at least what the target asked for.
    The jitter is a hash of seed and attempt number, so every process computes the same value.
    """
    last = attempts[-1]
    exponent = min(tries_on(last.target, attempts) - 1, 64)
    ceiling = min(rules.retry.base_seconds * 2.0**exponent, rules.retry.max_seconds)
    spread = zlib.crc32(f"{jitter_seed}:{last.number}".encode()) / 2**32
    seconds = ceiling * (1 + spread) / 2
    if isinstance(last.outcome, Failure) and last.outcome.retry_after_seconds is not None:
        return max(seconds, last.outcome.retry_after_seconds)
    return seconds


def blames_target(outcome: Outcome, given_seconds: float, target: Target) -> bool:
    """Return whether the outcome is a failure that says something about the target's health.

    A timeout does only if the target had its whole time: a job with a near deadline must not shut it for others.
    """
    if not isinstance(outcome, Failure) or not counts_against_target(outcome.kind):
        return False
    return outcome.kind is not FailureKind.TIMEOUT or given_seconds >= target.timeout_seconds

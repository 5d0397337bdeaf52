"""The words that explain a decision; the same word is in the result, the ledger, the trace and the metric."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Reason(StrEnum):
    # why a target is run
    ROUTED = "routed"
    PINNED = "pinned"
    CHEAPER = "cheaper"
    PREDICTED = "predicted"
    LOW_CONFIDENCE = "low_confidence"
    TARGET_FAILED = "target_failed"
    TARGET_UNAVAILABLE = "target_unavailable"
    TARGET_COLD = "target_cold"
    OVERLOADED = "overloaded"
    RETRY = "retry"
    GREY_BAND = "grey_band"
    TOOLS_RESTORED = "tools_restored"
    ADAPTER_FAILED = "adapter_failed"
    NOT_CALIBRATED = "not_calibrated"
    UNFAMILIAR = "unfamiliar"
    GUARANTEE_WITHDRAWN = "guarantee_withdrawn"
    SHADOW = "shadow"
    # why a job waits
    DELAYED = "delayed"
    BACKOFF = "backoff"
    BREAKER_OPEN = "breaker_open"
    COLD = "cold"
    MONEY_BUSY = "money_busy"
    COALESCED = "coalesced"
    COMPARING = "comparing"
    BATCHED = "batched"
    # why an answer is final
    CONFIDENT = "confident"
    NOT_CHECKED = "not_checked"
    PATTERN = "pattern"
    CACHED = "cached"
    SIMILAR = "similar"
    CASCADE_OFF = "cascade_off"
    LADDER_EXHAUSTED = "ladder_exhausted"
    OUT_OF_TIME = "out_of_time"
    OUT_OF_MONEY = "out_of_money"
    # why there is no answer
    INVALID = "invalid"
    OVER_QUOTA = "over_quota"
    DEADLINE_PASSED = "deadline_passed"
    DEADLINE_OUT_OF_REACH = "deadline_out_of_reach"
    CANCELLED = "cancelled"
    NO_TARGET = "no_target"
    RESIDENCY = "residency"
    ALL_FAILED = "all_failed"
    TOO_MANY_DELIVERIES = "too_many_deliveries"
    INTERNAL_ERROR = "internal_error"


MEANINGS: Mapping[Reason, str] = {
    Reason.ROUTED: "first on the ladder of its tier and plan",
    Reason.PINNED: "the request names this model",
    Reason.CHEAPER: "the same model as the first on the ladder, for less",
    Reason.PREDICTED: "a learned router expects the first target on the ladder to fail",
    Reason.LOW_CONFIDENCE: "the answer before was not trusted",
    Reason.NOT_CALIBRATED: "too few labels to promise anything, so everything escalates",
    Reason.UNFAMILIAR: "no calibration has labels of such a task or text: how good the answer is, is not known",
    Reason.GUARANTEE_WITHDRAWN: "traffic has drifted: the safer threshold holds, and the answer before was below it",
    Reason.TARGET_FAILED: "the attempt before failed",
    Reason.TARGET_UNAVAILABLE: "a weaker target was shut at that moment",
    Reason.TARGET_COLD: "a weaker target had no replica, and none would have come in time or more cheaply",
    Reason.OVERLOADED: "a weaker target was too busy to answer before the deadline",
    Reason.RETRY: "the same target again, after its pause",
    Reason.GREY_BAND: "a second look: the answer before was too close to its threshold to call",
    Reason.TOOLS_RESTORED: "the answer before lacked a tool, or was unusable, and some tools had been left out",
    Reason.ADAPTER_FAILED: "the same target by its own weights: its adapter could not be used",
    Reason.SHADOW: "compared with a stronger target, or with and without a diet, to learn from",
    Reason.BACKOFF: "waiting before the same target is tried again",
    Reason.BREAKER_OPEN: "waiting for a target that keeps failing",
    Reason.COLD: "waiting for a target to start",
    Reason.MONEY_BUSY: "waiting for calls under way to say what they cost",
    Reason.COALESCED: "waiting for the same request, which is being answered",
    Reason.COMPARING: "waiting for its question to be compared with those answered before",
    Reason.BATCHED: "waiting for a provider's batch, which costs less",
    Reason.DELAYED: "not to run before a later time",
    Reason.CONFIDENT: "confidence reached the threshold",
    Reason.NOT_CHECKED: "the target gives nothing to judge by, and has no prior",
    Reason.PATTERN: "an answer that the operator wrote down for this message",
    Reason.CACHED: "the same request was answered before, and the answer was trusted",
    Reason.SIMILAR: "a question like it was answered before, and the semantic cache promises how rarely that is wrong",
    Reason.CASCADE_OFF: "confidence decides nothing here: all answers of this target are treated alike",
    Reason.LADDER_EXHAUSTED: "no stronger target is left: the best answer there is",
    Reason.OUT_OF_TIME: "no time is left for another target: the best answer there is",
    Reason.OUT_OF_MONEY: "no money is left for another target: the best answer there is, if any",
    Reason.INVALID: "the request breaks a rule",
    Reason.OVER_QUOTA: "too many jobs of the tenant were waiting",
    Reason.DEADLINE_PASSED: "the deadline passed before there was an answer",
    Reason.DEADLINE_OUT_OF_REACH: "given up early: jobs take far longer now than the deadline leaves",
    Reason.CANCELLED: "its publisher called it off",
    Reason.NO_TARGET: "no target may run this job",
    Reason.RESIDENCY: "no target is where the job's content may be processed",
    Reason.ALL_FAILED: "every target failed",
    Reason.TOO_MANY_DELIVERIES: "handed out again and again without coming to an end",
    Reason.INTERNAL_ERROR: "a bug of the fleet's own",
}
"""A clause for people that explains each reason."""

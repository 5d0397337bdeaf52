"""The words that explain a decision; the same word is in the result, the ledger, the trace and the metric."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    # why a target is run
    ROUTED = "routed"
    PINNED = "pinned"
    PREDICTED = "predicted"
    LOW_CONFIDENCE = "low_confidence"
    TARGET_FAILED = "target_failed"
    TARGET_UNAVAILABLE = "target_unavailable"
    TARGET_COLD = "target_cold"
    OVERLOADED = "overloaded"
    RETRY = "retry"
    GREY_BAND = "grey_band"
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
    # why an answer is final
    CONFIDENT = "confident"
    NOT_CHECKED = "not_checked"
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

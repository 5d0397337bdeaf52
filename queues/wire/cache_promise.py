"""What the semantic cache promises for a tenant and task, as JSON; a threshold that serves nothing is null."""

from __future__ import annotations

import math
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from fleet.model.caching import AnswerScore, CacheCalibration
from fleet.model.calibration import Looks, Threshold, ThresholdMode
from fleet.model.errors import ConfigError
from policies.caching.signals import check
from queues.wire.calibration import InsideShare, LooksRecord, Text
from queues.wire.record import Count, TenantName, Version, Written, broken_rule, writer


class AnswerScoreRecord(Written):
    """The log-odds that a cached answer is right: `weights` by signal; one of the `vetoes` that is not 0 forbids it."""

    intercept: float
    weights: dict[str, float]
    vetoes: tuple[str, ...] = ()


class PromisedThresholdRecord(Written):
    """The log-odds from which on answers are served, null where none is; `safer` for a quarter of the risk."""

    value: float | None
    safer: float | None
    risk: InsideShare
    delta: InsideShare
    labels_missing: Count = 0


class CachePromiseRecord(Written):
    """The promise for a tenant's requests of a task, with cosines by `encoder`; `withdrawn` says why it is void."""

    schema_: Version
    version: Text
    tenant: TenantName
    task: str
    encoder: str
    score: AnswerScoreRecord
    threshold: PromisedThresholdRecord
    grey: tuple[float, float] | None = None
    verified: float = 1.0
    verifier: str | None = None
    withdrawn: str | None = None
    looks: LooksRecord = LooksRecord()
    since: float = 0.0


_write = writer(CacheCalibration, CachePromiseRecord, apart=("score", "threshold", "looks"))
_write_score = writer(AnswerScore, AnswerScoreRecord)
_write_threshold = writer(Threshold, PromisedThresholdRecord, apart=("mode",))
_write_looks = writer(Looks, LooksRecord)


def encode_cache_promise(promise: CacheCalibration) -> bytes:
    parts: dict[str, Any] = {
        "score": _write_score(promise.score),
        "threshold": _write_threshold(promise.threshold),
        "looks": _write_looks(promise.looks),
    }
    return to_json({**_write(promise), **parts}, inf_nan_mode="null", fallback=dict)


def decode_cache_promise(body: bytes) -> CacheCalibration:
    """Return the promise in these bytes. Raises: ConfigError naming the field and the rule."""
    try:
        held = vars(CachePromiseRecord.model_validate_json(body))
    except ValidationError as error:
        raise ConfigError(*broken_rule(error)) from None
    del held["schema_"]
    score, limit = AnswerScore(**vars(held.pop("score"))), vars(held.pop("threshold"))
    check(score)
    values = {name: math.inf if limit[name] is None else limit[name] for name in ("value", "safer")}
    threshold = Threshold(ThresholdMode.GUARANTEE, **{**limit, **values})
    return CacheCalibration(**held | {"looks": Looks(**vars(held["looks"]))}, score=score, threshold=threshold)

"""Calibrations as JSON: one of them, or a document of many that can be read, compared and put under version control.

An infinite threshold, under which every answer escalates, is written as null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from fleet.model.adapter import ADAPTER_DIGEST
from fleet.model.calibration import (
    ANY,
    Calibration,
    CalibrationKey,
    Familiarity,
    Fit,
    Guard,
    Looks,
    OutputKind,
    Probe,
    Region,
    Scorer,
    Threshold,
    ThresholdMode,
)
from fleet.model.errors import ConfigError
from fleet.model.target import Target
from policies.confidence.drift import BINS
from policies.confidence.familiarity import NUMBERS
from policies.confidence.scorer import check
from queues.wire.chat import Strict
from queues.wire.problems import problem_of
from queues.wire.record import VERSION, Count, TargetName, Version, writer


def _deciles(values: tuple[float, ...]) -> tuple[float, ...]:
    if any(low > high for low, high in pairwise(values)):
        raise ValueError("must be rising")
    if len(values) not in (0, BINS - 1):
        raise ValueError(f"must be none, or the {BINS - 1} inner deciles")
    return values


def _a_band(band: tuple[float, float]) -> tuple[float, float]:
    if band[0] >= band[1]:
        raise ValueError("must be a band: low, then high")
    return band


Text = Annotated[str, Field(min_length=1, max_length=200)]
Family = Annotated[str, Field(pattern=r"^(\*|[A-Za-z0-9_:-][A-Za-z0-9_.:-]{0,63}(\.\*)?)$")]
Adapter = Annotated[str, Field(pattern=f"^({ADAPTER_DIGEST.pattern})?$")]
Share = Annotated[float, Field(ge=0, le=1)]
InsideShare = Annotated[float, Field(gt=0, lt=1)]


PROBED = frozenset({"p_true_logit", "agreement"})
"""Signals that only a second look brings."""


class ScorerRecord(Strict):
    """A scorer: `weights` by the name of their signal, in the order in which they were fitted."""

    fit: Fit
    intercept: float
    weights: Annotated[dict[str, float], Field(min_length=1)]
    knots: tuple[tuple[Share, Share], ...] = ()


class ThresholdRecord(Strict):
    mode: ThresholdMode
    value: Share | None
    safer: Share | None
    risk: InsideShare | None = None
    delta: InsideShare | None = None
    labels_missing: Count = 0


class LooksRecord(Strict):
    count: Count = 0
    labels: Count = 0
    at: Annotated[float, Field(ge=0)] = 0.0
    digest: Annotated[str, Field(max_length=64)] = ""


Hashes = Annotated[str, Field(pattern=r"^([0-9a-f]{8}){0,4000}$")]
Numbers = Annotated[tuple[float, ...], Field(min_length=len(NUMBERS), max_length=len(NUMBERS))]


class RegionRecord(Strict):
    """A region of texts; `words` are 32-bit hashes in hex, one after the other."""

    words: Hashes
    means: Numbers
    rows: Annotated[tuple[tuple[float, ...], ...], Field(min_length=len(NUMBERS), max_length=len(NUMBERS))]
    weights: Numbers
    farthest: Annotated[float, Field(ge=0)]
    oddest: Annotated[float, Field(ge=0)]


class FamiliarityRecord(Strict):
    tasks: tuple[Family, ...]
    region: RegionRecord | None = None


class CalibrationRecord(Strict):
    target: TargetName
    family: Family = ANY
    kind: OutputKind | Literal["*"] = ANY  # type: ignore[assignment]  # ANY is the literal
    model: Text
    revision: Text
    logprobs_mode: Text
    version: Text
    fitted_at: Annotated[float, Field(ge=0)]
    labels: Count
    scorer: ScorerRecord
    strong: TargetName | None = None
    threshold: ThresholdRecord | None = None
    guard: Guard | None = None
    edges: Annotated[tuple[Share, ...], AfterValidator(_deciles)] = ()
    brier: Share | None = None
    ece: Share | None = None
    probe: Probe | None = None
    probe_scorer: ScorerRecord | None = None
    grey: Annotated[tuple[Share, Share], AfterValidator(_a_band)] | None = None
    withdrawn: Text | None = None
    good: Share | None = None
    looks: LooksRecord = LooksRecord()
    familiar: FamiliarityRecord | None = None
    adapter: Adapter = ""
    value_scorer: ScorerRecord | None = None


class Document(Strict):
    schema_: Version
    calibrations: tuple[CalibrationRecord, ...]


_RECORD = TypeAdapter(CalibrationRecord)
_DOCUMENT = TypeAdapter(Document)
_write_calibration = writer(Calibration, CalibrationRecord, apart=("key", "value_scorer"))
_write_threshold = writer(Threshold, ThresholdRecord)


def encode_calibration(calibration: Calibration) -> bytes:
    return to_json(_record(calibration))


def decode_calibration(body: bytes) -> Calibration:
    """Return the calibration in these bytes. Raises: ConfigError naming the field and the rule if they hold none."""
    return _calibration(_validated(_RECORD, body), "")


def encode_document(calibrations: Iterable[Calibration]) -> str:
    """Encode the calibrations by key, one value a line; the same calibrations always give the same text.

    Raises: ConfigError if a reader would refuse it.
    """
    records = [_record(each) for each in sorted(calibrations, key=lambda each: each.key)]
    text = json.dumps({"schema": VERSION, "calibrations": records}, indent=2) + "\n"
    decode_document(text.encode())
    return text


def decode_document(body: bytes) -> dict[CalibrationKey, Calibration]:
    """Return the calibrations of a document by key.

    Raises: ConfigError naming the field, such as `calibrations.2.scorer.intercept`, and the rule, if one is broken.
    """
    found: dict[CalibrationKey, Calibration] = {}
    for number, record in enumerate(_validated(_DOCUMENT, body).calibrations):
        calibration = _calibration(record, f"calibrations.{number}.")
        if calibration.key in found:
            raise ConfigError(f"calibrations.{number}", "is there twice: target, family, kind or adapter must differ")
        found[calibration.key] = calibration
    return found


def _validated(adapter: TypeAdapter[Any], body: bytes) -> Any:
    try:
        sent = from_json(body)
    except ValueError as error:
        raise ConfigError("calibrations", f"must be JSON: {error}") from None
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        problem = problem_of(error, sent)
        raise ConfigError(problem.field or "calibrations", problem.rule or problem.message) from None


def _record(calibration: Calibration) -> dict[str, Any]:
    key, probe_scorer, value_scorer = calibration.key, calibration.probe_scorer, calibration.value_scorer
    return {
        "target": key.target,
        "family": key.family,
        "kind": str(key.kind),
        **({"adapter": key.adapter} if key.adapter else {}),
        **_write_calibration(calibration),
        "scorer": _scorer_record(calibration.scorer),
        "threshold": _threshold_record(calibration.threshold),
        "probe_scorer": None if probe_scorer is None else _scorer_record(probe_scorer),
        "looks": asdict(calibration.looks),
        "familiar": _familiarity_record(calibration.familiar),
        # Readers of before know no such field, and need none where there is no such scorer.
        **({} if value_scorer is None else {"value_scorer": _scorer_record(value_scorer)}),
    }


def _familiarity_record(familiar: Familiarity | None) -> dict[str, Any] | None:
    if familiar is None:
        return None
    region = familiar.region
    if region is None:
        return {"tasks": list(familiar.tasks), "region": None}
    words = "".join(f"{word:08x}" for word in sorted(region.words))
    return {"tasks": list(familiar.tasks), "region": asdict(region) | {"words": words}}


def _familiarity(stored: CalibrationRecord) -> Familiarity | None:
    """Return the tasks and texts a calibration saw; an older version did not say: only its own task, if any."""
    if "familiar" not in stored.model_fields_set:
        return Familiarity(() if stored.family.endswith(ANY) else (stored.family,))
    if (record := stored.familiar) is None:
        return None
    if (read := record.region) is None:
        return Familiarity(record.tasks)
    words = frozenset(int(read.words[at : at + 8], 16) for at in range(0, len(read.words), 8))
    return Familiarity(record.tasks, Region(**{**dict(read), "words": words}))


def _scorer_record(scorer: Scorer) -> dict[str, Any]:
    return {
        "fit": scorer.fit,
        "intercept": scorer.intercept,
        "weights": dict(zip(scorer.signals, scorer.weights, strict=True)),
        "knots": [list(knot) for knot in scorer.knots],
    }


def _threshold_record(threshold: Threshold | None) -> dict[str, Any] | None:
    if threshold is None:
        return None
    return {name: None if value == math.inf else value for name, value in _write_threshold(threshold).items()}


def _calibration(record: CalibrationRecord, path: str) -> Calibration:
    if (record.probe is None) != (record.probe_scorer is None):
        raise ConfigError(f"{path}probe_scorer", "must be there if and only if probe is")
    if record.edges and not record.labels:
        raise ConfigError(f"{path}labels", "must be at least 1 where there are edges: they are taken from labels")
    for name, scorer in (("scorer", record.scorer), ("value_scorer", record.value_scorer)):
        if scorer is not None and not PROBED.isdisjoint(scorer.weights):
            rule = f"must not read {', '.join(sorted(PROBED))}: most answers lack them"
            raise ConfigError(f"{path}{name}.weights", rule)
    held: dict[str, Any] = dict(record)
    key = CalibrationKey(held.pop("target"), held.pop("family"), str(held.pop("kind")), held.pop("adapter"))
    probe_scorer, value_scorer, threshold = record.probe_scorer, record.value_scorer, record.threshold
    held["scorer"] = _scorer(record.scorer, f"{path}scorer")
    held["threshold"] = None if threshold is None else _threshold(threshold, f"{path}threshold")
    held["probe_scorer"] = None if probe_scorer is None else _scorer(probe_scorer, f"{path}probe_scorer")
    held["value_scorer"] = None if value_scorer is None else _scorer(value_scorer, f"{path}value_scorer")
    held["looks"] = Looks(**dict(record.looks))
    held["familiar"] = _familiarity(record)
    return Calibration(key, **held)


def _scorer(record: ScorerRecord, path: str) -> Scorer:
    scorer = Scorer(record.fit, tuple(record.weights), tuple(record.weights.values()), record.intercept, record.knots)
    try:
        check(scorer)
    except ConfigError as error:
        raise ConfigError(f"{path}.{error.field.removeprefix('scorer.')}", error.rule) from None
    return scorer


def _threshold(record: ThresholdRecord, path: str) -> Threshold:
    if record.mode is ThresholdMode.GUARANTEE and (record.risk is None or record.delta is None):
        raise ConfigError(f"{path}.{'risk' if record.risk is None else 'delta'}", "is required in mode guarantee")
    held: dict[str, Any] = dict(record)
    for name in ("value", "safer"):
        held[name] = math.inf if held[name] is None else held[name]
    return Threshold(**held)


def check_target(calibration: Calibration, targets: Mapping[str, Target], path: str = "") -> None:
    """Check the target. Raises: ConfigError unless the calibration is of one in `targets` as it is deployed now."""
    target = targets.get(calibration.key.target)
    if target is None:
        raise ConfigError(f"{path}target", f"must be one of {', '.join(targets)}; got {calibration.key.target!r}")
    if calibration.strong is not None and calibration.strong not in targets:
        raise ConfigError(f"{path}strong", f"must be one of {', '.join(targets)}; got {calibration.strong!r}")
    for name in ("model", "revision", "logprobs_mode"):
        wanted, found = getattr(target, name), getattr(calibration, name)
        if found != wanted:
            rule = f"must be that of target {calibration.key.target}, {wanted!r}; got {found!r}: calibrate it anew"
            raise ConfigError(f"{path}{name}", rule)

"""A file of labels: one judged answer per line, as JSON.

{"target": "llama-8b", "task": "classify.intent", "kind": "token", "good": true, "strong": "llama-70b",
 "strong_good": true, "weight": 1.0, "job": "a-name-of-the-question",
 "features": {"sum": -0.4, "mean": -0.2, "min": -0.3, "q10": -0.3, "q25": -0.25, "count": 2, "margin": 3.1,
              "entropy": 0.2}}

`target`, `task`, `kind`, `features` and `good` are required; `weight`, from 0.001 to 1000, is 1 unless given. `job`
keeps answers to the same question on the same side of the split into labels that fit and labels that judge; without it
each line is its own. `messages`, those of the request, teach the calibration which texts it has seen. `adapter` is the
digest of the adapter that the target answered with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet.lab.learning.collected import LabelledAnswer
from fleet.model.adapter import ADAPTER_DIGEST
from fleet.model.attempt import Features
from fleet.model.calibration import OutputKind
from fleet.model.errors import ConfigError
from fleet.validation import rule_of
from policies.confidence.signals import Evidence

Name = Annotated[str, Field(min_length=1, max_length=64)]
Task = Annotated[str, Field(pattern=r"^[A-Za-z0-9_:-][A-Za-z0-9_.:-]{0,63}$")]
Logprob = Annotated[float, Field(le=0)]
Spread = Annotated[float, Field(ge=0, le=1000)]
"""A spread in nats: no two tokens of a model's vocabulary are further apart."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class FeaturesRow(_Strict):
    """An answer's log-probability features; see `fleet.model.attempt.Features`."""

    sum: Logprob
    mean: Logprob
    min: Logprob
    q10: Logprob
    q25: Logprob
    count: Annotated[int, Field(ge=1, le=10_000_000)]
    margin: Spread
    entropy: Spread


class LabelRecord(_Strict):
    target: Name
    task: Task
    kind: OutputKind
    features: FeaturesRow
    good: bool
    strong_good: bool | None = None
    strong: Name | None = None
    weight: Annotated[float, Field(ge=0.001, le=1000)] = 1.0
    job: Annotated[str, Field(min_length=1)] | None = None
    messages: list[dict[str, Any]] | None = None
    adapter: Annotated[str, Field(pattern=f"^{ADAPTER_DIGEST.pattern}$")] | None = None


def read_labels(path: Path) -> tuple[LabelledAnswer, ...]:
    """Read every line of the file that is not empty. Raises: ConfigError naming the line and the field; OSError."""
    return tuple(_labels(path.read_bytes()))


def _labels(text: bytes) -> Iterator[LabelledAnswer]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield _label(number, line)


def _label(number: int, line: bytes) -> LabelledAnswer:
    try:
        read = LabelRecord.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(map(str, ("labels", number, *first["loc"])))
        raise ConfigError(path, rule_of(first)) from None
    return LabelledAnswer(
        target=read.target,
        task=read.task,
        kind=read.kind,
        job=read.job or hashlib.sha256(line).hexdigest(),
        evidence=Evidence(Features(**read.features.model_dump())),
        good=read.good,
        strong_good=read.strong_good,
        strong=read.strong,
        weight=read.weight,
        request=None if read.messages is None else {"messages": read.messages},
        adapter=read.adapter or "",
    )

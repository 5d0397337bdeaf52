"""Wire schema v1: what a job, feedback, a result, a ledger entry and a dead letter look like as JSON.

`python -m queues.wire.schema` prints the JSON Schemas. Only jobs and feedback are read with these models (by
`queues.wire.codec` and `queues.wire.feedback`); the other three are written by the fleet and described here for their
readers.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from fleet.model.attempt import FailureKind
from fleet.model.calibration import Guard, OutputKind, Probe
from fleet.model.feedback import FEEDBACK_ID
from fleet.model.job import JOB_ID, TENANT, Lane
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.model.target import TARGET_NAME
from queues.wire.chat import ChatCompletionRequest, Strict

VERSION = 1
MAX_TEXT_CHARACTERS = 32_768
LATEST_MOMENT_AT = 1e11
"""The year 5138. A later number is milliseconds, sent by mistake."""


def moment_at(moment: float | str) -> float:
    """The moment in unix seconds. Raises ValueError for a date without offset or a number that is none."""
    if isinstance(moment, str):
        date = datetime.fromisoformat(moment)
        if date.tzinfo is None:
            raise ValueError("must carry an offset, as in 2030-01-31T12:00:00+00:00 or ...Z")
        return date.timestamp()
    return float(moment)


def _moment(moment: float | str) -> float | str:
    try:
        at = moment_at(moment)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"must be unix seconds or ISO 8601 with an offset ({_one_line(error)})") from None
    if not 0 < at < LATEST_MOMENT_AT:
        raise ValueError("must be unix seconds (not milliseconds) after 1970")
    return moment


def _one_line(error: Exception) -> str:
    """The first words of a parser's complaint, without the value it quotes."""
    return str(error).split(": ")[0]


JobId = Annotated[str, Field(pattern=f"^{JOB_ID.pattern}$")]
FeedbackId = Annotated[str, Field(pattern=f"^{FEEDBACK_ID.pattern}$")]
TenantName = Annotated[str, Field(pattern=f"^{TENANT.pattern}$")]
TaskName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
TargetName = Annotated[str, Field(pattern=f"^{TARGET_NAME.pattern}$")]
ProviderName = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")]
# The name has no underscore: `<tenant>__<name>` can then be read in one way only.
KeyName = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}/[A-Za-z0-9-]{1,64}$")]
Metadata = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=256)], Annotated[str, Field(max_length=256)]],
    Field(max_length=16),
]
Version = Annotated[int, Field(alias="schema", ge=VERSION, le=VERSION)]


class Job(Strict):
    """A job as a publisher sends it to `jobs.<lane>.<tenant>`.

    `tenant` and `lane` may be repeated here and must then equal the subject's. `deadline` and `not_before` (when it may
    run first) are unix seconds or ISO 8601 with an offset. `own_key` names a secret and never is one. `above` names a
    target whose answer was not good enough: only stronger ones run the job. A field that is null is read as absent,
    here and in the request.
    """

    schema_: Version = VERSION
    id: JobId
    tenant: TenantName | None = None
    lane: Literal["interactive", "standard", "bulk"] | None = None
    task: TaskName
    tier: Literal["simple", "medium", "complex"] | None = None
    plan: Literal["free", "paid", "own_key"] = "paid"
    deadline: Annotated[float | str, AfterValidator(_moment)] | None = None
    not_before: Annotated[float | str, AfterValidator(_moment)] | None = None
    max_cost_usd: Annotated[float, Field(gt=0)] | None = None
    cloud: Literal["allow", "deny"] | Annotated[list[ProviderName], Field(max_length=16)] = "allow"
    own_key: KeyName | None = None
    above: TargetName | None = None
    metadata: Metadata = Field(default_factory=dict)
    request: ChatCompletionRequest


class Feedback(Strict):
    """What somebody thinks of a job's answer, as a publisher sends it to `feedback.<tenant>`.

    `id` is its own, `job_id` the job's. `edited` needs `text`, the answer as edited; otherwise `text` is a remark.
    `changed` belongs to `edited`. `source` shadow, with `target` and `propensity`, is said by dispatchers alone, on
    `feedback.<tenant>.shadow`.
    """

    schema_: Version = VERSION
    id: FeedbackId
    job_id: JobId
    tenant: TenantName | None = None
    verdict: Literal["good", "bad", "edited", "better"]
    source: Literal["user", "judge", "shadow"] = "user"
    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)] | None = None
    changed: bool | None = None
    target: TargetName | None = None
    propensity: Annotated[float, Field(gt=0, le=1)] | None = None


class Written(Strict):
    """Base of what the fleet writes: later versions of schema 1 may add fields, so readers must not forbid them."""

    model_config = ConfigDict(extra="ignore", strict=False)


class Usage(Written):
    input_tokens: int
    output_tokens: int


class Failure(Written):
    kind: FailureKind
    detail: str


class Features(Written):
    """What the log-probabilities (natural) of an answer's tokens say; null where an engine gave no number."""

    sum: float | None
    mean: float | None
    min: float | None
    q10: float | None
    q25: float | None
    count: int
    margin: float | None
    entropy: float | None


class Judged(Written):
    """What an answer's confidence was held against; `threshold` null is one that no answer reaches.

    `calibration` is the version that gave both, null for an uncalibrated score; `guard` says why the cascade is off,
    `withdrawn` that a promise was taken back, `probe` which second look was wanted. `unfamiliar` is there, and true,
    where no calibration has seen such a task or text, so that the confidence is no probability.
    """

    threshold: float | None
    kind: OutputKind
    calibration: str | None
    guard: Guard | None
    withdrawn: bool
    probe: Probe | None
    unfamiliar: bool = False


class Attempt(Written):
    """One try on one target: with `finish_reason`, `model` and `usage`, or with `failure`. Times are unix seconds.

    With a `probe` it was only a second look at the answer before it, whose confidence it then brings up to date.
    `repeated`: a paid call that was begun before and not finished; the one before may have been charged as well.
    """

    number: int
    target: str
    reason: Reason
    started_at: float
    ended_at: float
    confidence: float | None
    cost_usd: float
    model: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    failure: Failure | None = None
    features: Features | None = None
    judged: Judged | None = None
    probe: Probe | None = None
    repeated: bool = False


class Problem(Written):
    """Why there is no answer; `field` and `rule` where something from outside breaks a rule."""

    message: str
    field: str | None
    rule: str | None


class Claim(Written):
    """Where the message of a large result lies: object `name` of the object store `bucket`, `bytes` bytes of JSON.

    Its `chunks` are numbered from 0; `digest` is that of the whole, SHA-256=<base64url>.
    """

    bucket: str
    name: str
    bytes: int
    chunks: int
    digest: str


class Result(Written):
    """The one terminal result of a job, on `results.<tenant>.<id>`.

    `message` is an OpenAI assistant message, null where there is no answer, and where it is too large for a
    message: then `claim` says where it lies. `usage` and `cost_usd` are totals over all attempts.
    """

    schema_: Version
    id: str
    tenant: str
    task: str | None
    status: Status
    reason: Reason
    message: dict[str, Any] | None
    claim: Claim | None = None
    finish_reason: str | None
    target: str | None
    model: str | None
    confidence: float | None
    usage: Usage
    cost_usd: float
    attempts: list[Attempt]
    error: Problem | None
    submitted_at: float | None
    finished_at: float
    metadata: dict[str, str]


class LedgerEntry(Written):
    """A line of accounts on `ledger.<tenant>`: an attempt, or the end of a job that never ran. No prompt, no answer."""

    schema_: Version
    id: str
    tenant: str
    lane: Lane
    task: str | None
    plan: str | None
    at: float
    reason: Reason
    status: Status | None
    attempt: Attempt | None


class DeadLetter(Written):
    """A message that could not be read or finished, on `dead.<tenant>`; `lane` is where its job waited.

    `body` is text, or base64 where the bytes are no UTF-8; the first 512 KiB of `body_bytes`.
    """

    schema_: Version
    id: str
    tenant: str
    reason: Reason
    error: Problem
    encoding: Literal["utf-8", "base64"]
    body: str
    body_bytes: int
    at: float
    lane: Lane | None = None


def json_schemas() -> dict[str, Any]:
    """One JSON Schema document (draft 2020-12) with Job, Feedback, Result, LedgerEntry and DeadLetter under `$defs`."""
    models = (Job, Feedback, Result, LedgerEntry, DeadLetter)
    _, document = models_json_schema([(model, "validation") for model in models], title="Fleet wire schema v1")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document}


def rendered() -> str:
    """The published file."""
    return json.dumps(json_schemas(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(rendered())

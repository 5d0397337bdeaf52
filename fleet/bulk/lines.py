"""Reads one line of a bulk file: our envelope, or OpenAI's batch format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NoReturn, Self, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import from_json

from fleet.bulk.reading.splitting import BOM
from fleet.model.chat import without_nulls
from fleet.model.errors import InvalidJob
from fleet.model.job import JobOptions, Lane, Plan, Tier
from fleet.model.submission import Submission, submission_of
from fleet.validation import rule_in_job

DEFAULT_TASK = "chat"
"""The task of an OpenAI batch line that names none in `body.metadata.task`."""

LONGEST_ID = 512
"""Maximum characters of a `custom_id`, which is repeated in the output."""


def _text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _writable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be text that UTF-8 can hold, without half a surrogate pair") from None
    return text


LineId = Annotated[str, BeforeValidator(_text), Field(min_length=1, max_length=LONGEST_ID), AfterValidator(_writable)]
_LINE_ID: TypeAdapter[str] = TypeAdapter(LineId)


@dataclass(frozen=True, slots=True)
class BulkRow:
    """A line that is a job. `number` counts from 1; `custom_id` names its line in the output."""

    number: int
    custom_id: str
    submission: Submission


PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]


_RULES = {
    "plan": Plan,
    "tier": Tier,
    "deadline_seconds": PositiveNumber,
    "not_before_seconds": PositiveNumber,
    "max_cost_usd": PositiveNumber,
}
"""Checks that are closer than the type of the option."""

_OPTIONS = {
    name: (_RULES.get(name, hint), None)
    for name, hint in get_type_hints(JobOptions).items()
    if name not in ("id", "lane")  # the line's bytes make the one, and all lines wait in the same lane
}


class _OwnLine(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Annotated[str, Field(min_length=1)]
    request: dict[str, Any] | None = None
    messages: list[dict[str, Any]] | None = None
    custom_id: LineId | None = None
    id: LineId | None = None

    @model_validator(mode="after")
    def _one_request(self) -> Self:
        if (self.request is None) == (self.messages is None):
            raise ValueError("give either messages or a whole request")
        return self

    def submission(self, job_id: str, now: float) -> Submission:
        request = self.request if self.request is not None else {"messages": self.messages}
        options = {name: getattr(self, name) for name in self.model_fields_set & _OPTIONS.keys()}
        return submission_of(job_id, self.task, request, {**options, "lane": Lane.BULK}, now)


Envelope = create_model("Envelope", __base__=_OwnLine, **_OPTIONS)  # type: ignore[call-overload]
"""A line of our own format: {"task", "request" or "messages"}, optionally an id and how the job may be answered."""


class BatchLine(BaseModel):
    """A line of OpenAI's batch files: {"custom_id", "method", "url", "body"}."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    custom_id: LineId
    method: Literal["POST"]
    url: Literal["/v1/chat/completions"]
    body: dict[str, Any]

    def submission(self, job_id: str) -> Submission:
        """Return the job; its metadata is the job's, as over HTTP, but for the task. Raises: InvalidJob."""
        metadata = self.body.get("metadata") or {}
        if not isinstance(metadata, Mapping):
            raise InvalidJob("body.metadata", "must be an object")
        task = metadata.get("task")
        if task is not None and not isinstance(task, str):
            raise InvalidJob("body.metadata.task", "must be text")
        request = {name: value for name, value in self.body.items() if name != "metadata"}
        said = {name: value for name, value in metadata.items() if name != "task"}
        return Submission(id=job_id, task=task or DEFAULT_TASK, request=request, lane=Lane.BULK, metadata=said)


def run_key(tenant: str, name: str) -> bytes:
    """Return 32 bytes that identify the tenant's run of this name; no tenant's name holds a line break."""
    return hashlib.blake2b(f"{tenant}\n{name}".encode(), digest_size=32).digest()


def read_line(run: bytes, number: int, line: bytes, now: float) -> BulkRow:
    """Return the job on the line, read at `now` (unix seconds); equal run key, number and bytes give equal job ids.

    Raises: InvalidJob naming the field and the rule.
    """
    job_id = line_job_id(run, number, line)
    content = json_object(line)
    try:
        if "url" in content or "body" in content:
            batch = BatchLine.model_validate(content)
            return BulkRow(number, batch.custom_id, batch.submission(job_id))
        envelope = Envelope.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "request"
        raise InvalidJob(field, rule_in_job(first)) from None
    custom_id = envelope.custom_id or envelope.id or default_custom_id(number)
    return BulkRow(number, custom_id, envelope.submission(job_id, now))


def line_job_id(run: bytes, number: int, line: bytes) -> str:
    """Return 128 bits of the run's key, the line's number and its bytes, so that a changed line is another job."""
    return hashlib.blake2b(b"%d\n%s" % (number, line.strip()), digest_size=16, key=run).hexdigest()


def custom_id_of(number: int, line: bytes) -> str:
    """Return the output's name for a line that may be no job: the line's own id if it has a usable one."""
    try:
        content = json_object(line)
        return _LINE_ID.validate_python(content.get("custom_id", content.get("id")))
    except (InvalidJob, ValidationError):
        return default_custom_id(number)


def default_custom_id(number: int) -> str:
    return f"line-{number}"


def _no_json(constant: str) -> NoReturn:
    """Refuse NaN and infinities, which JSON does not have but Python reads; no provider accepts them."""
    raise ValueError(constant)


def json_object(line: bytes) -> dict[str, Any]:
    """Return the line's object without fields that are null, because null means absent.

    Raises: InvalidJob if the line is no JSON object.
    """
    content = _json(line)
    if not isinstance(content, dict):
        raise invalid_line("must be a JSON object")
    return without_nulls(content)


def _json(line: bytes) -> Any:
    try:
        return from_json(line, allow_inf_nan=False)
    except ValueError:
        return _json_or_why_not(line)


def _json_or_why_not(line: bytes) -> Any:
    """Return what only Python's own reader reads, which takes half a surrogate pair, or say at which byte it ends."""
    try:
        text = line.decode("utf-8-sig")
        return json.loads(text, parse_constant=_no_json)
    except UnicodeDecodeError as error:
        place = error.start + len(line) - len(line.removeprefix(BOM))
        raise invalid_line(f"must be JSON in UTF-8, and 0x{line[place]:02x} at byte {place} of it is not") from None
    except json.JSONDecodeError as error:
        place = len(line) - len(text.encode()) + len(text[: error.pos].encode())
        raise invalid_line(f"must be JSON ({error.msg.lower()} at byte {place} of it)") from None
    except RecursionError:
        raise invalid_line("must be JSON, and is nested too deeply") from None
    except ValueError:
        raise invalid_line("must be JSON, without NaN, infinities and integers of thousands of digits") from None


def invalid_line(rule: str) -> InvalidJob:
    return InvalidJob("line", rule)

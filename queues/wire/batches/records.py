"""Entries of the bucket `batches` to bytes and back: a batch, a file, an upload, and a tenant's ids.

A tenant with a login of its own writes some of them itself, so none is trusted to hold what its key says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError, create_model
from pydantic_core import from_json, to_json

from fleet.model.batch import BATCH_ID, FILE_ID, Batch, StoredFile
from queues.wire.record import VERSION, TenantName, Version, Written, broken_rule, checks_of, writer

FileId = Annotated[str, Field(pattern=f"^{FILE_ID.pattern}$")]
BatchId = Annotated[str, Field(pattern=f"^{BATCH_ID.pattern}$")]


class _Record(Written):
    schema_: Version


BatchRecord = create_model(
    "BatchRecord",
    __base__=_Record,
    **checks_of(
        Batch,
        id=BatchId,
        tenant=TenantName,
        input_file_id=FileId,
        retries=BatchId | None,
        defaults=dict[str, Any],  # what they may be is checked where they come in, and again with each row
    ),
)
FileRecord = create_model(
    "FileRecord",
    __base__=_Record,
    **checks_of(StoredFile, id=FileId, tenant=TenantName, batch_id=BatchId | None),
)

_write_batch = writer(Batch, BatchRecord)
_write_file = writer(StoredFile, FileRecord)


class Listed(NamedTuple):
    """An id in a tenant's list, and when it was made, in unix seconds."""

    id: str
    created_at: float


class Claim(NamedTuple):
    """The file that stands for an upload, and a digest of what was sent."""

    file_id: str
    content: str


_CLAIM: TypeAdapter[Claim] = TypeAdapter(Claim)
_LIST: TypeAdapter[list[Listed]] = TypeAdapter(list[Listed])


def encode_batch(batch: Batch) -> bytes:
    return to_json(_write_batch(batch))


def decode_batch(body: bytes) -> Batch:
    """Return the batch in these bytes. Raises: ValueError, naming the field and the rule, if they hold none."""
    return Batch(**_fields(BatchRecord, body, "batch"))


def encode_file(file: StoredFile) -> bytes:
    return to_json(_write_file(file))


def decode_file(body: bytes) -> StoredFile:
    """Return the file in these bytes. Raises: ValueError, naming the field and the rule, if they hold none."""
    return StoredFile(**_fields(FileRecord, body, "file"))


def encode_list(listed: Sequence[Listed]) -> bytes:
    return to_json(listed)


def decode_list(body: bytes) -> list[Listed]:
    """Return the ids in these bytes, oldest first. Raises: ValueError if they hold none."""
    return _LIST.validate_python(from_json(body)) if body else []


def encode_claim(claim: Claim) -> bytes:
    return to_json(claim)


def decode_claim(body: bytes) -> Claim | None:
    """Return the claim in these bytes; None if they hold none."""
    try:
        return _CLAIM.validate_json(body)
    except ValidationError:
        return None


def _fields(record: Any, body: bytes, what: str) -> dict[str, Any]:
    try:
        read = record.__pydantic_validator__.validate_json(body)
    except ValidationError as error:
        field, rule = broken_rule(error)
        raise ValueError(f"no {what} of schema {VERSION}: {field}: {rule}") from None
    said: dict[str, Any] = vars(read)
    del said["schema_"]
    return said

"""The bucket `adapters`: each adapter under its name, with its versions and what its aliases name now."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from pydantic_core import to_json

from fleet.model.adapter import ADAPTER_DIGEST, ADAPTER_NAME, AdapterVersion, Alias, RegisteredAdapter
from queues.wire.record import Count, TargetName, TenantName, Version, Written, read, writer

Name = Annotated[str, Field(pattern=f"^{ADAPTER_NAME.pattern}$")]
Digest = Annotated[str, Field(pattern=f"^{ADAPTER_DIGEST.pattern}$")]


class AdapterVersionRecord(Written):
    digest: Digest
    base_digest: Digest
    rank: Annotated[int, Field(ge=1)]
    size: Count
    registered_at: float
    card: dict[str, Any] | None = None
    evidence: dict[str, Any] | None = None


class AdapterRecord(Written):
    """An adapter. Times are unix seconds; null among `tenants` is all of them."""

    schema_: Version
    name: Name
    target: TargetName
    tasks: Annotated[list[str], Field(min_length=1)]
    tenants: list[TenantName] | None
    versions: list[AdapterVersionRecord]
    aliases: dict[Alias, Digest]
    why: str | None
    changed_at: float


_write = writer(RegisteredAdapter, AdapterRecord, apart=("tasks", "tenants", "versions", "aliases"))
_write_version = writer(AdapterVersion, AdapterVersionRecord)


def encode_adapter(adapter: RegisteredAdapter) -> bytes:
    apart = {
        "tasks": sorted(adapter.tasks),
        "tenants": None if adapter.tenants is None else sorted(adapter.tenants),
        "versions": [_write_version(each) for each in adapter.versions],
        "aliases": adapter.aliases,
    }
    return to_json(_write(adapter) | apart, fallback=dict)


def decode_adapter(body: bytes) -> RegisteredAdapter:
    """Return the adapter in these bytes. Raises: ValueError, naming the field and the rule, if they hold none."""
    record: AdapterRecord = read(AdapterRecord, body, "adapter")
    held = vars(record)
    del held["schema_"]
    scope = {"tasks": frozenset(record.tasks), "tenants": None if record.tenants is None else frozenset(record.tenants)}
    return RegisteredAdapter(
        **{**held, **scope, "versions": tuple(AdapterVersion(**vars(each)) for each in record.versions)}
    )

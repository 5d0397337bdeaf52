"""Wire schema v1: the JSON form of a job, feedback, a result, a ledger entry and a dead letter.

`python -m queues.wire.schema` prints the JSON Schemas, made of the records by which the fleet reads and writes.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from queues.wire.dead_letter import DeadLetterRecord
from queues.wire.feedback import FeedbackRecord
from queues.wire.job import JobRecord
from queues.wire.ledger import LedgerEntryRecord
from queues.wire.record import VERSION
from queues.wire.result import ResultRecord

PUBLISHED = (JobRecord, FeedbackRecord, ResultRecord, LedgerEntryRecord, DeadLetterRecord)


class _Named(GenerateJsonSchema):
    """Publishes a record under the name of what it holds."""

    def normalize_name(self, name: str) -> str:
        return super().normalize_name(name).removesuffix("Record")


def json_schemas() -> dict[str, Any]:
    """Return a JSON Schema (draft 2020-12) with Job, Feedback, Result, LedgerEntry and DeadLetter under `$defs`."""
    _, document = models_json_schema(
        [(record, "validation") for record in PUBLISHED],
        title=f"Fleet wire schema v{VERSION}",
        schema_generator=_Named,
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document}


def rendered() -> str:
    """Return the text of the published file."""
    return json.dumps(json_schemas(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(rendered())

"""Lets schemathesis try the gateway's whole API as two tenants: `python -m http_fuzzing [examples] [seed]`.

Every check, in every phase, against a gateway in front of a fleet in memory that runs batches and has a receiver of
webhooks. `examples` is how many cases each operation has, and scenarios the stateful phase. Reports are in
build/fuzz-http. Exits with what schemathesis exits with: 0 if it found nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from two_tenants import TwoTenants, two_tenants
from webhook_receiver import receiving

from fleet.batches.runner import BatchRunner
from fleet.batches.settings import RunSettings
from fleet.webhooks import endpoints
from queues.batches import EveryBatch

EXAMPLES = 80
STEPS = 20
SEED = 1
SCHEMATHESIS = Path("build/schemathesis/bin/schemathesis")
FOLDER = Path("build/fuzz-http")
CALLS, REPORT = FOLDER / "calls.json", FOLDER / "report.json"

OBJECTS = (
    "POST /v1/files",
    "GET /v1/files/{file_id}",
    "GET /v1/files/{file_id}/content",
    "DELETE /v1/files/{file_id}",
    "POST /v1/batches",
    "GET /v1/batches/{batch_id}",
    "POST /v1/batches/{batch_id}/cancel",
    "POST /v1/responses",
    "GET /v1/responses/{response_id}",
    "POST /v1/responses/{response_id}/cancel",
    "DELETE /v1/responses/{response_id}",
    "POST /v1/webhook_endpoints",
    "GET /v1/webhook_endpoints/{webhook_endpoint_id}",
    "POST /v1/webhook_endpoints/{webhook_endpoint_id}",
    "POST /v1/webhook_endpoints/{webhook_endpoint_id}/rotate_secret",
    "POST /v1/webhook_endpoints/{webhook_endpoint_id}/test",
    "DELETE /v1/webhook_endpoints/{webhook_endpoint_id}",
)
"""What makes, finds, changes, cancels and deletes an object."""

HOOKS = Path(__file__).with_name("http_fuzzing_hooks.py")

CONFIG = """\
hooks = "{hooks}"
request-timeout = 60.0

[auth.wfc]
path = "{auth}"
peers = ["acme", "beta"]

[phases.examples]
fill-missing = true

[generation]
max-examples = {examples}

[phases.stateful]
max-steps = {steps}
link-calibration = false  # a link is right also where what it leads to has ended
"""


def write_settings(both: TwoTenants, examples: int) -> Path:
    """Write down who may do what, and return the path of schemathesis' configuration."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    auth, config = (FOLDER / "auth.json").absolute(), FOLDER / "schemathesis.toml"
    users = [
        {"name": each.name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {each.key}"}]}
        for each in both.callers.values()
    ]
    auth.write_text(json.dumps({"auth": users}))
    config.write_text(CONFIG.format(auth=auth, hooks=HOOKS, steps=STEPS, examples=examples))
    return config


@asynccontextmanager
async def gateway_with_batches() -> AsyncIterator[TwoTenants]:
    """Provide a gateway whose batches run, and whose tenants may have any number of webhook endpoints."""

    async def announce(_: object) -> None:
        """Nobody is to be told."""

    with patch.object(endpoints, "MOST_ENDPOINTS", sys.maxsize):
        async with two_tenants() as both:
            batches, settings = EveryBatch(both.tenants.shelf), RunSettings(tick_seconds=0.05)
            runner = BatchRunner(batches, both.tenants.desk, announce, settings, look_seconds=10.0)
            running = asyncio.create_task(runner.run())
            try:
                yield both
            finally:
                runner.drain()
                await running


def unreached(calls: dict[str, Any]) -> list[str]:
    """Return the operations of OBJECTS that the stateful phase never brought to a success."""
    return [each for each in OBJECTS if not calls["answered"].get(each)]


def summary(report: dict[str, Any], calls: dict[str, Any], shallow: list[str]) -> str:
    cases = ", ".join(f"{phase} {count:,}" for phase, count in calls["cases"].items())
    longest = f"one object was found up to {calls['longest']} times"
    return "\n".join(
        [
            f"operations: {report['operations']['tested']} of {report['operations']['total']}",
            f"cases: {sum(calls['cases'].values()):,} ({cases}; {longest})",
            f"never reached in the stateful phase: {', '.join(shallow) or 'none'}",
            f"findings: {report['test_cases']['unique_failures']}, errors: {len(report['errors'])}",
        ]
    )


async def main(examples: int, seed: int) -> int:
    async with AsyncExitStack() as stack:
        both = await stack.enter_async_context(gateway_with_batches())
        receiver = await stack.enter_async_context(receiving())
        config = write_settings(both, examples)
        process = await asyncio.create_subprocess_exec(
            *(SCHEMATHESIS, "--config-file", config, "run", f"{both.url}/openapi.json"),
            *("--checks", "all", "--phases", "examples,coverage,fuzzing,stateful"),
            *("--seed", str(seed), "--continue-on-failure"),
            *("--report-json-path", REPORT, "--report-junit-path", FOLDER / "junit.xml"),
            env={**os.environ, "FUZZ_CALLS": str(CALLS), "FUZZ_RECEIVER": receiver.url},
        )
        found = await process.wait()
    shallow = unreached(json.loads(CALLS.read_text()))
    sys.stdout.write(summary(json.loads(REPORT.read_text()), json.loads(CALLS.read_text()), shallow) + "\n")
    return found


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*map(int, sys.argv[1:]), *(EXAMPLES, SEED)[len(sys.argv) - 1 :])))

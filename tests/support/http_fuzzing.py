"""Lets schemathesis try the gateway's whole API as two tenants: `python -m http_fuzzing [seconds] [seed]`.

Every check, in every phase, against a gateway in front of a fleet in memory. schemathesis prints its summary and leaves
its reports in build/fuzz-http. Exits with what schemathesis exits with: 0 if it found nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from two_tenants import TwoTenants, two_tenants

SECONDS = 120
SEED = 1
SCHEMATHESIS = Path("build/schemathesis/bin/schemathesis")
FOLDER = Path("build/fuzz-http")

HOOKS = Path(__file__).with_name("http_fuzzing_hooks.py")

CONFIG = """\
hooks = "{hooks}"
request-timeout = 60.0

[auth.wfc]
path = "{auth}"
peers = ["acme", "beta"]

# What no schema can say: which regions, providers and targets the catalogue has, and where a webhook may lead.
[[operations]]
include-path-regex = "^/v1/(chat/completions|responses|webhook_endpoints(/[^/]+)?)$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "429"]
"""


def write_settings(both: TwoTenants) -> Path:
    """Write down who may do what, and return the path of schemathesis' configuration."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    auth, config = (FOLDER / "auth.json").absolute(), FOLDER / "schemathesis.toml"
    users = [
        {"name": each.name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {each.key}"}]}
        for each in both.callers.values()
    ]
    auth.write_text(json.dumps({"auth": users}))
    config.write_text(CONFIG.format(auth=auth, hooks=HOOKS))
    return config


async def main(seconds: int, seed: int) -> int:
    async with two_tenants() as both:
        config = write_settings(both)
        process = await asyncio.create_subprocess_exec(
            *(SCHEMATHESIS, "--config-file", config, "run", f"{both.url}/openapi.json"),
            *("--checks", "all", "--phases", "examples,coverage,fuzzing,stateful", "--max-time", str(seconds)),
            *("--seed", str(seed), "--continue-on-failure", "--report", "junit,json", "--report-dir", FOLDER),
        )
        return await process.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*map(int, sys.argv[1:]), *(SECONDS, SEED)[len(sys.argv) - 1 :])))

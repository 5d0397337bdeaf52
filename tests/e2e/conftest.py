"""One whole fleet for all end-to-end tests, started as a user starts it: `fleet up`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from otlp_sink import OtlpSink
from patience import PATIENCE_SECONDS

from fleet.loopback import free_port

INVENTED_KEY = "sk-invented-for-tests-0123456789"


@dataclass(frozen=True)
class RunningFleet:
    pid: int
    nats_url: str
    serve_url: str
    dashboard_url: str
    targets: tuple[str, ...]
    environment: dict[str, str]
    spans: OtlpSink

    def command(self, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run `fleet ...` against this fleet."""
        return subprocess.run(
            [sys.executable, "-m", "fleet.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            **options,
        )


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory) -> Path:
    """The shipped catalogue, with two cloud targets that are answered by the fleet's own engine, and with patience."""
    shipped = yaml.safe_load(Path("deployments/catalogue.yaml").read_text())
    for row in shipped["targets"]:
        row["timeout_seconds"] = PATIENCE_SECONDS / 2
        if row["provider"] in ("openai", "anthropic"):
            row.update(model="llama-70b", context_tokens=512)
            row.pop("reasoning", None)  # the engine does not think
    path = tmp_path_factory.mktemp("catalogue") / "catalogue.yaml"
    path.write_text(yaml.safe_dump(shipped))
    return path


@pytest.fixture(scope="session")
def rules(tmp_path_factory) -> Path:
    """The shipped rules, but on a slow machine no job expires, and plan free trusts no answer: no calibrated one is
    sure. So what climbs does not depend on what the models say. Tenant globex shares no cache."""
    shipped = yaml.safe_load(Path("policies/rules.yaml").read_text())
    shipped["deadlines"] |= {"interactive_seconds": 2 * PATIENCE_SECONDS, "standard_seconds": 2 * PATIENCE_SECONDS}
    shipped["plans"]["free"]["thresholds"] = dict.fromkeys(("simple", "medium", "complex"), 1.0)
    shipped["prefix_cache"]["tenants"] = {"globex": False}
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    path.write_text(yaml.safe_dump(shipped))
    return path


@pytest.fixture(scope="package")
def fleet(tmp_path_factory, catalogue, rules) -> Iterator[RunningFleet]:
    """NATS, Ray Serve with three vLLM engines, the dispatcher; OpenAI's and Anthropic's SDKs aimed at one of them."""
    http_port = free_port()
    with OtlpSink() as spans:
        environment = os.environ | {
            "FLEET_DATA_DIR": str(tmp_path_factory.mktemp("fleet")),
            "FLEET_NATS_PORT": "0",
            "FLEET_DASHBOARD_PORT": "0",
            "FLEET_HTTP_PORT": str(http_port),
            "FLEET_CONSOLE_PORT": "0",
            "FLEET_GATEWAY_PORT": "0",
            "FLEET_CATALOGUE_PATH": str(catalogue),
            "FLEET_RULES_PATH": str(rules),
            "FLEET_OPENAI_BASE_URL": f"http://127.0.0.1:{http_port}/llama-70b/v1",
            "FLEET_ANTHROPIC_BASE_URL": f"http://127.0.0.1:{http_port}/llama-70b",
            "OPENAI_API_KEY": INVENTED_KEY,
            "ANTHROPIC_API_KEY": INVENTED_KEY,
            "OTEL_EXPORTER_OTLP_ENDPOINT": spans.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        environment.pop("FLEET_NATS_URL", None)
        process = subprocess.Popen(
            [sys.executable, "-m", "fleet.cli", "up", "--json"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield _whereabouts(process, environment, spans)
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE_SECONDS)
            assert process.returncode == 0, errors


def _whereabouts(process: subprocess.Popen[str], environment: dict[str, str], spans: OtlpSink) -> RunningFleet:
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline()
    assert line, process.stderr.read()
    told = json.loads(line)
    environment |= {"FLEET_NATS_URL": told["nats_url"], "FLEET_RAY_DASHBOARD_URL": told["dashboard_url"]}
    return RunningFleet(
        process.pid,
        told["nats_url"],
        told["openai_url"],
        told["dashboard_url"],
        tuple(told["targets"]),
        environment,
        spans,
    )

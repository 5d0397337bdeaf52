# Shows: an endpoint of your own that speaks the OpenAI format, as the only target of a dispatcher without Ray.
# Needs: nothing that runs: it starts NATS, a stand-in for your endpoint and a dispatcher, and stops them again.
# Run:   .venv/bin/python examples/own_provider.py

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import yaml

from fleet.app import apply_topology
from fleet.client import FleetClient
from fleet.settings.documents import shipped
from queues.server.embedded import EmbeddedServer

# `logprobs` among the capabilities: the endpoint gives token probabilities, and answers are judged by them.
CATALOGUE = """
providers:
  house:
    base_url: {base_url}
    key_variable: HOUSE_KEY
targets:
  - name: house-model
    provider: house
    model: house/model-1
    input_usd_per_million_tokens: 0.10
    output_usd_per_million_tokens: 0.40
    context_tokens: 8192
    capabilities: [text, json_schema, logprobs]
    latency: fast
    max_in_flight: 16
"""


class StandIn(BaseHTTPRequestHandler):
    """In place of your endpoint: POST /v1/chat/completions, one answer for all."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        token = {"token": "Hello!", "logprob": -0.02, "top_logprobs": [{"token": "Hello!", "logprob": -0.02}]}
        message = {"role": "assistant", "content": "Hello!"}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": {"content": [token]}}
        reply = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": request["model"]}
        reply |= {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}}
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def endpoint() -> Iterator[str]:
    """Serve the stand-in; yields its base URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), StandIn) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def write(folder: Path, base_url: str) -> dict[str, str]:
    """Write catalogue and rules into `folder`; the variables that name them."""
    rules = yaml.safe_load(shipped("policies", "rules.yaml").read_text())
    ladders = {ladder: ["house-model"] for ladder in ("simple", "medium", "complex", "critical", "vision")}
    rules |= {"phase": "house", "phases": {"house": ladders}}
    rules["confidence"]["priors"] = {}  # the shipped one is of a target that this catalogue does not have
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules, sort_keys=False))
    (folder / "catalogue.yaml").write_text(CATALOGUE.format(base_url=base_url))
    return {
        "FLEET_RULES_PATH": str(folder / "rules.yaml"),
        "FLEET_CATALOGUE_PATH": str(folder / "catalogue.yaml"),
    }


@contextmanager
def dispatcher(variables: dict[str, str]) -> Iterator[None]:
    """Run `fleet dispatcher`; at the end it finishes what it has begun."""
    environment = os.environ | variables | {"FLEET_LOG_LEVEL": "warning"}
    process = subprocess.Popen([sys.executable, "-m", "fleet.cli", "dispatcher"], env=environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def ask(nats_url: str) -> None:
    messages = [{"role": "user", "content": "Greet Ada Example."}]
    async with FleetClient.connect(nats_url, tenant="demo") as client:
        result = await client.run(task="chat", messages=messages, timeout_seconds=600)
    answer = result.answer.text if result.answer else result.problem
    print(f"{result.status}: {answer!r} from {result.target}, confidence {result.confidence}, ${result.cost_usd:.8f}")


with tempfile.TemporaryDirectory() as name, EmbeddedServer(Path(name, "nats")) as nats, endpoint() as base_url:
    reach = {"HOUSE_KEY": "invented-key", "FLEET_NATS_URL": nats.url}
    asyncio.run(apply_topology(nats.url))
    with dispatcher(write(Path(name), base_url) | reach):
        asyncio.run(ask(nats.url))

"""Measures one synchronous call of an instant provider: direct, by a LiteLLM proxy, by Fleet's client and gateway."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import yaml

from benchmarks.chaos.provider import Provider
from benchmarks.peers.entrants import ENVIRONMENT, FLEET
from benchmarks.peers.machine import kill_tree, processor_seconds
from benchmarks.peers.trial import Trial, trial_of
from benchmarks.peers.work import NATS, TASK, WARM_UP_JOBS, new_job, request_of
from fleet.loopback import free_port

MODEL = "gpt-4o"
KEY = f"sk-{secrets.token_hex(32)}"
"""The key of the instant provider and of the proxy, which does not start with a weak one."""

AS_CLIENT = {"service_tier": "priority", "extra_headers": {"x-fleet-task": TASK}}
"""Makes the gateway's job equal to that of `client.run`."""

CALLERS = 32
START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Synchronous:
    """One round: milliseconds per call of each way, and of the proxy what many callers at once got."""

    direct_ms: list[float]
    proxy_ms: list[float]
    client_ms: list[float]
    gateway_ms: list[float]
    proxy_calls_per_second: float
    proxy_us: float


async def synchronous(calls: int) -> Synchronous:
    """Run one round. Raises: RuntimeError or OSError if the proxy or the fleet does not work."""
    async with Provider(0, latency_seconds=(0.0, 0.0), error_share=0.0) as provider:
        direct = await _one_by_one(f"{provider.url}/v1", calls)
        async with _proxy(provider.url) as (url, pid):
            proxied = await _one_by_one(url, calls)
            started, used = time.perf_counter(), processor_seconds(pid)
            await _at_once(url, calls)
            seconds, used = time.perf_counter() - started, processor_seconds(pid) - used
        client, gateway = await _by_fleet(provider.url, calls)
    return Synchronous(direct, proxied, client, gateway, calls / seconds, 1e6 * used / calls)


async def _one_by_one(url: str, calls: int, **options: Any) -> list[float]:
    times = []
    async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        for _ in range(calls + WARM_UP_JOBS):
            started = time.perf_counter()
            await _call(client, **options)
            times.append((time.perf_counter() - started) * 1000)
    return times[WARM_UP_JOBS:]


async def _at_once(url: str, calls: int) -> None:
    left = iter(range(calls))

    async def caller(client: openai.AsyncOpenAI) -> None:
        for _ in left:
            await _call(client)

    async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        await asyncio.gather(*(caller(client) for _ in range(CALLERS)))


async def _call(client: openai.AsyncOpenAI, **options: Any) -> None:
    await client.chat.completions.create(model=MODEL, **request_of(new_job()), **options)  # type: ignore[call-overload]


@asynccontextmanager
async def _proxy(provider_url: str) -> AsyncIterator[tuple[str, int]]:
    """Run a LiteLLM proxy of one worker before the provider; yields its address and its process."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        process = _start_proxy(Path(folder), port, provider_url)
        try:
            await _until_alive(f"http://127.0.0.1:{port}/health/liveliness", process)
            yield f"http://127.0.0.1:{port}/v1", process.pid
        finally:
            kill_tree(process.pid)
            process.wait()


def _start_proxy(folder: Path, port: int, provider_url: str) -> subprocess.Popen[bytes]:
    config = folder / "litellm.yaml"
    config.write_text(yaml.safe_dump(proxy_config(provider_url)))
    words = [str(ENVIRONMENT / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "litellm.log").open("wb") as log:
        return subprocess.Popen(
            [*words, "--num_workers", "1"], env=_proxy_environment(), stdout=log, stderr=log, start_new_session=True
        )


def proxy_config(provider_url: str) -> dict[str, object]:
    """Return the proxy's configuration as its page on production advises: no verbose logging, no retries of its own."""
    model = {"model": f"openai/{MODEL}", "api_base": f"{provider_url}/v1", "api_key": KEY}
    return {
        "model_list": [{"model_name": MODEL, "litellm_params": model}],
        "litellm_settings": {"set_verbose": False, "num_retries": 0, "request_timeout": 60},
        "general_settings": {"master_key": KEY},
    }


def _proxy_environment() -> dict[str, str]:
    quiet = {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return {**os.environ, **quiet}


async def _until_alive(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait for the proxy. Raises: RuntimeError if it ends or does not come."""
    deadline = time.monotonic() + START_SECONDS
    while not await asyncio.to_thread(_is_alive, url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the LiteLLM proxy did not start")
        await asyncio.sleep(0.1)


def _is_alive(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310  # an address of our own
            return bool(reply.status == 200)
    except OSError:
        return False


async def _by_fleet(provider_url: str, calls: int) -> tuple[list[float], list[float]]:
    """Return the times by `client.run` and by the gateway, through the same dispatcher."""
    async with AsyncExitStack() as stack:
        trial = await stack.enter_async_context(trial_of(FLEET))
        await trial.client("fill", 0)
        trial.start(extra={"OPENAI_API_KEY": KEY, "FLEET_OPENAI_BASE_URL": f"{provider_url}/v1"})
        by_client: list[float] = json.loads(await trial.client("calls", calls + WARM_UP_JOBS))
        url = await stack.enter_async_context(_gateway(trial))
        return by_client, await _one_by_one(url, calls, **AS_CLIENT)


@asynccontextmanager
async def _gateway(trial: Trial) -> AsyncIterator[str]:
    """Run `fleet gateway` on the trial's broker, and provide its address. Raises: RuntimeError if it does not start."""
    words = (sys.executable, "-m", "fleet.cli", "gateway", "run", "--keys", "none", "--port", "0", "--json")
    settings = {"FLEET_NATS_URL": trial.environment[NATS], "FLEET_METRICS_PORT": "0", "FLEET_LOG_LEVEL": "warning"}
    process = await asyncio.create_subprocess_exec(*words, env=trial.environment | settings, stdout=PIPE)
    assert process.stdout is not None
    try:
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError("the gateway did not start")
        yield json.loads(line)["gateway_url"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()

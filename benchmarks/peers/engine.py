"""Runs one vLLM engine of the 8B stand-in behind its own HTTP server, for jobs that are real chats."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks.peers.entrants import OWN
from benchmarks.peers.machine import kill_tree
from benchmarks.peers.work import ENGINE, ENGINE_MODEL
from deployments.profiles import Profile, model
from fleet.loopback import free_port

START_SECONDS = 300.0


@contextmanager
def engine() -> Iterator[None]:
    """Run the engine, and let every worker that starts meanwhile know of it.

    Raises: RuntimeError if it does not start.
    """
    port = free_port()
    described = model(Profile.LOCAL, ENGINE_MODEL)
    words = [
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        described.weights,
        "--served-model-name",
        ENGINE_MODEL,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [str(OWN / "python"), *words, *flags_of(described.engine)],
            env={**os.environ, **described.environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait_until_healthy(f"http://127.0.0.1:{port}/health", process)
            os.environ[ENGINE] = f"127.0.0.1:{port}"
            yield
        finally:
            os.environ.pop(ENGINE, None)
            kill_tree(process.pid)
            process.wait()


def flags_of(arguments: Mapping[str, object]) -> list[str]:
    """Return the engine's arguments as those of vLLM's HTTP server."""
    flags: list[str] = []
    for name, value in arguments.items():
        flag = f"--{name.replace('_', '-')}"
        flags += [flag] if value is True else [flag, str(value)]
    return flags


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _is_healthy(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("vLLM's HTTP server did not start")
        time.sleep(0.5)


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310  # an address of our own
            return bool(reply.status == 200)
    except OSError:
        return False

"""The work where it is a real chat: a call of the engine over HTTP, by a connection that each thread keeps."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from benchmarks.peers.work import ENGINE, ENGINE_MODEL, answer_to

AT_ONCE = 64
"""Calls at once of a worker that awaits them; one that runs threads has as many as threads."""

MAX_TOKENS = 16
_own = threading.local()


def chat(body: str) -> str:
    """Return the engine's greedy answer to a chat request.

    Raises: OSError or http.client.HTTPException if it has none.
    """
    if not hasattr(_own, "connection"):
        _own.connection = http.client.HTTPConnection(os.environ[ENGINE], timeout=60)
    try:
        return _asked(_own.connection, body)
    except (http.client.HTTPException, ConnectionError):
        _own.connection.close()  # the server closes one that was idle for some seconds; the next request opens it again
        return _asked(_own.connection, body)


def _asked(connection: http.client.HTTPConnection, body: str) -> str:
    request = {**json.loads(body), "model": ENGINE_MODEL, "max_tokens": MAX_TOKENS, "temperature": 0}
    headers = {"content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(request), headers)
    answer = json.loads(connection.getresponse().read())
    return str(answer["choices"][0]["message"]["content"])


async def answer_soon(body: str) -> str:
    """Return the answer: at once, or the engine's, with other calls meanwhile."""
    if ENGINE not in os.environ:
        return answer_to(body)
    return await asyncio.get_running_loop().run_in_executor(_pool(), chat, body)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE)


def answer_now(body: str) -> str:
    """Return the answer: at once, or the engine's, while this thread waits."""
    return chat(body) if ENGINE in os.environ else answer_to(body)

"""Starts an engine that answers as a replica's does, without Ray: to try a model away from the running fleet."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from deployments.profiles import ModelProfile, engine_arguments

if TYPE_CHECKING:
    from deployments.replica.adapters import AdaptedChat

QUIET = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}


class OfflineEngine:
    """A started vLLM engine with the parts of Ray's that a chat needs."""

    def __init__(self, client: Any, state: Any) -> None:
        self._engine_client = client
        self._oai_models = state.openai_serving_models
        self._oai_serving_chat = state.openai_serving_chat

    async def chat(self, request: Any) -> AsyncIterator[Any]:
        """Yield what vLLM's OpenAI layer answers."""
        yield await self._oai_serving_chat.create_chat_completion(request)


@asynccontextmanager
async def offline_chat(target: str, described: ModelProfile, confidence: bool = True) -> AsyncIterator[AdaptedChat]:
    """Start the engine of a model in a process of its own, and end it afterwards.

    Its environment is set in this process, before vLLM is imported: it stays. Raises: what vLLM raises where it cannot
    start.
    """
    os.environ.update({**QUIET, **described.environment})
    from deployments.replica.adapters import adapted_chat

    engine = await _started(target, described)
    try:
        yield adapted_chat(engine, target, confidence)
    finally:
        engine._engine_client.shutdown()


async def _started(target: str, described: ModelProfile) -> OfflineEngine:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state
    from vllm.entrypoints.launchers.cli_args import FrontendArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.executor.abstract import Executor

    from deployments.replica.engine import prepare

    given = {"model": described.weights, "served_model_name": [target], **engine_arguments(described)}
    of_frontend = {field.name for field in fields(FrontendArgs)}
    front = FrontendArgs(**{name: value for name, value in given.items() if name in of_frontend})
    args = AsyncEngineArgs(**{name: value for name, value in given.items() if name not in of_frontend})
    config = args.create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
    prepare(config)
    client = AsyncLLM(vllm_config=config, executor_class=Executor.get_class(config), log_stats=True)
    state = Namespace()
    tasks = await client.get_supported_tasks()
    await init_app_state(client, state, Namespace(**{**vars(front), **vars(args)}), tasks)
    return OfflineEngine(client, state)

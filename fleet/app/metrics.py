"""The metrics of a process: served for Prometheus, announced to its discovery, and sent over OTLP, while it works."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from fleet.logs import get_logger
from fleet.settings.environment import Settings
from fleet.telemetry.metrics.discovery import announced
from fleet.telemetry.metrics.families import Read

log = get_logger(__name__)


@asynccontextmanager
async def metrics_of(
    process: str, read: Read, is_healthy: Callable[[], bool], settings: Settings
) -> AsyncIterator[None]:
    """Let others have the metrics that `read` returns. Where they cannot be served, that is logged and work goes on.

    `process` says what this one is, `is_healthy` whether it does its work.

    Raises: ConfigError if the environment asks for an OTLP exporter that does not exist.
    """
    # Loaded here because publishers load this package too, and serve nothing.
    from fleet.telemetry.metrics.otlp import sender_from_environment

    async with AsyncExitStack() as parts:
        sender = sender_from_environment(read, os.environ)
        if sender is not None:
            parts.push_async_callback(sender.close)
            sending = asyncio.create_task(sender.run())
            parts.callback(sending.cancel)
        await _serve(parts, process, read, is_healthy, settings)
        yield


async def _serve(
    parts: AsyncExitStack, process: str, read: Read, is_healthy: Callable[[], bool], settings: Settings
) -> None:
    from fleet.telemetry.metrics.server import MetricsServer

    server = MetricsServer(read, is_healthy)
    try:
        port = await server.start(settings.metrics_host, settings.metrics_port)
    except OSError as error:
        log.error("metrics_not_served", host=settings.metrics_host, port=settings.metrics_port, error=str(error))
        return
    parts.push_async_callback(server.close)
    parts.enter_context(announced(settings.metrics_discovery, process, settings.metrics_host, port))
    log.info("metrics_served", host=settings.metrics_host, port=port)

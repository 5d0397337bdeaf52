"""Runs the gateway: as a server in this process, or as an application for Ray Serve."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext

from fastapi import FastAPI

from fleet.app import login_of, open_keys, rules_of
from fleet.app.metrics import metrics_of
from fleet.app.tenants import tenants_of
from fleet.gateway.access.keyring import Keyring
from fleet.gateway.app import application
from fleet.gateway.metrics import RequestCounts
from fleet.gateway.state import Doors
from fleet.model.errors import ConfigError
from fleet.settings.environment import LOCAL_NATS_URL, Settings, load
from fleet.web import LOOPBACK, Certificate, served_on


@asynccontextmanager
async def doors_of_settings(settings: Settings) -> AsyncIterator[Doors]:
    """Provide the doors to the broker that the settings name. Raises: QueueUnavailable, ConfigError."""
    async with AsyncExitStack() as stack:
        tenants = await stack.enter_async_context(tenants_of(settings))
        keys = None if settings.gateway_keys == "none" else await stack.enter_async_context(_keyring(settings))
        doors = Doors(tenants, rules_of(settings), keys, settings.tenant, webhooks=tenants.webhooks(settings))
        stack.push_async_callback(doors.close)
        yield doors


@asynccontextmanager
async def _keyring(settings: Settings) -> AsyncIterator[Keyring]:
    store = await open_keys(settings.nats_url or LOCAL_NATS_URL, login_of(settings))
    try:
        async with Keyring(store) as keyring:
            yield keyring
    finally:
        await store.close()


def gateway_from_environment() -> FastAPI:
    """Return the gateway of a Serve replica. Raises: ConfigError if a setting cannot be used."""
    return application(doors_of_settings(load()))


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[str]:
    """Serve the gateway in this process until the block ends, and provide its address.

    Raises: QueueUnavailable; ConfigError if the address is taken, or a setting cannot be used.
    """
    if settings.gateway_keys == "none" and settings.gateway_host not in LOOPBACK:
        raise ConfigError("FLEET_GATEWAY_KEYS", f"may be none on {', '.join(LOOPBACK)} alone")
    certificate = _certificate(settings)
    async with doors_of_settings(settings) as doors, _served(doors, settings, certificate) as port:
        host = f"[{settings.gateway_host}]" if ":" in settings.gateway_host else settings.gateway_host
        yield f"{'http' if certificate is None else 'https'}://{host}:{port}"


@asynccontextmanager
async def _served(doors: Doors, settings: Settings, certificate: Certificate | None) -> AsyncIterator[int]:
    """Serve the doors and the counts of what comes through them, and provide the port."""
    counts = RequestCounts()
    where = (settings.gateway_host, settings.gateway_port, "FLEET_GATEWAY_PORT", certificate)
    served = served_on(application(nullcontext(doors), counts), *where)
    async with metrics_of("gateway", counts.read, lambda: True, settings), served as port:
        yield port


def _certificate(settings: Settings) -> Certificate | None:
    chain, key = settings.gateway_tls_cert_path, settings.gateway_tls_key_path
    if chain is None and key is None:
        return None
    if chain is None or key is None:
        raise ConfigError("FLEET_GATEWAY_TLS_KEY_PATH", "goes with FLEET_GATEWAY_TLS_CERT_PATH: set both or neither")
    return Certificate(chain, key)

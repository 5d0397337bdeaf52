"""Configuration files for the nats-servers of a production fleet: one per server, and the accounts they share."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath

from fleet.model.errors import ConfigError
from queues.server.conf_syntax import Value, Variable, comment, document
from queues.server.embedded import MAX_PAYLOAD_BYTES
from queues.server.permissions import (
    User,
    account_of,
    fleet_users,
    system_user,
    tenant_services,
    tenant_streams,
    tenant_user,
)

FLEET_ACCOUNT = "FLEET"
SYSTEM_ACCOUNT = "SYS"

ACCOUNTS_FILE = "accounts.conf"
SECRETS_FILE = "secrets.env"

DEFAULT_PORT = 4222
CLUSTER_PORT_OFFSET = 2000
MONITOR_PORT_OFFSET = 4000
"""Offsets from the clients' port, as at NATS: beside 4222, other servers use 6222 and monitoring 8222."""

TENANT_LIMITS: dict[str, Value] = {"max_connections": 1000, "max_subscriptions": 10_000}
"""Limits of one tenant's account on a server, so that none can exhaust it for the others."""


class Sync(StrEnum):
    """The time until what a server has confirmed is on its disk for good."""

    ALWAYS = "always"
    SECOND = "1s"
    DEFAULT = "2m"


LOSES = {
    Sync.ALWAYS: "a power cut loses nothing confirmed",
    Sync.SECOND: "a power cut loses up to a second of what was confirmed",
    Sync.DEFAULT: "a power cut loses up to two minutes of what was confirmed: NATS' own default",
}
"""The cost of a power cut. The end of the server process alone loses nothing under any setting."""


@dataclass(frozen=True, slots=True)
class Server:
    """A nats-server, and the address clients and the other servers reach it at."""

    name: str
    host: str
    port: int = DEFAULT_PORT

    @property
    def is_local(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, slots=True)
class Tls:
    """Files as the servers see them. `certificate` and `key` may hold {server}, which becomes the server's name."""

    certificate: str
    key: str
    ca: str

    @staticmethod
    def in_folder(folder: PurePath) -> Tls:
        return Tls(str(folder / "{server}.pem"), str(folder / "{server}-key.pem"), str(folder / "ca.pem"))


@dataclass(frozen=True, slots=True)
class ClusterLayout:
    """The configuration to write. `max_file_bytes` bounds all streams of a server together; None: 3/4 of its free disk.

    With `includes_secrets` the servers read the passwords from `SECRETS_FILE`, otherwise from their environment.
    """

    servers: Sequence[Server]
    tenants: Sequence[str]
    sync: Sync = Sync.ALWAYS
    store_dir: str = "/var/lib/fleet/nats"
    max_file_bytes: int | None = None
    tls: Tls | None = None
    includes_secrets: bool = False


def servers_at(addresses: Sequence[str]) -> tuple[Server, ...]:
    """Return servers named nats-1, nats-2, … at `host` or `host:port`.

    Raises: ConfigError if an address is not valid, or given twice, or their number is not 1, 3 or 5.
    """
    servers = tuple(_server(number, address) for number, address in enumerate(addresses, 1))
    if len(servers) not in (1, 3, 5):
        raise ConfigError("server", "must be given once, or 3 or 5 times: an even number tolerates no more failures")
    if len({(server.host, server.port) for server in servers}) < len(servers):
        raise ConfigError("server", "must be different addresses")
    return servers


def _server(number: int, address: str) -> Server:
    host, _, port = address.rpartition(":") if ":" in address else (address, "", str(DEFAULT_PORT))
    if not host or not port.isdigit() or not 0 < int(port) <= 65535 - MONITOR_PORT_OFFSET or ":" in host:
        raise ConfigError(
            "server", f"{address!r} must be host or host:port, the port at most {65535 - MONITOR_PORT_OFFSET}"
        )
    return Server(f"nats-{number}", host, int(port))


def users_of(plan: ClusterLayout) -> tuple[User, ...]:
    """Return everybody who has a password."""
    return (*fleet_users(), system_user(), *map(tenant_user, plan.tenants))


def files_of(plan: ClusterLayout) -> Mapping[str, str]:
    """Return the text of every file by name; none holds a secret.

    Raises: ConfigError if passwords would cross a network in clear.
    """
    if plan.tls is None and not all(server.is_local for server in plan.servers):
        raise ConfigError("tls_dir", "is required where a server is elsewhere: passwords would travel in clear")
    configs = {f"{server.name}.conf": _server_file(plan, server) for server in plan.servers}
    return {**configs, ACCOUNTS_FILE: _accounts_file(plan)}


def _server_file(plan: ClusterLayout, server: Server) -> str:
    values: dict[str, Value] = {
        "server_name": server.name,
        "listen": f"{_bound_to(server)}:{server.port}",
        "http": f"127.0.0.1:{server.port + MONITOR_PORT_OFFSET}",
        "max_payload": MAX_PAYLOAD_BYTES,
        "jetstream": _jetstream(plan, server),
    }
    if plan.tls is not None:
        values["tls"] = _tls(plan.tls, server)
    if len(plan.servers) > 1:
        values["cluster"] = _cluster(plan, server)
    head = comment(f"{server.name}: start it with `nats-server -c {server.name}.conf`. Written by `fleet nats-config`.")
    return head + document(values, _notes(plan)) + f'\ninclude "./{ACCOUNTS_FILE}"\n'


def _notes(plan: ClusterLayout) -> Mapping[str, str]:
    return {
        "http": "Health and metrics, for this machine only.",
        "max_payload": "Room for a job with the answers of all its attempts.",
        "jetstream": f"sync_interval {plan.sync}: {LOSES[plan.sync]}.",
        "cluster": "The servers show each other their certificates; nobody else may join."
        if plan.tls is not None
        else "Without certificates anybody on this machine may join: to try things out.",
    }


def _bound_to(server: Server) -> str:
    return server.host if server.is_local else "0.0.0.0"  # noqa: S104  # clients come from elsewhere, over TLS


def _jetstream(plan: ClusterLayout, server: Server) -> Value:
    # Each server its own folder, also where several run on one machine.
    values: dict[str, Value] = {"store_dir": f"{plan.store_dir}/{server.name}", "sync_interval": str(plan.sync)}
    if plan.max_file_bytes is not None:
        values["max_file_store"] = plan.max_file_bytes
    return values


def _tls(tls: Tls, server: Server) -> dict[str, Value]:
    return {
        "cert_file": tls.certificate.format(server=server.name),
        "key_file": tls.key.format(server=server.name),
    }


def _cluster(plan: ClusterLayout, server: Server) -> Value:
    ports = {other: other.port + CLUSTER_PORT_OFFSET for other in plan.servers}
    values: dict[str, Value] = {
        "name": "fleet",
        "listen": f"{_bound_to(server)}:{ports[server]}",
        "routes": [f"nats-route://{other.host}:{port}" for other, port in ports.items() if other != server],
    }
    if plan.tls is not None:
        values["tls"] = {**_tls(plan.tls, server), "ca_file": plan.tls.ca, "verify": True}
    return values


def _accounts_file(plan: ClusterLayout) -> str:
    accounts: dict[str, Value] = {
        SYSTEM_ACCOUNT: {"users": [_user(system_user())]},
        FLEET_ACCOUNT: {
            "jetstream": "enabled",
            "users": [_user(user) for user in fleet_users()],
            "exports": [export for tenant in plan.tenants for export in _exports(tenant)],
        },
    }
    accounts |= {account_of(tenant): _tenant_account(tenant) for tenant in plan.tenants}
    text = "Who may do what; the same file for every server. After a change: `nats-server --signal reload`."
    secrets = f'include "./{SECRETS_FILE}"\n' if plan.includes_secrets else ""
    return comment(text) + secrets + document({"system_account": SYSTEM_ACCOUNT, "accounts": accounts}, {})


def _exports(tenant: str) -> list[Value]:
    to = [account_of(tenant)]
    services: list[Value] = [{"service": subject, "accounts": to} for subject in tenant_services(tenant)]
    return [*services, *({"stream": subject, "accounts": to} for subject in tenant_streams(tenant))]


def _tenant_account(tenant: str) -> Value:
    imports: list[Value] = [
        *({"service": {"account": FLEET_ACCOUNT, "subject": subject}} for subject in tenant_services(tenant)),
        *({"stream": {"account": FLEET_ACCOUNT, "subject": subject}} for subject in tenant_streams(tenant)),
    ]
    return {"limits": TENANT_LIMITS, "users": [_user(tenant_user(tenant))], "imports": imports}


def _user(user: User) -> Value:
    values: dict[str, Value] = {"user": user.name, "password": Variable(user.variable)}
    if user.publish:
        values["permissions"] = {"publish": {"allow": user.publish}, "subscribe": {"allow": user.subscribe}}
    return values

"""`fleet nats-config`: configuration files for the NATS servers of a production fleet."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fleet.cli.options import AsJson
from fleet.cli.output import Output, friendly
from fleet.files import write_secret, write_whole

if TYPE_CHECKING:
    from queues.server.config import ClusterLayout, Tls
    from queues.server.permissions import User

GIGABYTE = 1024**3


class SyncOption(StrEnum):
    """A copy of `queues.server.config.Sync`, so that `fleet --help` loads no queue."""

    ALWAYS = "always"
    SECOND = "1s"
    DEFAULT = "2m"


Folder = Annotated[Path, typer.Option("--output", "-o", help="The folder to write to; made if it is not there.")]
Tenants = Annotated[list[str] | None, typer.Option(help="Gets an account and a user of its own; repeatable.")]
Servers = Annotated[
    list[str] | None,
    typer.Option(help="host or host:port of a NATS server, 3 or 5 times for a cluster; without any it is 127.0.0.1."),
]
OnDisk = Annotated[
    SyncOption,
    typer.Option(help="When data is on disk for good: a power cut loses nothing, 1 second or 2 minutes (fastest)."),
]
StoreDir = Annotated[str, typer.Option(help="Where the servers keep their streams.")]
MaxFile = Annotated[int | None, typer.Option(min=1, help="What all streams of a server may take on its disk.")]
TlsDir = Annotated[
    Path | None, typer.Option(help="Folder on the servers with <server>.pem, <server>-key.pem (nats-1, …) and ca.pem.")
]
DevCa = Annotated[
    bool, typer.Option("--dev-ca", help="Make a certificate authority and certificates, to try things out.")
]
Secrets = Annotated[
    bool,
    typer.Option(
        "--secrets", help="Write secrets.env with a random password for each user that has none there; servers read it."
    ),
]


def nats_config(
    output: Folder,
    tenant: Tenants = None,
    server: Servers = None,
    sync: OnDisk = SyncOption.ALWAYS,
    store_dir: StoreDir = "/var/lib/fleet/nats",
    max_file_gb: MaxFile = None,
    tls_dir: TlsDir = None,
    dev_ca: DevCa = False,
    write_secrets: Secrets = False,
    as_json: AsJson = False,
) -> None:
    """Write the configuration of NATS for production: accounts, users, TLS, cluster. No secret is printed.

    Every tenant has an account of its own and sees nothing of the others. Passwords are references to environment
    variables. Start each server with `nats-server -c nats-1.conf`, then create the streams with `fleet topology
    apply` as the user operator.
    """
    from queues.server.config import ClusterLayout, Sync, servers_at
    from queues.server.permissions import checked_tenants

    with friendly(as_json):
        plan = ClusterLayout(
            servers=servers_at(server or ["127.0.0.1"]),
            tenants=checked_tenants(tenant or []),
            sync=Sync(sync.value),
            store_dir=store_dir,
            max_file_bytes=None if max_file_gb is None else max_file_gb * GIGABYTE,
            tls=_tls(tls_dir, output if dev_ca else None),
            includes_secrets=write_secrets,
        )
        _report(plan, output, _write(plan, output, dev_ca), Output(as_json))


def _write(plan: ClusterLayout, folder: Path, makes_certificates: bool) -> list[str]:
    """Write the configuration and return the names of its files.

    Raises: ConfigError before anything is written.
    """
    from queues.server.config import files_of, users_of
    from queues.server.dev_ca import write_certificates

    files = files_of(plan)
    folder.mkdir(parents=True, exist_ok=True)
    if makes_certificates:
        write_certificates(folder / "tls", plan.servers)
    for name, text in files.items():
        write_whole(folder / name, text.encode())
    if plan.includes_secrets:
        _write_secrets(folder, users_of(plan))
    return sorted(files)


def _tls(tls_dir: Path | None, made_in: Path | None) -> Tls | None:
    from fleet.model.errors import ConfigError
    from queues.server.config import Tls

    if tls_dir is not None and made_in is not None:
        raise ConfigError("tls_dir", "and --dev-ca exclude each other")
    folder = made_in.absolute() / "tls" if made_in is not None else tls_dir
    return None if folder is None else Tls.in_folder(folder)


def _write_secrets(folder: Path, users: Sequence[User]) -> None:
    """Add a password for each user without one. Each line suits a shell, systemd and nats-server alike."""
    from queues.server.config import SECRETS_FILE

    path = folder / SECRETS_FILE
    kept = path.read_bytes() if path.exists() else b""
    if kept and not kept.endswith(b"\n"):
        kept += b"\n"
    known = {line.partition(b"=")[0].strip() for line in kept.splitlines()}
    # A leading letter makes nats-server take it for a string, whatever follows.
    new = [f"{user.variable}=p{secrets.token_hex(24)}\n" for user in users if user.variable.encode() not in known]
    write_secret(path, kept + "".join(new).encode())


def _report(plan: ClusterLayout, folder: Path, files: Sequence[str], output: Output) -> None:
    from queues.server.config import LOSES, SECRETS_FILE, users_of

    users = users_of(plan)
    written = [*files, SECRETS_FILE] if plan.includes_secrets else list(files)
    variables = {user.name: user.variable for user in users}
    output.object({"directory": str(folder), "files": written, "users": variables, "sync": str(plan.sync)})
    table = Table.grid(padding=(0, 2))
    for user in users:
        table.add_row(user.name, f"${user.variable}", user.purpose)
    output.show(f"Written to {folder}: {', '.join(written)}", table)
    output.show(f"sync_interval {plan.sync}: {LOSES[plan.sync]}.")
    output.show(f"Then: fleet topology apply --replicas {3 if len(plan.servers) > 1 else 1}, as the user operator.")

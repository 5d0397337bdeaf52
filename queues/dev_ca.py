"""A certificate authority for trying things out, made with the `openssl` of this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fleet.model.errors import ConfigError
from queues.server_config import Server

DAYS = "825"
"""The longest a server certificate may be valid for clients on Apple's systems."""

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def write_certificates(folder: Path, servers: Sequence[Server]) -> None:
    """`ca.pem`, kept if it is there, and `<server>.pem` with `<server>-key.pem`; keys are readable by their owner only.

    Raises: ConfigError where there is no openssl, or it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ca, ca_key = folder / "ca.pem", folder / "ca-key.pem"
    if not (ca.exists() and ca_key.exists()):
        use = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        _request("-subj", "/CN=Fleet development CA", *use, "-keyout", str(ca_key), "-out", str(ca))
    for server in servers:
        _sign(server, ca, ca_key)


def _sign(server: Server, ca: Path, ca_key: Path) -> None:
    names = f"{'IP' if server.host.replace('.', '').isdigit() else 'DNS'}:{server.host}"
    extensions = [
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=critical,digitalSignature",
        # Clients are served, and towards the other servers it is a client itself.
        "extendedKeyUsage=serverAuth,clientAuth",
        f"subjectAltName={names},DNS:localhost,IP:127.0.0.1",
    ]
    _request(
        *("-CA", str(ca), "-CAkey", str(ca_key), "-subj", f"/CN={server.name}"),
        *(word for extension in extensions for word in ("-addext", extension)),
        *("-keyout", str(ca.with_name(f"{server.name}-key.pem")), "-out", str(ca.with_name(f"{server.name}.pem"))),
    )


def _request(*words: str) -> None:
    before = os.umask(0o077)
    try:
        subprocess.run(["openssl", "req", "-x509", *NEW_KEY, "-days", DAYS, *words], check=True, capture_output=True)
    except FileNotFoundError:
        raise ConfigError("dev_ca", "needs the command openssl; or name your own certificates with --tls-dir") from None
    except subprocess.CalledProcessError as error:
        raise ConfigError("dev_ca", f"openssl failed: {error.stderr.decode(errors='replace').strip()}") from None
    finally:
        os.umask(before)

"""A certificate authority for trying things out, made with the `openssl` of this machine."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fleet.files import write_secret, write_whole
from fleet.model.errors import ConfigError
from queues.server.config import Server

DAYS = "825"
"""Maximum days that clients on Apple's systems accept a server certificate for."""

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def write_certificates(folder: Path, servers: Sequence[Server]) -> None:
    """Write `ca.pem` unless it exists, and `<server>.pem` with `<server>-key.pem`; only the owner may read the keys.

    Raises: ConfigError if there is no openssl, or it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ca, ca_key = folder / "ca.pem", folder / "ca-key.pem"
    if ca.exists() and ca_key.exists():
        write_secret(ca_key, ca_key.read_bytes())  # an older one may be open to others
    else:
        use = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        _request(ca, ca_key, "-subj", "/CN=Fleet development CA", *use)
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
        ca.with_name(f"{server.name}.pem"),
        ca.with_name(f"{server.name}-key.pem"),
        *("-CA", str(ca), "-CAkey", str(ca_key), "-subj", f"/CN={server.name}"),
        *(word for extension in extensions for word in ("-addext", extension)),
    )


def _request(certificate: Path, key: Path, *words: str) -> None:
    """Make both in a folder that nobody else can enter, then put them in place: openssl keeps the mode of a file."""
    with tempfile.TemporaryDirectory() as made:
        files = ("-keyout", f"{made}/key.pem", "-out", f"{made}/certificate.pem")
        _openssl("req", "-x509", *NEW_KEY, "-days", DAYS, *words, *files)
        write_secret(key, Path(made, "key.pem").read_bytes())
        write_whole(certificate, Path(made, "certificate.pem").read_bytes())


def _openssl(*words: str) -> None:
    try:
        subprocess.run(["openssl", *words], check=True, capture_output=True)
    except FileNotFoundError:
        raise ConfigError("dev_ca", "needs the command openssl; or name your own certificates with --tls-dir") from None
    except subprocess.CalledProcessError as error:
        raise ConfigError("dev_ca", f"openssl failed: {error.stderr.decode(errors='replace').strip()}") from None

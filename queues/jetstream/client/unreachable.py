"""Explains why no connection to NATS came about."""

from __future__ import annotations

import socket
import ssl

from fleet.model.errors import ConfigError, FleetError, QueueUnavailable
from queues.jetstream.client.client import UNENCRYPTED

_LOGIN = ("authorization violation", "authentication")


def unreachable(where: str, error: object, timeout_seconds: float) -> FleetError:
    """Return one line for the last error of a failed connection; `where` holds no password."""
    said = " ".join(str(error).split())
    match error:
        case ssl.SSLCertVerificationError():
            rule = f"{where} has a certificate that is not trusted ({error.verify_message}): name its authority, in PEM"
            return ConfigError("nats_ca_path", rule)
        case ssl.SSLError() | ssl.CertificateError():
            return ConfigError("nats_ca_path", f"no TLS with {where} ({said}): it may ask for TLS, or not speak it")
        case ConnectionRefusedError():
            why = "the connection was refused: nothing listens there"
        case socket.gaierror():
            why = "the host name is not known"
        case ConnectionResetError() | BrokenPipeError():
            why = "the connection was closed at once: that may be no NATS server, or its limit of connections"
        case None:
            why = f"no greeting within {timeout_seconds:g} s: it may be frozen, behind a firewall, or no NATS server"
        case _ if any(word in said.lower() for word in _LOGIN):
            return ConfigError(
                "nats_user", f"{where} refuses this login: check the user, the password or the credentials"
            )
        case _ if UNENCRYPTED in said:
            return ConfigError("nats_url", f"{where} offers no TLS, which was asked for: no login is sent without it")
        case _:
            why = said or type(error).__name__
    return QueueUnavailable(f"no NATS server answers at {where}: {why}")

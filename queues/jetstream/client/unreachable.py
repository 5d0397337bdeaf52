"""Explains why no connection to NATS came about."""

from __future__ import annotations

import socket
import ssl

from fleet.model.errors import ConfigError, FleetError, Unreachable
from queues.jetstream.client.client import UNENCRYPTED

START = "start a fleet with `fleet up`, or name another with --nats-url (FLEET_NATS_URL)"

_LOGIN = ("authorization", "authentication")


def unreachable(where: str, error: object, timeout_seconds: float, is_accepted: bool = True) -> FleetError:
    """Return the sentence for the last error of a failed connection, the same in every command, page and log.

    `where` holds no password. `error` None is a time that ran out; `is_accepted` says whether the server, or the kernel
    of its machine, took the connection by then.
    """
    if "," in where:
        where = f"the last tried of {where}"
    said = " ".join(str(error).split())
    match error:
        case ssl.SSLCertVerificationError():
            rule = f"{where} has a certificate that is not trusted ({error.verify_message}): name its authority, in PEM"
            return ConfigError("nats_ca_path", rule)
        case ssl.SSLError() | ssl.CertificateError():
            return ConfigError("nats_ca_path", f"no TLS with {where} ({said}): it may ask for TLS, or not speak it")
        case ConnectionRefusedError():
            return Unreachable(f"nothing listens at {where}: {START}")
        case socket.gaierror():
            return Unreachable(f"the host name in {where} is not known: check its spelling, and this machine's DNS")
        case ConnectionResetError() | BrokenPipeError():
            return Unreachable(f"{where} closes the connection at once: no NATS server, or its limit of connections")
        case None | TimeoutError():
            return Unreachable(_silent(where, timeout_seconds, is_accepted))
        case _ if any(word in said.lower() for word in _LOGIN):
            rule = f"{where} refuses this login: check the user, the password or the credentials"
            return ConfigError("nats_user", rule)
        case _ if UNENCRYPTED in said:
            return ConfigError("nats_url", f"{where} offers no TLS, which was asked for: no login is sent without it")
        case _:
            return Unreachable(f"no connection to {where}: {said or type(error).__name__}")


def _silent(where: str, seconds: float, is_accepted: bool) -> str:
    if is_accepted:
        return (
            f"{where} accepts the connection and says nothing for {seconds:g} s: "
            "the NATS server is frozen or overloaded, or another program has its port"
        )
    return f"{where} does not answer for {seconds:g} s: the machine is down, or a firewall drops what is sent there"

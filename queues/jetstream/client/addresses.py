"""Addresses of NATS servers, as in RFC 3986: `nats://user:password@host:port`, several separated by commas."""

from __future__ import annotations

import re
from urllib.parse import ParseResult, unquote, urlsplit

from fleet.model.errors import ConfigError

SCHEMES = ("nats", "tls", "ws", "wss")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Address(ParseResult):
    """An address as nats-py wants it, with user and password decoded; a user alone is a token."""

    __slots__ = ()

    @property
    def username(self) -> str | None:
        encoded = super().username
        return None if encoded is None else unquote(encoded)

    @property
    def password(self) -> str | None:
        encoded = super().password
        return None if encoded is None else unquote(encoded)


def servers_in(urls: str) -> list[str]:
    """Return the servers as nats-py takes them.

    Raises: ConfigError, which names the server at fault by its number and quotes no secret.
    """
    servers = [server.strip() for server in urls.split(",")]
    for number, server in enumerate(servers, 1):
        problem = _problem(server)
        if problem is not None:
            raise ConfigError("nats_url", f"server {number} of {len(servers)} {problem}")
    return servers


def _problem(server: str) -> str | None:
    try:
        parts = urlsplit(server if _SCHEME.match(server) else f"nats://{server}")
        port = parts.port
    except ValueError:
        return (
            "must be nats://host:port, a port up to 65535, an IPv6 address in [brackets], "
            "and what is special in user and password percent-encoded (, is %2C, / is %2F, @ is %40)"
        )
    if parts.scheme not in SCHEMES:
        return f"must begin with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}"
    if not parts.hostname or port == 0:
        return "must name a host, and a port from 1 to 65535"
    user_info = parts.netloc.rpartition("@")[0]
    rest = (parts.path.strip("/"), parts.query, parts.fragment)
    if "@" in user_info or _ESCAPE.search(user_info) or (parts.scheme in ("nats", "tls") and any(rest)):
        return "must have what is special in user and password percent-encoded (/ is %2F, @ is %40, % is %25)"
    return None


def without_password(urls: str) -> str:
    """Return the addresses without user and password, even if these are badly encoded, so that they may be shown."""
    shown: list[str] = []
    for piece in urls.split(","):
        scheme = _SCHEME.match(piece.strip())
        if "@" not in piece:
            shown.append(piece)
            continue
        if scheme is None and shown and _SCHEME.match(shown[-1].strip()):
            # The comma may belong to a password that began in the piece before.
            scheme = _SCHEME.match(shown.pop().strip())
        shown.append((scheme[0] if scheme else "") + piece.rpartition("@")[2])
    return ",".join(shown)

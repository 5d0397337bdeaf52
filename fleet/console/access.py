"""Decides who may see the console: whoever knows the operator's token, and whoever a trusted proxy has logged in."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet.model.errors import ConfigError

COOKIE = "fleet_console"

SESSION_SECONDS = 12 * 3600

MIN_TOKEN_CHARACTERS = 16

_CONTEXT = b"fleet console session "


def new_token() -> str:
    """Return a token for a console whose operator has chosen none."""
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, slots=True)
class Access:
    """The ways in. `proxy_header` is believed as it comes: only the proxy may be able to reach the console.

    Raises: ConfigError if nobody could come in, or if the token is short enough to be guessed.
    """

    token: str | None = field(default=None, repr=False)
    proxy_header: str | None = None

    def __post_init__(self) -> None:
        if self.token is None and self.proxy_header is None:
            raise ConfigError("FLEET_CONSOLE_TOKEN", "must be set, or FLEET_CONSOLE_PROXY_HEADER behind a proxy")
        if self.token is not None and len(self.token) < MIN_TOKEN_CHARACTERS:
            raise ConfigError("FLEET_CONSOLE_TOKEN", f"must have {MIN_TOKEN_CHARACTERS} characters or more")

    def knows(self, said: str) -> bool:
        """Return whether this is the operator's token, in the same time whatever is said."""
        return self.token is not None and hmac.compare_digest(_bytes(said), _bytes(self.token))

    def session(self, now: float) -> str:
        """Return the cookie of a login at `now`: its end, signed by the token.

        So a restart ends no session, and a new token ends all.
        """
        until = int(now) + SESSION_SECONDS
        return f"{until}.{self._signature(until)}"

    def admits(self, cookie: str | None, headers: Mapping[str, str], now: float) -> bool:
        """Return whether a request with these headers comes from somebody who is logged in."""
        if self.proxy_header is not None and headers.get(self.proxy_header, "").strip():
            return True
        return cookie is not None and self._is_session(cookie, now)

    def _is_session(self, cookie: str, now: float) -> bool:
        until, _, signature = cookie.partition(".")
        if self.token is None or not (until.isascii() and until.isdigit() and len(until) <= 12):
            return False
        return hmac.compare_digest(_bytes(signature), _bytes(self._signature(int(until)))) and now < int(until)

    def _signature(self, until: int) -> str:
        assert self.token is not None, "without a token there is no login"
        return hmac.new(_bytes(self.token), _CONTEXT + str(until).encode(), hashlib.sha256).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")

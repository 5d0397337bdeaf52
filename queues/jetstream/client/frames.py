"""The frames of a NATS connection: the command that publishes, and the message that arrives."""

from __future__ import annotations

from collections.abc import Mapping

CRLF = b"\r\n"
VERSION = "NATS/1.0"

_NO_STATUS = VERSION.encode() + CRLF
_LINE_BREAKS = str.maketrans("\r\n", "  ")


def publication(subject: str, reply: str, data: bytes, headers: Mapping[str, str] | None) -> bytes:
    """Return the command that publishes. The subjects must be valid: nothing checks them again."""
    if headers is None:
        return b"%b%b\r\n" % (f"PUB {subject} {reply} {len(data)}\r\n".encode(), data)
    lines = "".join([f"{name}: {value.translate(_LINE_BREAKS)}\r\n" for name, value in headers.items()])
    head = f"{VERSION}\r\n{lines}\r\n".encode()
    return b"%b%b%b\r\n" % (f"HPUB {subject} {reply} {len(head)} {len(head) + len(data)}\r\n".encode(), head, data)


class Arrival:
    """A message as it was read. Its headers are parsed only when asked for."""

    __slots__ = ("_head", "data", "reply", "subject")

    def __init__(self, subject: bytes, reply: bytes, data: bytes, head: bytes = b"") -> None:
        self.subject = text_of(subject)
        self.reply = text_of(reply) if reply else ""
        self.data = data
        self._head = head

    @property
    def headers(self) -> dict[str, str] | None:
        return headers_of(self._head) if self._head else None

    @property
    def status(self) -> str | None:
        """The status the server sends in place of content, e.g. "503" if nobody listens."""
        # Most replies have none: their first line ends behind the version.
        if not self._head or self._head.startswith(_NO_STATUS):
            return None
        return (headers_of(self._head) or {}).get("Status")


def headers_of(head: bytes) -> dict[str, str] | None:
    """Return the headers by name, with the server's `Status` and `Description` if sent; None if there are none.

    What cannot be a header is left out: publishers choose these bytes.
    """
    first, *lines = head.split(CRLF)
    found: dict[str, str] = {}
    status, _, description = first[len(VERSION) :].strip().partition(b" ")
    if status.isdigit():
        found["Status"] = status.decode()
        if description:
            found["Description"] = description.decode(errors="replace")
    for line in lines:
        name, colon, value = line.partition(b":")
        key = name.strip()
        if colon and key.isascii() and len(key.split()) == 1:
            found[key.decode()] = value.strip().decode(errors="replace")
    return found or None


def text_of(raw: bytes) -> str:
    """Decode so that equal bytes always give equal text, and a name that is not valid stays so."""
    return raw.decode(errors="backslashreplace")

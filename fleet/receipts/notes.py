"""Signed notes and the checkpoints of logs, as c2sp.org/signed-note and c2sp.org/tlog-checkpoint write them.

Signatures are Ed25519. Whoever holds a verifier key checks them with any tool that knows these formats.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fleet.receipts.merkle import HASH_BYTES

ED25519 = b"\x01"
"""The type of a key and of its signatures."""

KEY_ID_BYTES = 4
PUBLIC_KEY_BYTES = 32

KEY_NAME = re.compile(r"[^\s+\x00-\x1f\ud800-\udfff]+")
"""Pattern of a key's name; a URL without its scheme, such as example.com/ledger, meets no other by accident."""

MOST_SIGNATURES = 64
"""Signature lines of a note that are looked at; the format asks for 16 at least."""

_LINE = re.compile(r"\u2014 ([^\s+]+) (\S+)")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class InvalidNote(ValueError):
    """The text is no note, no checkpoint or no key, or its signature is not the key's."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with its name. `str` gives its text form, `<name>+<key id>+<type and key>`."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        if not KEY_NAME.fullmatch(self.name):
            raise InvalidNote(f"a key's name must match {KEY_NAME.pattern}")
        if len(self.public) != PUBLIC_KEY_BYTES:
            raise InvalidNote(f"an Ed25519 key has {PUBLIC_KEY_BYTES} bytes")

    @classmethod
    def parsed(cls, text: str) -> VerifierKey:
        """Return the key that the text stands for. Raises: InvalidNote."""
        # The last part is base64, which may hold a plus sign.
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        typed = _decoded(encoded)
        if typed[:1] != ED25519:
            raise InvalidNote("the key is no Ed25519 key")
        key = cls(name, typed[1:])
        if key.id.hex() != key_id:
            raise InvalidNote("the key's id does not belong to its name and bytes")
        return key

    @property
    def id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_encoded(ED25519 + self.public)}"

    def opened(self, note: str) -> str:
        """Return the text of a note that this key has signed. Raises: InvalidNote if it has not."""
        text, signatures = _parts(note)
        for name, signature in signatures:
            if name == self.name and signature[:KEY_ID_BYTES] == self.id:
                self._check(text, signature[KEY_ID_BYTES:])
                return text
        raise InvalidNote(f"the note is not signed by {self.name}")

    def _check(self, text: str, signature: bytes) -> None:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature:
            raise InvalidNote(f"the signature of {self.name} does not match the note") from None


class SignerKey:
    """A private key with its name. It shows nothing of itself but `verifier`."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.verifier = VerifierKey(name, private.public_key().public_bytes_raw())

    def signed(self, text: str) -> str:
        """Return the note of this text with the key's signature. Raises: InvalidNote if it cannot be a note's text."""
        _check_text(text)
        signature = _encoded(self.verifier.id + self._private.sign(text.encode()))
        return f"{text}\n\u2014 {self.verifier.name} {signature}\n"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log: the number of its leaves and the root of their tree. `origin` is the log's name."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def parsed(cls, text: str) -> Checkpoint:
        """Return the checkpoint that the text of a note holds. Raises: InvalidNote."""
        origin, size, root, *_ = [*text.split("\n"), "", ""]
        if not origin or not _SIZE.fullmatch(size) or not text.endswith("\n"):
            raise InvalidNote("the note is no checkpoint")
        decoded = _decoded(root)
        if len(decoded) != HASH_BYTES:
            raise InvalidNote("the checkpoint's root is no SHA-256 hash")
        return cls(origin, int(size), decoded)

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{_encoded(self.root)}\n"


def text_of(note: str) -> str:
    """Return the text of a note, whoever signed it. Raises: InvalidNote if it is none."""
    return _parts(note)[0]


def _parts(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """Return the text of a note, and the name and bytes of each signature."""
    text, blank, lines = note.rpartition("\n\n")
    signatures = lines.split("\n")
    if not blank or not text or signatures.pop() != "" or len(signatures) > MOST_SIGNATURES:
        raise InvalidNote("the text is no signed note")
    _check_text(text + "\n")
    matches = [_LINE.fullmatch(line) for line in signatures]
    return text + "\n", [_signature(match) for match in matches]


def _signature(line: re.Match[str] | None) -> tuple[str, bytes]:
    signature = b"" if line is None else _decoded(line[2])
    if line is None or len(signature) <= KEY_ID_BYTES:
        raise InvalidNote("the note has a line that is no signature")
    return line[1], signature


def _check_text(text: str) -> None:
    if not text.endswith("\n") or _CONTROL.search(text):
        raise InvalidNote("a note's text ends with a newline and holds no other control character")


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str) -> bytes:
    """Return the bytes that standard base64 stands for. Raises: InvalidNote, also where another text means the same."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidNote("must be base64") from None
    if _encoded(data) != text:
        raise InvalidNote("must be base64 as it is usually written")
    return data

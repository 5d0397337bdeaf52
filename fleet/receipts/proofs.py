"""The proof that a log holds an entry, as c2sp.org/tlog-proof writes it: one text that needs nothing else but a key."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from fleet.receipts.merkle import HASH_BYTES, inclusion_root, leaf_hash
from fleet.receipts.notes import Checkpoint, VerifierKey

HEADER = "c2sp.org/tlog-proof@v1"

_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")
_EXTRA = "extra "


class InvalidProof(ValueError):
    """The text is no proof, or proves something else."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The way from the leaf at `index` to the root in `checkpoint`, a signed note.

    `extra` is what the leaf's own data is made from. Nothing vouches for it: hash it before you believe it.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    extra: bytes = b""

    @classmethod
    def parsed(cls, text: str) -> Proof:
        """Return the proof in the text. Raises: InvalidProof."""
        head, blank, checkpoint = text.partition("\n\n")
        lines = iter(head.split("\n"))
        if not blank or next(lines) != HEADER:
            raise InvalidProof(f"a proof begins with {HEADER} and ends with a checkpoint")
        line = next(lines, "")
        extra = b""
        if line.startswith(_EXTRA):
            extra, line = _decoded(line.removeprefix(_EXTRA)), next(lines, "")
        index = _INDEX.fullmatch(line)
        if index is None:
            raise InvalidProof("the proof names no index")
        return cls(int(index[1]), tuple(_hashes(lines)), checkpoint, extra)

    @property
    def text(self) -> str:
        extra = [_EXTRA + base64.b64encode(self.extra).decode()] if self.extra else []
        path = [base64.b64encode(each).decode() for each in self.path]
        return "\n".join([HEADER, *extra, f"index {self.index}", *path, "", self.checkpoint])

    def verified(self, leaf: bytes, key: VerifierKey) -> Checkpoint:
        """Return the checkpoint that the key has signed and that this leaf is in. Raises: InvalidProof."""
        try:
            checkpoint = Checkpoint.parsed(key.opened(self.checkpoint))
            root = inclusion_root(leaf_hash(leaf), self.index, checkpoint.size, self.path)
        except ValueError as error:  # InvalidNote is one
            raise InvalidProof(str(error)) from None
        if root != checkpoint.root:
            raise InvalidProof("the leaf is not in the tree of the checkpoint")
        return checkpoint


def _hashes(lines: Iterator[str]) -> Iterator[bytes]:
    for line in lines:
        each = _decoded(line)
        if len(each) != HASH_BYTES:
            raise InvalidProof("the proof has a line that is no SHA-256 hash")
        yield each


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidProof("the proof has a line that is no base64") from None

"""The rows of a batch that are done: all below one, and some beyond it, in one bit each."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from binascii import Error as NoBase64

from fleet.model.batch import Progress

_BITS = 8
MOST_BYTES = 16 * 1024 * 1024
"""Maximum bytes of bits that are read: what an entry unfolds to is not chosen by who wrote it."""


class DoneRows:
    """Rows by number, counted from 0. Those beyond the first that is missing cost a bit each, in text hardly that."""

    def __init__(self, below: int = 0) -> None:
        self.below = below
        self._base = below - below % _BITS
        self._bits = bytearray()

    @classmethod
    def of(cls, progress: Progress) -> DoneRows:
        """Return the rows that the progress says are done. Raises: ValueError if it says nothing readable."""
        done = cls(progress.below)
        if progress.beyond:
            try:
                unfolding = zlib.decompressobj()
                done._bits = bytearray(unfolding.decompress(b64decode(progress.beyond, validate=True), MOST_BYTES))
            except (NoBase64, zlib.error):
                raise ValueError("progress.beyond holds no rows") from None
        return done

    @property
    def beyond(self) -> str:
        """The rows beyond `below`, as `of` reads them; empty where there are none."""
        is_none = not self._bits or (not any(self._bits[1:]) and not self._bits[0] >> self.below - self._base)
        return "" if is_none else b64encode(zlib.compress(self._bits)).decode()

    def __contains__(self, row: int) -> bool:
        if row < self.below:
            return True
        place, bit = divmod(row - self._base, _BITS)
        return place < len(self._bits) and bool(self._bits[place] >> bit & 1)

    def add(self, row: int) -> None:
        if row < self.below:
            return
        place, bit = divmod(row - self._base, _BITS)
        if place >= len(self._bits):
            self._bits.extend(bytes(place + 1 - len(self._bits)))
        self._bits[place] |= 1 << bit
        while self.below in self:
            self.below += 1
        self._forget()

    def _forget(self) -> None:
        """Drop the bytes of rows that are all below."""
        whole = (self.below - self._base) // _BITS
        if whole:
            del self._bits[:whole]
            self._base += whole * _BITS

"""The Merkle tree of RFC 6962 over SHA-256: one root commits to every leaf and to its place.

A log only grows. What it takes to append, and to prove any later leaf, is its frontier: at most one hash per bit of
its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

HASH_BYTES = 32
SIZE_BYTES = 8

EMPTY_ROOT = sha256(b"").digest()
"""The root of a tree without leaves."""


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a tree: the roots of the perfect subtrees that its `size` leaves fall into, largest first.

    There is one subtree per 1 in the binary form of `size`.
    """

    size: int = 0
    roots: tuple[bytes, ...] = ()

    @classmethod
    def unpacked(cls, packed: bytes) -> Frontier:
        """Return the frontier that `packed` stands for. Raises: ValueError if it stands for none."""
        size, roots = int.from_bytes(packed[:SIZE_BYTES]), packed[SIZE_BYTES:]
        if len(packed) < SIZE_BYTES or len(roots) != size.bit_count() * HASH_BYTES:
            raise ValueError(f"{len(packed)} bytes are no frontier")
        return cls(size, tuple(roots[at : at + HASH_BYTES] for at in range(0, len(roots), HASH_BYTES)))

    def packed(self) -> bytes:
        """Return the size and the roots in one piece of bytes."""
        return self.size.to_bytes(SIZE_BYTES) + b"".join(self.roots)

    def appended(self, leaves: Iterable[bytes]) -> Frontier:
        """Return the frontier after these leaf hashes."""
        size, roots = self.size, list(self.roots)
        for node in leaves:
            # Each 1 at the end of the size is a perfect subtree of the same height as the node built so far.
            smaller = size
            while smaller & 1:
                node = node_hash(roots.pop(), node)
                smaller >>= 1
            roots.append(node)
            size += 1
        return Frontier(size, tuple(roots))

    @property
    def root(self) -> bytes:
        if not self.roots:
            return EMPTY_ROOT
        *larger, root = self.roots
        for subtree in reversed(larger):
            root = node_hash(subtree, root)
        return root


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of a log: the frontier before it, and the hashes of its leaves in their order.

    It proves its own leaves against every tree that ends in it, without the leaves before.
    """

    before: Frontier
    leaves: Sequence[bytes]

    @property
    def end(self) -> int:
        """The number of leaves in the log up to the end of the stretch."""
        return self.before.size + len(self.leaves)

    def root(self, size: int) -> bytes:
        """Return the root of the tree of `size` leaves. Raises: ValueError unless it ends in the stretch."""
        if not self.before.size <= size <= self.end:
            raise ValueError(f"a tree of {size}: leaves {self.before.size} to {self.end} are here")
        return self._subtree(0, size)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the proof that the leaf `index` is in the tree of `size`, from its sibling up (RFC 6962, 2.1.1).

        Raises: ValueError unless the stretch holds the leaf, and the tree ends in the stretch.
        """
        if not self.before.size <= index < size <= self.end:
            raise ValueError(f"leaf {index} in a tree of {size}: leaves {self.before.size} to {self.end} are here")
        path: list[bytes] = []
        low, high = 0, size
        while high - low > 1:
            middle = low + _left_half(high - low)
            if index < middle:
                path.append(self._subtree(middle, high))
                high = middle
            else:
                path.append(self._subtree(low, middle))
                low = middle
        return path[::-1]

    def consistency(self, old: int, size: int) -> list[bytes]:
        """Return the proof that the tree of `size` begins with the whole tree of `old` (RFC 6962, 2.1.2).

        Raises: ValueError unless both trees end in the stretch, and the old one has leaves.
        """
        if not max(1, self.before.size) <= old <= size <= self.end:
            raise ValueError(f"trees of {old} and {size}: leaves {self.before.size} to {self.end} are here")
        path: list[bytes] = []
        low, high = 0, size
        while high != old:
            middle = low + _left_half(high - low)
            if old <= middle:
                path.append(self._subtree(middle, high))
                high = middle
            else:
                path.append(self._subtree(low, middle))
                low = middle
        if low > 0:  # else this is the old tree's own root, which its holder knows
            path.append(self._subtree(low, high))
        return path[::-1]

    def _subtree(self, low: int, high: int) -> bytes:
        """Return the hash of the node over the leaves `low` to `high`.

        A node's first leaf is a multiple of a power of two that is no smaller than its width. So what the frontier
        holds of it is the frontier of a tree of its own, which begins at `low`.
        """
        known = self.before.size - low
        if known <= 0:
            return Frontier().appended(self.leaves[-known : high - self.before.size]).root
        if high <= self.before.size:
            # All of it lies before the stretch; its neighbour does not, so it is one subtree of the frontier, or more
            # where the whole log is asked for.
            return self._piece(low, high).root
        return self._piece(low, self.before.size).appended(self.leaves[: high - self.before.size]).root

    def _piece(self, low: int, high: int) -> Frontier:
        """Return the frontier of the leaves `low` to `high`, both of which are borders of the frontier's subtrees."""
        above, below = low.bit_count(), high.bit_count()
        return Frontier(high - low, self.before.roots[above:below])


def inclusion_root(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root that a proof leads to from the leaf's hash (RFC 9162, 2.1.3.2). Raises: ValueError."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} has no leaf {index}")
    node, last, root = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ValueError("the proof is too long")
        if node & 1 or node == last:
            root = node_hash(sibling, root)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ValueError("the proof is too short")
    return root


def _left_half(width: int) -> int:
    """Return the width of the left child of a node: the largest power of two that is smaller than the node's."""
    return 1 << ((width - 1).bit_length() - 1)

"""The Merkle tree: the vectors of Certificate Transparency, and the definitions of RFC 6962 taken literally."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.receipts.merkle import EMPTY_ROOT, Frontier, Stretch, inclusion_root, leaf_hash, node_hash

LEAVES = [
    bytes.fromhex(data)
    for data in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
"""The leaves with which every implementation of Certificate Transparency tests its tree, and their roots."""

ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)

INCLUSION = {
    (0, 1): (),
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
    (1, 5): (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}

CONSISTENCY = {
    (1, 1): (),
    (2, 5): (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
}

SIZES = st.integers(0, 70)


def log_of(leaves: Sequence[bytes], start: int = 0) -> Stretch:
    """The leaves from `start` on, as somebody knows them who kept nothing of those before but their frontier."""
    hashes = [leaf_hash(leaf) for leaf in leaves]
    return Stretch(Frontier().appended(hashes[:start]), hashes[start:])


def numbered(size: int) -> list[bytes]:
    return [str(number).encode() for number in range(size)]


def literal_root(hashes: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1."""
    if len(hashes) < 2:
        return hashes[0] if hashes else EMPTY_ROOT
    half = largest_power_below(len(hashes))
    return node_hash(literal_root(hashes[:half]), literal_root(hashes[half:]))


def literal_consistency(old: int, hashes: Sequence[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962, 2.1.2."""
    if old == len(hashes):
        return [] if whole else [literal_root(hashes)]
    half = largest_power_below(len(hashes))
    if old <= half:
        return [*literal_consistency(old, hashes[:half], whole), literal_root(hashes[half:])]
    return [*literal_consistency(old - half, hashes[half:], False), literal_root(hashes[:half])]


def largest_power_below(number: int) -> int:
    power = 1
    while power * 2 < number:
        power *= 2
    return power


def test_a_tree_without_leaves_has_the_hash_of_nothing_as_root() -> None:
    assert Frontier().root.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert log_of(LEAVES).root(size).hex() == ROOTS[size - 1]
    assert Frontier().appended(map(leaf_hash, LEAVES[:size])).root.hex() == ROOTS[size - 1]


@pytest.mark.parametrize(("leaf", "size"), INCLUSION)
def test_inclusion_proofs_are_those_of_certificate_transparency(leaf: int, size: int) -> None:
    assert tuple(each.hex() for each in log_of(LEAVES).inclusion(leaf, size)) == INCLUSION[leaf, size]


@pytest.mark.parametrize(("old", "size"), CONSISTENCY)
def test_consistency_proofs_are_those_of_certificate_transparency(old: int, size: int) -> None:
    assert tuple(each.hex() for each in log_of(LEAVES).consistency(old, size)) == CONSISTENCY[old, size]


@given(SIZES, st.data())
def test_a_frontier_that_was_stored_goes_on_as_if_it_had_not_been(size: int, data: st.DataObject) -> None:
    hashes = [leaf_hash(leaf) for leaf in numbered(size)]
    stored = data.draw(st.integers(0, size))
    before = Frontier().appended(hashes[:stored])
    again = Frontier.unpacked(before.packed()).appended(hashes[stored:])
    assert again == Frontier().appended(hashes)
    assert again.root == literal_root(hashes)


@given(SIZES, st.data())
def test_a_later_stretch_proves_its_leaves_without_those_before(size: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, size))
    whole, part = log_of(numbered(size)), log_of(numbered(size), start)
    assert part.root(end) == whole.root(end)
    for index in range(start, end):
        proof = part.inclusion(index, end)
        assert proof == whole.inclusion(index, end)
        assert inclusion_root(leaf_hash(numbered(size)[index]), index, end, proof) == whole.root(end)


@given(SIZES, st.data())
def test_a_later_stretch_proves_that_nothing_before_was_changed(size: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, size))
    hashes = [leaf_hash(leaf) for leaf in numbered(size)]
    for old in range(max(1, start), size + 1):
        assert log_of(numbered(size), start).consistency(old, size) == literal_consistency(old, hashes)


@given(st.integers(1, 70), st.data())
def test_a_proof_leads_to_the_root_from_no_other_leaf_place_or_path(size: int, data: st.DataObject) -> None:
    log = log_of(numbered(size))
    index = data.draw(st.integers(0, size - 1))
    leaf, path, root = leaf_hash(numbered(size)[index]), log.inclusion(index, size), log.root(size)
    assert inclusion_root(leaf_hash(b"another"), index, size, path) != root
    for other in range(size):
        if other != index:
            assert leads_elsewhere(leaf, other, size, path, root)
    for at in range(len(path)):
        assert leads_elsewhere(leaf, index, size, [*path[:at], *path[at + 1 :]], root)
        assert leads_elsewhere(leaf, index, size, [*path[:at], leaf_hash(b"x"), *path[at + 1 :]], root)
    assert leads_elsewhere(leaf, index, size, [*path, root], root)


def leads_elsewhere(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    try:
        return inclusion_root(leaf, index, size, path) != root
    except ValueError:
        return True


@pytest.mark.parametrize(
    "packed", [b"", b"\0" * 7, b"\0" * 9, b"\0" * 7 + b"\1" + b"x" * 31, b"\0" * 7 + b"\3" + b"x" * 32]
)
def test_bytes_that_are_no_frontier_are_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="no frontier"):
        Frontier.unpacked(packed)


@pytest.mark.parametrize(("index", "size"), [(2, 8), (3, 9), (8, 8), (-1, 8), (5, 5)])
def test_a_stretch_proves_no_leaf_that_it_does_not_hold(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="are here"):
        log_of(LEAVES, 3).inclusion(index, size)


@pytest.mark.parametrize(("old", "size"), [(0, 8), (2, 8), (6, 5), (6, 9)])
def test_a_stretch_compares_no_trees_that_do_not_end_in_it(old: int, size: int) -> None:
    with pytest.raises(ValueError, match="are here"):
        log_of(LEAVES, 3).consistency(old, size)


@pytest.mark.parametrize("size", [2, 9])
def test_a_stretch_knows_no_root_of_a_tree_that_does_not_end_in_it(size: int) -> None:
    with pytest.raises(ValueError, match="are here"):
        log_of(LEAVES, 3).root(size)

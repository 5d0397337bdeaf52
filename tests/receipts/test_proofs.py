"""Proofs as texts: written and read, and what they refuse."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fleet.receipts.merkle import Frontier, Stretch, leaf_hash
from fleet.receipts.notes import Checkpoint, SignerKey, VerifierKey
from fleet.receipts.proofs import HEADER, InvalidProof, Proof

SIGNER = SignerKey("example.com/ledger", Ed25519PrivateKey.from_private_bytes(b"7" * 32))
LEAVES = [f"leaf {number}".encode() for number in range(11)]

SPEC_PROOF = """c2sp.org/tlog-proof@v1
extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6
index 73894
gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=

example.com/fancylog
109482
sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=

\u2014 example.com/fancylog hI2DJw==
"""
"""The example of the format's page, with what it leaves out left out."""


def proof_of(index: int, extra: bytes = b"") -> Proof:
    log = Stretch(Frontier(), [leaf_hash(leaf) for leaf in LEAVES])
    checkpoint = Checkpoint("example.com/ledger", len(LEAVES), log.root(len(LEAVES)))
    return Proof(index, tuple(log.inclusion(index, len(LEAVES))), SIGNER.signed(checkpoint.text), extra)


def test_the_example_of_the_format_is_read_and_written() -> None:
    proof = Proof.parsed(SPEC_PROOF)
    assert (proof.index, len(proof.path), proof.extra[:10]) == (73894, 2, b"age-v1.2.1")
    assert proof.checkpoint.startswith("example.com/fancylog\n109482\n")
    assert proof.text == SPEC_PROOF


@given(st.integers(0, len(LEAVES) - 1), st.binary(max_size=20))
def test_a_proof_read_back_proves_its_leaf(index: int, extra: bytes) -> None:
    proof = Proof.parsed(proof_of(index, extra).text)
    assert proof == proof_of(index, extra)
    assert proof.verified(LEAVES[index], SIGNER.verifier).size == len(LEAVES)


def test_a_proof_of_the_only_leaf_has_no_path() -> None:
    checkpoint = Checkpoint("example.com/ledger", 1, leaf_hash(b"one"))
    proof = Proof.parsed(Proof(0, (), SIGNER.signed(checkpoint.text)).text)
    assert proof.verified(b"one", SIGNER.verifier) == checkpoint


def test_a_proof_proves_no_other_leaf() -> None:
    with pytest.raises(InvalidProof, match="not in the tree"):
        proof_of(3).verified(LEAVES[4], SIGNER.verifier)


def test_a_proof_with_the_signature_of_another_is_refused() -> None:
    other = VerifierKey("example.com/ledger", Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    with pytest.raises(InvalidProof, match="not signed by"):
        proof_of(3).verified(LEAVES[3], other)


def test_a_proof_of_a_leaf_beyond_the_tree_is_refused() -> None:
    signed = proof_of(3)
    with pytest.raises(InvalidProof, match="has no leaf 11"):
        Proof(11, signed.path, signed.checkpoint).verified(LEAVES[3], SIGNER.verifier)


@pytest.mark.parametrize(
    "text",
    [
        "",
        SPEC_PROOF.replace("@v1", "@v2"),
        SPEC_PROOF.replace("index 73894\n", ""),
        SPEC_PROOF.replace("index 73894", "index 073894"),
        SPEC_PROOF.replace("index 73894", "index " + "9" * 5000),
        SPEC_PROOF.replace("gSKyXo", "gSKy"),
        SPEC_PROOF.replace("gSKyXo", "gSK!!!"),
        SPEC_PROOF.partition("\n\n")[0],
        f"{HEADER}\n\n",
    ],
)
def test_a_text_that_is_no_proof_is_refused(text: str) -> None:
    with pytest.raises(InvalidProof):
        Proof.parsed(text)

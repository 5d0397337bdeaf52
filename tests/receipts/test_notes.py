"""Notes and checkpoints: the examples of the formats' own pages, and of the Go library that they come from."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fleet.receipts.notes import Checkpoint, InvalidNote, SignerKey, VerifierKey, text_of

GO_SEED = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = (
    f"{GO_TEXT}\n"
    "\u2014 PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

SPEC_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n\n"
    "\u2014 example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)

SPEC_CHECKPOINT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"


def go_signer() -> SignerKey:
    return SignerKey("PeterNeumann", Ed25519PrivateKey.from_private_bytes(base64.b64decode(GO_SEED)[1:]))


def test_a_note_is_signed_as_the_go_library_signs_it() -> None:
    assert go_signer().signed(GO_TEXT) == GO_NOTE
    assert str(go_signer().verifier) == GO_KEY


@pytest.mark.parametrize(("key", "note"), [(GO_KEY, GO_NOTE), (SPEC_KEY, SPEC_NOTE)])
def test_notes_of_others_open_with_the_keys_of_others(key: str, note: str) -> None:
    verifier = VerifierKey.parsed(key)
    assert verifier.opened(note) == text_of(note) == note.rpartition("\n\n")[0] + "\n"
    assert str(verifier) == key


def test_signatures_of_unknown_keys_are_passed_over() -> None:
    stranger = "\u2014 example.com/witness " + base64.b64encode(b"1234" + b"x" * 64).decode() + "\n"
    text, own = GO_NOTE.split("\n\n")
    for note in (f"{text}\n\n{stranger}{own}", f"{text}\n\n{own}{stranger}"):
        assert VerifierKey.parsed(GO_KEY).opened(note) == GO_TEXT


@given(st.integers(0, len(GO_NOTE.encode()) - 1), st.integers(1, 255))
def test_no_byte_of_a_note_can_be_changed(at: int, flipped: int) -> None:
    changed = bytearray(GO_NOTE.encode())
    changed[at] ^= flipped
    with pytest.raises(ValueError):  # UnicodeDecodeError, where it is no longer text
        VerifierKey.parsed(GO_KEY).opened(changed.decode())


def test_another_key_of_the_same_name_opens_nothing() -> None:
    other = SignerKey("PeterNeumann", Ed25519PrivateKey.from_private_bytes(b"7" * 32)).verifier
    with pytest.raises(InvalidNote, match="not signed by PeterNeumann"):
        other.opened(GO_NOTE)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "PeterNeumann",
        GO_KEY.replace("c74f20a3", "c74f20a4"),
        GO_KEY.replace("c74f20a3", "C74F20A3"),
        GO_KEY.replace("Peter", "Petra"),
        GO_KEY.replace("+ARpc", "+AhRpc"),
        "x+00000000+!!!!",
        "two words+00000000+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ],
)
def test_a_text_that_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidNote):
        VerifierKey.parsed(key)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "tab\there", "line\nbreak", "no\u00a0space", "half\ud800"])
def test_a_key_has_a_name_that_a_signature_line_can_hold(name: str) -> None:
    with pytest.raises(InvalidNote):
        SignerKey(name, Ed25519PrivateKey.generate())


@pytest.mark.parametrize("text", ["", "no end", "a tab\t\n", "null\x00\n"])
def test_a_text_that_no_note_can_hold_is_not_signed(text: str) -> None:
    with pytest.raises(InvalidNote):
        go_signer().signed(text)


@pytest.mark.parametrize(
    "note",
    [
        "",
        GO_TEXT,
        GO_NOTE.rstrip("\n"),
        GO_NOTE.replace("\u2014", "-"),
        GO_NOTE + "\n",
        GO_NOTE + "more\n",
        f"{GO_TEXT}\n\u2014 PeterNeumann x08go\n",
        GO_TEXT + "\n" + GO_NOTE.rpartition("\n\n")[2] * 65,
    ],
)
def test_a_text_that_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(InvalidNote):
        VerifierKey.parsed(GO_KEY).opened(note)


def test_a_checkpoint_reads_and_writes_the_example_of_its_format() -> None:
    checkpoint = Checkpoint.parsed(SPEC_CHECKPOINT)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20_852_163)
    assert checkpoint.text == SPEC_CHECKPOINT


def test_lines_that_another_log_adds_to_its_checkpoint_are_passed_over() -> None:
    assert Checkpoint.parsed(SPEC_CHECKPOINT + "more\n") == Checkpoint.parsed(SPEC_CHECKPOINT)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        SPEC_CHECKPOINT.rstrip("\n"),
        SPEC_CHECKPOINT.replace("20852163", "020852163"),
        SPEC_CHECKPOINT.replace("20852163", "-1"),
        SPEC_CHECKPOINT.replace("20852163", "9" * 5000),
        SPEC_CHECKPOINT.replace("CsUYap", "CsUY"),
        SPEC_CHECKPOINT.replace("CsUYap", "Cs\u00dcYap"),
        SPEC_CHECKPOINT.partition("\n")[2],
    ],
)
def test_a_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(InvalidNote):
        Checkpoint.parsed(text)

"""Receipts: what is proved, and that a verifier which shares no code with the fleet believes it."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace

import pytest
import sqlalchemy as sa
from independent_verifier import independent_verifier
from ledger_lines import NOON, attempt, entry, job_id, line_of, lines_of
from sqlalchemy import Engine

from fleet.ledger.audit.erase import Subject, erase
from fleet.ledger.audit.log import Signing
from fleet.ledger.audit.prove import LineProof, NotProvable, prove
from fleet.ledger.store import LedgerStore
from fleet.ledger.tables import days, entries
from fleet.receipts.merkle import Frontier, Stretch, leaf_hash
from fleet.receipts.notes import Checkpoint, SignerKey, text_of
from fleet.receipts.proofs import Proof

DAY_SECONDS = 86_400.0


def believed(proof: LineProof, key: str) -> bool:
    """Return whether the independent verifier believes the text of the proof, given the published key."""
    aics = independent_verifier()
    read = Proof.parsed(proof.proof.text)
    log_key = aics.parse_vkey(key)
    found = aics.verify_checkpoint(aics.parse_note(read.checkpoint), log_key, expected_origin=log_key.name)
    leaf = json.loads(read.extra)["leaf"].encode()
    return found.ok and aics.verify_leaf_inclusion(leaf, read.index, found.size, list(read.path), found.root)


def test_every_line_of_every_day_is_proved_to_an_independent_verifier(
    engine: Engine, signer: SignerKey, signing: Signing
) -> None:
    for number in range(1, 31):
        [proof] = prove(engine, job_id(number), None, signing)
        assert believed(proof, str(signer.verifier))
        assert proof.proof.verified(proof.leaf, signer.verifier).origin == signer.verifier.name


def test_a_receipt_opens_what_its_leaf_commits_to(engine: Engine, signer: SignerKey, signing: Signing) -> None:
    [proof] = prove(engine, job_id(7), "globex", signing)
    said = json.loads(proof.proof.extra)
    leaf, body = json.loads(said["leaf"]), base64.b64decode(said["body"])
    commitment = hashlib.sha256(bytes.fromhex(said["salt"]) + said["names"].encode() + body).hexdigest()
    assert leaf["commitment"] == commitment
    assert json.loads(said["names"]) == ["globex", job_id(7), "1"]
    assert (json.loads(body)["id"], leaf["cost_nano_usd"]) == (job_id(7), 7_000_000)


def test_a_closed_day_needs_no_key_to_prove_its_lines(engine: Engine, signer: SignerKey) -> None:
    [proof] = prove(engine, job_id(14), None, None)
    assert believed(proof, str(signer.verifier))


def test_a_line_of_today_needs_a_key(engine: Engine, signer: SignerKey) -> None:
    with pytest.raises(NotProvable, match="2026-03-03 is not over, so nothing is signed: set FLEET_LEDGER_KEY_FILE"):
        prove(engine, job_id(25), None, None)


def test_a_day_that_was_closed_without_a_key_is_proved_by_one_that_comes_later(
    engine: Engine, signing: Signing, ledger_url: str
) -> None:
    store = LedgerStore(engine, lambda: NOON + DAY_SECONDS)
    store.open()
    store.write([*lines_of([entry(1), entry(2)]), *lines_of([entry(3)], 3, NOON + DAY_SECONDS)])
    with pytest.raises(NotProvable, match="was closed without a key"):
        prove(engine, job_id(1), None, None)
    [proof] = prove(engine, job_id(1), None, signing)
    checkpoint = Checkpoint.parsed(text_of(proof.proof.checkpoint))
    assert checkpoint.size == 4  # the log's identity, and all three lines


def test_a_job_is_proved_line_by_line(engine: Engine, store: LedgerStore, signing: Signing) -> None:
    tried = [entry(1, attempt(1), None), entry(1, attempt(2, "gpt-4o")), entry(1, attempt(3))]
    store.write([*lines_of(tried[:2]), line_of(3, entry(2)), line_of(4, tried[2], NOON + DAY_SECONDS)])
    assert [(each.line, each.day) for each in prove(engine, job_id(1), None, signing)] == [
        ("1", "2026-03-01"), ("2", "2026-03-01"), ("3", "2026-03-02"),
    ]  # fmt: skip


def test_a_job_that_two_tenants_have_is_named_with_its_tenant(
    engine: Engine, store: LedgerStore, signing: Signing
) -> None:
    store.write([line_of(1, entry(1)), line_of(2, entry(1, tenant="globex"))])
    with pytest.raises(NotProvable, match="name one of acme, globex with --tenant"):
        prove(engine, job_id(1), None, signing)
    assert len(prove(engine, job_id(1), "globex", signing)) == 1


def test_a_job_that_is_not_there_cannot_be_proved(engine: Engine, three_days: LedgerStore, signing: Signing) -> None:
    with pytest.raises(NotProvable, match="no line of job-unknown"):
        prove(engine, "job-unknown", None, signing)


def test_rows_that_were_changed_prove_nothing(engine: Engine, three_days: LedgerStore, signing: Signing) -> None:
    with engine.begin() as connection:
        connection.execute(sa.update(entries).where(entries.c.seq == 12).values(leaf=b"x" * 32))
    with pytest.raises(NotProvable, match="`fleet ledger verify` says more"):
        prove(engine, job_id(14), None, signing)


def test_a_receipt_from_before_an_erasure_stays_valid_and_so_do_new_ones(
    engine: Engine, signer: SignerKey, signing: Signing
) -> None:
    [ours] = prove(engine, job_id(14), "acme", signing)
    [theirs] = prove(engine, job_id(15), "globex", signing)
    erase(engine, Subject("acme"))
    key = str(signer.verifier)
    assert believed(ours, key)
    assert prove(engine, job_id(15), "globex", signing) == [theirs]
    [erased] = prove(engine, "erased-14", None, signing)
    assert believed(erased, key)
    assert (erased.leaf, json.loads(erased.proof.extra).keys()) == (ours.leaf, {"leaf"})


def test_an_independent_verifier_believes_nothing_that_was_changed(
    engine: Engine, signer: SignerKey, signing: Signing
) -> None:
    [proof] = prove(engine, job_id(13), None, signing)
    key = str(signer.verifier)
    assert b":13000000," in proof.leaf
    dearer = json.dumps({**json.loads(proof.proof.extra), "leaf": proof.leaf.decode().replace(":13000000,", ":1,")})
    assert not believed(replace(proof, proof=replace(proof.proof, extra=dearer.encode())), key)
    assert not believed(replace(proof, proof=replace(proof.proof, index=proof.proof.index + 1)), key)


def test_every_day_begins_with_the_whole_log_of_the_day_before(engine: Engine, signer: SignerKey) -> None:
    """The independent verifier is shown that the second day's checkpoint only adds to the first one's."""
    aics = independent_verifier()
    with engine.connect() as connection:
        leaves = connection.scalars(sa.select(entries.c.leaf).order_by(entries.c.seq)).all()
        notes = connection.scalars(sa.select(days.c.checkpoint).order_by(days.c.day).limit(2)).all()
        identity = connection.scalar(sa.select(days.c.previous).order_by(days.c.day).limit(1))
    log = Stretch(Frontier(), [leaf_hash(identity), *leaves])
    old, new = (Checkpoint.parsed(text_of(note)) for note in notes)
    proof = log.consistency(old.size, new.size)
    assert aics.verify_consistency(old.size, new.size, old.root, new.root, proof)
    assert not aics.verify_consistency(old.size, new.size, new.root, new.root, proof)

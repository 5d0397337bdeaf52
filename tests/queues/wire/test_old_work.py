"""Work that a dispatcher of an earlier version has published is done by one of this version: upgrades go dispatcher by
dispatcher, and the stream between them stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet.model.attempt import Answer, Failure
from fleet.model.delivery import Malformed, Work
from queues.wire.work import decode_work

LATER = {"above", "not_before_at", "shadow"}
"""Fields that came after the first version."""

RECORDED = sorted((Path(__file__).parent / "recorded").glob("work-*.json"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_message_of_an_earlier_version_is_read_with_all_its_attempts(path: Path) -> None:
    work = decode_work(path.read_bytes(), "work.llama-8b.bulk.acme")
    assert isinstance(work, Work)
    assert (work.job.id, work.job.tenant, work.target, work.hop) == ("job-0123456789ab", "acme", "llama-8b", 2)
    first, second = work.attempts
    assert isinstance(first.outcome, Answer) and (first.confidence, first.outcome.text) == (0.4, "positive")
    assert isinstance(second.outcome, Failure)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_field_that_every_version_has_written_may_not_be_missing(path: Path) -> None:
    """Its default could send the job where it may not go, or have it paid for again."""
    written = json.loads(path.read_bytes())
    for name in written.keys() - LATER:
        rest = {key: value for key, value in written.items() if key != name}
        read = decode_work(json.dumps(rest).encode(), "work.llama-8b.bulk.acme")
        assert isinstance(read, Malformed), name
        assert read.problem.field == name


def test_there_is_one_to_read() -> None:
    assert RECORDED

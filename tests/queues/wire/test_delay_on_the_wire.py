"""`not_before` from a publisher to the target: by number, by date, and refused by name."""

from __future__ import annotations

import json

import pytest

from fleet.bulk.lines import read_line, run_key
from fleet.client import submission
from fleet.model.errors import InvalidJob
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.result import Malformed, Work
from queues.wire.job import decode_job, encode_submission
from queues.wire.work import decode_work, encode_work

MESSAGES = [{"role": "user", "content": "Good morning."}]
SUBJECT = "jobs.bulk.acme"


def read(not_before: object) -> Job | Malformed:
    body = {"id": "job-000000000001", "task": "chat", "request": {"messages": MESSAGES}, "not_before": not_before}
    return decode_job(json.dumps(body).encode(), None, SUBJECT, 5.0)


@pytest.mark.parametrize(
    ("not_before", "at"),
    [(1_900_000_000.5, 1_900_000_000.5), ("2030-03-17T17:46:40Z", 1_900_000_000.0), (None, None)],
)
def test_it_is_unix_seconds_or_a_date(not_before, at):
    job = read(not_before)
    assert isinstance(job, Job)
    assert job.not_before_at == at


@pytest.mark.parametrize("not_before", ["tomorrow", "2030-03-17T17:46:40", 1_900_000_000_000, -1, True])
def test_what_is_no_moment_is_refused_by_name(not_before):
    bad = read(not_before)
    assert isinstance(bad, Malformed)
    assert bad.problem.field == "not_before"


def test_it_travels_from_the_client_to_the_target():
    sent = submission(task="chat", messages=MESSAGES, lane="bulk", not_before_seconds=60.0)
    job = decode_job(encode_submission(sent, "acme"), None, SUBJECT, 5.0)
    assert isinstance(job, Job)
    assert job.not_before_at == sent.not_before_at is not None
    work = Work(job, "llama-8b", Reason.ROUTED)
    assert decode_work(encode_work(work), "work.llama-8b.bulk.acme") == work


def test_work_of_an_older_dispatcher_has_no_delay():
    work = Work(read(None), "llama-8b", Reason.ROUTED)
    packed = {name: value for name, value in json.loads(encode_work(work)).items() if name != "not_before_at"}
    assert decode_work(json.dumps(packed).encode(), "work.llama-8b.bulk.acme") == work


def test_a_line_of_a_file_counts_from_when_it_is_read():
    line = json.dumps({"task": "chat", "messages": MESSAGES, "not_before_seconds": 60}).encode()
    assert read_line(run_key("acme", "run"), 1, line, now=100.0).submission.not_before_at == 160.0


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), "soon"])
def test_the_client_takes_finite_seconds_only(seconds):
    with pytest.raises(InvalidJob, match="not_before_seconds"):
        submission(task="chat", messages=MESSAGES, not_before_seconds=seconds)

"""What a publisher may say of a job can be said at every door: the client, a line of a file, the shell; and it comes
back when a dead letter is submitted again. A new option that one of them lacks fails here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest
from typer.testing import CliRunner

from fleet.bulk.lines import read_line, run_key
from fleet.cli import jobs
from fleet.cli.commands import app
from fleet.client import submission
from fleet.model.errors import InvalidJob
from fleet.model.job import CLOUD_DENY, REQUEST_FIELDS, Job, JobOptions, JobTerms, Lane, Plan, Tier
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, Kept, Problem, Work
from fleet.model.submission import Submission
from queues.jetstream.stores.dead import REDRIVEN_FROM, redriven
from queues.wire.chat import ChatCompletionRequest
from queues.wire.job import JobRecord
from queues.wire.work import encode_work

OPTIONS = JobOptions.__annotations__
MESSAGES = [{"role": "user", "content": "Hi"}]
SAID: Mapping[str, Any] = dict.fromkeys(OPTIONS, "groq/main") | {
    "id": "job-0123456789ab",
    "lane": "bulk",
    "plan": "own_key",
    "tier": "complex",
    "deadline_seconds": 60.0,
    "not_before_seconds": 30.0,
    "max_cost_usd": 0.25,
    "cloud": ["groq"],
    "regions": ["de", "us"],
    "person": "p-17",
    "metadata": {"a": "b"},
}
DEFAULTS = {each.name: each.default for each in fields(Submission)}
FIELDS = {"deadline_seconds": "deadline_at", "not_before_seconds": "not_before_at"}


def test_every_term_of_a_job_is_an_option() -> None:
    assert {each.name for each in fields(JobTerms)} <= {FIELDS.get(name, name) for name in OPTIONS}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_of_the_client_gets_into_the_submission(name: str) -> None:
    job = submission(task="chat", messages=MESSAGES, **{name: SAID[name]})  # type: ignore[misc]

    assert getattr(job, FIELDS.get(name, name)) not in (None, DEFAULTS[FIELDS.get(name, name)])


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - {"id", "lane"}))
def test_every_option_but_the_id_and_the_lane_can_stand_in_a_line(name: str) -> None:
    line = {"task": "chat", "messages": MESSAGES, name: SAID[name]}
    job = read_line(run_key("acme", "run"), 1, json.dumps(line).encode(), now=100.0).submission

    assert getattr(job, FIELDS.get(name, name)) not in (None, DEFAULTS[FIELDS.get(name, name)])


def test_a_field_of_the_request_that_is_given_as_an_option_is_told_where_it_belongs() -> None:
    given: dict[str, Any] = {"task": "chat", "messages": MESSAGES, "temperature": 0}
    with pytest.raises(TypeError, match=r"temperature \(a field of the request goes into request=, beside messages\)"):
        submission(**given)


def test_what_may_stand_beside_a_request_by_mistake_is_what_requests_have_and_jobs_have_not() -> None:
    of_requests, of_jobs = set(ChatCompletionRequest.model_fields), {"messages", *JobRecord.model_fields}
    assert of_requests - of_jobs == REQUEST_FIELDS


def test_a_line_cannot_choose_its_lane() -> None:
    line = {"task": "chat", "messages": MESSAGES, "lane": "interactive"}

    with pytest.raises(InvalidJob, match="lane: is not a known field"):
        read_line(run_key("acme", "run"), 1, json.dumps(line).encode(), now=100.0)


def test_every_option_is_one_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: dict[str, Any] = {}

    async def submit(settings: object, output: object, task: str, body: object, options: Any, wait: object) -> None:
        heard.update(options)

    monkeypatch.setattr(jobs, "submit", submit)
    told = dict(SAID) | {"cloud": "groq", "regions": "de, us", "metadata": "a=b"}
    arguments = [word for name, value in told.items() for word in (f"--{name.replace('_', '-')}", str(value))]

    done = CliRunner().invoke(app, ["submit", "chat", "Hi", *arguments])

    assert (done.exit_code, heard) == (0, dict(SAID)), done.output


@pytest.mark.parametrize("name", ["prioriti", "deadline_at", "not_before_at", "traceparent"])
def test_an_option_that_does_not_exist_is_an_error(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        submission(task="chat", messages=MESSAGES, **{name: 1})  # type: ignore[arg-type]


def test_a_dead_letter_is_submitted_again_on_the_terms_of_its_job() -> None:
    terms = {each.name: SAID.get(each.name, 200.0) for each in fields(JobTerms)} | {"tier": Tier.COMPLEX}
    terms["regions"] = ("de", "us")
    request = {"messages": MESSAGES}
    job = Job("job-0123456789ab", "acme", Lane.BULK, "chat", Plan.OWN_KEY, request, 1.0, CLOUD_DENY, **terms)
    body = encode_work(Work(job, "t", Reason.ROUTED))
    letter = DeadLetter("acme", job.id, Reason.INTERNAL_ERROR, Problem("a fault"), body, 5.0, Lane.BULK)

    again = redriven(Kept(7, letter), now=100.0)

    assert {name: getattr(again, name) for name in terms} == terms | {"metadata": {"a": "b", REDRIVEN_FROM: job.id}}
    assert (again.task, again.plan, again.lane, again.cloud, again.request) == (
        "chat",
        Plan.OWN_KEY,
        Lane.BULK,
        "deny",
        request,
    )

"""Each message has one list of fields, and it is whole: what a value has is written, checked and read.

Values are drawn by the types of their fields, so that a new field is drawn too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from fleet.model import calibration as model
from fleet.model.attempt import Answer, Attempt, EngineTimes, Failure, Features, Headroom, Hop, Judged, Usage
from fleet.model.caching import CacheCalibration, Near
from fleet.model.experiment import Assignment
from fleet.model.feedback import Feedback
from fleet.model.job import Cloud, Job
from fleet.model.result import DeadLetter, LedgerEntry, Malformed, Problem, Result, Start, Work
from fleet.model.submission import Submission
from policies.caching.signals import SIGNALS
from queues.wire import calibration
from queues.wire.attempt import (
    AttemptRecord,
    CarriedAttempt,
    EngineTimesRecord,
    FailureRecord,
    FeaturesRecord,
    HopRecord,
    JudgedRecord,
    LedgerAttemptRecord,
)
from queues.wire.cache_promise import CachePromiseRecord
from queues.wire.dead_letter import DeadLetterRecord, decode_dead, encode_dead
from queues.wire.feedback import FeedbackRecord
from queues.wire.job import JobRecord, decode_job, encode_submission
from queues.wire.ledger import AssignedRecord, LedgerEntryRecord, decode_ledger, encode_ledger
from queues.wire.near import NearRecord, read_near
from queues.wire.result import ClaimRecord, ProblemRecord, Receipt, ResultRecord, decode_result, encode_result
from queues.wire.start import StartRecord
from queues.wire.usage import UsageRecord
from queues.wire.work import WorkRecord, decode_work, encode_work

LISTS: list[tuple[type, type[BaseModel], set[str]]] = [
    (Submission, JobRecord, {"traceparent"}),
    (Job, JobRecord, {"submitted_at"}),
    (Job, WorkRecord, set()),
    (Work, WorkRecord, {"job"}),
    (Attempt, AttemptRecord, {"outcome", "provider", "requested_model", "hop", "near"}),
    (Attempt, LedgerAttemptRecord, {"outcome"}),
    (Attempt, CarriedAttempt, {"outcome"}),
    (Answer, AttemptRecord, {"message", "headroom", "engine"}),
    (Answer, LedgerAttemptRecord, {"message", "headroom"}),
    (Hop, HopRecord, set()),
    (EngineTimes, EngineTimesRecord, set()),
    (Failure, FailureRecord, {"retry_after_seconds", "headroom"}),
    (Usage, UsageRecord, set()),
    (Near, NearRecord, set()),
    (CacheCalibration, CachePromiseRecord, set()),
    (Features, FeaturesRecord, set()),
    (Judged, JudgedRecord, set()),
    (Problem, ProblemRecord, set()),
    (Receipt, ClaimRecord, set()),
    (Result, ResultRecord, {"answer"}),
    (Answer, ResultRecord, {"features", "headroom", "engine"}),
    (LedgerEntry, LedgerEntryRecord, set()),
    (Assignment, AssignedRecord, set()),
    (DeadLetter, DeadLetterRecord, set()),
    (Feedback, FeedbackRecord, {"at"}),
    (Start, StartRecord, set()),
    (model.Calibration, calibration.CalibrationRecord, {"key"}),
    (model.CalibrationKey, calibration.CalibrationRecord, set()),
    (model.Scorer, calibration.ScorerRecord, {"signals"}),
    (model.Threshold, calibration.ThresholdRecord, set()),
    (model.Looks, calibration.LooksRecord, set()),
    (model.Familiarity, calibration.FamiliarityRecord, set()),
    (model.Region, calibration.RegionRecord, set()),
]
"""A value, its record, and what is kept from the record on purpose."""


@pytest.mark.parametrize(("value", "record", "kept"), LISTS)
def test_every_field_of_a_value_is_in_its_record(value: type, record: type[BaseModel], kept: set[str]) -> None:
    held = {field.name for field in fields(value)}

    assert held - set(record.model_fields) == kept


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.from_regex(r"[a-z0-9_-]{16,20}", fullmatch=True)
shares = st.floats(min_value=0, max_value=1)
BY_TYPE: Mapping[Any, st.SearchStrategy[Any]] = {
    str: names,
    bytes: st.binary(max_size=20),
    bool: st.booleans(),
    int: st.integers(min_value=0, max_value=10**9),
    float: st.floats(min_value=1, max_value=4e9, allow_subnormal=False),
    NoneType: st.none(),
    Any: texts,
    Cloud: st.builds(Cloud, st.none() | st.frozensets(names, max_size=3)),
    Headroom: st.nothing(),
}


def drawn(kind: type, **ruled: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values of a dataclass with every field drawn: by its type, or as `ruled`."""
    hints = get_type_hints(kind)
    return st.builds(kind, **{name: ruled[name] if name in ruled else _of_type(hint) for name, hint in hints.items()})


def _of_type(hint: Any) -> st.SearchStrategy[Any]:
    if hint in BY_TYPE:
        return BY_TYPE[hint]
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return st.sampled_from(hint)
    if get_origin(hint) is Mapping:
        return st.dictionaries(*map(_of_type, get_args(hint)), min_size=1, max_size=3)
    if get_origin(hint) is tuple:
        items = get_args(hint)
        if Ellipsis not in items:
            return st.tuples(*map(_of_type, items))
        return st.lists(_of_type(items[0]), max_size=3).map(tuple)
    if parts := get_args(hint):
        return st.one_of(*map(_of_type, parts))
    return drawn(hint)


requests = st.fixed_dictionaries({"messages": st.just([{"role": "user", "content": "Is it good?"}])})
regions = st.none() | st.lists(st.just("eu-1") | st.just("us"), min_size=1, max_size=3).map(tuple)
jobs = drawn(Job, request=requests, own_key=st.none() | st.just("groq/main"), regions=regions)
spoken = st.fixed_dictionaries({"role": st.just("assistant"), "content": st.none() | texts}, optional={"x": texts})
answers = drawn(Answer, message=spoken, headroom=st.none())
outcomes = answers | drawn(Failure, headroom=st.none())
judgements = drawn(Judged, threshold=shares | st.just(math.inf))
batches = st.tuples(st.just(None), st.just(0)) | st.tuples(names, st.integers(min_value=1, max_value=999))
hops = st.builds(lambda way, batch: Hop(*way, *batch), st.tuples(*[BY_TYPE[float]] * 2, BY_TYPE[int]), batches)
nears = st.none() | st.builds(
    Near,
    entry=st.just("0f" * 32),
    encoder=names,
    signals=st.tuples(*[BY_TYPE[float]] * len(SIGNALS)),
    propensity=st.none() | st.floats(min_value=0, max_value=1, exclude_min=True),
    same=st.none() | st.booleans(),
    verifier=st.none() | names,
    verified=st.none() | shares,
)
attempts = drawn(Attempt, outcome=outcomes, judged=st.none() | judgements, hop=st.none() | hops, near=nears)
histories = st.lists(attempts, max_size=3).map(
    lambda tried: tuple(replace(attempt, number=number) for number, attempt in enumerate(tried, 1))
)
works = drawn(Work, job=jobs, attempts=histories, intake=st.none() | hops, near=nears)
results = drawn(Result, answer=st.none(), attempts=histories)
entries = drawn(LedgerEntry, attempt=st.none() | attempts, intake=st.none() | hops)


def booked(attempt: Attempt) -> Attempt:
    """What readers of the ledger learn of it."""
    match attempt.outcome:
        case Answer() as answer:
            return replace(attempt, outcome=replace(answer, message={}))
        case Failure() as failure:
            return replace(attempt, outcome=replace(failure, retry_after_seconds=None))


def heard(attempt: Attempt) -> Attempt:
    """What readers of results learn of it."""
    told = replace(booked(attempt), provider=None, requested_model=None, hop=None, near=None)
    return replace(told, outcome=replace(told.outcome, engine=None)) if isinstance(told.outcome, Answer) else told


@given(jobs)
def test_every_field_of_a_submission_arrives_with_the_job(job: Job) -> None:
    providers = job.cloud.providers
    shared = {each.name for each in fields(Submission)} & {each.name for each in fields(Job)}
    said = {name: getattr(job, name) for name in shared} | {"cloud": "allow" if providers is None else list(providers)}
    body = encode_submission(Submission(**said), job.tenant)

    assert decode_job(body, None, f"jobs.{job.lane}.{job.tenant}", job.submitted_at) == job


@given(works)
def test_every_field_of_work_arrives(work: Work) -> None:
    assert decode_work(encode_work(work), subject_of(work)) == work


@given(results, st.none() | answers)
def test_every_field_of_a_result_arrives(result: Result, answer: Answer | None) -> None:
    delivered = replace(result, answer=answer, attempts=() if answer else result.attempts)
    expected = replace(
        delivered,
        answer=answer and replace(answer, features=None, engine=None),
        attempts=tuple(map(heard, delivered.attempts)),
    )

    assert decode_result(encode_result(delivered)) == expected


@given(entries)
def test_every_field_of_a_ledger_entry_arrives(entry: LedgerEntry) -> None:
    assert decode_ledger(encode_ledger(entry)) == replace(entry, attempt=entry.attempt and booked(entry.attempt))


@given(entries)
def test_what_is_not_known_is_left_out_of_the_ledger(entry: LedgerEntry) -> None:
    written = json.loads(encode_ledger(entry))

    for name in ("submitted_at", "traceparent", "intake", "person"):
        assert (name in written) == (getattr(entry, name) is not None)
    for name in ("provider", "requested_model", "hop"):
        assert (name in (written["attempt"] or {})) == (getattr(entry.attempt, name, None) is not None)


@given(drawn(DeadLetter))
def test_every_field_of_a_dead_letter_arrives(letter: DeadLetter) -> None:
    assert decode_dead(encode_dead(letter)) == letter


def subject_of(work: Work) -> str:
    return f"work.{work.target}.{work.job.lane}.{work.job.tenant}"


RECORDED = Path(__file__).parent / "recorded" / "v0.2"


def message(name: str) -> Any:
    """A message with each field that there is: as it was recorded, and as it is written now."""
    body = (RECORDED / f"{name}.json").read_bytes()
    read, write = {
        "job": (lambda body: None, None),
        "work": (lambda body: decode_work(body, "work.groq-8b.bulk.acme"), encode_work),
        "result": (decode_result, encode_result),
        "ledger": (decode_ledger, encode_ledger),
        "dead": (decode_dead, encode_dead),
    }[name]
    return json.loads(body) if write is None else json.loads(write(read(body)))


WHOLE = {"request", "metadata", "cloud", "message"}
"""Fields whose inside is the publisher's or the model's own."""


def paths_in(sent: Any, record: type[BaseModel] | None = None) -> list[str]:
    """Every field of the message, and of what lies in it, as a dotted path."""
    named = [field.alias or name for name, field in record.model_fields.items()] if record else []
    items = dict.fromkeys(named) | sent if isinstance(sent, dict) else dict(enumerate(sent))
    found = []
    for step, value in items.items():
        inside = paths_in(value) if isinstance(value, dict | list) and step not in WHOLE else []
        found += [str(step), *(f"{step}.{path}" for path in inside)]
    return [path for path in found if not path.startswith("attempts.0.answer.0.")]


def spoilt(name: str, path: str) -> bytes:
    """The message with a value of no type that the field may have."""
    sent = message(name)
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    at = sent
    for step in parents:
        at = at[step]
    is_object = isinstance(at[last] if isinstance(last, int) else at.get(last), dict)
    at[last] = [True] if is_object else {"no": [True]}
    return json.dumps(sent).encode()


@pytest.mark.parametrize("path", paths_in(message("job"), JobRecord))
def test_a_field_of_another_type_in_a_job_is_named(path: str) -> None:
    read = decode_job(spoilt("job", path), None, "jobs.bulk.acme", 1.5)

    assert isinstance(read, Malformed)
    assert f"{read.problem.field}.".startswith(f"{path}.")


@pytest.mark.parametrize("path", paths_in(message("work"), WorkRecord))
def test_a_field_of_another_type_in_work_is_named(path: str) -> None:
    read = decode_work(spoilt("work", path), "work.groq-8b.bulk.acme")

    assert isinstance(read, Malformed)
    assert f"{read.problem.field}.".startswith(f"{path}.")


READERS: Mapping[str, tuple[Callable[[bytes], object], type[BaseModel]]] = {
    "result": (decode_result, ResultRecord),
    "ledger": (decode_ledger, LedgerEntryRecord),
    "dead": (decode_dead, DeadLetterRecord),
}


@pytest.mark.parametrize(
    ("name", "path"),
    [(name, path) for name, (_, record) in READERS.items() for path in paths_in(message(name), record)],
)
def test_a_field_of_another_type_in_what_the_fleet_tells_is_named(name: str, path: str) -> None:
    with pytest.raises(ValueError, match=f"schema 1: {re.escape(path)}[.:]"):
        READERS[name][0](spoilt(name, path))


def test_signals_of_another_version_are_left_out_and_the_job_goes_on() -> None:
    other = NearRecord.model_validate({"entry": "0f" * 32, "encoder": "e", "signals": (0.5, 0.5)})
    assert read_near(other) is None

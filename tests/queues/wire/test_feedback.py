"""Feedback goes through the codec unchanged, and every way it can be wrong is named with the field and the rule."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.errors import InvalidFeedback
from fleet.model.feedback import FEEDBACK_ID, Feedback, Verdict, Witness
from fleet.model.job import JOB_ID
from fleet.model.result import Problem
from queues.wire.feedback import MAX_FEEDBACK_BYTES, decode_feedback, encode_feedback
from queues.wire.subjects import feedback_subject

SUBJECT = "feedback.acme"
GOOD = {"id": "feedback-00000001", "job_id": "job-0123456789ab", "verdict": "good"}

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
names = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)


@st.composite
def feedbacks(draw: st.DrawFn) -> Feedback:
    """Any that keeps the rules."""
    source = draw(st.sampled_from(Witness))
    shadow = source is Witness.SHADOW
    verdict = draw(st.sampled_from([Verdict.GOOD, Verdict.BAD] if shadow else list(Verdict)))
    edited = verdict is Verdict.EDITED
    return Feedback(
        draw(st.from_regex(JOB_ID, fullmatch=True)),
        draw(names),
        verdict,
        draw(st.floats(min_value=1, max_value=4e9)),
        source,
        text=draw(texts if edited else st.none() | texts),
        target=draw(names if shadow else st.none() | names),
        propensity=draw(st.floats(min_value=1e-6, max_value=1)) if shadow else None,
        changed=draw(st.none() | st.booleans()) if edited else None,
        id=draw(st.from_regex(FEEDBACK_ID, fullmatch=True)),
    )


@given(feedbacks())
def test_feedback_comes_out_as_it_went_in(feedback: Feedback) -> None:
    body = encode_feedback(feedback)

    assert decode_feedback(body, feedback_subject(feedback.tenant, feedback.source), feedback.at) == feedback


SHADOW = {"source": "shadow", "target": "llama-8b", "propensity": 0.02}


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"id": None}, "id", "is required"),
        ({"id": 7}, "id", "must be a valid string"),
        ({"id": "short"}, "id", "must match pattern"),
        ({"id": "x" * 129}, "id", "must match pattern"),
        ({"job_id": "results.of.another"}, "job_id", "must match pattern"),
        ({"schema": 2}, "schema", "must be less than or equal to 1"),
        ({"tenant": "globex"}, "tenant", "must be the tenant of the subject, acme"),
        ({"verdict": "meh"}, "verdict", "must be 'good', 'bad', 'edited' or 'better'"),
        ({"verdict": "edited"}, "text", "is required with verdict edited"),
        ({"verdict": "edited", "text": ""}, "text", "at least 1 character"),
        ({"text": "x" * 32_769}, "text", "at most 32768 characters"),
        ({"changed": True}, "changed", "belongs to verdict edited"),
        ({"target": "two.tokens"}, "target", "must match pattern"),
        ({"propensity": 0.5}, "propensity", "belongs to source shadow"),
        ({"source": "boss"}, "source", "must be 'user', 'judge' or 'shadow'"),
        ({"mood": "fine"}, "mood", "is not a known field"),
        (SHADOW, "source", "shadow cannot speak on feedback.acme"),
    ],
)
def test_a_wrong_field_is_named_with_the_rule_it_breaks(change: dict[str, Any], field: str, rule: str) -> None:
    problem = decode_feedback(json.dumps({**GOOD, **change}).encode(), SUBJECT, 1.0)

    assert isinstance(problem, Problem)
    assert problem.field == field
    assert rule in (problem.rule or "")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"target": None}, "target"),
        ({"propensity": None}, "propensity"),
        ({"propensity": 0}, "propensity"),
        ({"propensity": 1.5}, "propensity"),
        ({"verdict": "better"}, "verdict"),
        ({"source": "user", "propensity": None}, "source"),
    ],
)
def test_what_a_dispatcher_says_is_no_more_believed_than_its_fields(change: dict[str, Any], field: str) -> None:
    body = {name: value for name, value in {**GOOD, **SHADOW, **change}.items() if value is not None}

    problem = decode_feedback(json.dumps(body).encode(), "feedback.acme.shadow", 1.0)

    assert isinstance(problem, Problem)
    assert problem.field == field


@pytest.mark.parametrize(
    "body", [b"", b"good", b"\xff\xfe", b"[1]", b'{"stream": "FEEDBACK", "seq": 3}', b" " * (MAX_FEEDBACK_BYTES + 1)]
)
def test_what_is_no_feedback_at_all_is_a_problem_and_no_exception(body: bytes) -> None:
    assert isinstance(decode_feedback(body, SUBJECT, 1.0), Problem)


@pytest.mark.parametrize("subject", ["feedback.a tenant", "feedback.ü", "feedback.acme.other"])
def test_a_subject_that_names_no_tenant_or_no_witness_is_refused(subject: str) -> None:
    assert isinstance(decode_feedback(json.dumps(GOOD).encode(), subject, 1.0), Problem)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"text": "half a pair: \ud83d"}, "text"),
        ({"text": ""}, "text"),
        ({"job_id": "short"}, "job_id"),
        ({"verdict": Verdict.EDITED}, "text"),
        ({"propensity": 0.5}, "propensity"),
    ],
)
def test_the_writer_is_told_what_a_reader_would_skip(change: dict[str, Any], field: str) -> None:
    feedback = Feedback("job-0123456789ab", "acme", Verdict.GOOD, 1.0, id="feedback-00000001")

    with pytest.raises(InvalidFeedback) as raised:
        encode_feedback(replace(feedback, **change))
    assert raised.value.field == field


@pytest.mark.parametrize("character", ["a", "\n", "ü", "\U0001f600"])
def test_the_longest_text_fits_whatever_its_characters(character: str) -> None:
    said = Feedback("job-0123456789ab", "acme", Verdict.BAD, 1.0, text=character * 32_768, id="feedback-00000001")

    assert decode_feedback(encode_feedback(said), SUBJECT, 1.0) == said

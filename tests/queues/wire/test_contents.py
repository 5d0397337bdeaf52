"""Contents come back as they were, and what makes one too large for a message is left out of it."""

from __future__ import annotations

from dataclasses import replace

from fleet.model.content import Content, GivenAnswer
from fleet.model.reason import Reason
from queues.wire.content import decode_content, encode_content, fitting_content

WEAK = GivenAnswer(
    "llama-8b", "m", Reason.ROUTED, "fleet", 0.2, "v1", 0.7, message={"role": "assistant", "content": "no"}
)
KEPT = GivenAnswer("llama-70b", "n", Reason.LOW_CONFIDENCE, "fleet", 0.9, delivered=True)
REQUEST = {"messages": [{"role": "user", "content": "Is it?"}]}
ANSWER = {"role": "assistant", "content": "yes"}
CONTENT = Content(
    "job-0123456789ab", "acme", "chat", 5.0, REQUEST, ANSWER, "llama-70b", "p-1", "succeeded", (WEAK, KEPT)
)


def test_a_content_comes_back_with_all_answers() -> None:
    assert decode_content(encode_content(CONTENT)) == CONTENT


def test_a_content_of_an_earlier_version_has_no_answers() -> None:
    body = b'{"schema":1,"job_id":"j","tenant":"acme","task":"chat","at":5.0,"request":{},"message":{}}'
    assert decode_content(body) == Content("j", "acme", "chat", 5.0, {}, {})


def test_a_content_that_is_too_large_goes_without_the_answers_that_were_replaced() -> None:
    whole = encode_content(CONTENT)
    assert fitting_content(CONTENT, len(whole)) == whole
    assert decode_content(fitting_content(CONTENT, len(whole) - 1)) == replace(CONTENT, answers=(KEPT,))

"""What happens to a call when a provider misbehaves, through the real SDKs over HTTP."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from fault_server import Manner, Scripted
from patience import PATIENCE_SECONDS

from fleet.model.attempt import Answer, Failure, FailureKind
from fleet.model.call import Call
from fleet.providers import EnvironmentKeyRing, ProviderSettings, build

PROMPT = "planted-prompt: where does Ada Example live?"
CALL = Call({"model": "any", "messages": [{"role": "user", "content": PROMPT}]}, timeout_seconds=PATIENCE_SECONDS)
QUICK = Call(CALL.request, timeout_seconds=0.2)


def error(message, code=None, kind="invalid_request_error"):
    return {"type": "error", "error": {"message": message, "type": kind, "code": code}}


FAULTS = {
    "429 with seconds": (Scripted(429, error("slow down"), {"retry-after": "2.5"}), FailureKind.RATE_LIMITED, 2.5),
    "429 with a date": (
        Scripted(
            429,
            error("slow down"),
            {"retry-after": "Fri, 20 Nov 2026 12:00:30 GMT", "date": "Fri, 20 Nov 2026 12:00:00 GMT"},
        ),
        FailureKind.RATE_LIMITED,
        30.0,
    ),
    "429 without a word": (Scripted(429, error("slow down")), FailureKind.RATE_LIMITED, None),
    "429 asking to be retried": (
        Scripted(429, error("slow down"), {"x-should-retry": "true"}),
        FailureKind.RATE_LIMITED,
        None,
    ),
    "500": (Scripted(500, error("oops", kind="api_error")), FailureKind.SERVER_ERROR, None),
    "502 from a proxy": (Scripted(502, b"<html>Bad gateway</html>"), FailureKind.SERVER_ERROR, None),
    "503": (Scripted(503, error("busy"), {"retry-after": "7"}), FailureKind.OVERLOADED, 7.0),
    "529": (Scripted(529, error("overloaded", kind="overloaded_error")), FailureKind.OVERLOADED, None),
    "498": (Scripted(498, error("flex", "capacity_exceeded")), FailureKind.OVERLOADED, None),
    "429 of the flexible tier": (
        Scripted(429, error("no capacity", "resource_unavailable")),
        FailureKind.OVERLOADED,
        None,
    ),
    "401": (Scripted(401, error("bad key", "invalid_api_key")), FailureKind.AUTHENTICATION, None),
    "403": (Scripted(403, error("not yours")), FailureKind.AUTHENTICATION, None),
    "404": (Scripted(404, error("no such model", "model_not_found")), FailureKind.ACCOUNT, None),
    "400": (Scripted(400, error("unknown field")), FailureKind.INVALID_REQUEST, None),
    "422": (Scripted(422, error("unprocessable")), FailureKind.INVALID_REQUEST, None),
    "context by code": (Scripted(400, error("long", "context_length_exceeded")), FailureKind.CONTEXT_TOO_LONG, None),
    "context by text": (
        Scripted(400, error("prompt is too long: 210000 tokens > 200000 maximum")),
        FailureKind.CONTEXT_TOO_LONG,
        None,
    ),
    "context by text at AWS": (
        Scripted(400, {"message": "Input is too long for requested model."}),
        FailureKind.CONTEXT_TOO_LONG,
        None,
    ),
    "a model at AWS": (Scripted(424, {"message": "the model failed"}), FailureKind.SERVER_ERROR, None),
    "a model at AWS that says why": (
        Scripted(424, {"OriginalStatusCode": 400, "OriginalMessage": json.dumps({"message": "prompt is too long"})}),
        FailureKind.CONTEXT_TOO_LONG,
        None,
    ),
    "a model at AWS that says so little": (
        Scripted(424, {"message": "no", "originalStatusCode": 503, "resourceName": "m"}),
        FailureKind.OVERLOADED,
        None,
    ),
    "more than a minute's limit at once": (
        Scripted(
            429, error("Request too large for gpt-5 in organization org-x on tokens per min", "rate_limit_exceeded")
        ),
        FailureKind.CONTEXT_TOO_LONG,
        None,
    ),
    "a longer answer than the model gives": (
        Scripted(400, error("max_tokens: 90000 > 64000, which is the maximum allowed number of output tokens for x")),
        FailureKind.CONTEXT_TOO_LONG,
        None,
    ),
    "context by another text": (
        Scripted(400, error("The decoder prompt (length 9000) is longer than the maximum model length of 4096.")),
        FailureKind.CONTEXT_TOO_LONG,
        None,
    ),
    "an answer held back": (
        Scripted(400, error("Output blocked by content filtering policy")),
        FailureKind.CONTENT_FILTER,
        None,
    ),
    "a prompt held back": (Scripted(400, error("Invalid prompt", "invalid_prompt")), FailureKind.CONTENT_FILTER, None),
    "content refused as forbidden": (
        Scripted(
            403, {"code": "no permission", "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK"}
        ),
        FailureKind.CONTENT_FILTER,
        None,
    ),
    "413": (Scripted(413, error("too large")), FailureKind.CONTEXT_TOO_LONG, None),
    "content filter": (Scripted(400, error("no", "content_filter")), FailureKind.CONTENT_FILTER, None),
    "the model wrote bad JSON": (Scripted(400, error("no", "json_validate_failed")), FailureKind.MALFORMED, None),
    "a redirect": (Scripted(307, b"", {"location": "/elsewhere"}), FailureKind.INTERNAL, None),
    "a teapot": (Scripted(418, error("short and stout")), FailureKind.INTERNAL, None),
    "an error that is no object": (Scripted(400, {"error": "just text"}), FailureKind.INVALID_REQUEST, None),
    "cut mid-body": (Scripted(manner=Manner.CUT), FailureKind.CONNECTION, None),
    "no JSON": (Scripted(200, b"{not json"), FailureKind.MALFORMED, None),
    "empty": (Scripted(200, b""), FailureKind.MALFORMED, None),
    "wrong shape": (Scripted(200, {"choices": "many", "content": 3}), FailureKind.MALFORMED, None),
    "an error dressed as success": (Scripted(200, error("upstream")), FailureKind.MALFORMED, None),
}


NO_CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade."
QUOTA = "You exceeded your current quota, please check your plan and billing details."
VERIFY = "Your organization must be verified to use the model `gpt-5`. Please go to: https://platform.openai.com/"
OF_THE_ACCOUNT = {
    "no quota": Scripted(429, error(QUOTA, "insufficient_quota", "insufficient_quota"), {"retry-after": "1"}),
    "no quota by type": Scripted(429, {"error": {"message": "no", "type": "insufficient_quota", "code": 429}}),
    "no quota by words": Scripted(429, {"error": {"message": QUOTA}}),
    "no credit": Scripted(400, error(NO_CREDIT)),
    "a usage limit": Scripted(429, {"error": {"type": "usage_limit_reached", "message": "The usage limit"}}),
    "a gateway's budget": Scripted(400, error("Budget has been exceeded! Current cost: 1", kind="budget_exceeded")),
    "no model of that name": Scripted(400, error("invalid model ID")),
    "no such model at a router": Scripted(400, {"error": {"message": "a/b is not a valid model ID", "code": 400}}),
    "a key by words": Scripted(
        400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid one."}}]
    ),
    "no service here": Scripted(400, error("User location is not supported for the API use.")),
    "an account's own limit": Scripted(400, error("You have reached your specified API usage limits. You will regain")),
    "a disabled organization": Scripted(400, error("This organization has been disabled.")),
    "a restricted organization": Scripted(400, error("Organization has been restricted.", "organization_restricted")),
    "billing is not active": Scripted(429, error("Your account is not active", "billing_not_active")),
    "a hard limit": Scripted(400, error("Billing hard limit has been reached", "billing_hard_limit_reached")),
    "a deactivated account": Scripted(401, error("The OpenAI account has been deactivated.", "account_deactivated")),
    "payment required": Scripted(402, error("Insufficient Balance")),
    "payment required in HTML": Scripted(402, b"<html>pay</html>"),
    "a billing error": Scripted(402, error("Billing", kind="billing_error")),
    "no such model": Scripted(404, error("The model `gpt-9` does not exist", "model_not_found")),
    "no such model at anthropic": Scripted(404, error("model: claude-9", kind="not_found_error")),
    "no access to the model": Scripted(403, error("Project has no access to model `gpt-4o`", "model_not_found")),
    "a model the organization blocks": Scripted(403, error("blocked", "model_permission_blocked_org")),
    "a model that is gone": Scripted(
        400, error("The model `llama2-70b` has been decommissioned", "model_decommissioned")
    ),
    "terms not accepted": Scripted(400, error("terms", "model_terms_required")),
    "an organization not verified": Scripted(400, error(VERIFY)),
    "a region not served": Scripted(403, error("Country", "unsupported_country_region_territory")),
    "no such model at AWS": Scripted(400, {"message": "The provided model identifier is invalid."}),
    "a model at AWS that wants a profile": Scripted(
        400, {"message": "Invocation of model ID anthropic.claude-9-v1:0 with on-demand throughput isn't supported."}
    ),
    "a wrong path": Scripted(404, b"<html>Not found</html>"),
    "a wrong method": Scripted(405, b""),
    "an error without an envelope": Scripted(400, {"message": NO_CREDIT}),
    "an error in a list": Scripted(400, [{"error": {"message": NO_CREDIT}}]),
    "an error that is text": Scripted(400, {"error": NO_CREDIT}),
}


@pytest.mark.parametrize("fault", OF_THE_ACCOUNT.values(), ids=OF_THE_ACCOUNT.keys())
@pytest.mark.parametrize("reference", [None, "mine"])
async def test_what_is_wrong_with_the_account_or_the_model_is_not_the_requests_fault(
    backend, outcomes, fault_server, provider, fault, reference
):
    fault_server.script(fault)
    [outcome] = await outcomes(backend, Call(CALL.request, 30.0, own_key=reference))
    assert outcome.kind is FailureKind.ACCOUNT
    assert outcome.detail.startswith(f"{provider} answered HTTP {fault.status}")
    assert ("the tenant's own key" in outcome.detail) == (reference is not None)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, f"Invalid value: '{NO_CREDIT}'", FailureKind.INVALID_REQUEST),
        (400, f"unknown tool: {QUOTA}", FailureKind.INVALID_REQUEST),
        (429, f"Rate limit reached for model in organization. Not: {QUOTA}", FailureKind.RATE_LIMITED),
        (500, NO_CREDIT, FailureKind.SERVER_ERROR),
        (400, "Your organization must be verified to generate reasoning summaries.", FailureKind.INVALID_REQUEST),
        (404, "File not found: file_011", FailureKind.INVALID_REQUEST),
        (
            403,
            "Your chosen model requires moderation and your input was flagged for violence",
            FailureKind.CONTENT_FILTER,
        ),
    ],
)
async def test_words_of_a_publisher_in_an_error_shut_no_account(backend, outcomes, fault_server, status, message, kind):
    fault_server.script(Scripted(status, error(message)))
    [outcome] = await outcomes(backend, CALL)
    assert outcome.kind is kind


@pytest.mark.parametrize(
    "key", ["sk-two\nlines", "sk-\u00e9", "sk with blanks", "sk-\x00", "\u2028", "sk-\U0001f511", " \n"]
)
async def test_a_key_that_no_header_can_hold_is_no_key(fault_server, target, outcomes, provider, key):
    environ = {f"{provider.upper()}_API_KEY": key, f"FLEET_KEY_{provider.upper()}_mine": key}
    backend = build(target(provider), ProviderSettings(fault_server.base_urls), EnvironmentKeyRing(environ))
    found = await outcomes(backend, CALL, Call(CALL.request, 30.0, own_key="mine"))
    await backend.close()
    assert [outcome.kind for outcome in found] == [FailureKind.AUTHENTICATION] * 2
    assert fault_server.received == []


@pytest.mark.parametrize(("fault", "kind", "retry_after"), FAULTS.values(), ids=FAULTS.keys())
async def test_every_fault_is_one_failure_after_one_request(
    backend, outcomes, fault_server, provider, fault, kind, retry_after
):
    fault_server.script(fault)
    [outcome] = await outcomes(backend, CALL)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.retry_after_seconds) == (kind, retry_after)
    assert provider in outcome.detail
    assert len(fault_server.received) == 1


@pytest.mark.parametrize("status", [307, 400, 401, 404, 429, 500, 529])
async def test_no_detail_and_no_log_line_holds_the_key_or_the_prompt(
    backend, outcomes, fault_server, provider, keys, status, caplog
):
    caplog.set_level(logging.DEBUG)
    key = keys[f"{provider.upper()}_API_KEY"]
    fault_server.script(Scripted(status, error(f"key {key} said {PROMPT}\nand more", code=key, kind=PROMPT)))
    [outcome] = await outcomes(backend, CALL)
    said = outcome.detail + caplog.text + repr(outcome) + repr(backend) + repr(vars(backend))
    assert key not in said
    assert "planted" not in said
    assert "\n" not in outcome.detail


async def test_an_answer_in_the_wrong_shape_is_not_quoted(backend, outcomes, fault_server, keys, provider):
    key = keys[f"{provider.upper()}_API_KEY"]
    fault_server.script(Scripted(200, {"choices": [{key: PROMPT}], "content": [{key: PROMPT}], "model": key}))
    [outcome] = await outcomes(backend, CALL)
    assert outcome.kind is FailureKind.MALFORMED
    assert "planted" not in outcome.detail


async def test_a_held_answer_is_a_timeout(backend, outcomes, fault_server):
    fault_server.script(Scripted(manner=Manner.HELD))
    [outcome] = await outcomes(backend, QUICK)
    assert outcome.kind is FailureKind.TIMEOUT
    assert "0.2 s" in outcome.detail
    assert len(fault_server.received) <= 1


async def test_nobody_listening_is_a_connection_failure(backend, outcomes, fault_server):
    await fault_server.__aexit__()
    [outcome] = await outcomes(backend, CALL)
    assert outcome.kind is FailureKind.CONNECTION


async def test_a_call_that_fails_leaves_its_neighbours_alone(backend, outcomes):
    unheard_of = Call(CALL.request, 30.0, own_key="nobody")
    unspeakable = Call({"messages": object()}, 30.0)
    found = await outcomes(backend, unheard_of, CALL, unspeakable)
    assert isinstance(found[0], Failure)
    assert found[0].kind is FailureKind.AUTHENTICATION
    assert isinstance(found[1], Answer)
    assert isinstance(found[2], Failure)
    assert found[2].kind in (FailureKind.INTERNAL, FailureKind.INVALID_REQUEST)


async def test_outcomes_come_as_they_finish(backend, fault_server):
    fault_server.script(Scripted(manner=Manner.HELD), Scripted())
    groups = backend.run([CALL, CALL])
    first = await anext(groups)
    assert len(first) == 1
    assert len(fault_server.received) == 2
    fault_server.release()
    rest = [pair async for group in groups for pair in group]
    assert {index for index, _ in [*first, *rest]} == {0, 1}


async def test_cancelling_the_run_cancels_its_requests(backend, fault_server):
    fault_server.script(Scripted(manner=Manner.HELD), Scripted(manner=Manner.HELD))

    async def consume():
        async for _ in backend.run([CALL, CALL]):
            pass

    consumer = asyncio.create_task(consume())
    await fault_server.until(received=2)
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer
    await fault_server.until(abandoned=2)


async def test_closing_the_iterator_cancels_what_is_left(backend, fault_server):
    fault_server.script(Scripted(manner=Manner.HELD), Scripted())
    groups = backend.run([CALL, CALL])
    await anext(groups)
    await groups.aclose()
    await fault_server.until(abandoned=1)


async def test_no_calls_are_no_outcomes(backend, fault_server):
    assert [group async for group in backend.run([])] == []
    assert fault_server.received == []


async def test_a_stopped_call_is_broken_off_and_its_neighbour_goes_on(backend, fault_server):
    fault_server.script(Scripted(manner=Manner.HELD), Scripted(manner=Manner.HELD))
    groups = backend.run([Call(CALL.request, 30.0, id="acme.first"), Call(CALL.request, 2.0, id="acme.other")])
    coming = asyncio.ensure_future(anext(groups))
    await fault_server.until(received=2)
    await backend.stop(["acme.first", "acme.unheard-of"])
    await fault_server.until(abandoned=1)
    [(index, outcome)] = await coming
    assert (index, outcome.kind) == (1, FailureKind.TIMEOUT)
    assert [group async for group in groups] == []

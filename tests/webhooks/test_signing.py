"""Signatures that OpenAI's own verifier takes, and secrets that only the operator's key can make."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace

import pytest
from openai import InvalidWebhookSignatureError, OpenAI

from fleet.model.webhook import EventType, WebhookEndpoint, WebhookEvent
from fleet.webhooks.sending import body_of
from fleet.webhooks.signing import KEY_VARIABLE, Signer, signed_headers

KEY = bytes(range(32))
SIGNER = Signer(KEY)
ENDPOINT = WebhookEndpoint("we_1", "acme", "nightly", "https://hooks.example", frozenset(EventType), "aa", 1.0, 1.0)
EVENT = WebhookEvent("acme", EventType.BATCH_COMPLETED, "batch_1", 1000.75)


def unwrapped(endpoint: WebhookEndpoint, secret: str, event: WebhookEvent = EVENT, at: float | None = None):
    now, body = time.time() if at is None else at, body_of(event)
    headers = signed_headers(event.id, body, SIGNER.secrets(endpoint, now), now)
    return OpenAI(api_key="none", webhook_secret=secret).webhooks.unwrap(body, headers)


@pytest.mark.parametrize("type", EventType)
def test_every_event_passes_openais_verifier_as_what_it_is(type: EventType) -> None:
    event = unwrapped(ENDPOINT, SIGNER.secret(ENDPOINT, "aa"), replace(EVENT, type=type))
    assert event.__class__.__name__.startswith(type.value.title().replace(".", ""))
    assert (event.id, event.type, event.data.id, event.created_at, event.object) == (
        replace(EVENT, type=type).id,
        type.value,
        "batch_1",
        1000,
        "event",
    )


def test_while_a_secret_rotates_the_old_and_the_new_one_both_verify() -> None:
    rotating = replace(ENDPOINT, salt="bb", previous_salt="aa", previous_until=time.time() + 3600)
    for salt in ("aa", "bb"):
        assert unwrapped(rotating, SIGNER.secret(ENDPOINT, salt)).data.id == "batch_1"


@pytest.mark.parametrize(
    "rotated",
    [
        replace(ENDPOINT, salt="bb"),
        replace(ENDPOINT, salt="bb", previous_salt="aa", previous_until=1.0),
        replace(ENDPOINT, tenant="beta"),
        replace(ENDPOINT, id="we_2"),
    ],
    ids=["at once", "a day later", "another tenant", "another endpoint"],
)
def test_a_secret_that_is_not_in_force_does_not_verify(rotated: WebhookEndpoint) -> None:
    with pytest.raises(InvalidWebhookSignatureError):
        unwrapped(rotated, SIGNER.secret(ENDPOINT, "aa"))


def test_the_time_is_signed_and_that_of_the_attempt() -> None:
    with pytest.raises(InvalidWebhookSignatureError, match="too old"):
        unwrapped(ENDPOINT, SIGNER.secret(ENDPOINT, "aa"), at=time.time() - 600)


def test_a_secret_has_the_form_and_length_that_standard_webhooks_asks_for() -> None:
    secret = SIGNER.secret(ENDPOINT, "aa")
    assert secret.startswith("whsec_")
    assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64


def test_a_known_signature_of_the_specification_is_made() -> None:
    """The example of the reference libraries (standard-webhooks/libraries)."""
    secret, payload = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", payload, [secret], 1614265330)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_body_says_what_ended_and_nothing_of_it() -> None:
    assert json.loads(body_of(EVENT)) == {
        "id": EVENT.id,
        "object": "event",
        "created_at": 1000,
        "type": "batch.completed",
        "data": {"id": "batch_1"},
    }


def test_nothing_that_is_shown_holds_a_secret_or_the_key() -> None:
    signer = Signer.from_environment({KEY_VARIABLE: base64.b64encode(KEY).decode()})
    secret = signer.secret(ENDPOINT, ENDPOINT.salt)
    shown = f"{signer!r} {ENDPOINT!r} {signer.hint(ENDPOINT)}"
    assert secret not in shown
    assert signer.hint(ENDPOINT).endswith(secret[-4:])

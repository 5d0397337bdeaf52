"""Requests that were sent before."""

from __future__ import annotations

import itertools

import pytest

from fleet.gateway.access.repeats import (
    MOST_REMEMBERED,
    RETRIED_SECONDS,
    SAME_SECONDS,
    SentBefore,
    batch_ids,
    check_key,
    id_after,
)
from fleet.gateway.errors import ApiError
from fleet.model.batch import BATCH_ID
from fleet.model.job import JOB_ID

NOW = 1_800_000_123.0
RETRY = {"x-stainless-retry-count": "1"}
FIRST = {"x-stainless-retry-count": "0"}


def newest(headers: dict[str, str], body: bytes = b"{}", now: float = NOW, tenant: str = "acme") -> str:
    return batch_ids(headers, tenant, body, now)[0][0]


@pytest.mark.parametrize("age", [0, 1, SAME_SECONDS / 2, SAME_SECONDS])
def test_the_same_body_is_looked_for_under_the_id_it_had(age: float) -> None:
    ids, since = batch_ids(FIRST, "acme", b"{}", NOW + age)

    assert newest(FIRST) in ids
    assert since <= NOW


@pytest.mark.parametrize("age", [SAME_SECONDS, 2 * SAME_SECONDS, RETRIED_SECONDS])
def test_what_an_sdk_sends_again_is_looked_for_as_long_as_sdks_try(age: float) -> None:
    ids, since = batch_ids(RETRY, "acme", b"{}", NOW + age)

    assert newest(FIRST) in ids
    assert since <= NOW


def test_the_same_body_is_another_batch_later_on() -> None:
    assert newest(FIRST) not in batch_ids(FIRST, "acme", b"{}", NOW + 3 * SAME_SECONDS)[0]


def test_a_key_is_the_same_batch_whenever_and_with_whatever_body() -> None:
    key = {"idempotency-key": "order-4711"}
    assert newest(key) == newest(key, b'{"other": 1}', NOW + 86_400) != newest({"idempotency-key": "order-4712"})


def test_no_two_tenants_have_the_same_batch() -> None:
    for headers in ({}, {"idempotency-key": "order-4711"}):
        assert newest(headers) != newest(headers, tenant="beta")


def test_every_id_is_one_of_a_batch() -> None:
    for batch_id in (newest({}), newest({"idempotency-key": "k"}), id_after(newest({}))):
        assert BATCH_ID.fullmatch(batch_id)


@pytest.mark.parametrize("key", ["", "k" * 256, "a\x7fb"])
def test_a_key_that_cannot_be_one_is_refused(key: str) -> None:
    with pytest.raises(ApiError) as refused:
        check_key({"idempotency-key": key})
    assert refused.value.status == 400


def sent_before() -> SentBefore:
    numbers = itertools.count()
    return SentBefore(lambda: f"job-{next(numbers):012d}")


def test_two_equal_requests_are_two_jobs() -> None:
    sent = sent_before()
    ids = [sent.job_id(FIRST, "acme", b"{}", NOW) for _ in range(2)]

    assert ids == ["job-000000000000", "job-000000000001"]
    assert not any(map(sent.may_be_there, ids))


def test_what_an_sdk_sends_again_is_the_job_of_the_last_time() -> None:
    sent = sent_before()
    sent.job_id(FIRST, "acme", b"{}", NOW)
    latest = sent.job_id(FIRST, "acme", b"{}", NOW)

    assert [sent.job_id(RETRY, "acme", b"{}", NOW + age) for age in (1, 2)] == [latest, latest]
    assert sent.may_be_there(latest)


@pytest.mark.parametrize(
    ("tenant", "body", "age"), [("acme", b'{"a": 1}', 1), ("beta", b"{}", 1), ("acme", b"{}", RETRIED_SECONDS)]
)
def test_what_nobody_sent_lately_is_a_new_job_though_an_sdk_says_otherwise(
    tenant: str, body: bytes, age: float
) -> None:
    sent = sent_before()
    first = sent.job_id(FIRST, "acme", b"{}", NOW)
    again = sent.job_id(RETRY, tenant, body, NOW + age)

    assert again != first and not sent.may_be_there(again)


def test_a_job_that_was_called_off_is_made_anew() -> None:
    sent = sent_before()
    first = sent.job_id(FIRST, "acme", b"{}", NOW)

    assert sent.drop(first)
    assert sent.job_id(RETRY, "acme", b"{}", NOW) != first


def test_a_key_is_the_same_job_for_every_gateway_and_is_not_called_off() -> None:
    key, sent = {"idempotency-key": "order-4711"}, sent_before()
    job_id = sent.job_id(key, "acme", b"{}", NOW)

    assert JOB_ID.fullmatch(job_id) and sent.may_be_there(job_id) and not sent.drop(job_id)
    assert sent_before().job_id(key, "acme", b"{}", NOW + 3600) == job_id
    assert sent_before().job_id(key, "beta", b"{}", NOW) != job_id
    assert sent_before().job_id({"idempotency-key": "order-4712"}, "acme", b"{}", NOW) != job_id


def test_a_key_with_another_body_is_refused() -> None:
    sent, key = sent_before(), {"idempotency-key": "order-4711"}
    sent.job_id(key, "acme", b"{}", NOW)

    with pytest.raises(ApiError) as refused:
        sent.job_id(key, "acme", b'{"a": 1}', NOW)

    assert (refused.value.status, refused.value.code) == (422, "idempotency_key_reused")
    assert sent.job_id(key, "beta", b'{"a": 1}', NOW)


def test_no_more_is_remembered_than_there_is_room_for() -> None:
    sent = sent_before()
    ids = [sent.job_id(FIRST, "acme", b"%d" % number, NOW) for number in range(MOST_REMEMBERED + 10)]

    assert sent.job_id(RETRY, "acme", b"0", NOW) not in ids
    assert sent.job_id(RETRY, "acme", b"%d" % MOST_REMEMBERED, NOW) in ids

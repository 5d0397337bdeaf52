"""Recognises a request that was sent before: by its `Idempotency-Key`, or as the repetition of an SDK.

OpenAI's SDKs send a request again, with the same bytes, after an answer that they did not get, and without any key.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from fleet.gateway.errors import ApiError

KEY = "idempotency-key"
RETRY_COUNT = "x-stainless-retry-count"
"""The header by which OpenAI's SDKs say how often they have sent the same request before."""

REPLAYED = "idempotent-replayed"
"""The header of an answer to a request that was recognised."""

MAX_KEY_CHARACTERS = 255

SAME_SECONDS = 600
"""Seconds in which the same body is the same batch: as long as SDKs wait for an answer."""

RETRIED_SECONDS = 4 * SAME_SECONDS
"""The same for a request of which its SDK says that it is a repetition: three tries, each as long as its timeout."""


MOST_REMEMBERED = 10_000
"""Maximum requests remembered; the oldest go first."""


def check_key(headers: Mapping[str, str]) -> str | None:
    """Return the caller's key. Raises: ApiError, 400, for one that is empty, too long or not printable."""
    key = headers.get(KEY)
    if key is not None and not (0 < len(key) <= MAX_KEY_CHARACTERS and key.isprintable()):
        raise ApiError(400, f"Idempotency-Key: must have 1 to {MAX_KEY_CHARACTERS} characters.", param=KEY)
    return key


def is_retry(headers: Mapping[str, str]) -> bool:
    return headers.get(RETRY_COUNT, "0") not in ("", "0")


def batch_ids(headers: Mapping[str, str], tenant: str, body: bytes, now: float) -> tuple[Sequence[str], float]:
    """Return the ids that a batch of this request may have, the newest first, and the earliest moment of its making.

    They are made of what was sent, so that any gateway recognises it, whatever became of the one before. Without a key
    a span of time is part of them: the same request is another batch once so much time has gone by.
    """
    key = check_key(headers)
    if key is not None:
        return [_batch_id(f"{tenant}\nkey\n{key}".encode())], 0.0
    age = RETRIED_SECONDS if is_retry(headers) else SAME_SECONDS
    current = int(now) // SAME_SECONDS
    spans = range(current, current - age // SAME_SECONDS - 1, -1)
    return [_batch_id(f"{tenant}\nbody {span}\n".encode() + body) for span in spans], now - age


def upload_name(headers: Mapping[str, str], content: str, now: float) -> tuple[str, float]:
    """Return the name under which a file of this digest is found again, and the earliest moment of its making.

    Without a key only what an SDK says it sends again is a repetition: two equal files may both be meant.
    """
    key = check_key(headers)
    if key is not None:
        return _digest(b"key", key.encode()).hex(), 0.0
    return content, now - RETRIED_SECONDS if is_retry(headers) else math.inf


def id_after(batch_id: str) -> str:
    """Return the id of the next batch of the same request."""
    return _batch_id(f"after\n{batch_id}".encode())


def _batch_id(said: bytes) -> str:
    """Return 96 bits of what was sent; no tenant has a line break in its name."""
    return f"batch_{hashlib.blake2b(said, digest_size=12).hexdigest()}"


class SentBefore:
    """The jobs that this gateway made of requests of the last while.

    A job with a key has an id made of what was sent, by which any gateway finds it as long as its result is kept. What
    an SDK sends again without a key is found here alone: two equal requests may both be meant.
    """

    def __init__(self, new_id: Callable[[], str] = lambda: secrets.token_hex(16)) -> None:
        self._new_id = new_id
        self._by_body: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._by_key: OrderedDict[bytes, bytes] = OrderedDict()
        self._repeated: OrderedDict[str, bool] = OrderedDict()
        self._dropped: OrderedDict[str, bool] = OrderedDict()

    def job_id(self, headers: Mapping[str, str], tenant: str, sent: bytes, now: float) -> str:
        """Return the id for the job of this request.

        Raises: ApiError, 400 for a key that cannot be one, 422 for one that was sent with something else before.
        """
        key, body = check_key(headers), _digest(tenant.encode(), sent)
        job_id = self._of_body(body, now, is_retry(headers)) if key is None else self._of_key(tenant, key, body)
        for remembered in (self._by_body, self._by_key, self._repeated, self._dropped):
            while len(remembered) > MOST_REMEMBERED:
                remembered.popitem(last=False)
        return job_id

    def _of_key(self, tenant: str, key: str, body: bytes) -> str:
        named = _digest(tenant.encode(), b"key", key.encode())
        if self._by_key.setdefault(named, body) != body:
            raise reused_key()
        job_id = _digest(named, body).hex()
        self._repeated[job_id] = True
        return job_id

    def _of_body(self, body: bytes, now: float, is_repeated: bool) -> str:
        job_id, sent_at = self._by_body.pop(body, ("", -math.inf))
        if is_repeated and sent_at > now - RETRIED_SECONDS and job_id not in self._dropped:
            self._repeated.setdefault(job_id, False)
        else:
            job_id = self._new_id()
        self._by_body[body] = (job_id, now)
        return job_id

    def may_be_there(self, job_id: str) -> bool:
        """Return whether an earlier request may have made this job."""
        return job_id in self._repeated

    def drop(self, job_id: str) -> bool:
        """Let nobody find the job who sends its request again; return False if it has a key, and so is kept."""
        if self._repeated.get(job_id):
            return False
        self._dropped[job_id] = True
        return True


def reused_key() -> ApiError:
    message = "This Idempotency-Key was sent with another body before: use a new one."
    return ApiError(422, message, param=KEY, code="idempotency_key_reused")


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(b"%d:" % len(part) + part)
    return digest.digest()

"""Checks what must hold of any bytes, by kind of message: they are read in full, or refused in a way that is noticed.

Each oracle returns whether the message was accepted, and raises whatever the fleet would have met.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from fuzzing import seeds

from fleet.dispatch.transition import turned_down
from fleet.model.delivery import Delivery, JobsOf, Source, Transition, WorkOf
from fleet.model.errors import ConfigError
from fleet.model.feedback import Feedback
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, Malformed, Outbound, Result, Status, Work
from policies.resilience.delivery import UNREADABLE_TRIES
from queues.jetstream.client.client import TolerantClient
from queues.wire.calibration import decode_calibration, decode_document, encode_calibration, encode_document
from queues.wire.codec import decode
from queues.wire.dead_letter import decode_dead
from queues.wire.feedback import decode_feedback, encode_feedback
from queues.wire.ledger import decode_ledger
from queues.wire.letters import DEFAULT_MAX_MESSAGE_BYTES, message_of, traceparent_in
from queues.wire.result import decode_result
from queues.wire.subjects import work_subject
from queues.wire.work import decode_work

NOW = 1_790_000_000.0
JOBS_OF, WORK_OF = JobsOf(seeds.LANE), WorkOf(seeds.TARGET, seeds.LANE)
SAFE_SUBJECT = re.compile(r"(results\.[\w-]+\.[\w-]+|(dead|ledger)\.[\w-]+|work\.[\w-]+\.\w+\.[\w-]+)", re.ASCII)
PART = b"\x1f"
"""The separator between the tenant in a subject, the headers and the body of a whole delivery."""

CLIENT = TolerantClient()


class Broken(Exception):
    """Raised if a promise of the codec does not hold for this message."""


def job(data: bytes) -> bool:
    return _taken(JOBS_OF, data, None, seeds.TENANT)


def delivery(data: bytes) -> bool:
    """Read subject, headers and body, all made by a stranger. A subject reaches a consumer with its tokens counted."""
    tenant, _, rest = data.partition(PART)
    raw_headers, _, body = rest.partition(PART)
    headers = _finished(CLIENT._process_headers(raw_headers)) if raw_headers else None
    traceparent_in(headers)
    name = re.sub(rb"[.\s]", b"_", tenant).decode(errors="backslashreplace")
    return _taken(JOBS_OF, body, headers, name or "_")


def work(data: bytes) -> bool:
    return _taken(WORK_OF, data, None, seeds.TENANT)


def _taken(source: Source, data: bytes, headers: Mapping[str, str] | None, tenant: str) -> bool:
    place = "jobs" if isinstance(source, JobsOf) else f"work.{source.target}"
    taken = decode(source, data, headers, f"{place}.{source.lane}.{tenant}", NOW)
    match taken:
        case Job():
            carried = Work(taken, seeds.TARGET, Reason.ROUTED)
            body = _sent(carried)
            _require(
                decode_work(body, work_subject(seeds.TARGET, taken.lane, taken.tenant)) == carried, "a job changes"
            )
            json.loads(body, parse_constant=_no_constant)
            return True
        case Work():
            _sent(DeadLetter(taken.job.tenant, taken.job.id, Reason.INVALID, seeds.PROBLEM, data, NOW))
            _sent(Result(taken.job.id, taken.job.tenant, Status.FAILED, Reason.INTERNAL_ERROR, NOW))
            return True
        case Malformed():
            step = turned_down(Delivery(taken, source, UNREADABLE_TRIES, NOW, raw=data), taken, NOW)
            if taken.is_comparison:
                _require(step.outbound == (), "a tenant hears of a comparison")
            else:
                _answered(step)
            return False


def _answered(step: Transition) -> None:
    """A result, a dead letter and a line of accounts, all of which their readers understand."""
    result, dead, entry = step.outbound
    _require(decode_result(_sent(result)) == result, "the result changes")
    _require(decode_ledger(_sent(entry)) == entry, "the line of accounts changes")
    kept = decode_dead(_sent(dead))
    _require(isinstance(dead, DeadLetter) and dead.body.startswith(kept.body), "the dead letter changes")


def _sent(outbound: Outbound) -> bytes:
    message = message_of(outbound, None, DEFAULT_MAX_MESSAGE_BYTES)
    _require(SAFE_SUBJECT.fullmatch(message.subject) is not None, "the subject is none")
    _require(message.size_bytes <= DEFAULT_MAX_MESSAGE_BYTES, "the message is too large")
    return message.data


def _record(read: Callable[[bytes], object]) -> Callable[[bytes], bool]:
    def oracle(data: bytes) -> bool:
        try:
            read(data)
        except ValueError:
            return False
        return True

    return oracle


def feedback(data: bytes) -> bool:
    read = decode_feedback(data, f"feedback.{seeds.TENANT}", NOW)
    if not isinstance(read, Feedback):
        return False
    again = decode_feedback(encode_feedback(read), f"feedback.{seeds.TENANT}", NOW)
    _require(again == read, "feedback changes")
    return True


def calibration(data: bytes) -> bool:
    try:
        read = decode_calibration(data)
    except ConfigError:
        return False
    _require(decode_calibration(encode_calibration(read)) == read, "a calibration changes")
    return True


def document(data: bytes) -> bool:
    try:
        read = decode_document(data)
    except ConfigError:
        return False
    _require(decode_document(encode_document(read.values()).encode()) == read, "a document changes")
    return True


def _no_constant(word: str) -> None:
    raise Broken(f"{word} is no JSON")


def _require(holds: bool, promise: str) -> None:
    if not holds:
        raise Broken(promise)


def _finished(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise Broken("reading headers waits")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of message: the oracle for any of them, and some that are valid."""

    oracle: Callable[[bytes], bool]
    seeds: list[bytes]


def _deliveries() -> list[bytes]:
    headers = f"NATS/1.0\r\nNats-Msg-Id: acme.{seeds.ID}\r\ntraceparent: 00-{'a' * 32}-{'b' * 16}-01\r\n\r\n".encode()
    return [PART.join((b"acme", headers, body)) for body in (*seeds.jobs()[:2], b"{}")]


KINDS = {
    "job": Kind(job, seeds.jobs()),
    "delivery": Kind(delivery, _deliveries()),
    "work": Kind(work, seeds.work()),
    "result": Kind(_record(decode_result), seeds.results()),
    "ledger": Kind(_record(decode_ledger), seeds.ledger()),
    "dead": Kind(_record(decode_dead), seeds.dead()),
    "feedback": Kind(feedback, seeds.feedback()),
    "calibration": Kind(calibration, seeds.calibrations()),
    "document": Kind(document, seeds.documents()),
}

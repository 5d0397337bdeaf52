"""LEDGER: the record of an erasure, a line that no job left. It names nobody whose lines were erased."""

from __future__ import annotations

from dataclasses import asdict

from pydantic_core import to_json

from fleet.model.erasure import ERASURE, Erasure
from queues.wire.letters import Message
from queues.wire.record import VERSION
from queues.wire.subjects import MSG_ID, ledger_subject

REASON = "erased"
"""What stands where other lines have the reason of a decision."""

_MARK = b'"erasure":{'


def erasure_message(erasure: Erasure, at: float) -> Message:
    """Return the message; repeated, it changes nothing."""
    said = asdict(erasure)
    names = {"id": said.pop("id"), "tenant": said.pop("tenant")}
    body = to_json({"schema": VERSION, **names, "at": at, "reason": REASON, ERASURE: said})
    message_id = f"{erasure.tenant}.{erasure.id}.{ERASURE}"
    return Message(ledger_subject(erasure.tenant), body, {MSG_ID: message_id})


def is_erasure(body: bytes) -> bool:
    """Return whether a line is the record of an erasure. No line of a job has an object of that name."""
    return _MARK in body

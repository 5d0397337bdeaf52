"""Explains in one line why NATS cannot be used: the cause, the place, and the way out. No line holds a password."""

from __future__ import annotations

from collections.abc import Mapping

from nats.errors import Error as NatsError
from nats.js.errors import APIError

from fleet.model.errors import LoginRefused, QueueRefused, QueueUnavailable
from queues.jetstream.client.client import PermissionRefused
from queues.jetstream.client.connection import OTHER_LOGIN
from queues.jetstream.codes import Code

_SPACE = "give the server more room (max_file_store, its disk), or remove what is not needed"

WAY_OUT: Mapping[int, str] = {
    Code.NOT_ENABLED: "enable it in the server's configuration (`jetstream {}`), or name a server that has it",
    Code.NOT_FOR_ACCOUNT: "enable it for the account of this login (`jetstream: enabled`), or log in to another",
    Code.SUBJECTS_OVERLAP: "take the subject from the other stream, or use an account of the fleet's own",
    Code.NO_STREAM: "an operator runs `fleet topology apply`",
    Code.ACCOUNT_LIMIT: "raise the limits of the account, or remove streams that are not needed",
    Code.TOO_MANY_STREAMS: "raise max_streams of the account, or remove streams that are not needed",
    Code.RESOURCES_EXCEEDED: _SPACE,
    Code.MEMORY_EXCEEDED: _SPACE,
    Code.STORAGE_EXCEEDED: _SPACE,
    Code.STREAM_FULL: "read or remove what the stream holds, or raise its limits",
    Code.NO_SERVERS: "wait until the servers of the cluster have found each other, start more or larger ones, or ask "
    "for fewer --replicas",
    Code.REPLICAS_UNSUPPORTED: "start a cluster, or ask for --replicas 1",
    Code.NO_LEADER: "the servers of the cluster are electing a leader: try again",
}
"""Ways out, by the server's error code."""

JOBS_FULL = (
    "as many jobs wait as there is room for: send it again later, when some have been answered, or an operator gives "
    "the server more room (max_file_store, its disk) and runs `fleet topology apply`"
)
"""The way out if a job finds its stream full."""

NO_JETSTREAM = f"JetStream is not enabled on this server: {WAY_OUT[Code.NOT_ENABLED]}"


def refused(about: str, code: int | None, description: str | None) -> QueueRefused:
    """Return the error for a refusal by JetStream; `about` is a stream or a subject."""
    way_out = JOBS_FULL if code == Code.STREAM_FULL and about.startswith("jobs.") else WAY_OUT.get(code or 0)
    said = description or f"error {code}"
    return QueueRefused(f"{about}: JetStream: {said}" + (f": {way_out}" if way_out else ""))


def stored_elsewhere(subject: str, stream: object, expected: str) -> QueueRefused:
    """Return the error for a message confirmed by somebody else's stream, where nobody of the fleet will read it."""
    way_out = f"{WAY_OUT[Code.SUBJECTS_OVERLAP]}, and an operator runs `fleet topology apply`"
    return QueueRefused(f"{subject}: stored in stream {stream}, not in the fleet's {expected}: {way_out}")


def unanswered(about: str, error: NatsError) -> QueueUnavailable:
    """Return the error for a failed request about a stream: a missing right, or any other reason."""
    if isinstance(error, PermissionRefused):
        return LoginRefused(f"{about}: {error}: {OTHER_LOGIN}")
    if isinstance(error, APIError) and error.err_code in WAY_OUT:
        return refused(about, error.err_code, error.description)
    return QueueUnavailable(f"{about}: {error}")

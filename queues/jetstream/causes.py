"""Explains in one line why NATS cannot be used: the cause, the place, and the way out. No line holds a password."""

from __future__ import annotations

from collections.abc import Mapping

from nats.errors import Error as NatsError
from pydantic_core import from_json

from fleet.model.errors import LoginRefused, QueueRefused, QueueUnavailable
from queues.jetstream.client.client import PermissionRefused
from queues.jetstream.client.connection import OTHER_LOGIN, Connection, status_of
from queues.wire.letters import Message

NOT_ENABLED, NOT_FOR_ACCOUNT = 10076, 10039
OVERLAP = 10065
FULL = 10077

_SPACE = "give the server more room (max_file_store, its disk), or remove what is not needed"

WAY_OUT: Mapping[int, str] = {
    NOT_ENABLED: "enable it in the server's configuration (`jetstream {}`), or name a server that has it",
    NOT_FOR_ACCOUNT: "enable it for the account of this login (`jetstream: enabled`), or log in to another",
    OVERLAP: "take the subject from the other stream, or use an account of the fleet's own",
    10059: "an operator runs `fleet topology apply`",
    10002: "raise the limits of the account, or remove streams that are not needed",
    10027: "raise max_streams of the account, or remove streams that are not needed",
    10023: _SPACE,
    10028: _SPACE,
    10047: _SPACE,
    FULL: "read or remove what the stream holds, or raise its limits",
    10005: "wait until the servers of the cluster have found each other, start more or larger ones, or ask for fewer "
    "--replicas",
    10074: "start a cluster, or ask for --replicas 1",
    10008: "the servers of the cluster are electing a leader: try again",
}
"""Ways out, by the server's error code."""

JOBS_FULL = (
    "as many jobs wait as there is room for: send it again later, when some have been answered, or an operator gives "
    "the server more room (max_file_store, its disk) and runs `fleet topology apply`"
)
"""The way out if a job finds its stream full."""

NO_JETSTREAM = f"JetStream is not enabled on this server: {WAY_OUT[NOT_ENABLED]}"


def refused(about: str, code: int | None, description: str | None) -> QueueRefused:
    """Return the error for a refusal by JetStream; `about` is a stream or a subject."""
    way_out = JOBS_FULL if code == FULL and about.startswith("jobs.") else WAY_OUT.get(code or 0)
    said = description or f"error {code}"
    return QueueRefused(f"{about}: JetStream: {said}" + (f": {way_out}" if way_out else ""))


def stored_elsewhere(subject: str, stream: object, expected: str) -> QueueRefused:
    """Return the error for a message confirmed by somebody else's stream, where nobody of the fleet will read it."""
    way_out = f"{WAY_OUT[OVERLAP]}, and an operator runs `fleet topology apply`"
    return QueueRefused(f"{subject}: stored in stream {stream}, not in the fleet's {expected}: {way_out}")


def unanswered(about: str, error: NatsError) -> QueueUnavailable:
    """Return the error for a failed request about a stream: a missing right, or any other reason."""
    if isinstance(error, PermissionRefused):
        return LoginRefused(f"{about}: {error}: {OTHER_LOGIN}")
    return QueueUnavailable(f"{about}: {error}")


async def nobody_takes(connection: Connection, about: str) -> QueueRefused:
    """Return the reason why nobody answered a request to a stream: JetStream is off, or there is no such stream."""
    try:
        [reply] = await connection.exchange([Message("$JS.API.INFO", b"")])
    except QueueUnavailable:  # most logins may not ask
        return QueueRefused(f"{about}: no stream takes it: {WAY_OUT[10059]}; JetStream must be enabled")
    if status_of(reply) is not None:
        return QueueRefused(f"{about}: {NO_JETSTREAM}")
    error = from_json(reply.data).get("error")
    if error is not None:
        return refused(about, error.get("err_code"), error.get("description"))
    return QueueRefused(f"{about}: no stream takes it: {WAY_OUT[10059]}")

"""Tokens of deliveries, and whether they still stand for the message that was delivered.

A token names a place in a stream, not a message. A store that is made again, restored from a copy or cut short by a
power cut gives the same places to other messages, and an acknowledgement that comes late would remove one of those: an
accepted job would be lost. A store never changes under a connection that lasts, so only tokens from before the last
break are looked up, once: the broker tells what lies at their place, and when that was stored.

Streams made by `queues.jetstream.streams.topology` have yet another protection, for stores that change while no
connection breaks: the places of a stream begin at the moment it was made, so an older stream's do not exist in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from fleet.logs import get_logger
from queues.jetstream import api
from queues.jetstream.client.connection import Connection
from queues.jetstream.consuming.inlet import hand_over_of

AT_ONCE = 8
"""Tokens looked up at once: each answer holds the whole message, and at most 64 MB may wait for a connection."""

CLOCK_STEP_SECONDS = 1e-5
"""Seconds by which the same moment may differ: the wire has nanoseconds, a float less."""

VOID = -1
"""The mark in place of a generation that the token no longer holds."""

DOUBTED = -2
"""The mark in place of a generation that the token has to be looked up."""

log = get_logger(__name__)


class Token(str):
    """The subject to settle a delivery on; `generation` is the break of the connection up to which it is known to hold.

    A token in doubt is looked up again: nothing is remembered but by the token itself.
    """

    __slots__ = ("generation",)
    generation: int

    def __new__(cls, reply: str, generation: int) -> Token:
        token = super().__new__(cls, reply)
        token.generation = generation
        return token

    def doubt(self) -> None:
        """Have the token looked up before it is used again."""
        if self.generation != VOID:
            self.generation = DOUBTED


async def look_up(connection: Connection, tokens: Sequence[Token]) -> int:
    """Find out which of the tokens still hold, and mark the others void.

    Return the generation of the connection for which the answer is true.

    Raises: QueueUnavailable if the broker does not answer.
    """
    generation = connection.generation
    doubtful = [token for token in tokens if token.generation not in (generation, VOID)]
    for start in range(0, len(doubtful), AT_ONCE):
        some = doubtful[start : start + AT_ONCE]
        places = [(about.stream, about.sequence) for about in map(hand_over_of, some)]
        for token, message in zip(some, await api.get(connection, places, generation), strict=True):
            token.generation = generation if message is not None and _is_of(token, message) else VOID
    void = sum(token.generation == VOID for token in doubtful)
    if void:
        log.warning("deliveries_void", deliveries=void)
    return generation


def _is_of(token: Token, message: api.StoredMessage) -> bool:
    return abs(message.stored_at - hand_over_of(token).stored_at) < CLOCK_STEP_SECONDS

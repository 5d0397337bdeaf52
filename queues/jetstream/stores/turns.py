"""The turns of the learning loop: a NATS key-value bucket, and its twin in this process."""

from __future__ import annotations

from fleet.logs import get_logger
from fleet.model.turn import Turn
from queues.jetstream.stores.bucket import JetStreamBucket, Kind, MemoryBucket
from queues.wire.subjects import TURNS, turn_subject
from queues.wire.turn import decode_turn, encode_turn

log = get_logger(__name__)


def _left_out(subject: str, problem: str) -> None:
    log.warning("turn_left_out", subject=subject, problem=problem)


TURN = Kind("turn", TURNS, turn_subject, encode_turn, decode_turn, _left_out)


class JetStreamTurns(JetStreamBucket[Turn]):
    """Implements `fleet.ports.TurnStore` on the bucket `turns`."""

    kind = TURN


class MemoryTurns(MemoryBucket[Turn]):
    """Implements `fleet.ports.TurnStore` in this process."""

    kind = TURN

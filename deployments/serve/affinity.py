"""Sends micro-batches whose prompts begin alike to one replica, so that only its cache has to hold that beginning."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter

AHEAD = 2
"""Calls that a group's replica may have beyond the least busy one. A group too large for one replica goes on to the
others, each of which computes its beginning once; no replica idles."""


class PrefixRouter(PowerOfTwoChoicesRequestRouter):  # type: ignore[misc]  # Ray ships no types
    """Serve's own choice, but first the replica that a call's `session_id` names, if it is hardly busier than others.

    Which one that is depends on the session and the replicas alone, so that all dispatchers agree without a word; where
    a replica comes or goes, only its own sessions move (rendezvous hashing).
    """

    async def choose_replicas(self, candidate_replicas: list[Any], pending_request: Any = None) -> list[list[Any]]:
        ranks: list[list[Any]] = await super().choose_replicas(candidate_replicas, pending_request)
        session = "" if pending_request is None else pending_request.metadata.session_id
        if not session or len(candidate_replicas) < 2:
            return ranks
        home = max(candidate_replicas, key=lambda replica: _weight(session, replica.replica_id.unique_id))
        return ranks if self._is_busy(home, candidate_replicas) else [[home], *ranks]

    def _is_busy(self, home: Any, replicas: Sequence[Any]) -> bool:
        """Return whether the replica has many more calls than another; one that was never asked has none."""
        calls = {replica.replica_id: self.replica_queue_len_cache.get(replica.replica_id) or 0 for replica in replicas}
        return calls[home.replica_id] - min(calls.values()) >= AHEAD


def _weight(session: str, replica: str) -> bytes:
    return blake2b(f"{session}/{replica}".encode(), digest_size=8).digest()

"""The learning loop with its real store."""

from __future__ import annotations

from queues.jetstream.stores.turns import JetStreamTurns

open_turns = JetStreamTurns.connect
"""Connects to the turns of the learning loop."""

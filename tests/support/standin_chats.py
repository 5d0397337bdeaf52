"""Writes chats of a stand-in task, as an adapter is trained on them."""

from __future__ import annotations

import json
from pathlib import Path

from deployments.standins.tasks import examples


def write_chats(path: Path, seed: int, count: int = 20) -> Path:
    """Write chats of `plan.schedule` with their right answers as JSON lines, and return the path."""
    chats = (
        [*each.messages, {"role": "assistant", "content": each.answer}]
        for each in examples("train", seed, count, "plan.schedule")
    )
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    return path

"""A wire format: how one vendor writes requests and replies."""

from __future__ import annotations

from typing import Any, Protocol

from fleet.model.attempt import Outcome
from fleet.model.job import ChatRequest


class Wire(Protocol):
    """Pure translation between the fleet's words (OpenAI chat completions) and a vendor's."""

    def encode(self, request: ChatRequest) -> dict[str, Any]:
        """The body to post. Raises `InvalidJob` where the vendor has no words for a part of the request."""

    def decode(self, body: bytes) -> Outcome:
        """The answer in a reply, or a content-filter failure. Raises `pydantic.ValidationError` for anything else."""

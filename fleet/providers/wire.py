"""A wire format: how one vendor writes requests and replies."""

from __future__ import annotations

from typing import Any, Protocol

from fleet.model.attempt import Outcome
from fleet.model.job import ChatRequest


class Wire(Protocol):
    """Pure translation between the fleet's words (OpenAI chat completions) and a vendor's."""

    def encode(self, request: ChatRequest, own_key: bool = False) -> dict[str, Any]:
        """The body to post, with a tenant's `own_key` or the fleet's.

        Raises `InvalidJob`, naming the field, where the vendor has no words for a part of the request.
        """

    def decode(self, body: bytes, request: ChatRequest | None = None) -> Outcome:
        """The answer in a reply to `request`, or the failure it stands for. Raises `pydantic.ValidationError`."""

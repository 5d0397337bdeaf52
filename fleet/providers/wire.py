"""A wire format: the way one vendor writes requests and replies."""

from __future__ import annotations

from typing import Any, Protocol

from fleet.model.attempt import Outcome
from fleet.model.job import ChatRequest
from policies.caching.prompt import Mark


class Wire(Protocol):
    """Translates between the fleet's words (OpenAI chat completions) and a vendor's, without side effects."""

    def encode(self, request: ChatRequest, own_key: bool = False) -> dict[str, Any]:
        """Return the body to post, with a tenant's `own_key` or the fleet's.

        Raises: InvalidJob, naming the field, if the vendor has no words for a part of the request.
        """

    def beginning(self, body: dict[str, Any]) -> bytes:
        """Return what calls have in common that a provider keeps alike; empty if it takes neither marks nor keys.

        Equal requests have an equal beginning, in every process.
        """

    def marked(self, body: dict[str, Any], mark: Mark, key: str) -> dict[str, Any]:
        """Return the body with its beginning marked as decided, and with the key, if the vendor takes one.

        Neither changes what a model reads.
        """

    def decode(self, body: bytes, request: ChatRequest | None = None) -> Outcome:
        """Return the answer in a reply to `request`, or the failure it stands for.

        Raises: pydantic.ValidationError if the body is no reply.
        """

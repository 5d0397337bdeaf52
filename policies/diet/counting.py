"""Estimates of tokens for the diet: rather too many than too few, for no tokenizer of a target is at hand here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from policies.rules.sections import Estimates

CODE_BYTES_PER_TOKEN: Final = 2.5
"""Bytes of a token in code, JSON and markup, where tokenizers make 2.5 to 3 characters a token, and 4 in prose."""

CODE_MARKS: Final = tuple('{}()[]<>;=_/\\"`|&$#:*+0123456789')
CODE_SHARE: Final = 0.06
"""Share of these characters from which on a text is counted as code; prose has about half as many."""


def text_tokens(text: str, estimates: Estimates) -> int:
    """Estimate the tokens of a text by its UTF-8 bytes: a character of other scripts is half a token to a whole one."""
    if not text:
        return 0
    prose = estimates.characters_per_token
    is_code = sum(map(text.count, CODE_MARKS)) > CODE_SHARE * len(text)
    return math.ceil(len(text.encode(errors="replace")) / (min(prose, CODE_BYTES_PER_TOKEN) if is_code else prose))


def message_tokens(message: Mapping[str, Any], estimates: Estimates) -> int:
    """Estimate the tokens of a message, with its calls of tools and its images."""
    tokens, content = MESSAGE_TOKENS, message.get("content")
    if isinstance(content, str):
        tokens += text_tokens(content, estimates)
    elif isinstance(content, list):
        tokens += sum(_part_tokens(part, estimates) for part in content)
    if calls := message.get("tool_calls"):
        tokens += json_tokens(calls, estimates)
    return tokens


MESSAGE_TOKENS: Final = 4
"""Tokens that the role of a message and its borders take in the usual chat formats."""


def _part_tokens(part: Any, estimates: Estimates) -> int:
    if not isinstance(part, Mapping):
        return 0
    if part.get("type") == "text":
        return text_tokens(str(part.get("text") or ""), estimates)
    # The data of a file or a sound is read as something else than text: nobody knows how many tokens that are.
    return estimates.tokens_per_image


def json_tokens(value: Any, estimates: Estimates) -> int:
    """Estimate the tokens of a value that is sent as JSON."""
    return math.ceil(len(json.dumps(value, default=str)) / min(estimates.characters_per_token, CODE_BYTES_PER_TOKEN))

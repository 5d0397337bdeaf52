"""The words for a rule that something from outside breaks, in place of the validation library's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fleet.model.job import REQUEST_FIELDS

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

UNKNOWN = "is not a known field"
OF_REQUEST = "is not a known field here: it stands in `request`, beside `messages`"

_SHOULD = re.compile(r"^[A-Z]\w* should ")


def rule_of(details: ErrorDetails) -> str:
    """Return the rule that was broken, as what the field must be; it does not repeat the value."""
    match details["type"]:
        case "missing" | "missing_argument" | "union_tag_not_found":
            return "is required"
        case "extra_forbidden" | "unexpected_keyword_argument":
            return UNKNOWN
        case "union_tag_invalid":
            return f"must be one of {details['ctx']['expected_tags']}"
        case "tuple_type" | "set_type" | "frozen_set_type":
            return "must be a valid list"
        case "dataclass_type":
            return "must be a valid dictionary"
        case "value_error":
            return str(details["ctx"]["error"])
        case _:
            return _SHOULD.sub("must ", str(details["msg"])).replace(" after validation", "")


def rule_in_job(details: ErrorDetails) -> str:
    """Return the rule that a job breaks; a field of its request that stands beside it is told where it belongs."""
    rule, place = rule_of(details), details["loc"]
    return OF_REQUEST if rule == UNKNOWN and len(place) == 1 and place[0] in REQUEST_FIELDS else rule

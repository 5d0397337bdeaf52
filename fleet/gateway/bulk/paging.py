"""Pages of lists, as OpenAI's SDKs turn them: `after` is the id of the last item of the page before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeVar

from typing_extensions import TypedDict

from fleet.gateway.errors import ApiError

Item = TypeVar("Item")


class Page(TypedDict, Generic[Item]):
    object: Literal["list"]
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool


def page_of(items: Sequence[Any], limit: int, after: str | None) -> Page[Any]:
    """Return up to `limit` of all items, in their order: the first ones, or those that come after one of them.

    Raises: ApiError, 404, if there is no such item.
    """
    ids = [item["id"] for item in items]
    if after is not None and after not in ids:
        raise ApiError(404, "There is no such item to go on after.", param="after", code="not_found")
    start = 0 if after is None else ids.index(after) + 1
    return paged(items[start : start + limit], start + limit < len(items))


def paged(items: Sequence[Any], has_more: bool) -> Page[Any]:
    return {
        "object": "list",
        "data": list(items),
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": has_more,
    }

"""`/v1/models`: the targets of the catalogue, and `auto`, which lets the rules choose."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from typing_extensions import TypedDict

from fleet.gateway.caller import WhoCalls
from fleet.gateway.errors import ApiError
from fleet.gateway.state import Doors, TheDoors
from fleet.model.target import FLEET

router = APIRouter(prefix="/v1/models", tags=["models"])

AUTO = "auto"
"""The model that stands for the rules' choice."""

UNKNOWN_MOMENT = 0
"""`created` of every model: nobody here knows when it was made."""


class Model(TypedDict):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(TypedDict):
    object: Literal["list"]
    data: list[Model]


@router.get("")
async def list_models(_: WhoCalls, doors: TheDoors) -> ModelList:
    """List what a request may name as its model."""
    return {"object": "list", "data": _models(doors)}


@router.get("/{model}")
async def retrieve_model(model: str, _: WhoCalls, doors: TheDoors) -> Model:
    for each in _models(doors):
        if each["id"] == model:
            return each
    raise unknown_model(model, doors)


def unknown_model(name: str, doors: Doors) -> ApiError:
    """Return the error for a model that nobody has."""
    known = ", ".join(each["id"] for each in _models(doors))
    return ApiError(404, f"There is no model {name[:64]!r}; there are {known}.", param="model", code="model_not_found")


def _models(doors: Doors) -> list[Model]:
    targets = doors.rules.catalogue.targets.values()
    owners = {AUTO: FLEET, **{target.name: target.provider for target in targets}}
    return [
        {"id": name, "object": "model", "created": UNKNOWN_MOMENT, "owned_by": owner} for name, owner in owners.items()
    ]

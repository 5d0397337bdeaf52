"""Doors for those who watch over the gateway: is it alive, and can it take requests?"""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from typing_extensions import TypedDict

from fleet.gateway.state import TheDoors

router = APIRouter(tags=["health"])


class Health(TypedDict):
    status: Literal["ok"]


@router.get("/healthz")
async def healthz() -> Health:
    """Answer as long as the process works."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(doors: TheDoors) -> Health:
    """Answer while the queue does; 503 otherwise."""
    await doors.broker.depths()
    return {"status": "ok"}

"""Counts requests, and the door that shows the counts to Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from fastapi import APIRouter, Request
from starlette.responses import Response

from fleet.telemetry.metrics import catalogue
from fleet.telemetry.metrics.families import Family, Histogram, family
from fleet.telemetry.metrics.prometheus import exposition

router = APIRouter(tags=["health"])

TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}


class RequestCounts:
    """The requests of one gateway: those under way, and those answered by route and status."""

    def __init__(self) -> None:
        self.under_way = 0
        self._answered: Counter[tuple[str, str]] = Counter()
        self._seconds: dict[tuple[str], Histogram] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        self._answered[route, str(status)] += 1
        if (route,) not in self._seconds:
            self._seconds[route,] = Histogram(catalogue.GATEWAY_SECONDS)
        self._seconds[route,].observe(seconds)

    def read(self) -> Iterator[Family]:
        yield family(catalogue.GATEWAY_REQUESTS, dict(self._answered))
        yield family(catalogue.GATEWAY_SECONDS, {route: each.read() for route, each in self._seconds.items()})
        yield family(catalogue.GATEWAY_OPEN, {(): self.under_way})


@router.get("/metrics", response_class=Response, responses={200: TEXT})
async def metrics(request: Request) -> Response:
    """Show the counts, in the format that Prometheus asks for."""
    counts: RequestCounts = request.app.state.counts
    body, content_type = exposition(counts.read(), request.headers.get("accept", ""))
    return Response(body, headers={"content-type": content_type})

"""A bug met by one job, or in one round of a loop, is logged and ends there; so does an outage of the broker."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import structlog

from fleet.interruption import ends_running_task, raise_own
from fleet.model.delivery import AnyDelivery
from fleet.model.errors import QueueUnavailable

log = structlog.get_logger(__name__)


def fields_of(delivery: AnyDelivery, traceparent: str | None = None) -> dict[str, str | None]:
    """Return what every log line about a job carries; the trace is that of its delivery unless another is given."""
    ref, traceparent = delivery.body.ref, traceparent or delivery.traceparent
    trace_id = traceparent.split("-")[1] if traceparent else None
    return {"job_id": ref.id, "tenant": ref.tenant, "trace_id": trace_id}


def contain(
    error: BaseException, event: str, delivery: AnyDelivery | None = None, outage: str | None = None, **fields: Any
) -> None:
    """Log an error that was just caught; an `outage` of the broker under that name, without a stack.

    What ends the running task itself, as when somebody cancels it, is raised again (see `fleet.interruption`).
    """
    raise_own(error)
    about = {} if delivery is None else fields_of(delivery)
    if outage is not None and isinstance(error, QueueUnavailable):
        log.warning(outage, error=str(error), **about, **fields)
    else:
        log.exception(event, exc_info=error, **about, **fields)


class contained:  # reads like the context managers of contextlib
    """Keep an error met inside the block there: `contain` for a block. Then `error` is set to it."""

    __slots__ = ("_about", "_event", "error")

    def __init__(self, event: str, delivery: AnyDelivery | None = None, **about: Any) -> None:
        self._event = event
        self._about = {"delivery": delivery, **about}
        self.error: BaseException | None = None

    def __enter__(self) -> contained:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or ends_running_task(error):
            return False
        self.error = error
        contain(error, self._event, **self._about)
        return True

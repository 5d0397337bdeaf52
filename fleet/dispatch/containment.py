"""Containment of errors: a bug met by one job, or one round of a loop, or a broker outage is logged and ends there."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from fleet.interruption import ends_running_task, raise_own
from fleet.logs import get_logger
from fleet.model.delivery import AnyDelivery
from fleet.model.errors import QueueUnavailable
from fleet.model.span import trace_id_of

log = get_logger(__name__)


def fields_of(delivery: AnyDelivery) -> dict[str, str]:
    """Return the fields of every log line about a job."""
    ref = delivery.body.ref
    trace_id = trace_id_of(delivery.traceparent, ref.tenant, ref.id)
    return {"job_id": ref.id, "tenant": ref.tenant, "trace_id": f"{trace_id:032x}"}


def contain(
    error: BaseException, event: str, delivery: AnyDelivery | None = None, outage: str | None = None, **fields: Any
) -> None:
    """Log an error that was just caught; log an outage of the broker as `outage`, where given, without a stack.

    An error that ends the running task itself, as a cancellation does, is raised again (see `fleet.interruption`).
    """
    raise_own(error)
    about = {} if delivery is None else fields_of(delivery)
    if outage is not None and isinstance(error, QueueUnavailable):
        log.warning(outage, error=str(error), **about, **fields)
    else:
        log.exception(event, exc_info=error, **about, **fields)


class contained:  # reads like the context managers of contextlib
    """A context manager that applies `contain` to an error inside its block, and then sets `error` to it."""

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

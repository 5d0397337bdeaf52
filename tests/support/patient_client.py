"""A client that waits for results as long as a test does."""

from __future__ import annotations

from functools import partialmethod

from patience import PATIENCE_SECONDS

from fleet.client import FleetClient


class PatientClient(FleetClient):
    """The client; use `connect`, as with any client."""

    run = partialmethod(FleetClient.run, timeout_seconds=PATIENCE_SECONDS)
    wait = partialmethod(FleetClient.wait, timeout_seconds=PATIENCE_SECONDS)
    cancel = partialmethod(FleetClient.cancel, timeout_seconds=PATIENCE_SECONDS)

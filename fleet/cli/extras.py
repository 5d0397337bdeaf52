"""What to say where the libraries a command computes with are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fleet.model.errors import FleetError

_LEARN = frozenset({"numpy", "scipy", "sklearn", "matplotlib"})


@contextmanager
def needs_learn(command: str) -> Iterator[None]:
    """Raises: FleetError that says in one line what to install for `command`."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _LEARN:
            raise
        raise FleetError(f"{command} needs {error.name}: pip install 'inference-fleet[learn]'") from None

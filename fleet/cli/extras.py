"""Tells users what to install if the libraries that a command computes with are missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fleet.model.errors import FleetError

_LEARN = frozenset({"numpy", "scipy", "sklearn", "matplotlib"})


@contextmanager
def needs_learn(command: str) -> Iterator[None]:
    """Turn a missing library into an error that says what to install for `command`.

    Raises: FleetError if a library is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _LEARN:
            raise
        raise FleetError(f"{command} needs {error.name}: pip install 'inference-fleet[learn]'") from None

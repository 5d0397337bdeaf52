"""`aics_tlog`, a verifier of C2SP logs that shares no code with the fleet, where it is installed.

It asks for Python 3.12 and runs on 3.11: `pip install --no-deps --ignore-requires-python aics-tlog`.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest


def independent_verifier() -> ModuleType:
    """Return the verifier; a machine without it skips the test, but CI has it."""
    try:
        return importlib.import_module("aics_tlog")
    except ModuleNotFoundError:
        if "CI" in os.environ:
            raise
        pytest.skip("needs pip install --no-deps --ignore-requires-python aics-tlog")

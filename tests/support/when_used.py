"""Puts an import off until it is needed: every process imports every file of tests, and runs only some of them."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class WhenUsed:
    """A module that is loaded with the first name that is asked of it; vLLM's take eight seconds."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest looks at every value of a file: is it a test, a mark, a fixture?
            raise AttributeError(name)
        return getattr(import_module(self._name), name)

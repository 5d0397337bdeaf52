"""Checks what an engine on a card compiles with when it starts: Triton and torch build their kernels there."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fleet.model.errors import BackendUnavailable

HEADERS: Final = Path(sysconfig.get_path("include"))
"""Folder of this Python's own headers, if they are installed."""


def require_compilers(found: Callable[[str], str | None] = shutil.which, headers: Path = HEADERS) -> None:
    """Check that kernels can be compiled here, which an engine finds out only minutes later, below a long traceback.

    A compiler that the environment names (`CC`, `CXX`) counts as the other names do.

    Raises: BackendUnavailable with the packages that are missing, by their names in Debian and Ubuntu.
    """
    there = {
        "gcc": any(map(found, (os.environ.get("CC", "gcc"), "gcc", "clang"))),
        "g++": any(map(found, (os.environ.get("CXX", "g++"), "g++", "clang++"))),
        "python3-dev": (headers / "Python.h").is_file(),
    }
    missing = [package for package, is_there in there.items() if not is_there]
    if missing:
        raise BackendUnavailable(
            f"the engine cannot compile its kernels: install {' '.join(missing)} on this node "
            f"(looked for gcc or clang, g++ or clang++, and {headers / 'Python.h'})"
        )

"""The console's stylesheet and scripts: read once, served from memory, under names that change with their content."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
"""The content types by the ending of a file's name. Other files, such as licences, are kept and not served."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent. `digest` names its content: under `?v=<digest>` a browser may keep it for ever."""

    body: bytes
    packed: bytes
    content_type: str
    digest: str


@cache
def assets() -> Mapping[str, Asset]:
    """Return the files below `static` by their path there."""
    folder = files("fleet.console") / "static"
    found = [(each.name, each) for each in folder.iterdir() if each.is_file()]
    found += [(f"vendor/{each.name}", each) for each in (folder / "vendor").iterdir() if each.is_file()]
    return {name: _asset(name, each.read_bytes()) for name, each in found if name.rpartition(".")[2] in TYPES}


def _asset(name: str, body: bytes) -> Asset:
    digest = hashlib.sha256(body).hexdigest()[:12]
    return Asset(body, gzip.compress(body, mtime=0), TYPES[name.rpartition(".")[2]], digest)

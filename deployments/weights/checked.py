"""Holds what lies in a folder against the hub's index, and notes what was whole, so that nothing is read twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from deployments.weights.hub import File, HubModel
from fleet.files import sync, write_whole

OURS: Final = "fleet"
"""The folder beside `snapshots` with the index of each commit, and the stamps of the files that were whole."""

Stamp = list[int]
"""Size, time of the last change in nanoseconds, and inode: another one is a file that was written to or replaced."""


def folder_name(model: HubModel) -> str:
    return f"models--{model.repo.replace('/', '--')}"


def snapshot(model: HubModel, folder: Path) -> Path:
    """Return where the files of the model are, by the layout of the Hugging Face cache."""
    return folder / folder_name(model) / "snapshots" / model.revision


def read_index(model: HubModel, folder: Path) -> list[File] | None:
    """Return the index that lies beside the files; None without one. One that is cut off is removed, and is none."""
    path = _ours(model, folder, "json")
    try:
        return [File(**each) for each in json.loads(path.read_bytes())] or None
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        path.unlink()  # by its size and time a copy in S3 might be taken for the same
        return None


def write_index(model: HubModel, folder: Path, files: Sequence[File]) -> None:
    """Write the index beside the files, whole or not at all."""
    _write(_ours(model, folder, "json"), [asdict(each) for each in files])


def missing(model: HubModel, folder: Path, files: Sequence[File]) -> list[File]:
    """Return the files that are not there in full size."""
    there = snapshot(model, folder)
    return [each for each in files if not _has_size(_stamp(there / each.path), each)]


def remove_damaged(model: HubModel, folder: Path, files: Sequence[File], verify: bool = False) -> list[str]:
    """Return the files that are not what the index says, and remove them.

    A file that has the stamp of when it was whole is not read again, unless `verify` says so.
    """
    there, noted = snapshot(model, folder), _ours(model, folder, "verified")
    before = {} if verify else _stamps(noted)
    whole: dict[str, Stamp] = {}
    for each in files:
        path = there / each.path
        stamp = _stamp(path)
        if stamp and _has_size(stamp, each) and (before.get(each.path) == stamp or is_as_indexed(path, each)):
            whole[each.path] = stamp
        else:
            path.resolve().unlink(missing_ok=True)  # the blob that a link of the cache leads to
            path.unlink(missing_ok=True)
    if whole != before:
        _write(noted, whole)
    return [each.path for each in files if each.path not in whole]


def is_as_indexed(path: Path, file: File) -> bool:
    """Tell whether a file has the content that the hub's index says, on the disk too."""
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    sync(path)  # a power cut would leave its size and time, and zeros
    return digest.hexdigest() == (file.sha256 or file.git_sha1)


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _has_size(stamp: Stamp | None, file: File) -> bool:
    return stamp is not None and stamp[0] == file.size


def _stamps(path: Path) -> dict[str, Stamp]:
    """Return the stamps that were noted; none where the note is empty, as one of an older version is, or cut off."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _ours(model: HubModel, folder: Path, kind: str) -> Path:
    return folder / folder_name(model) / OURS / f"{model.revision}.{kind}"


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(value, indent=1).encode())

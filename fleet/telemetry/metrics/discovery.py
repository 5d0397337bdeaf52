"""A file for each process that tells Prometheus' file-based discovery where its metrics are, while it serves them."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fleet.files import write_whole
from fleet.logs import get_logger

log = get_logger(__name__)

ALL_INTERFACES = ("", "0.0.0.0", "::")  # noqa: S104 (compared with, not bound to)


@contextmanager
def announced(folder: Path | None, process: str, host: str, port: int) -> Iterator[None]:
    """Keep the file of this process in `folder`; `process` says what it is. A folder that cannot be used is logged."""
    if folder is None:
        yield
        return
    file = folder / f"{socket.gethostname()}-{os.getpid()}-{port}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _forget_dead(folder)
        write_whole(file, _content(process, host, port))
    except OSError as error:
        log.warning("metrics_not_announced", folder=str(folder), error=str(error))
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()


def _content(process: str, host: str, port: int) -> bytes:
    reached_at = socket.gethostname() if host in ALL_INTERFACES else host
    address = f"[{reached_at}]:{port}" if ":" in reached_at else f"{reached_at}:{port}"
    return json.dumps([{"targets": [address], "labels": {"process": process}}]).encode()


def _forget_dead(folder: Path) -> None:
    """Remove the files of processes of this machine that ended without doing so themselves."""
    for file in folder.glob(f"{socket.gethostname()}-*-*.json"):
        pid = file.stem.split("-")[-2]
        if pid.isdecimal() and not _lives(int(pid)):
            file.unlink(missing_ok=True)  # another may do the same


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # the latter where the number is no process's at all
        return False
    except PermissionError:  # another user's
        return True
    return True

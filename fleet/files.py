"""Writes files whole or not at all, so that a crash leaves the one before, and secrets for their owner alone."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from fleet.model.errors import ConfigError

OWNER_ONLY = 0o600


def write_secret(path: Path, data: bytes) -> None:
    """Write a file that its owner alone may read, whatever was there before: an open file, another's, or a link.

    A link itself is replaced; nothing is written to where it points. Raises: OSError.
    """
    _put(path, data, OWNER_ONLY)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file with the permissions of the one before, or the usual ones; a link keeps pointing at it.

    Anything but a regular file, such as a terminal, is written to as it is. Raises: OSError.
    """
    if is_special(path):
        path.write_bytes(data)
        return
    target = Path(os.path.realpath(path))
    _put(target, data, stat.S_IMODE(target.stat().st_mode) if target.exists() else None)


def replace_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Replace a file like `write_whole`, with a `write` that can only write to a path. Raises: OSError."""
    if is_special(path):
        write(path)
        return
    target = Path(os.path.realpath(path))
    made = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        write(made)
        sync(made)
        made.replace(target)
        sync(target.parent)
    finally:
        made.unlink(missing_ok=True)


def check_output(option: str, output: Path | None, inputs: Iterable[Path | None]) -> None:
    """Refuse an output that is one of the inputs, under whatever name, or a folder. Raises: ConfigError."""
    if output is None:
        return
    if output.is_dir():
        raise ConfigError(option, f"{output} must be a file, and is a folder")
    for each in inputs:
        if each is not None and same_file(output, each):
            raise ConfigError(option, f"{output} must not be the input {each}: it would be overwritten")


def same_file(one: Path, other: Path) -> bool:
    """Return whether both names lead to one file, by other spelling, links or hard links. Neither has to exist."""
    with suppress(OSError):
        return one.samefile(other)
    return os.path.realpath(one) == os.path.realpath(other)


def is_special(path: Path) -> bool:
    """Return whether the path is there and is no regular file: a device, a pipe, a folder."""
    return path.exists() and not path.is_file()


def _put(path: Path, data: bytes, mode: int | None) -> None:
    made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    # Made for its owner alone from the first moment: between a wide file and its chmod anybody could open it.
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), _usual_mode() if mode is None else mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    sync(path.parent)


def _usual_mode() -> int:
    """Return the mode that the umask leaves to a new file; reading the umask means setting it for a moment."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask


def sync(path: Path) -> None:
    """Make a file, or a new name in a folder, survive a power cut; some file systems cannot promise it for folders."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)

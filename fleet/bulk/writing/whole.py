"""Provides files that appear under their names when they are complete."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.files import check_output, is_special, sync
from fleet.model.errors import ConfigError

PART = ".part"


def check_sink(sink: Path, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Refuse an output that is an input, is no regular file, or is there already. Raises: ConfigError."""
    inputs = list(inputs)
    if is_special(sink) and not sink.is_dir():
        raise ConfigError("--output", f"{sink} must be a regular file: it appears when it is complete")
    check_output("--output", sink, inputs)
    check_output("--output", part_of(sink), inputs)
    if sink.exists() and not overwrite:
        raise ConfigError("--output", f"{sink} is there already: --overwrite replaces it")


def part_of(sink: Path) -> Path:
    return sink.with_name(f"{sink.name}{PART}")


@contextmanager
def whole_file(sink: Path) -> Iterator[Path]:
    """Provide the path to write to. The file appears as `sink` at the end; if anything fails there is none.

    So a disk that fills is not left full. Raises: OSError; ConfigError where another command writes the same file.
    """
    part = part_of(sink)
    try:
        descriptor = _claim(part)
    except BlockingIOError:
        raise ConfigError("--output", f"{sink} is being written by another command") from None
    try:
        yield part
        sync(part)
        part.replace(Path(os.path.realpath(sink)))
        sync(sink.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _claim(part: Path) -> int:
    """Return a descriptor of the new, empty part, locked for as long as it is open.

    Raises: BlockingIOError where somebody else has it.
    """
    if part.is_symlink():
        part.unlink()
    elif part.exists():  # of a crash, unless it is locked
        with part.open("rb") as left:
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink(missing_ok=True)
    try:
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        raise BlockingIOError from None
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor

"""Provides files that appear under their names when they are complete."""

from __future__ import annotations

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

    So a disk that fills is not left full. Raises: OSError.
    """
    part = part_of(sink)
    part.unlink(missing_ok=True)  # of a crash, or a link to somewhere else
    try:
        yield part
        sync(part)
        part.replace(Path(os.path.realpath(sink)))
        sync(sink.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise

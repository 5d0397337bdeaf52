"""Prints what a command says: results on stdout, progress on stderr, one line for an error."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from unicodedata import category

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table

from fleet.model.errors import (
    BackendUnavailable,
    ConfigError,
    FleetError,
    InvalidFeedback,
    InvalidJob,
    LedgerUnavailable,
    LoginRefused,
    QueueRefused,
    QueueUnavailable,
    Unreachable,
)

FAILED = 1
NO_ANSWER = 3
"""The exit code of a command that waited for a batch of whose rows none has an answer."""
INTERRUPTED = 130


class SafeConsole(Console):
    """Prints to a terminal that obeys us alone: what outsiders wrote into names, tasks or problems is only shown."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            is_plain = segment.control or segment.text.isprintable() or segment.text == "\n"
            yield segment if is_plain else Segment(printable(segment.text, "\n"), segment.style)


JOINERS = "\u200c\u200d"
"""Characters of no width that Persian, Hindi and some pictures are written with."""


def printable(text: str, spared: str = "") -> str:
    """Return the text with whatever could move a terminal's cursor, or hide text, shown as an escape."""
    return "".join(char if _is_harmless(char) or char in spared else ascii(char)[1:-1] for char in text)


def _is_harmless(char: str) -> bool:
    return char.isprintable() or char in JOINERS or category(char) == "Zs"


UNBOUNDED = 100_000
"""Width in characters of what is no terminal: a program reads it, and nothing is wrapped or cut."""


class Output:
    """A command's output. With `as_json`, stdout carries one JSON object and nothing else."""

    def __init__(self, as_json: bool, stdout: IO[str] | None = None, stderr: IO[str] | None = None) -> None:
        self.as_json = as_json
        self.console = SafeConsole(file=stdout, highlight=False)
        if not self.console.is_terminal:
            self.console.width = UNBOUNDED
        self.progress_console = SafeConsole(file=stderr, stderr=stderr is None, highlight=False)

    def show(self, *renderables: RenderableType) -> None:
        """Print for people; silent in JSON mode."""
        if not self.as_json:
            for renderable in renderables:
                if isinstance(renderable, Table):
                    self._keep_whole(renderable)
                self.console.print(renderable, markup=False, soft_wrap=isinstance(renderable, str), crop=False)

    def _keep_whole(self, table: Table) -> None:
        """Have columns that do not wrap keep their width on the narrowest terminal, and others lose no character."""
        options = self.console.options.update(width=UNBOUNDED)
        for column in table.columns:
            if column.no_wrap:
                widths = (
                    Measurement.get(self.console, options, cell).maximum for cell in (column.header, *column.cells)
                )
                column.min_width = max(widths)
            elif column.overflow == "ellipsis":
                column.overflow = "fold"

    def say(self, line: str) -> None:
        """Print one line for people, never wrapped; silent in JSON mode."""
        if not self.as_json:
            self.console.print(line, markup=False, soft_wrap=True)

    def progress(self, line: str) -> None:
        """Print a step of something slow; silent in JSON mode. A terminal that is gone stops nothing."""
        if self.as_json:
            return
        with suppress(OSError, SystemExit):  # where a pipe is closed, Rich would end the process
            self.progress_console.print(f"· {line}", style="dim", markup=False, soft_wrap=True)

    def object(self, value: Mapping[str, Any] | bytes) -> None:
        """Print one line of JSON for programs; silent unless in JSON mode."""
        if self.as_json:
            text = value.decode() if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False)
            self.console.file.write(text + "\n")
            self.console.file.flush()


@contextmanager
def friendly(as_json: bool) -> Iterator[None]:
    """Turn an expected error into one line that says what to do, and exit code 1; a bug keeps its traceback."""
    try:
        yield
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(INTERRUPTED) from None
    except (FleetError, OSError) as error:
        _report(advice(error), as_json)
        raise typer.Exit(FAILED) from None


def _report(message: str, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps({"error": message}, ensure_ascii=False) + "\n")
    else:
        SafeConsole(stderr=True, highlight=False).print(f"fleet: {message}", markup=False, soft_wrap=True)


def advice(error: FleetError | OSError) -> str:
    """Return one line that says what went wrong and what to do about it."""
    what = " ".join(str(error).split()) or type(error).__name__
    match error:
        case LoginRefused():
            return f"wrong setting: nats_user: {what}"
        case QueueRefused():
            return f"NATS refuses: {what}"
        case Unreachable():
            return f"no fleet answers: {what}"
        case QueueUnavailable() | ConnectionError():
            return f"NATS did not confirm ({what}): try again"
        case ConfigError():
            return f"wrong setting: {what}"
        case InvalidJob():
            return f"wrong job: {what}"
        case InvalidFeedback():
            return f"wrong feedback: {what}"
        case LedgerUnavailable():
            return f"the database cannot be used: {what}"
        case BackendUnavailable():
            notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
            return f"a model cannot be reached: {what}{notes}"
        case TimeoutError():
            return what
        case OSError(filename=str(name), strerror=str(reason)):
            return f"{name}: {reason.lower()}"
        case _:
            return what


@contextmanager
def quiet(as_json: bool, log: Path) -> Iterator[Output]:
    """Keep the terminal for us: everything else that this process and its children print goes to the file `log`.

    Ray, the engines and native libraries write to file descriptors 1 and 2 directly, so those are
    redirected, and the Output holds private copies of the originals.
    """
    try:
        descriptors = (sys.stdout.fileno(), sys.stderr.fileno())
    except OSError:  # a captured stream without a descriptor
        yield Output(as_json)
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file, _copies(descriptors) as (stdout, stderr):
        for descriptor in descriptors:
            os.dup2(file.fileno(), descriptor)
        try:
            yield Output(as_json, stdout, stderr)
        except BackendUnavailable as error:
            error.add_note(f"details in {log}")
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, copy in zip(descriptors, (stdout, stderr), strict=True):
                os.dup2(copy.fileno(), descriptor)


@contextmanager
def _copies(descriptors: tuple[int, int]) -> Iterator[tuple[IO[str], IO[str]]]:
    stdout, stderr = map(os.dup, descriptors)
    with os.fdopen(stdout, "w") as copy_of_stdout, os.fdopen(stderr, "w") as copy_of_stderr:
        yield copy_of_stdout, copy_of_stderr


def duration(seconds: float) -> str:
    """Return a time such as `45 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

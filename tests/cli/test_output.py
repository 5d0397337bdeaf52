"""What a command prints moves no terminal's cursor, whoever wrote the words in it."""

from __future__ import annotations

import errno
import io
import re

import pytest
import typer
from rich.table import Table
from rich.text import Text

from fleet.cli.output import Output, friendly
from fleet.model.errors import FleetError

HOSTILE = "a\x1b]0;title\x07\x1b[2J\r\x9b31m\u202eb[red]c[/nope]"
SHOWN = r"a\x1b]0;title\x1b[2J\x9b31m\u202eb[red]c[/nope]"
"""Rich drops bells and carriage returns itself."""


def table(cell: str | Text) -> Table:
    made = Table.grid()
    made.add_row(cell)
    return made


@pytest.mark.parametrize("say", ["say", "progress", "show", "cell", "text"])
def test_words_of_outsiders_are_shown_and_never_obeyed(say: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    written = io.StringIO()
    output = Output(False, written, written)
    match say:
        case "cell":
            output.show(table(HOSTILE))
        case "text":
            output.show(table(Text(HOSTILE, style="bold")), Text(HOSTILE))
        case _:
            getattr(output, say)(HOSTILE)
    assert written.getvalue().replace("\n", "").isprintable()
    # A cell has as much room as its text had before.
    assert (SHOWN[:20] if say == "cell" else SHOWN) in written.getvalue()


def test_an_error_that_quotes_an_outsider_is_shown_and_never_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), friendly(as_json=False):
        raise FleetError(HOSTILE)
    assert capsys.readouterr().err == f"fleet: {SHOWN}\n".replace("[2J", "[2J ")


def test_spaces_and_letters_of_any_language_stay() -> None:
    words = "prêt\u00a0! \u202f10\u2009% क्\u200dष 👩\u200d🔬"
    written = io.StringIO()
    Output(False, written).say(words)
    assert written.getvalue() == f"{words}\n"


def names() -> Table:
    made = Table(box=None)
    made.add_column("batch", no_wrap=True)
    made.add_column("task")
    made.add_row(f"batch_{'5a' * 12}", "classify.sentiment.of.notes")
    return made


def test_where_nobody_looks_nothing_is_wrapped_or_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    written = io.StringIO()
    Output(False, written).show(names())
    [_, row] = written.getvalue().splitlines()
    assert row.split() == [f"batch_{'5a' * 12}", "classify.sentiment.of.notes"]


def test_on_a_narrow_terminal_an_id_stays_whole_and_no_text_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    written = io.StringIO()
    Output(False, written).show(names())
    _, first, *more = (re.sub(r"\x1b\[\d*m", "", line) for line in written.getvalue().splitlines())
    assert first.split()[0] == f"batch_{'5a' * 12}"
    assert "".join([first.split()[1], *(line.strip() for line in more)]) == "classify.sentiment.of.notes"


def test_lines_and_colours_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    written = io.StringIO()
    Output(False, written, written).show("one\ntwo", Text("bold", style="bold"))
    assert written.getvalue() == "one\ntwo\n\x1b[1mbold\x1b[0m\n"


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), BrokenPipeError()])
def test_a_step_is_no_reason_to_end_where_the_terminal_is_gone(
    error: OSError, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    output = Output(as_json=False, stderr=Gone())
    monkeypatch.setattr("os.dup2", lambda *descriptors: None)  # Rich would close standard output
    output.progress("stopping")
    output.say("still here")
    assert capfd.readouterr().out == "still here\n"

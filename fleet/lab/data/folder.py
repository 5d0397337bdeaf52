"""The folder of an export: its files, and what of it has to go once somebody is erased.

train.jsonl, validation.jsonl   what trainers read
heldout.jsonl                   rows that nothing is trained on, each with its task: what an adapter is tried on
review.jsonl                    what somebody should read, each with the reason
erasure-map.jsonl               the jobs that each line came of, and whom they were about
datasheet.json, DATASHEET.md    what it is made of
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fleet.files import OWNER_ONLY, write_secret
from fleet.lab.data.datasheet import described, markdown, sheet_of
from fleet.lab.data.examples import Example, Source
from fleet.lab.data.export import Prepared, Wish
from fleet.lab.data.formats import DataFormat, evaluation_line_of, line_of, question_line_of
from fleet.lab.data.licences import Licences
from fleet.model.errors import ConfigError

TRAIN, VALIDATION, EVALUATION, REVIEW = "train.jsonl", "validation.jsonl", "evaluation.jsonl", "review.jsonl"
MAP, SHEET, PAGE = "erasure-map.jsonl", "datasheet.json", "DATASHEET.md"
HELD_OUT = "heldout.jsonl"
DATA = (TRAIN, VALIDATION, EVALUATION, HELD_OUT, REVIEW)

Lines = Mapping[str, Sequence[bytes]]
"""The lines of each data file, without their ends."""


@dataclass(frozen=True, slots=True)
class MappedLine:
    """A job that a line of a file came of; `line` counts from 1."""

    file: str
    line: int
    source: Source


def write_export(
    folder: Path, prepared: Prepared, wish: Wish, licences: Licences, about: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Write all files of an export, for their owner alone, and return the datasheet. Raises: ConfigError, OSError."""
    files: dict[str, list[tuple[Example, Mapping[str, Any]]]] = {
        TRAIN: [(each, line_of(each, wish.form)) for each in prepared.train],
        VALIDATION: [(each, line_of(each, wish.form)) for each in prepared.validation],
        EVALUATION: [(each, evaluation_line_of(each)) for each in prepared.evaluation],
        HELD_OUT: [(each, question_line_of(each)) for each in prepared.held_out],
        REVIEW: [(each, _reviewed(each, why, wish.form)) for why, each in prepared.review],
    }
    lines = {name: [_json(line) for _, line in rows] for name, rows in files.items()}
    mapped = [
        MappedLine(name, number, source)
        for name, rows in files.items()
        for number, (each, _) in enumerate(rows, start=1)
        for source in each.sources
    ]
    data = _bytes_of(lines, mapped)
    sheet = sheet_of(prepared, wish, licences, data, about)
    _write(folder, data, sheet)
    return sheet


def _reviewed(example: Example, why: str, form: DataFormat) -> Mapping[str, Any]:
    form = form if example.rejected is not None else DataFormat.OPENAI_SFT
    return {"reason": why, "origin": str(example.origin), **line_of(example, form)}


def read_map(folder: Path) -> list[MappedLine]:
    """Return the lines that the erasure map of an export names.

    Raises: ConfigError, also where a file is not as it was exported; OSError.
    """
    if not (folder / MAP).is_file():
        raise ConfigError(str(folder), f"must be the folder of an export, with its {MAP}")
    mapped = list(_mapped(folder / MAP))
    _check(folder, {MAP, *(each.file for each in mapped)} & {MAP, *DATA})
    return mapped


def _mapped(path: Path) -> Iterator[MappedLine]:
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            row = json.loads(line)
            yield MappedLine(row["file"], row["line"], Source(**row["source"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ConfigError(f"{path}, line {number}", "must be a line as an export writes it") from None


def write_without(
    folder: Path, output: Path, is_gone: Callable[[Source], bool]
) -> tuple[Sequence[MappedLine], Mapping[str, Any]]:
    """Write an export again without the lines of jobs that are gone; return those lines and the new datasheet.

    Raises: ConfigError, OSError.
    """
    mapped = read_map(folder)
    gone = lines_of(mapped, is_gone)
    dropped = {(each.file, each.line) for each in gone}
    lines, places = defaultdict[str, list[bytes]](list), dict[tuple[str, int], int]()
    for name in DATA:
        for number, line in enumerate((folder / name).read_bytes().split(b"\n")[:-1], start=1):
            if (name, number) not in dropped:
                lines[name].append(line)
                places[name, number] = len(lines[name])
    left = [each for each in mapped if (each.file, each.line) not in dropped]
    moved = [MappedLine(each.file, places[each.file, each.line], each.source) for each in left]
    data = _bytes_of(lines, moved)
    sheet = _without(_object(folder / SHEET), data, len(dropped))
    _write(output, data, sheet)
    return gone, sheet


def _without(sheet: dict[str, Any], data: Mapping[str, bytes], erased: int) -> Mapping[str, Any]:
    """Return the datasheet of what is left; what the steps once counted stays, for it names nobody."""
    files = {name: described(each) for name, each in data.items()}
    rows = {name.removesuffix(".jsonl"): files[name]["lines"] for name in DATA}
    return {**sheet, "rows": rows, "files": files, "erased": sheet.get("erased", 0) + erased}


def exports_in(folder: Path) -> list[Path]:
    """Return the folders of exports in a folder, at whichever depth, the folder itself included."""
    return sorted(path.parent for path in folder.rglob(SHEET) if (path.parent / MAP).is_file())


def sources_in(data: Path) -> list[Source] | None:
    """Return the jobs that the lines of a data file came of; None if it lies in no export.

    Raises: ConfigError where the file is not as it was exported: its lines could not be told from each other; OSError.
    """
    if data.name not in DATA or not (data.parent / SHEET).is_file():
        return None
    return [each.source for each in read_map(data.parent) if each.file == data.name]


def _check(folder: Path, names: Iterable[str]) -> None:
    """Check that the files of an export are as they were written: the map says whose lines they have by number.

    Raises: ConfigError naming the file; OSError.
    """
    try:
        told = {name: _object(folder / SHEET)["files"][name]["sha256"] for name in names}
    except (KeyError, TypeError):
        raise ConfigError(str(folder / SHEET), "must be a datasheet as an export writes it") from None
    for name, digest in told.items():
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                rule = f"has other bytes than {SHEET} says: nobody could tell whose lines it has"
                raise ConfigError(str(folder / name), rule)


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ConfigError(str(path), "must be a datasheet as an export writes it")
    return found


def lines_of(mapped: Sequence[MappedLine], is_gone: Callable[[Source], bool]) -> list[MappedLine]:
    """Return every mapped line of which a job is gone."""
    which = {(each.file, each.line) for each in mapped if is_gone(each.source)}
    return [each for each in mapped if (each.file, each.line) in which]


def lines_that_go(folder: Path, gone: Sequence[MappedLine]) -> bytes:
    """Return the lines among these that were trained on, as they stand in the export. Raises: OSError."""
    numbers = {each.line for each in gone if each.file == TRAIN}
    lines = (folder / TRAIN).read_bytes().splitlines(keepends=True)
    return b"".join(line for number, line in enumerate(lines, start=1) if number in numbers)


def check_new(folder: Path) -> None:
    """Refuse a folder that is there and has something in it. Raises: ConfigError."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError("--output", f"{folder} must be a new or an empty folder")


def _bytes_of(lines: Lines, mapped: Iterable[MappedLine]) -> dict[str, bytes]:
    rows = [_json({"file": each.file, "line": each.line, "source": asdict(each.source)}) for each in mapped]
    return {name: b"".join(line + b"\n" for line in found) for name, found in _named(lines, rows)}


def _named(lines: Lines, rows: Sequence[bytes]) -> Iterator[tuple[str, Sequence[bytes]]]:
    yield from ((name, lines.get(name, ())) for name in DATA)
    yield MAP, rows


def _write(folder: Path, data: Mapping[str, bytes], sheet: Mapping[str, Any]) -> None:
    """Write the files, the datasheet last: a folder without one is no export."""
    check_new(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=OWNER_ONLY | 0o100)
    for name, each in data.items():
        write_secret(folder / name, each)
    write_secret(folder / PAGE, markdown(sheet).encode())
    write_secret(folder / SHEET, json.dumps(sheet, indent=2, ensure_ascii=False).encode() + b"\n")


def _json(line: Any) -> bytes:
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode()

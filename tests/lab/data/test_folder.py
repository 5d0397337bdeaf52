"""An export says which jobs each line came of, so that an erased one takes its lines with it and no others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from training_examples import TASK, example

from fleet.lab.data.examples import Origin, Source
from fleet.lab.data.export import Prepared, Wish, prepare
from fleet.lab.data.folder import DATA, PAGE, SHEET, read_map, write_export, write_without
from fleet.lab.data.formats import DataFormat
from fleet.lab.data.judging import read_judging
from fleet.lab.data.licences import load_licences
from fleet.model.errors import ConfigError

ABOUT = {"made_at": "2026-06-01T00:00:00+00:00", "rules": "0" * 64}
WISH = Wish((TASK,), DataFormat.OPENAI_SFT, "llama", 0.2, words=frozenset({"salary"}))
REJECTED = {"role": "assistant", "content": "Both: payroll"}


def source(number: int, person: str | None = None) -> Source:
    return Source("acme", f"job-{number:012d}", 100.0 + number, person)


def prepared() -> Prepared:
    """Forty rows, each of a person of its own; one of two jobs, and one that is held back."""
    rows = [
        example(number, answer=f"answer {number}", sources=(source(number, f"p-{number}"),)) for number in range(40)
    ]
    bad = example(60, answer="answer 60", sources=(source(60, "p-7"),), origin=Origin.BAD)
    two = example(90, answer="answer 90", sources=(source(90), source(91, "p-7")))
    return prepare(
        [*rows, two, bad, example(50, "Her salary?", sources=(source(50, "p-7"),))], {}, (), load_licences(None), WISH
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_export(tmp_path / "export", prepared(), WISH, load_licences(None), ABOUT)
    return tmp_path / "export"


def lines(folder: Path, name: str) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def number_in(line: Mapping[str, Any]) -> int:
    return int(line["messages"][-1]["content"].split()[1])


def test_the_map_names_the_job_of_every_line(folder: Path) -> None:
    files = {name: lines(folder, name) for name in DATA}
    mapped = read_map(folder)
    assert {(each.file, each.line) for each in mapped} == {
        (name, number) for name, rows in files.items() for number in range(1, len(rows) + 1)
    }
    firsts = [each for each in mapped if each.file in DATA[:2] and each.source.job_id != "job-000000000091"]
    assert all(source(number_in(files[each.file][each.line - 1])).job_id == each.source.job_id for each in firsts)


def test_the_sheet_has_digests_counts_and_terms_and_nobody_else_may_read_it(folder: Path) -> None:
    sheet = json.loads((folder / SHEET).read_bytes())
    for name, told in sheet["files"].items():
        assert told["sha256"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert sheet["rows"]["train"] + sheet["rows"]["validation"] == 41
    assert (sheet["rows"]["evaluation"], sheet["rows"]["review"]) == (1, 1)
    held_out, validation = lines(folder, "heldout.jsonl"), lines(folder, "validation.jsonl")
    assert sheet["rows"]["heldout"] == len(held_out) == len(validation) > 0
    assert [(each["task"], each["messages"]) for each in held_out] == [(TASK, each["messages"]) for each in validation]
    [bad] = lines(folder, "evaluation.jsonl")
    assert (bad["messages"][-1]["role"], bad["bad_answer"]["content"]) == ("user", "answer 60")
    assert sheet["steps"][0] == {"name": "eligibility", "given": 43, "left": 43, "dropped": {}, "note": ""}
    assert [each["licence"] for each in sheet["teachers"]] == ["llama-community"]
    assert "| llama-70b | fleet | llama-70b | llama-community | 41 |" in (folder / PAGE).read_text()
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


def test_whoever_is_erased_takes_their_lines_along_and_no_others(folder: Path, tmp_path: Path) -> None:
    gone, sheet = write_without(folder, tmp_path / "rest", lambda each: each.person == "p-7")
    numbers = {number_in(line) for name in DATA[:2] for line in lines(tmp_path / "rest", name)}
    assert numbers == set(range(40)) - {7}
    assert [lines(tmp_path / "rest", name) for name in ("evaluation.jsonl", "review.jsonl")] == [[], []]
    held_out = [number_in(line) for line in lines(tmp_path / "rest", "heldout.jsonl")]
    assert held_out == [number_in(line) for line in lines(tmp_path / "rest", "validation.jsonl")]
    assert {each.source.job_id for each in gone} == {source(number).job_id for number in (7, 50, 60, 90, 91)}
    assert (sheet["erased"], sheet["rows"]["train"] + sheet["rows"]["validation"]) == (4, 39)
    again, _ = write_without(tmp_path / "rest", tmp_path / "again", lambda each: each.person == "p-7")
    assert again == []
    for name in DATA:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "rest" / name).read_bytes()


def test_no_export_is_written_over(folder: Path) -> None:
    with pytest.raises(ConfigError, match="must be a new or an empty folder"):
        write_export(folder, prepared(), WISH, load_licences(None), ABOUT)


def test_a_file_that_was_changed_after_the_export_is_refused_for_the_map_counts_its_lines(
    folder: Path, tmp_path: Path
) -> None:
    train = folder / "train.jsonl"
    first, *rest = train.read_bytes().splitlines(keepends=True)
    train.write_bytes(b"".join(rest))
    with pytest.raises(ConfigError, match=r"train.jsonl: has other bytes than datasheet.json says"):
        write_without(folder, tmp_path / "rest", lambda each: each.person == "p-7")
    assert not (tmp_path / "rest").exists()
    train.write_bytes(b"".join([first, *rest]))
    (folder / "erasure-map.jsonl").write_bytes((folder / "erasure-map.jsonl").read_bytes().replace(b"p-7", b"p-8"))
    with pytest.raises(ConfigError, match=r"erasure-map.jsonl: has other bytes"):
        read_map(folder)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (None, "the folder of an export"),
        ("{}\n", "line 1: must be a line"),
        ("[" * 100_000, "line 1: must be a line"),
        ("", "datasheet.json: must be a datasheet"),
    ],
)
def test_a_folder_that_is_no_export_is_refused(tmp_path: Path, text: str | None, rule: str) -> None:
    if text is not None:
        (tmp_path / "erasure-map.jsonl").write_text(text)
        (tmp_path / "datasheet.json").write_text("{}")
    with pytest.raises(ConfigError, match=rule):
        read_map(tmp_path)


def test_what_judges_is_read_from_lines_of_any_of_the_formats(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "judging.jsonl"
    asked = [{"role": "system", "content": "You plan."}, {"role": "user", "content": "Which?"}]
    rows = [
        {"messages": [*asked, REJECTED], "good": True},
        {"input": {"messages": asked}},
        {"prompt": asked},
        {"prompt": "Which?"},
    ]
    path.write_text("\n\n".join(json.dumps(row) for row in rows))
    assert read_judging(path) == ["Which?"] * 4
    path.write_text('{"question": "Which?"}')
    with pytest.raises(ConfigError, match="line 1: must have `messages`"):
        read_judging(path)

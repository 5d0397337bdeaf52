"""A replay file is read as it is, or refused in words that name file, line, column and rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.lab.evaluation.files import read_cascade, read_replay
from fleet.model.errors import ConfigError

HEADER = "weak_logprob,weak_correct,strong_correct"
GOOD = f"{HEADER}\n-0.1,1,1\n-2.5,0,1\n"


def test_the_three_required_columns_are_enough(tmp_path: Path) -> None:
    file = tmp_path / "small.csv"
    file.write_text(GOOD)
    replay = read_replay(file)
    assert (replay.name, len(replay)) == ("small.csv", 2)
    assert replay.weak_logprob.tolist() == [-0.1, -2.5]
    assert replay.weak_correct.tolist() == [1, 0]
    assert replay.strong_correct.tolist() == [1, 1]
    assert (replay.weak_cost_usd, replay.prompt_chars) == (None, None)


def test_columns_are_found_by_name_in_any_order_and_unknown_ones_are_ignored(tmp_path: Path) -> None:
    file = tmp_path / "more.csv"
    file.write_text(
        "\ufeffstrong_correct,note,prompt_chars,weak_correct,weak_logprob\r\n"
        '1,"a, quoted\nnote",120,0,-1\r\n\r\n0,other,80,1,0\r\n'
    )
    replay = read_replay(file)
    assert replay.weak_logprob.tolist() == [-1, 0]
    assert replay.prompt_chars is not None
    assert replay.prompt_chars.tolist() == [120, 80]


def test_some_rows_keep_all_columns(tmp_path: Path) -> None:
    file = tmp_path / "small.csv"
    file.write_text("weak_logprob,weak_correct,strong_correct,prompt_chars\n-0.1,1,1,7\n-2.5,0,1,8\n")
    second = read_replay(file).rows(slice(1, None))
    assert (len(second), second.weak_logprob.tolist(), second.name) == (1, [-2.5], "small.csv")
    assert second.prompt_chars is not None
    assert second.prompt_chars.tolist() == [8]
    assert second.weak_cost_usd is None


@pytest.mark.parametrize(
    ("content", "where", "rule"),
    [
        ("", "", "must start with a header, but is empty"),
        (HEADER + "\n", "", "must have at least one row under its header"),
        ("weak_logprob,strong_correct\n-1,1\n", ", line 1, column weak_correct", "is missing from the header"),
        (f"{HEADER},weak_correct\n-1,1,1,1\n", ", line 1, column weak_correct", "is in the header twice"),
        (GOOD + "-1,1\n", ", line 4", "must have 3 fields like the header, not 2"),
        (GOOD + "-1,1,1,1\n", ", line 4", "must have 3 fields like the header, not 4"),
        (GOOD + "nan,1,1\n", ", line 4, column weak_logprob", "logarithm of a probability, so 0 or less, not 'nan'"),
        (GOOD + "-inf,1,1\n", ", line 4, column weak_logprob", "must be a finite logarithm"),
        (GOOD + "0.7,1,1\n", ", line 4, column weak_logprob", "so 0 or less, not '0.7'"),
        (GOOD + "high,1,1\n", ", line 4, column weak_logprob", "not 'high'"),
        (GOOD + "-1,0.5,1\n", ", line 4, column weak_correct", "must be 0 or 1, not '0.5'"),
        (GOOD + "-1,1,yes\n", ", line 4, column strong_correct", "must be 0 or 1, not 'yes'"),
        (GOOD + "-1,1,\n", ", line 4, column strong_correct", "must be 0 or 1, not ''"),
        (f"{HEADER}\n-1,1,1\n-2,1,0\n", ", column weak_correct", "must have both 0 and 1"),
        (f"{HEADER}\n-1,0,1\n-2,0,0\n", ", column weak_correct", "must have both 0 and 1"),
        (
            f"{HEADER},weak_cost_usd\n-1,1,1,-2\n",
            ", line 2, column weak_cost_usd",
            "must be a finite number, 0 or more",
        ),
        (f"{HEADER},prompt_chars\n-1,1,1,inf\n", ", line 2, column prompt_chars", "must be a finite number, 0 or more"),
        (GOOD + '-1,1,"1\n', "", "must be CSV in UTF-8"),
    ],
)
def test_what_breaks_a_rule_is_named(tmp_path: Path, content: str, where: str, rule: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(content)
    with pytest.raises(ConfigError) as refusal:
        read_cascade(file)
    assert refusal.value.field == f"{file}{where}"
    assert rule in refusal.value.rule


def test_a_stream_may_be_wrong_throughout(tmp_path: Path) -> None:
    file = tmp_path / "collapsed.csv"
    file.write_text(f"{HEADER}\n-1,0,1\n-2,0,0\n")
    assert read_replay(file).weak_correct.tolist() == [0, 0]


def test_a_column_nobody_reads_may_be_as_long_as_a_document(tmp_path: Path) -> None:
    file = tmp_path / "long.csv"
    file.write_text(f"{HEADER},weak_response\n-1,1,1,{'word ' * 100_000}\n")
    assert len(read_replay(file)) == 1


def test_the_line_is_the_one_an_editor_shows(tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(f'note,{HEADER}\n"two\nlines",-1,1,1\n\nthird,-1,2,1\n')
    with pytest.raises(ConfigError, match="line 5, column weak_correct"):
        read_replay(file)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"PK\x03\x04\x81\x99"])
def test_what_is_not_text_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "binary.csv"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="must be CSV in UTF-8"):
        read_replay(file)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_replay(tmp_path / "nowhere.csv")

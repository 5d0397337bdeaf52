"""An output appears when it is complete, never in the place of something else, and a full disk leaves no part."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet.bulk.writing.whole import check_sink, part_of, whole_file
from fleet.model.errors import ConfigError


@pytest.fixture
def sink(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


@contextmanager
def full_disk(most_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond that, which fails like a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_file_is_there_when_it_is_complete_and_not_before(sink: Path) -> None:
    with whole_file(sink) as part:
        part.write_bytes(b"rows")
        assert (part, sink.exists()) == (part_of(sink), False)
    assert sink.read_bytes() == b"rows"
    assert list(sink.parent.iterdir()) == [sink]


def test_a_disk_that_fills_leaves_neither_a_file_nor_a_part(sink: Path) -> None:
    with full_disk(4096), pytest.raises(OSError, match="File too large"), whole_file(sink) as part:
        part.write_bytes(b"x" * 5000)
    assert list(sink.parent.iterdir()) == []


def test_what_was_there_before_stays_if_writing_fails(sink: Path) -> None:
    sink.write_bytes(b"before")
    with full_disk(4096), pytest.raises(OSError), whole_file(sink) as part:
        part.write_bytes(b"x" * 5000)
    assert sink.read_bytes() == b"before"


def test_a_part_that_a_crash_left_is_replaced_and_a_link_is_not_followed(sink: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_bytes(b"mine")
    part_of(sink).symlink_to(other)
    with whole_file(sink) as part:
        part.write_bytes(b"rows")
    assert (sink.read_bytes(), other.read_bytes()) == (b"rows", b"mine")


def test_an_output_that_exists_is_refused_unless_it_is_to_be_replaced(sink: Path) -> None:
    check_sink(sink, overwrite=False)
    sink.write_bytes(b"before")
    check_sink(sink, overwrite=True)
    with pytest.raises(ConfigError, match=r"--output: .* is there already: --overwrite replaces it"):
        check_sink(sink, overwrite=False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_a_folder_or_a_device_is_never_an_output(sink: Path, tmp_path: Path, overwrite: bool) -> None:
    sink.write_bytes(b"jobs")
    device = tmp_path / "null"
    device.symlink_to("/dev/null")
    for output, inputs, rule in (
        (sink, [sink], "must not be the input"),
        (tmp_path / "jobs", [sink.rename(tmp_path / "jobs.part")], "must not be the input"),
        (tmp_path, [], "is a folder"),
        (device, [], "must be a regular file"),
    ):
        with pytest.raises(ConfigError, match=rule):
            check_sink(output, overwrite, inputs)


def test_two_commands_do_not_write_one_file(sink: Path) -> None:
    with whole_file(sink) as part:
        part.write_text("the first one's")
        with pytest.raises(ConfigError, match="is being written by another command"), whole_file(sink):
            raise AssertionError("the second one writes")
    assert sink.read_text() == "the first one's"


def test_what_a_crash_left_is_written_anew(sink: Path) -> None:
    part_of(sink).write_text("half a line")
    with whole_file(sink) as part:
        assert part.read_text() == ""
    assert sink.read_text() == ""

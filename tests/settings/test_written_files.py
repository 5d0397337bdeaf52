"""A file is written whole or not at all, and one with a secret is for its owner alone, whatever was there before."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet import files
from fleet.model.errors import ConfigError


@pytest.fixture(autouse=True)
def wide_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def there(tmp_path: Path) -> Path:
    path = tmp_path / "secrets.env"
    path.write_text("old\n")
    path.chmod(0o644)
    return path


def test_a_secret_is_for_its_owner_alone_whatever_the_mode_before(there: Path) -> None:
    files.write_secret(there, b"new\n")
    assert (mode(there), there.read_bytes()) == (0o600, b"new\n")


def test_who_has_the_file_open_does_not_see_the_secret(there: Path) -> None:
    with there.open("rb") as file:
        files.write_secret(there, b"new\n")
        assert file.read() == b"old\n"


def test_a_secret_does_not_follow_a_link(there: Path) -> None:
    link = there.with_name("link.env")
    link.symlink_to(there)
    files.write_secret(link, b"new\n")
    assert (link.is_symlink(), mode(link), there.read_bytes()) == (False, 0o600, b"old\n")


def test_a_second_name_of_the_file_does_not_show_the_secret(there: Path) -> None:
    second = there.with_name("second.env")
    second.hardlink_to(there)
    files.write_secret(there, b"new\n")
    assert second.read_bytes() == b"old\n"


@pytest.mark.parametrize("write", [files.write_secret, files.write_whole])
def test_what_fails_in_the_middle_leaves_the_file_and_nothing_else(
    there: Path, monkeypatch: pytest.MonkeyPatch, write: object
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(there, b"new\n")  # type: ignore[operator]
    assert (there.read_bytes(), list(there.parent.iterdir())) == (b"old\n", [there])


def test_another_file_keeps_its_mode_and_its_link(there: Path) -> None:
    there.chmod(0o640)
    link = there.with_name("link.conf")
    link.symlink_to(there)
    files.write_whole(link, b"new\n")
    assert (link.is_symlink(), mode(there), there.read_bytes()) == (True, 0o640, b"new\n")


def test_a_new_file_has_the_mode_the_umask_leaves(tmp_path: Path) -> None:
    os.umask(0o027)
    files.write_whole(tmp_path / "new.conf", b"new\n")
    assert mode(tmp_path / "new.conf") == 0o640


def test_a_device_is_written_to_and_stays_one(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    files.write_whole(link, b"new\n")
    assert files.is_special(link)


def test_a_picture_that_cannot_be_drawn_leaves_the_one_before(there: Path) -> None:
    def draw(path: Path) -> None:
        path.write_text("half")
        raise ValueError("no data")

    with pytest.raises(ValueError, match="no data"):
        files.replace_whole(there, draw)
    assert (there.read_text(), list(there.parent.iterdir())) == ("old\n", [there])


@pytest.mark.parametrize("spelling", ["same", "dotted", "link", "hard", "descriptor"])
def test_an_output_that_is_the_input_is_refused(there: Path, spelling: str) -> None:
    other = there.with_name("other.env")
    if spelling == "link":
        other.symlink_to(there)
    elif spelling == "hard":
        other.hardlink_to(there)
    with there.open("rb") as file:
        names = {"same": there, "dotted": there.parent / "." / "x" / ".." / there.name}
        names["descriptor"] = Path(f"/dev/fd/{file.fileno()}")
        with pytest.raises(ConfigError, match="must not be the input"):
            (there.parent / "x").mkdir()
            files.check_output("--output", names.get(spelling, other), [None, there])

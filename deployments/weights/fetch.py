"""Fetches weights into a folder, from the hub or from a copy in S3, and checks every file against the hub's index."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from deployments.weights.checked import OURS, folder_name, missing, read_index, remove_damaged, write_index
from deployments.weights.hub import NOT_SERVED, File, HubModel, index, refusal, said_of_hub
from fleet.model.errors import ConfigError, FleetError

SLACK_BYTES: Final = 1 << 30
"""The room that has to be left beside the weights."""

NOT_COPIED: Final = ("blobs/*", "trees/*", "*.verified", "*.lock", "*.incomplete")
"""Patterns of what a copy in S3 does not have: files are in `snapshots`, and each machine checks them itself."""

Fill = Callable[[HubModel, Path], list[File]]
"""Brings a model's files into a folder, with their index beside them, and returns the index."""


def fetch(model: HubModel, folder: Path, fill: Fill, verify: bool = False) -> int:
    """Bring a model into a folder, and return the bytes of it; what is there already and whole is left alone.

    A file that has changed since it was checked is read again, with `verify` every file. Raises: FleetError naming the
    files that are not what the hub's index says; they are removed, so that the next run fetches them anew.
    """
    files = read_index(model, folder)
    if files is None or missing(model, folder, files):
        (folder / folder_name(model)).mkdir(parents=True, exist_ok=True)
        files = fill(model, folder)
    if damaged := remove_damaged(model, folder, files, verify):
        raise FleetError(f"{model.repo}: {', '.join(damaged)}: not as in the hub's index; run it again to fetch anew")
    # The hub's client keeps a list of all files of the commit, and offline would miss the ones that are left out.
    (folder / folder_name(model) / "trees" / f"{model.revision}.json").unlink(missing_ok=True)
    return sum(each.size for each in files)


def from_hub(api: Any) -> Fill:
    """Return what fetches from the hub; a file that broke off goes on where it was."""

    def fill(model: HubModel, folder: Path) -> list[File]:
        if why := refusal(model, api):
            raise FleetError(f"{model.target} ({model.repo}): {why}")
        with said_of_hub(model, api):
            files = index(model, api)
            _check_room(model, folder, files)
            api.snapshot_download(
                model.repo, revision=model.revision, cache_dir=folder, ignore_patterns=list(NOT_SERVED)
            )
        write_index(model, folder, files)
        return files

    return fill


def from_s3(url: str, aws: str = "aws") -> Fill:
    """Return what fetches from a copy in S3 by the AWS CLI. Raises: ConfigError if the address is none."""
    if not re.fullmatch(r"s3://[^/]+(/.*)?", url):
        raise ConfigError("--from", f"must be s3://bucket/prefix; got {url!r}")

    def fill(model: HubModel, folder: Path) -> list[File]:
        home = folder / folder_name(model)
        source = f"{url.rstrip('/')}/{folder_name(model)}"
        _sync(aws, f"{source}/{OURS}", home / OURS)  # the index first: it says how much room the rest takes
        files = read_index(model, folder)
        if files is None:
            raise FleetError(
                f"{model.repo}: no {model.revision}.json in the copy that can be read: fill it from a folder that "
                "`fetch` has filled"
            )
        _check_room(model, folder, files)
        _sync(aws, source, home)
        return files

    return fill


def _sync(aws: str, source: str, target: Path) -> None:
    left_out = [word for pattern in NOT_COPIED for word in ("--exclude", pattern)]
    _run([aws, "s3", "sync", "--only-show-errors", *left_out, source, str(target)])


def _run(command: Sequence[str]) -> None:
    try:
        subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise FleetError(f"--from needs the AWS CLI: there is no program {command[0]!r}") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise FleetError(f"aws s3 sync ended with {error.returncode}: {last}") from None


def _check_room(model: HubModel, folder: Path, files: Sequence[File]) -> None:
    needed, free = sum(each.size for each in missing(model, folder, files)), shutil.disk_usage(folder).free
    if needed + SLACK_BYTES > free:
        raise FleetError(f"{folder}: {free / 1e9:.0f} GB are free, and {needed / 1e9:.0f} GB are to be fetched")


@contextmanager
def only_one(folder: Path, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder for this process; wait until another that fetches into it has ended."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".fleet-weights.lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait(f"another process fetches into {folder}; waiting for it")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield

"""Fetches weights into a folder, from the hub or from a copy in S3, and checks every file against the hub's index."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from deployments.weights.hub import NOT_SERVED, File, HubModel, index, refusal
from fleet.model.errors import ConfigError, FleetError

OURS: Final = "fleet"
"""The folder beside `snapshots` with the index of each commit, and a mark once its files were checked."""

SLACK_BYTES: Final = 1 << 30
"""The room that has to be left beside the weights."""

NOT_COPIED: Final = ("blobs/*", "trees/*", "*.verified", "*.lock", "*.incomplete")
"""What a copy in S3 does not have: files are in `snapshots`, and each machine checks them itself."""

Fill = Callable[[HubModel, Path], list[File]]
"""Brings a model's files into a folder and returns its index."""


def fetch(model: HubModel, folder: Path, fill: Fill) -> int:
    """Bring a model into a folder, and return the bytes of it; what is there already and whole is left alone.

    Raises: FleetError naming the files that are not what the hub's index says; they are removed, so that the next run
    fetches them anew.
    """
    home = folder / folder_name(model)
    verified = home / OURS / f"{model.revision}.verified"
    if verified.exists() and not missing(model, folder, files := indexed(home, model)):
        return sum(each.size for each in files)
    home.mkdir(parents=True, exist_ok=True)
    verified.unlink(missing_ok=True)
    files = fill(model, folder)
    damaged = [*missing(model, folder, files), *_remove_damaged(snapshot(model, folder), files)]
    if damaged:
        raise FleetError(f"{model.repo}: {', '.join(damaged)}: not as in the hub's index; run it again to fetch anew")
    # The hub's client keeps a list of all files of the commit, and offline would miss the ones that are left out.
    (home / "trees" / f"{model.revision}.json").unlink(missing_ok=True)
    verified.parent.mkdir(exist_ok=True)
    (home / OURS / f"{model.revision}.json").write_text(json.dumps([asdict(each) for each in files], indent=1))
    verified.touch()
    return sum(each.size for each in files)


def folder_name(model: HubModel) -> str:
    return f"models--{model.repo.replace('/', '--')}"


def snapshot(model: HubModel, folder: Path) -> Path:
    """Return where the files of the model are, by the layout of the Hugging Face cache."""
    return folder / folder_name(model) / "snapshots" / model.revision


def indexed(home: Path, model: HubModel) -> list[File]:
    """Return the index that lies beside the files. Raises: FleetError if there is none."""
    path = home / OURS / f"{model.revision}.json"
    if not path.exists():
        raise FleetError(f"{model.repo}: no {path.name} in the copy: fill it from a folder that `fetch` has filled")
    return [File(**each) for each in json.loads(path.read_text())]


def missing(model: HubModel, folder: Path, files: Sequence[File]) -> list[str]:
    """Return the files that are not there in full size."""
    there = snapshot(model, folder)
    return [each.path for each in files if not _has_size(there / each.path, each.size)]


def _has_size(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size == size


def _remove_damaged(there: Path, files: Sequence[File]) -> Iterator[str]:
    """Remove and yield the files whose content is not that of the index."""
    for each in files:
        path = there / each.path
        if path.exists() and not is_as_indexed(path, each):
            path.resolve().unlink()  # the blob that a link of the cache leads to
            path.unlink(missing_ok=True)
            yield each.path


def is_as_indexed(path: Path, file: File) -> bool:
    """Tell whether a file has the content that the hub's index says."""
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest() == (file.sha256 or file.git_sha1)


def from_hub(api: Any) -> Fill:
    """Return what fetches from the hub; a file that broke off goes on where it was."""

    def fill(model: HubModel, folder: Path) -> list[File]:
        if why := refusal(model, api):
            raise FleetError(f"{model.target} ({model.repo}): {why}")
        files = index(model, api)
        _check_room(
            folder, sum(each.size for each in files if not _has_size(snapshot(model, folder) / each.path, each.size))
        )
        api.snapshot_download(model.repo, revision=model.revision, cache_dir=folder, ignore_patterns=list(NOT_SERVED))
        return files

    return fill


def from_s3(url: str, aws: str = "aws") -> Fill:
    """Return what fetches from a copy in S3 by the AWS CLI. Raises: ConfigError if the address is none."""
    if not url.startswith("s3://"):
        raise ConfigError("--from", f"must be s3://bucket/prefix; got {url!r}")

    def fill(model: HubModel, folder: Path) -> list[File]:
        home = folder / folder_name(model)
        left_out = [word for pattern in NOT_COPIED for word in ("--exclude", pattern)]
        source = f"{url.rstrip('/')}/{folder_name(model)}"
        _run([aws, "s3", "sync", "--only-show-errors", *left_out, source, str(home)])
        return indexed(home, model)

    return fill


def _run(command: Sequence[str]) -> None:
    try:
        subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise FleetError(f"--from needs the AWS CLI: there is no program {command[0]!r}") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise FleetError(f"aws s3 sync ended with {error.returncode}: {last}") from None


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
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

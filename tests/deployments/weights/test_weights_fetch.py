"""Weights are fetched once, whole, by one process at a time, and vLLM finds them where they lie."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pytest
from httpx2 import ReadTimeout, RemoteProtocolError
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from patience import eventually_here
from vllm.transformers_utils.repo_utils import get_model_path

from deployments.weights import checked
from deployments.weights.__main__ import main
from deployments.weights.checked import folder_name, snapshot
from deployments.weights.fetch import fetch, from_hub, from_s3, only_one
from deployments.weights.hub import card_gib, fitting, hub_models
from fleet.model.errors import ConfigError, FleetError

SERVED = {"config.json", "model.safetensors", "tokenizer.json"}


def content(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.proves(
    "Weights are fetched at a pinned commit, without the copies in other formats, and vLLM's loader finds them offline",
    how="stand-in",
)
def test_what_is_fetched_is_where_vllm_looks_for_it(hub, api, model, tmp_path, monkeypatch):
    size = fetch(model, tmp_path, from_hub(api()))
    assert content(snapshot(model, tmp_path)) == SERVED
    assert size == sum(len(hub.repos[model.repo][name]) for name in SERVED)
    monkeypatch.setattr("huggingface_hub._tree_cache._IN_MEMORY_TREE_CACHE", {})  # as in a process of its own
    # As vLLM's loader asks where HF_HUB_OFFLINE is set, and whoever asks for the whole.
    for patterns in (None, ["*.safetensors"]):
        found = snapshot_download(
            model.repo,
            revision=model.revision,
            cache_dir=tmp_path,
            allow_patterns=patterns,
            local_files_only=True,
        )
        assert Path(found) == snapshot(model, tmp_path)
    # And vLLM itself, which replaces the name of a model by the folder.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert Path(get_model_path(model.repo, model.revision)) == snapshot(model, tmp_path)


def test_what_is_there_is_not_fetched_again(hub, api, model, tmp_path):
    size = fetch(model, tmp_path, from_hub(api()))
    hub.asked.clear()
    assert fetch(model, tmp_path, from_hub(api())) == size
    assert hub.asked == []


def test_a_file_that_was_lost_is_fetched_again(hub, api, model, tmp_path):
    fetch(model, tmp_path, from_hub(api()))
    (snapshot(model, tmp_path) / "model.safetensors").resolve().unlink()
    fetch(model, tmp_path, from_hub(api()))
    assert content(snapshot(model, tmp_path)) == SERVED


@pytest.mark.proves("A fetch of weights that breaks off goes on where it was and ends whole", how="stand-in")
def test_a_file_that_breaks_off_is_fetched_to_its_end(hub, api, model, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 500)  # else the little that came is not kept
    hub.cut = 1000
    fetch(model, tmp_path, from_hub(api()))
    assert (snapshot(model, tmp_path) / "model.safetensors").read_bytes() == hub.repos[model.repo]["model.safetensors"]
    assert [each.split()[2:] for each in hub.asked if each.startswith("GET") and "safetensors" in each][-1] == [
        "bytes=1000-"
    ]


def damage(path: Path, at: int | None = None) -> None:
    """Change a byte of a file; `at` is the time of the change in nanoseconds, None as if there had been none."""
    time = path.stat().st_mtime_ns if at is None else at
    path.write_bytes(b"!" + path.read_bytes()[1:])
    os.utime(path, ns=(time, time))


@pytest.mark.proves(
    "`weights fetch` names and removes files that were damaged since it found them whole", how="stand-in"
)
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_was_changed_since_it_was_checked_is_named_and_fetched_anew(hub, api, model, tmp_path, name):
    fill, path = from_hub(api()), snapshot(model, tmp_path) / name
    fetch(model, tmp_path, fill)
    damage(path.resolve(), at=1)
    with pytest.raises(FleetError, match=rf"somebody/small-model: {name}: not as in the hub's index"):
        fetch(model, tmp_path, fill)
    fetch(model, tmp_path, fill)
    assert path.read_bytes() == hub.repos[model.repo][name]


def test_a_file_that_was_replaced_by_another_of_its_time_and_size_is_named(hub, api, model, tmp_path):
    fetch(model, tmp_path, from_hub(api()))
    path = snapshot(model, tmp_path) / "config.json"
    copy = tmp_path / "copy"
    shutil.copy2(path, copy)
    damage(copy)
    copy.replace(path)
    with pytest.raises(FleetError, match=r"config\.json: not as in the hub's index"):
        fetch(model, tmp_path, from_hub(api()))


def test_a_byte_that_flips_on_the_disk_is_found_where_every_file_is_read_again(hub, api, model, tmp_path):
    fetch(model, tmp_path, from_hub(api()))
    damage((snapshot(model, tmp_path) / "model.safetensors").resolve())
    fetch(model, tmp_path, from_hub(api()))
    with pytest.raises(FleetError, match=r"model\.safetensors: not as in the hub's index"):
        fetch(model, tmp_path, from_hub(api()), verify=True)


def test_files_that_have_not_changed_are_not_read_again(hub, api, model, tmp_path, monkeypatch):
    read: list[str] = []
    whole = checked.is_as_indexed
    monkeypatch.setattr(checked, "is_as_indexed", lambda path, file: read.append(file.path) or whole(path, file))
    for verify in (False, False, True):
        fetch(model, tmp_path, from_hub(api()), verify)
        read.append("end")
    assert read == [*sorted(SERVED), "end", "end", *sorted(SERVED), "end"]


@pytest.mark.proves("An index of weights that a power cut left torn is fetched anew", how="stand-in")
@pytest.mark.parametrize("torn", ["", "[", "[]", "{}", "[1]", "null", None])
def test_an_index_that_cannot_be_read_is_fetched_anew(hub, api, model, tmp_path, torn):
    size = fetch(model, tmp_path, from_hub(api()))
    path = tmp_path / folder_name(model) / "fleet" / f"{model.revision}.json"
    before = path.read_bytes()
    path.unlink() if torn is None else path.write_text(torn)
    assert fetch(model, tmp_path, from_hub(api())) == size
    assert path.read_bytes() == before


@pytest.mark.parametrize("torn", ["", "{", "[]", None])
def test_a_note_of_what_was_whole_that_cannot_be_read_has_every_file_read_again(hub, api, model, tmp_path, torn):
    size = fetch(model, tmp_path, from_hub(api()))
    noted = tmp_path / folder_name(model) / "fleet" / f"{model.revision}.verified"
    before = noted.read_bytes()
    noted.unlink() if torn is None else noted.write_text(torn)  # older versions left it empty
    hub.asked.clear()
    assert fetch(model, tmp_path, from_hub(api())) == size
    assert (noted.read_bytes(), hub.asked) == (before, [])


@pytest.mark.proves("Damaged weights are named and removed after a fetch", how="stand-in")
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_with_another_content_is_named_and_fetched_anew_by_the_next_run(hub, api, model, tmp_path, name):
    fill = from_hub(api())

    def damaging(model, folder):
        files = fill(model, folder)
        damage((snapshot(model, folder) / name).resolve())
        return files

    with pytest.raises(FleetError, match=rf"somebody/small-model: {name}: not as in the hub's index"):
        fetch(model, tmp_path, damaging)
    fetch(model, tmp_path, fill)
    assert (snapshot(model, tmp_path) / name).read_bytes() == hub.repos[model.repo][name]


def test_a_model_that_may_not_be_read_is_refused_before_anything_is_fetched(hub, api, model, tmp_path):
    hub.gated = {model.repo}
    with pytest.raises(FleetError, match="gated: accept the licence at"):
        fetch(model, tmp_path, from_hub(api("hf_known")))
    assert not any("safetensors" in each for each in hub.asked)


def test_too_little_room_is_said_before_anything_is_fetched(hub, api, model, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**30, 2**30, 2**30))
    with pytest.raises(FleetError, match=r"1 GB are free, and 0 GB are to be fetched"):
        fetch(model, tmp_path, from_hub(api()))
    assert not any("safetensors" in each for each in hub.asked)


@pytest.fixture
def aws(tmp_path: Path) -> str:
    """A program that copies as `aws s3 sync` does, from the folder `s3` in place of a bucket."""
    program = tmp_path / "aws"
    program.write_text(
        f"""#!/bin/sh
set -e
test "$1 $2" = "s3 sync"
for word; do from=$to; to=$word; done
case $from in *missing*) echo "fatal error: AccessDenied" >&2; exit 1;; esac
mkdir -p "$to"
cp -rL "{tmp_path}/s3/${{from#s3://bucket/}}/." "$to" 2>&- || true
rm -rf "$to/blobs"; rm -f "$to"/fleet/*.verified "$to"/*.verified
"""
    )
    program.chmod(0o755)
    return str(program)


@pytest.mark.proves("Weights copied to S3 need no hub and no token, and are checked all the same", how="stand-in")
def test_a_copy_in_s3_serves_without_the_hub(hub, api, model, tmp_path, aws):
    fetch(model, tmp_path / "s3" / "weights", from_hub(api()))
    hub.asked.clear()
    into = tmp_path / "node"
    fetch(model, into, from_s3("s3://bucket/weights", aws))
    assert content(snapshot(model, into)) == SERVED
    assert hub.asked == []
    copied = tmp_path / "s3" / "weights" / folder_name(model) / "snapshots" / model.revision / "config.json"
    copied.write_bytes(b"?" * copied.stat().st_size)
    with pytest.raises(FleetError, match=r"config\.json: not as in the hub's index"):
        fetch(model, tmp_path / "other", from_s3("s3://bucket/weights", aws))


def test_what_is_wrong_with_a_copy_is_one_line(model, tmp_path, aws):
    for address in ("bucket", "", "s3://", "s3:///weights"):
        with pytest.raises(ConfigError, match=rf"--from: must be s3://bucket/prefix; got '{address}'"):
            from_s3(address)
    with pytest.raises(FleetError, match="aws s3 sync ended with 1: fatal error: AccessDenied"):
        fetch(model, tmp_path, from_s3("s3://bucket/missing", aws))
    with pytest.raises(FleetError, match="--from needs the AWS CLI: there is no program '/no/aws'"):
        fetch(model, tmp_path, from_s3("s3://bucket/weights", "/no/aws"))
    (tmp_path / "s3" / "empty" / folder_name(model)).mkdir(parents=True)
    with pytest.raises(FleetError, match=f"no {model.revision}.json in the copy"):
        fetch(model, tmp_path / "node", from_s3("s3://bucket/empty", aws))


def test_a_copy_in_s3_that_finds_no_room_is_said_before_its_files_are_copied(
    hub, api, model, tmp_path, aws, monkeypatch
):
    fetch(model, tmp_path / "s3" / "weights", from_hub(api()))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**30, 2**30, 2**30))
    with pytest.raises(FleetError, match=r"1 GB are free, and 0 GB are to be fetched"):
        fetch(model, tmp_path / "node", from_s3("s3://bucket/weights", aws))
    assert not (tmp_path / "node" / folder_name(model) / "snapshots").exists()


def test_a_second_process_waits_until_the_first_has_ended(tmp_path):
    waits: list[str] = []
    entered = threading.Event()

    def second() -> None:
        with only_one(tmp_path, waits.append):
            entered.set()

    with only_one(tmp_path, waits.append):
        thread = threading.Thread(target=second)
        thread.start()
        eventually_here(lambda: waits == [f"another process fetches into {tmp_path}; waiting for it"])
        assert not entered.is_set()
    thread.join()
    assert entered.is_set()


def test_the_command_fetches_and_says_what(hub, api, tmp_path, capsys, monkeypatch, model):
    monkeypatch.setattr("deployments.weights.__main__.hub_models", lambda targets: [model])
    assert main(["fetch", "--into", str(tmp_path)], api()) == 0
    assert capsys.readouterr().out.startswith("small (somebody/small-model): 0.0 GB, whole, ")
    assert main(["fetch", "--into", str(tmp_path), "--from", "http://x"], api()) == 1
    assert "--from" in capsys.readouterr().err
    assert isinstance(api(), HfApi)


@pytest.mark.parametrize(
    ("into", "line"),
    [
        ("", "--into: must be a folder; got ''"),
        ("{there}/file", "--into: must be a folder; got '{there}/file'"),
        ("{there}/file/below", "{there}/file/below: not a directory"),
        ("/proc/weights", "/proc/weights: no such file or directory"),
    ],
)
def test_a_folder_that_cannot_be_one_is_one_line(api, tmp_path, capsys, into, line):
    (tmp_path / "file").touch()
    assert main(["fetch", "--into", into.format(there=tmp_path)], api()) == 1
    assert capsys.readouterr().err == line.format(there=tmp_path) + "\n"


def _failing(error: BaseException) -> Callable[..., Any]:
    def fail(*arguments: object, **named: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("step", "error", "line"),
    [
        ("list_repo_tree", RemoteProtocolError("gone"), "{hub} broke off (RemoteProtocolError); run it again: {kept}"),
        ("snapshot_download", ReadTimeout("late"), "{hub} broke off (ReadTimeout); run it again: {kept}"),
        (
            "snapshot_download",
            LocalEntryNotFoundError("two\nlines"),
            "{hub} broke off (LocalEntryNotFoundError); run it again: {kept}",
        ),
        (
            "get_hf_file_metadata",
            OfflineModeIsEnabled(),
            "HF_HUB_OFFLINE is set, and the hub has to be asked: unset it",
        ),
        ("snapshot_download", OSError(ENOSPC, "No space left on device"), None),
    ],
)
def test_a_hub_or_a_disk_that_gives_up_is_one_line(hub, api, model, tmp_path, capsys, monkeypatch, step, error, line):
    monkeypatch.setattr("deployments.weights.__main__.hub_models", lambda targets: [model])
    asked = api()
    monkeypatch.setattr(asked, step, _failing(error))
    assert main(["fetch", "--into", str(tmp_path)], asked) == 1
    said = line and line.format(hub=f"the hub at {hub.url}", kept="what has come is kept")
    wanted = f"small (somebody/small-model): {said}" if said else "the disk: no space left on device"
    assert capsys.readouterr().err == f"{wanted}\n"


def test_a_fetch_that_is_interrupted_ends_without_a_traceback(api, tmp_path, monkeypatch):
    monkeypatch.setattr("deployments.weights.__main__.hub_models", _failing(KeyboardInterrupt()))
    assert main(["fetch", "--into", str(tmp_path)], api()) == 130


@pytest.mark.parametrize(
    ("gib", "targets"), [(21.98, ["llama-8b"]), (79.15, ["llama-8b", "mixtral-8x7b", "llama-70b"])]
)
def test_a_machine_fetches_what_its_cards_may_hold(gib, targets):
    assert [each.target for each in fitting(hub_models(), gib)] == targets


def test_the_smallest_card_counts_and_none_is_an_error(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FleetError, match="--fitting needs a card that nvidia-smi finds: FileNotFoundError"):
        card_gib()
    program.write_text("#!/bin/sh\necho 81920\necho 40960\n")
    program.chmod(0o755)
    assert card_gib() == 40.0

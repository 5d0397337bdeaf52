"""The files that Prometheus finds processes by."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from fleet.telemetry.metrics.discovery import announced


def read(folder):
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]


def test_a_process_is_announced_while_it_serves(tmp_path):
    folder = tmp_path / "made" / "for it"
    with announced(folder, "dispatcher", "127.0.0.1", 9464):
        assert read(folder) == [[{"targets": ["127.0.0.1:9464"], "labels": {"process": "dispatcher"}}]]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("host", "address"),
    [("0.0.0.0", f"{socket.gethostname()}:1"), ("::", f"{socket.gethostname()}:1"), ("::1", "[::1]:1")],
)
def test_it_is_announced_where_others_reach_it(tmp_path, host, address):
    with announced(tmp_path, "dispatcher", host, 1):
        [[entry]] = read(tmp_path)
    assert entry["targets"] == [address]


def test_several_processes_share_a_folder(tmp_path):
    with announced(tmp_path, "dispatcher", "h", 1), announced(tmp_path, "ledger", "h", 2):
        assert {entry["labels"]["process"] for [entry] in read(tmp_path)} == {"dispatcher", "ledger"}


def test_a_process_that_died_is_forgotten_and_one_of_another_machine_is_not(tmp_path):
    died = subprocess.Popen([sys.executable, "-c", ""])
    died.wait()
    (tmp_path / f"{socket.gethostname()}-{died.pid}-9464.json").write_text("[]")
    (tmp_path / f"{socket.gethostname()}-{os.getpid()}-1.json").write_text("[]")
    (tmp_path / f"elsewhere-{died.pid}-9464.json").write_text("[]")
    with announced(tmp_path, "dispatcher", "h", 2):
        left = {file.name for file in tmp_path.iterdir()}
    assert left == {f"elsewhere-{died.pid}-9464.json"} | {
        f"{socket.gethostname()}-{os.getpid()}-{n}.json" for n in (1, 2)
    }


def test_a_folder_that_cannot_be_made_harms_nobody(tmp_path):
    (tmp_path / "file").touch()
    with announced(tmp_path / "file" / "folder", "dispatcher", "h", 1):
        pass


def test_nobody_is_announced_where_no_folder_is_named():
    with announced(None, "dispatcher", "h", 1):
        pass


def test_a_file_of_a_process_that_no_machine_can_have_is_removed(tmp_path):
    (tmp_path / f"{socket.gethostname()}-{'9' * 30}-9464.json").write_text("[]")
    with announced(tmp_path, "dispatcher", "h", 1):
        assert len(read(tmp_path)) == 1

"""The publishers that are not Python: run where there is what runs them, and held to the wire page everywhere."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NODE = ROOT / "examples" / "node"
GO = ROOT / "examples" / "go"

[WIRE_PAGE] = (ROOT / "docs").rglob("wire.md")
WIRE = WIRE_PAGE.read_text()
JOB = json.loads((WIRE_PAGE.parent / "wire-schema-v1.json").read_text())["$defs"]["Job"]

TEXT = "Katapu: The meeting with Vuhis was smooth."


@pytest.mark.e2e
async def test_a_node_publisher_gets_its_result(bench, tmp_path):
    folder = copied(NODE, tmp_path)
    installed = await bench.start("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", cwd=folder)
    assert installed.returncode == 0, installed.stderr
    async with bench.dispatching():
        done = await bench.start("node", "publish.mjs", bench.nats_url, "acme", TEXT, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert answered(done.stdout)


@pytest.mark.e2e
@pytest.mark.skipif(
    shutil.which("go") is None, reason="no Go toolchain: examples/go is compared with the wire page only"
)
async def test_a_go_publisher_gets_its_result(bench, tmp_path):
    folder = copied(GO, tmp_path)
    tidied = await bench.start("go", "mod", "tidy", cwd=folder)
    assert tidied.returncode == 0, tidied.stderr
    async with bench.dispatching():
        done = await bench.start("go", "run", ".", bench.nats_url, "acme", TEXT, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert answered(done.stdout)


@pytest.mark.parametrize("language", ["node", "go"])
def test_a_publisher_uses_the_subjects_and_the_message_id_of_the_wire_page_and_no_others(language):
    used = node_words() if language == "node" else go_words()
    assert used == {"results.<tenant>.<id>", "jobs.<lane>.<tenant>", "<tenant>.<id>"}
    assert [word for word in used if f"`{word}`" not in WIRE] == []


@pytest.mark.parametrize("path", [NODE / "publish.mjs", GO / "main.go"], ids=lambda path: path.name)
def test_a_publisher_sets_no_header_but_the_message_id_and_looks_at_who_stored_the_job(path):
    source = path.read_text()
    assert re.findall(r'\.[sS]et\("([^"]+)", ', source) == ["Nats-Msg-Id"]
    assert re.findall(r'!==? "(\w+)"', source) == ["JOBS"]
    assert "`Nats-Msg-Id`" in WIRE and '"stream": "JOBS"' in WIRE


def test_the_go_publisher_writes_every_field_a_job_requires_and_no_other():
    body = re.search(r"json\.Marshal\(map\[string\]any\{\n(.*?)\n\t\}\)", (GO / "main.go").read_text(), re.DOTALL)
    fields = set(re.findall(r'^\t\t"(\w+)":', body[1], re.MULTILINE))
    assert fields == set(JOB["required"])


def copied(folder: Path, to: Path) -> Path:
    """Only what is in the repository: neither modules nor a lock of an earlier run."""
    unwanted = shutil.ignore_patterns("node_modules", "package-lock.json", "go.sum")
    return shutil.copytree(folder, to / folder.name, ignore=unwanted)


def answered(output: str) -> bool:
    result = json.loads(output)
    return (result["status"], result["message"]["content"], result["tenant"]) == ("succeeded", "positive", "acme")


def node_words() -> set[str]:
    """Every template with a dot, its values as in the wire page."""
    templates = re.findall(r"`([^`]*\$\{[^`]*)`", (NODE / "publish.mjs").read_text())
    return {re.sub(r"\$\{(\w+)\}", r"<\1>", each) for each in templates if "." in each and ":" not in each}


def go_words() -> set[str]:
    """Every format with a dot, its values as in the wire page."""
    formats = re.findall(r'Sprintf\("([^"]+)", ([^)]+)\)', (GO / "main.go").read_text())
    return {text % tuple(f"<{name}>" for name in names.split(", ")) for text, names in formats}

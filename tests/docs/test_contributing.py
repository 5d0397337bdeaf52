"""CONTRIBUTING.md, SECURITY.md and the configuration beside them name only what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = ("CONTRIBUTING.md", "SECURITY.md", "examples/README.md")
ROOMS = r"(?:benchmarks|deployments|examples|fleet|policies|queues|tests)"
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


@pytest.mark.parametrize("page", PAGES)
def test_every_path_is_there(page):
    named = set(re.findall(rf"`({ROOMS}(?:/[\w./-]+)?)[`:]", (ROOT / page).read_text()))
    assert {path for path in named if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_is_there(page):
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", (ROOT / page).read_text(), re.M))
    assert named <= TARGETS


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_page(page):
    links = re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text())
    assert links
    for link in links:
        # A page of docs may be in any of its chapters.
        assert ((ROOT / page).parent / link).exists() or any((ROOT / "docs").rglob(Path(link).name)), link


def test_hooks_run_what_make_static_runs_from_the_same_environment():
    [local] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    entries = [hook["entry"].split() for hook in local["hooks"]]
    assert [words[0] for words in entries] == [".venv/bin/ruff", ".venv/bin/ruff", ".venv/bin/mypy"]
    assert {hook["language"] for hook in local["hooks"]} == {"system"}

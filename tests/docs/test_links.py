"""Every link of README and docs leads somewhere, the index lists every page, and every file that is named is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import PAGES, README, ROOT, anchors, links, name_of

INDEX = ROOT / "docs" / "index.md"
ROOMS = "deployments|policies|fleet|queues|tests|docs|benchmarks|requirements"
NAMED = re.compile(rf"(?<![\w/~.<-])(?:{ROOMS})/[\w./-]*\w|\btest_\w+\.py")
MADE = ("deployments/standins/weights/",)
"""Left out of some checkouts and packages."""


def resolved(page: Path, link: str) -> tuple[Path, str]:
    """The file that a link leads to, and the heading in it, if any."""
    path, _, anchor = link.partition("#")
    return (page.parent / path).resolve() if path else page, anchor


def broken(page: Path) -> Iterator[str]:
    for link in links(page):
        target, anchor = resolved(page, link)
        if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
            yield link


def missing(page: Path) -> Iterator[str]:
    """The files it names that are not there. A test may be named without its folder, a module without its ending."""
    for path in NAMED.findall(page.read_text()):
        here = ROOT / path
        found = here.exists() or here.with_suffix(".py").exists() or path.startswith(MADE)
        if not found and ("/" in path or not any((ROOT / "tests").rglob(path))):
            yield path


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert list(broken(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    assert list(missing(page)) == []


def test_the_index_lists_every_page() -> None:
    listed = {resolved(INDEX, link)[0] for link in links(INDEX)}
    assert {page for page in PAGES if page not in (README, INDEX)} <= listed

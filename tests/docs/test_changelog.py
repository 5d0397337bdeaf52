"""CHANGELOG.md has a dated chapter for each version, the newest that of the package."""

from __future__ import annotations

import re
import tomllib
from datetime import date

from pages import ROOT

CHAPTERS = re.findall(r"^## \[([\d.]+)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)


def test_the_newest_version_is_that_of_the_package() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert CHAPTERS[0][0] == package["version"]


def test_versions_and_dates_go_down() -> None:
    known = [([int(part) for part in version.split(".")], date.fromisoformat(day)) for version, day in CHAPTERS]
    assert known == sorted(known, reverse=True)


def test_images_are_tagged_with_the_version() -> None:
    tags = (ROOT / "deployments" / "kubernetes" / "common" / "kustomization.yaml").read_text()
    assert f"newTag: {CHAPTERS[0][0]}" in tags

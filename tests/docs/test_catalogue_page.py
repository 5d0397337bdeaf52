"""The catalogue's page: its example loads, and every key of a target's that it names is one."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from pages import ROOT, blocks

from fleet.model.target import Target
from fleet.settings.documents import load_catalogue

PAGE = ROOT / "docs" / "reference" / "catalogue.md"


def test_the_example_of_the_page_is_a_catalogue(tmp_path: Path) -> None:
    [shown] = [block for block in blocks(PAGE) if block.language == "yaml"]
    file = tmp_path / "catalogue.yaml"
    file.write_text(shown.text)
    assert set(load_catalogue(file, "gpu").targets) == {"gpt-luna", "claude-haiku"}


def test_every_price_is_on_the_page() -> None:
    priced = {field.name for field in fields(Target) if field.name.endswith("_usd_per_million_tokens")}
    assert priced <= set(re.findall(r"`(\w+)`", PAGE.read_text()))

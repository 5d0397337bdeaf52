"""The page on cheaper ways: its catalogue and its rules fit together, and every switch is on it."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from pages import ROOT, blocks

from fleet.settings.documents import load_rules
from policies.rules.discounts import DiscountRules

PAGE = ROOT / "docs" / "how-to" / "cheaper-ways.md"


def test_what_the_page_shows_can_be_switched_on(tmp_path: Path) -> None:
    shown = [yaml.safe_load(block.text) for block in blocks(PAGE) if block.language == "yaml"]
    ours = [target for block in shown for target in block.get("targets", ())]
    switches = {key: value for block in shown for key, value in block.get("discounts", {}).items()}
    shipped: dict[str, Any] = yaml.safe_load((ROOT / "policies" / "rules.yaml").read_text())
    targets = yaml.safe_load((ROOT / "deployments" / "catalogue.yaml").read_text())["targets"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({**shipped, "discounts": switches}))
    (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump({"targets": [*targets, *ours]}))
    found = load_rules(tmp_path / "rules.yaml", tmp_path / "catalogue.yaml", "local")
    assert [target.name for target in found.cheaper_ways["gpt-mini"]] == ["gpt-mini-flex", "gpt-mini-batch"]


def test_every_switch_is_on_the_page() -> None:
    keys = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.M))
    assert keys >= {field.name for field in fields(DiscountRules)}

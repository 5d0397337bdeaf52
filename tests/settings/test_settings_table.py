"""The page on configuration lists every setting with its default."""

from __future__ import annotations

import re

from pages import ROOT

from fleet.settings.environment import Settings

ROW = re.compile(r"^\| `FLEET_(\w+)` \| (?:`(.+?)`)? ?\| (.+) \|$", re.M)


def test_the_table_has_every_setting_its_default_and_a_meaning() -> None:
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text().partition("\n## Settings\n")[2]
    listed = {name.lower(): default for name, default, meaning in ROW.findall(page) if meaning.strip()}
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert listed == {name: "" if default is None else str(default) for name, default in defaults.items()}

"""Every entry of docs/how-to/providers.md can be used as it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import ROOT, Block, blocks

from fleet.model.target import Provider
from fleet.providers import EnvironmentKeyRing, ProviderSettings, build
from fleet.settings.documents import load_catalogue
from policies.rules.providers import letters_of

PAGE = ROOT / "docs" / "how-to" / "providers.md"
ENTRIES = [block for block in blocks(PAGE) if block.language == "yaml"]


@pytest.mark.parametrize("block", ENTRIES, ids=lambda block: block.name)
async def test_an_entry_of_the_page_is_a_catalogue_whose_targets_can_be_built(block: Block, tmp_path: Path) -> None:
    said: Mapping[str, Any] = yaml.safe_load(block.text)
    file = tmp_path / "catalogue.yaml"
    file.write_text(block.text)
    catalogue = load_catalogue(file, "local")
    settings = ProviderSettings(providers=catalogue.providers)
    for target in catalogue.targets.values():
        await build(target, settings, EnvironmentKeyRing({}, catalogue.providers)).close()
    assert {target.provider for target in catalogue.targets.values()} >= set(said.get("providers", {}))


@pytest.mark.parametrize("name", ["together", "openrouter", "vllm-lab", "litellm", "ollama", "azure", "bedrock"])
def test_the_page_has_an_entry(name: str) -> None:
    assert any(name in yaml.safe_load(block.text).get("providers", {}) for block in ENTRIES)


@pytest.mark.parametrize("field", [each.name for each in fields(Provider)])
def test_the_page_has_every_field_of_an_entry(field: str) -> None:
    table = PAGE.read_text().split("## All fields")[1]
    assert re.search(rf"^\|[^|]*`{field}`[^|]*\|", table, re.M)


def test_the_page_names_the_variable_of_a_tenants_key() -> None:
    assert f"`FLEET_KEY_{letters_of('vllm-lab')}_acme__main` for `own_key: vllm-lab/main`" in PAGE.read_text()

"""What docs/explanation/prefixes.md says in figures and as a rule is what the fleet does."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pages import ROOT, blocks

from deployments.profiles import Profile, models
from fleet.batches.blocks import BLOCK_BYTES, BLOCK_ROWS
from fleet.settings.documents import load_rules, shipped
from policies.prefixes import BOUNDARIES, RUN_TOKENS

PAGE = ROOT / "docs" / "explanation" / "prefixes.md"
[RULE] = (block.text for block in blocks(PAGE))


def test_the_rule_keeps_one_tenant_apart_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        yaml.safe_dump(yaml.safe_load(shipped("policies", "rules.yaml").read_text()) | yaml.safe_load(RULE))
    )
    caches = load_rules(path, None, "local").prefix_cache
    assert (caches.salt_of("acme"), caches.salt_of("globex")) == ("acme", None)


@pytest.mark.parametrize(
    "said",
    [
        f"{BOUNDARIES[0]}, {BOUNDARIES[1]}, {BOUNDARIES[2]}, ... {BOUNDARIES[-1]:,} bytes",
        f"{RUN_TOKENS:,} tokens",
        f"{BLOCK_ROWS:,} rows or {BLOCK_BYTES >> 20} MiB",
        f"{4 * (len(BOUNDARIES) + 3)} bytes a row",
        f"{models(Profile.LOCAL)['llama-8b'].engine['block_size']} in the profile `local`",
    ],
)
def test_the_figures_are_those_of_the_code(said: str) -> None:
    assert said in " ".join(PAGE.read_text().split())

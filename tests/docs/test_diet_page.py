"""The page on diets: its rules can be switched on, and every switch is on it with its default."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from pages import ROOT, blocks

from fleet.settings.documents import load_rules
from policies.diet.decision import WARM_SECONDS
from policies.experiments.arms import merged
from policies.rules.diet import AnswerBudget, DietMode, DietRules

PAGE = ROOT / "docs" / "how-to" / "diet.md"


def test_what_the_page_shows_can_be_switched_on(tmp_path: Path) -> None:
    tried, short = (yaml.safe_load(block.text) for block in blocks(PAGE) if block.language == "yaml")
    shipped: dict[str, Any] = yaml.safe_load((ROOT / "policies" / "rules.yaml").read_text())
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(merged(merged(shipped, tried), short)))
    tasks = load_rules(tmp_path / "rules.yaml", None, "local").tasks
    assert tasks["chat"].diet.tools is DietMode.SHADOW
    assert tasks["coach.reply"].diet.answers == {"llama-70b": AnswerBudget(160, 90)}


def test_every_switch_is_on_the_page_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `?([\w.]+)`? \|", PAGE.read_text(), re.M))
    assert rows == {name: str(value or "none") for name, value in asdict(DietRules()).items()}


def test_the_page_states_how_long_each_provider_keeps_a_thread_warm() -> None:
    text = PAGE.read_text()
    assert WARM_SECONDS == {"anthropic": 5 * 60, "openai": 30 * 60, "groq": 2 * 3600}
    assert "5 minutes at\nAnthropic, 30 at OpenAI, 2 hours at Groq and an hour elsewhere" in text

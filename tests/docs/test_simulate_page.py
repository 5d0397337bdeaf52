"""The scenarios of docs/how-to/simulate.md can be simulated, the one with a provider of the reader's own too.

Its program counts the questions of a file.
"""

from __future__ import annotations

import ast
import json
import runpy
from pathlib import Path

import pytest
import yaml
from pages import ROOT, Block, blocks

from fleet.lab.simulation.report.figures import run
from fleet.lab.simulation.workload.files import load_scenario
from fleet.lab.simulation.workload.prompts import Prompts, prompts_violations
from fleet.lab.simulation.workload.scenario import left_out
from fleet.settings.documents import load_rules, shipped
from policies.rules.rules import Rules

HOW_TO = ROOT / "docs" / "how-to"
SCENARIOS = [block for block in blocks(HOW_TO / "simulate.md") if block.language == "yaml"]
OWN = "lab-mistral"


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    """The shipped files with a target of the providers' page on the first ladder."""
    entries = next(block.text for block in blocks(HOW_TO / "providers.md") if OWN in block.text)
    added, catalogue = yaml.safe_load(entries), yaml.safe_load(shipped("deployments", "catalogue.yaml").read_text())
    document = yaml.safe_load(shipped("policies", "rules.yaml").read_text())
    document["phases"]["phase3"]["simple"].insert(0, OWN)
    files = tmp_path / "rules.yaml", tmp_path / "catalogue.yaml"
    files[0].write_text(yaml.safe_dump(document))
    files[1].write_text(yaml.safe_dump(added | {"targets": catalogue["targets"] + added["targets"]}))
    return load_rules(*files, "gpu")


@pytest.mark.parametrize("block", SCENARIOS, ids=lambda block: block.name)
def test_a_scenario_of_the_page_reaches_what_it_names(block: Block, rules: Rules, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(block.text)
    scenario = load_scenario(str(file))
    report = run(scenario, 50, 1, rules)
    assert report.jobs == report.answered == 50
    assert (OWN in report.targets) == (OWN not in left_out(scenario, rules)) == (OWN in block.text)


def test_the_program_of_the_page_counts_the_questions_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [program] = [block.text for block in blocks(HOW_TO / "simulate.md") if block.language == "python"]
    asked = ["where", "when", "where", "where", "who"]
    rows = ({"task": "chat", "messages": [{"role": "user", "content": text}]} for text in asked)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "program.py").write_text(program)
    runpy.run_path(str(tmp_path / "program.py"))
    found = ast.literal_eval(capsys.readouterr().out)
    assert found == {"distinct": 3, "counts": [3, 1, 1]}
    assert not list(prompts_violations(Prompts(distinct=found["distinct"], counts=tuple(found["counts"]))))

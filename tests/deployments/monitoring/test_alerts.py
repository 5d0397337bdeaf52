"""Every alert has its words, its section in the runbook, its cases for promtool, and a fault that fires it."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import ROOT, anchors, blocks
from prometheus_server import prometheus_binary

from benchmarks.alerts.faults import FAULTS
from benchmarks.alerts.matrix import shown, table
from benchmarks.alerts.recorded import RULES, alerts
from fleet.telemetry.metrics.catalogue import JOB_SECONDS
from fleet.telemetry.metrics.families import Family, Histogram, Point
from fleet.telemetry.metrics.prometheus import exposition

FOLDER = RULES.parent
EXPORTERS = FOLDER / "exporters.yaml"
PAGE = ROOT / "docs" / "how-to" / "alerts.md"
CASES = yaml.safe_load((FOLDER / "alerts.test.yaml").read_text())["tests"]

ALERTS = pytest.mark.parametrize(("name", "alert"), alerts().items(), ids=alerts())


def expected(name: str) -> list[list[dict[str, Any]]]:
    """What each case for an alert expects."""
    tests = [test for case in CASES for test in case["alert_rule_test"]]
    return [test["exp_alerts"] for test in tests if test["alertname"] == name]


@ALERTS
def test_every_alert_reads_series_and_labels_of_the_catalogue(name: str, alert: dict[str, Any], read_by: Any) -> None:
    found = read_by(alert["expr"])
    assert found
    for reading in found:
        assert reading.metric is not None, reading.series
        assert reading.labels <= set(reading.metric.prometheus_labels)
        assert reading.aggregation != "sum" or not reading.metric.shared


@ALERTS
def test_every_alert_says_what_is_wrong_how_bad_it_is_and_where_to_read_on(name: str, alert: dict[str, Any]) -> None:
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert alert["labels"]["severity"] in ("critical", "warning")
    page, _, section = alert["annotations"]["runbook_url"].partition("#")
    assert (ROOT / page, section) == (PAGE, name.lower())
    assert section in anchors(PAGE)


@ALERTS
def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(
    name: str, alert: dict[str, Any]
) -> None:
    found = expected(name)
    assert any(found)
    assert not all(found)


@ALERTS
def test_every_alert_is_fired_by_a_fault(name: str, alert: dict[str, Any]) -> None:
    assert any(name in fault.due for fault in FAULTS)


@pytest.mark.proves("Every alert has a section in the runbook", how="lint")
def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    runbook = PAGE.read_text().partition("\n## Runbook\n")[2]
    assert re.findall(r"^### (.+)$", runbook, re.M) == list(alerts())


def test_the_table_of_the_page_is_the_one_that_the_faults_make() -> None:
    """Run `python -m benchmarks.alerts` where this fails: it proves the table and writes it."""
    assert shown(PAGE.read_text()) == table()


@pytest.mark.proves("promtool accepts the alert rules and the scrape configuration", how="schema")
def test_prometheus_own_tool_finds_nothing_wrong_with_the_rules_and_the_configuration() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml", "exporters.yaml")
    promtool("check", "config", "prometheus.yaml")


@pytest.mark.proves("Every alert fires where its case says so and stays silent where it does not", how="stand-in")
def test_the_alerts_fire_on_invented_series_as_their_cases_say() -> None:
    promtool("test", "rules", "alerts.test.yaml")


@pytest.mark.proves("A nightly check of the accounts that failed raises an alert", how="stand-in")
@pytest.mark.proves("A Ray head that is lost raises an alert", how="stand-in")
def test_the_alerts_on_others_exporters_fire_on_invented_series_and_have_a_section_each() -> None:
    promtool("test", "rules", "exporters.test.yaml")
    [group] = yaml.safe_load(EXPORTERS.read_text())["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    chapter = PAGE.read_text().partition("\n## What others count\n")[2].partition("\n## ")[0]
    assert re.findall(r"^### (.+)$", chapter, re.M) == names
    links = [rule["annotations"]["runbook_url"] for rule in group["rules"]]
    assert links == [f"docs/how-to/alerts.md#{name.lower()}" for name in names]


def promtool(*words: str, folder: Path = FOLDER) -> None:
    command = [prometheus_binary("promtool"), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_checks_of_the_page_pass() -> None:
    shell = "".join(block.text for block in blocks(PAGE) if block.language == "sh").splitlines()
    checks = [shlex.split(line)[1:] for line in shell if line.startswith("promtool ")]
    assert len(checks) == 2
    for words in checks:
        promtool(*words, folder=ROOT)


def test_the_data_source_of_the_page_reads_the_label_that_exemplars_have() -> None:
    [block] = [block.text for block in blocks(PAGE) if block.language == "yaml"]
    [source] = yaml.safe_load(block)["datasources"]
    [destination] = source["jsonData"]["exemplarTraceIdDestinations"]
    counted = Histogram(JOB_SECONDS)
    counted.observe(1.0, (f"00-{'a' * 32}-{'b' * 16}-01", "acme", "job-1"))
    found = Family(JOB_SECONDS, [Point(("bulk", ""), counted.read())])
    text, _ = exposition([found], "application/openmetrics-text; version=1.0.0")
    assert f'{destination["name"]}="{"a" * 32}"'.encode() in text


def test_an_operator_sets_where_the_runbook_is_read(tmp_path) -> None:
    [shell] = [block.text for block in blocks(PAGE) if block.text.startswith("sed ")]
    written = tmp_path / "alerts.yaml"
    subprocess.run(["bash", "-euc", shell.replace("> alerts.yaml", f"> {written}")], cwd=ROOT, check=True)
    base = "https://docs.example/fleet/"
    assert written.read_text().replace(base, "") == RULES.read_text()
    [group] = yaml.safe_load(written.read_text())["groups"]
    links = [rule["annotations"]["runbook_url"] for rule in group["rules"]]
    assert all(link.startswith(f"{base}docs/how-to/alerts.md#") for link in links)


def test_the_object_for_prometheus_operator_holds_the_rules_as_they_are(tmp_path) -> None:
    [shell] = [block.text for block in blocks(PAGE) if "PrometheusRule" in block.text]
    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\necho ---\ncat\n")
    kubectl.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(["bash", "-euc", shell], cwd=ROOT, env={"PATH": path}, capture_output=True, check=True)
    made = [each for each in yaml.safe_load_all(done.stdout) if each]
    assert {each["kind"] for each in made} == {"PrometheusRule"}
    assert [each["metadata"]["name"] for each in made] == ["fleet-alerts", "fleet-exporters"]
    assert [each["spec"] for each in made] == [yaml.safe_load(path.read_text()) for path in (RULES, EXPORTERS)]


def test_the_configmaps_hold_the_rules_and_every_dashboard() -> None:
    made = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["configMapGenerator"]
    files = {each["name"]: each["files"] for each in made}
    assert files["fleet-alerts"] == ["alerts.yaml", "exporters.yaml"]
    assert sorted(files["fleet-dashboards"]) == sorted(f"grafana/{path.name}" for path in FOLDER.glob("grafana/*.json"))

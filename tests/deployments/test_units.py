"""The systemd units start what there is, with few rights, and are found by the shipped Prometheus."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from pages import ROOT, blocks, parse
from units import FOLDER, UNITS, command, environment, service

from fleet.settings.environment import Settings

ALL = pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)

MONITORING = ROOT / "deployments" / "monitoring"


def test_there_is_a_unit_for_each_part_that_runs_on_a_machine_of_its_own():
    assert sorted(path.stem for path in UNITS) == [
        "fleet-batches",
        "fleet-console",
        "fleet-content",
        "fleet-dispatcher",
        "fleet-gateway",
        "fleet-learn",
        "fleet-ledger",
        "fleet-ledger-verify",
        "fleet-spot",
        "fleet-webhooks",
        "nats-server",
    ]


@ALL
def test_a_unit_starts_what_the_project_installs(path):
    [line] = service(path)["ExecStart"]
    assert line.startswith("/opt/fleet/bin/")
    name, *arguments = command(path)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    if name == "python":
        assert arguments[0] == "-m"
        assert importlib.util.find_spec(arguments[1]) is not None
    else:
        assert name in {*scripts, "nats-server"}
    if name == "fleet":
        parse([name, *arguments])


@pytest.mark.proves("The units let nothing run as root or gain privileges", how="lint")
@ALL
def test_a_unit_has_no_more_rights_than_it_needs(path):
    found = service(path)
    assert found["ProtectSystem"] == ["strict"]
    assert found["NoNewPrivileges"] == ["yes"]
    assert found["CapabilityBoundingSet"] == [""]
    assert found.get("DynamicUser") == ["yes"] or found["User"][0] not in ("", "root")


@pytest.mark.proves("The units have systemd start again what ends by itself", how="lint")
@ALL
def test_a_unit_that_runs_on_is_started_again(path):
    found = service(path)
    assert found["Type"] == ["oneshot"] or found["Restart"][0] in ("always", "on-failure")


@ALL
def test_no_unit_holds_a_secret(path):
    secret = re.compile(r"PASSWORD|_TOKEN$|SECRET|API_KEY|SEED|WEBHOOK_KEY")
    assert [name for name in environment(path) if secret.search(name)] == []


@pytest.mark.proves("The units give what is stopped the time to finish the jobs it runs", how="lint")
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("fleet-dispatcher", 120),
        ("fleet-ledger", 30),
        ("nats-server", 120),
        ("fleet-gateway", 5),
        ("fleet-webhooks", 22),
    ],
)
def test_a_unit_is_given_the_time_to_finish_what_it_runs(name, least):
    [seconds] = service(FOLDER / f"{name}.service")["TimeoutStopSec"]
    assert int(seconds) > least


def test_the_console_prints_no_link_with_a_token_into_the_journal():
    assert command(FOLDER / "fleet-console.service") == ["fleet", "console", "--json"]


def test_the_nightly_check_sees_what_the_writer_of_the_accounts_wrote():
    writer, check = (service(FOLDER / f"{name}.service") for name in ("fleet-ledger", "fleet-ledger-verify"))
    assert check["User"] == ["fleet-ledger"]  # the name that a dynamic user has where none is named: the unit's
    for name in ("DynamicUser", "StateDirectory", "EnvironmentFile"):
        assert check[name] == writer[name]
    data = [
        environment(FOLDER / f"{name}.service")["FLEET_DATA_DIR"] for name in ("fleet-ledger", "fleet-ledger-verify")
    ]
    assert data[0] == data[1]
    assert (FOLDER / "fleet-ledger-verify.timer").is_file()


def served() -> dict[str, str]:
    """Where the units serve their metrics, by the process; the console has none."""
    fields = Settings.model_fields
    found = {}
    for path in UNITS:
        program, *words = command(path)
        if program == "fleet" and service(path)["Type"] != ["oneshot"] and words[0] != "console":
            told = environment(path)
            assert "FLEET_METRICS_DISCOVERY" not in told
            port = told.get("FLEET_METRICS_PORT", fields["metrics_port"].default)
            found[words[0]] = f"{told.get('FLEET_METRICS_HOST', fields['metrics_host'].default)}:{port}"
    return found


@pytest.mark.proves(
    "The shipped Prometheus configuration names every unit that serves metrics", how="lint", subject="Monitoring"
)
def test_the_shipped_prometheus_reads_every_unit_that_serves_metrics_and_nothing_else():
    [job] = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())["scrape_configs"]
    assert set(job) == {"job_name", "static_configs"}
    scraped = {each["labels"]["process"]: each["targets"] for each in job["static_configs"]}
    assert scraped == {process: [address] for process, address in served().items()}
    assert len(set(served().values())) == len(served()) == 6


@pytest.fixture
def units(tmp_path):
    """The units with a program that is there: systemd asks for it."""
    for path in (*UNITS, *FOLDER.glob("*.timer")):
        (tmp_path / path.name).write_text(re.sub(r"/opt/fleet/bin/\S+", "/bin/true", path.read_text()))
    return sorted(tmp_path.glob("*.service"))


def verified(*units: Path) -> tuple[int, str]:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, units)], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr


needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


@pytest.mark.proves("systemd accepts every unit and calls none of them exposed", how="schema")
@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_units_and_little_exposed(units, tmp_path):
    assert verified(*units, *tmp_path.glob("*.timer")) == (0, "")
    for path in units:
        # Of 100; above 50 systemd calls a service exposed.
        command = ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(path)]
        assert subprocess.run(command, capture_output=True).returncode == 0


@needs_systemd
@pytest.mark.parametrize(
    ("name", "page"),
    [("fleet-gateway", "gateway.md"), ("fleet-ledger", "receipts.md"), ("fleet-ledger-verify", "receipts.md")],
)
def test_a_unit_takes_its_keys_as_the_page_says(units, tmp_path, name, page):
    [drop_in] = [block.text for block in blocks(ROOT / "docs" / "how-to" / page) if block.language == "ini"]
    folder = tmp_path / f"{name}.service.d"
    folder.mkdir()
    (folder / "keys.conf").write_text(drop_in)
    assert verified(tmp_path / f"{name}.service") == (0, "")
    told = dict(word.split("=") for word in re.findall(r"FLEET_\w+=\S+", drop_in))
    loaded = {f"%d/{credential}" for credential in re.findall(r"^LoadCredential=([^:]+):", drop_in, re.M)}
    assert {value for value in told.values() if value.startswith("%d/")} == loaded
    assert loaded
    assert {variable.removeprefix("FLEET_").lower() for variable in told} <= set(Settings.model_fields)


@pytest.mark.parametrize("name", ["batches", "console", "dispatcher", "gateway", "learn", "webhooks"])
def test_a_unit_that_reads_the_catalogue_reads_that_of_servers(name):
    assert environment(FOLDER / f"fleet-{name}.service")["FLEET_PROFILE"] == "gpu"

"""What `fleet nats-config` writes is taken by nats-server, holds no secret and says what it must."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from production_nats import nats_server_binary
from typer.testing import CliRunner

from fleet.cli.commands import app
from fleet.model.errors import ConfigError
from queues.server.conf_syntax import Value, Variable, document
from queues.server.config import ClusterLayout, Server, Sync, Tls, files_of, servers_at, users_of
from queues.server.permissions import checked_tenants, fleet_users, system_user, tenant_user

CLUSTER = tuple(Server(f"nats-{n}", "127.0.0.1", 4222 + n) for n in (1, 2, 3))


def write(folder: Path, plan: ClusterLayout) -> None:
    for name, text in files_of(plan).items():
        (folder / name).write_text(text)


def checked(folder: Path, name: str, plan: ClusterLayout) -> subprocess.CompletedProcess[str]:
    """nats-server's own opinion of the file, with a password for everybody in its environment."""
    passwords = {user.variable: f"p{n}" for n, user in enumerate(users_of(plan))}
    command = [nats_server_binary(), "-t", "-c", str(folder / f"{name}.conf")]
    return subprocess.run(command, env=os.environ | passwords, capture_output=True, text=True)


@pytest.mark.proves("nats-server accepts every configuration that nats-config writes", how="real")
@pytest.mark.parametrize("sync", Sync)
@pytest.mark.parametrize("servers", [CLUSTER[:1], CLUSTER], ids=["one", "cluster"])
@pytest.mark.parametrize("tenants", [(), ("acme",), ("acme", "beta-2", "G_3", "x" * 64)], ids=len)
def test_nats_server_takes_every_file(
    tmp_path: Path, servers: tuple[Server, ...], tenants: tuple[str, ...], sync: Sync
) -> None:
    plan = ClusterLayout(servers, tenants, sync, str(tmp_path / "streams"), max_file_bytes=10**9)
    write(tmp_path, plan)

    answers = [checked(tmp_path, server.name, plan) for server in servers]

    assert [answer.returncode for answer in answers] == [0] * len(servers), answers


def test_without_a_password_for_everybody_no_server_starts(tmp_path: Path) -> None:
    plan = ClusterLayout(CLUSTER[:1], ("acme",), store_dir=str(tmp_path))
    write(tmp_path, plan)

    command = [nats_server_binary(), "-t", "-c", str(tmp_path / "nats-1.conf")]
    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode != 0
    assert "FLEET_NATS_PASSWORD_" in done.stderr


TENANT_NAMES = st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True), max_size=5, unique=True)


@given(TENANT_NAMES)
def test_tenants_either_are_told_apart_or_refused(names: list[str]) -> None:
    try:
        tenants = checked_tenants(names)
    except ConfigError as error:
        assert error.field == "tenant"
        return
    everybody = (*fleet_users(), system_user(), *map(tenant_user, tenants))
    assert len({user.name for user in everybody}) == len({user.variable for user in everybody}) == len(everybody)


@given(TENANT_NAMES)
def test_a_tenant_is_given_no_subject_that_another_is_given(names: list[str]) -> None:
    given_to = [{*tenant_user(name).publish, *tenant_user(name).subscribe} - {"_INBOX.>"} for name in names]
    assert sum(map(len, given_to)) == len(set().union(*given_to))


@pytest.mark.parametrize("tenants", [("invalid",), ("a.b",), ("",), ("a b",), ("a-b", "a_b"), ("acme", "ACME")])
def test_a_tenant_that_cannot_be_one_is_refused(tenants: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="tenant"):
        checked_tenants(tenants)


@pytest.mark.parametrize(
    ("addresses", "rule"),
    [
        (["a", "b"], "3 or 5 times"),
        (["a", "a", "b"], "different addresses"),
        (["a:port"], "host:port"),
        ([":4222"], "host:port"),
        (["a:0"], "host:port"),
        (["a:65000"], "at most 61535"),
        (["::1:4222"], "host:port"),
    ],
)
def test_addresses_that_make_no_cluster_are_refused(addresses: list[str], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        servers_at(addresses)


@pytest.mark.proves("No configuration lets a password travel in clear beyond its machine", how="lint")
def test_passwords_never_travel_in_clear_beyond_this_machine() -> None:
    plan = ClusterLayout(servers_at(["nats.example"]), ("acme",))
    with pytest.raises(ConfigError, match="clear"):
        files_of(plan)
    assert (
        "cert_file"
        in files_of(ClusterLayout(plan.servers, plan.tenants, tls=Tls("c.pem", "k.pem", "ca.pem")))["nats-1.conf"]
    )


WORDS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
VALUES = st.recursive(
    WORDS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner | st.integers(0, 10**9) | st.booleans(), max_size=4)
    ),
)
"""Lists hold texts and blocks only: nats-server 2.15 does not read a list of numbers."""


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(value=VALUES)
def test_whatever_a_value_holds_the_file_stays_readable(tmp_path: Path, value: Value) -> None:
    path = tmp_path / "any.conf"
    path.write_text(document({"ADDRESS": "127.0.0.1:4222", "ANYTHING": value, "listen": Variable("ADDRESS")}, {}))

    done = subprocess.run([nats_server_binary(), "-t", "-c", str(path)], capture_output=True, text=True)

    # It knows no such key and says so: everything up to the last line was understood.
    assert "Parse error" not in done.stderr, path.read_text()
    assert "ANYTHING" in done.stderr, done.stderr


def run(*words: str) -> str:
    done = CliRunner().invoke(app, ["nats-config", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_command_writes_a_cluster_with_its_own_certificates_that_every_server_takes(tmp_path: Path) -> None:
    servers = [word for n in (1, 2, 3) for word in ("--server", f"nats-{n}.example")]
    said = run("-o", str(tmp_path), "--tenant", "acme", *servers, "--dev-ca", "--secrets")

    command = [nats_server_binary(), "-t", "-c"]
    done = [subprocess.run([*command, str(tmp_path / f"nats-{n}.conf")], capture_output=True) for n in (1, 2, 3)]

    assert [each.returncode for each in done] == [0, 0, 0], done
    assert "fleet topology apply --replicas 3" in said
    assert (tmp_path / "nats-1.conf").read_text().count("verify: true") == 1, "servers ask each other for certificates"
    keys = [*tmp_path.glob("tls/*-key.pem"), tmp_path / "secrets.env"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    certificates = ["openssl", "verify", "-CAfile", "tls/ca.pem", *(f"tls/nats-{n}.pem" for n in (1, 2, 3))]
    assert subprocess.run(certificates, cwd=tmp_path, capture_output=True).returncode == 0


@pytest.mark.proves(
    "nats-config writes passwords into one file that only its owner reads", how="real", subject="Security"
)
def test_secrets_are_in_one_file_and_nowhere_else(tmp_path: Path) -> None:
    said = run("-o", str(tmp_path), "--tenant", "acme", "--secrets")
    said += run("-o", str(tmp_path), "--tenant", "acme", "--secrets", "--json")

    passwords = [line.split("=")[1] for line in (tmp_path / "secrets.env").read_text().splitlines()]
    texts = [said, *(path.read_text() for path in tmp_path.glob("*.conf"))]
    assert len(set(passwords)) == len(passwords) == 12
    assert not any(password in text for password in passwords for text in texts)


def test_secrets_and_keys_that_were_open_to_others_are_no_longer(tmp_path: Path) -> None:
    words = ("-o", str(tmp_path), "--dev-ca", "--secrets")
    run(*words)
    keys = [*tmp_path.glob("tls/*-key.pem"), tmp_path / "secrets.env"]
    for key in keys:
        key.chmod(0o644)
    kept = (tmp_path / "secrets.env").read_bytes().rstrip(b"\n") + b"\n# caf\xe9"
    (tmp_path / "secrets.env").write_bytes(kept)
    run(*words, "--tenant", "acme")

    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    assert (tmp_path / "secrets.env").read_bytes().startswith(kept + b"\nFLEET_NATS_PASSWORD_TENANT_ACME=")
    assert not list(tmp_path.rglob(".*"))


def test_a_tenant_more_leaves_the_passwords_of_the_others(tmp_path: Path) -> None:
    run("-o", str(tmp_path), "--tenant", "acme", "--secrets")
    before = (tmp_path / "secrets.env").read_text()
    run("-o", str(tmp_path), "--tenant", "acme", "--tenant", "beta", "--secrets")

    after = (tmp_path / "secrets.env").read_text()
    assert after.startswith(before)
    assert "FLEET_NATS_PASSWORD_TENANT_BETA=" in after.removeprefix(before)


def test_a_program_is_told_the_files_and_the_variables(tmp_path: Path) -> None:
    told = json.loads(run("-o", str(tmp_path), "--tenant", "acme", "--json"))

    assert told["files"] == ["accounts.conf", "nats-1.conf"]
    assert told["users"]["tenant-acme"] == "FLEET_NATS_PASSWORD_TENANT_ACME"

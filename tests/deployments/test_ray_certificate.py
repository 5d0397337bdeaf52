"""A machine signs its own certificate for TLS between Ray's nodes, where there is an authority."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from pages import ROOT
from units import FOLDER

SCRIPT = ROOT / "deployments" / "ray_certificate.sh"
CLUSTER = yaml.safe_load((ROOT / "cluster.yaml").read_text())


def openssl(folder: Path, *words: str) -> str:
    return subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def authority(tmp_path):
    made = ("-keyout", "ray-ca-key.pem", "-out", "ray-ca.pem", "-subj", "/CN=fleet-ray")
    openssl(tmp_path, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *made)
    return tmp_path


@pytest.mark.proves(
    "A machine on AWS gets a certificate for its own address, for TLS between Ray's nodes",
    how="stand-in",
    subject="AWS",
)
def test_the_certificate_is_valid_for_the_machine_s_own_address_and_no_other(authority):
    subprocess.run([SCRIPT, authority, "10.0.3.7"], check=True)
    verify = ("verify", "-CAfile", "ray-ca.pem", "-verify_ip")
    assert "ray-node.pem: OK" in openssl(authority, *verify, "10.0.3.7", "ray-node.pem")
    with pytest.raises(subprocess.CalledProcessError):
        openssl(authority, *verify, "10.0.3.8", "ray-node.pem")
    told = dict(line.split("=", 1) for line in (authority / "ray-tls").read_text().splitlines())
    assert told.pop("RAY_USE_TLS") == "1"
    assert sorted(told) == ["RAY_TLS_CA_CERT", "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY"]
    assert all(Path(path).is_file() for path in told.values())
    assert (authority / "ray-node-key.pem").stat().st_mode & 0o077 == 0


def test_without_an_authority_ray_talks_in_clear(tmp_path):
    subprocess.run([SCRIPT, tmp_path, "10.0.3.7"], check=True)
    assert list(tmp_path.iterdir()) == []


def test_all_of_ray_on_a_machine_reads_what_the_certificate_s_script_wrote():
    [signs] = [command for command in CLUSTER["setup_commands"] if SCRIPT.name in command]
    assert signs == "bash ~/fleet/deployments/ray_certificate.sh ~/secrets"
    reads = "test ! -f ~/secrets/ray-tls || . ~/secrets/ray-tls"
    for field in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert reads in CLUSTER[field][-1].partition("ray start")[0]
    assert any(reads in command and ".bashrc" in command for command in CLUSTER["setup_commands"])
    assert "EnvironmentFile=-/home/ubuntu/secrets/ray-tls" in "".join(CLUSTER["worker_setup_commands"])
    assert (FOLDER / "fleet-spot.service").is_file()

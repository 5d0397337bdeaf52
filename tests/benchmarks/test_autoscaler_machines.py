"""The autoscaler benchmark reads the controller's log while machines join."""

from __future__ import annotations

from benchmarks.autoscaler.machines import Cluster


def test_the_log_is_read_while_a_machine_makes_the_link_to_the_session_again(tmp_path):
    logs = tmp_path / "session_2026-01-01_00-00-00_000000_1" / "logs" / "serve"
    logs.mkdir(parents=True)
    (logs / "controller_1.log").write_text("scaled up\n")
    assert Cluster("127.0.0.1:6379", tmp_path).controller_log == "scaled up\n"

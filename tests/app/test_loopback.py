"""A port that was found free stays free until the part that it was found for listens."""

from __future__ import annotations

import socket

import pytest

from fleet import loopback
from fleet.loopback import free_port, free_ports, is_free


def test_ports_found_together_differ() -> None:
    found = free_ports(100)
    assert len(set(found)) == 100
    assert max(found) < 32_768  # where the ports begin that systems lend


def test_a_port_that_somebody_listens_on_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, other = free_ports(2)
    with socket.socket() as server:
        server.bind(("127.0.0.1", taken))
        server.listen()
        assert not is_free(taken)
        monkeypatch.setattr(loopback, "PORTS", [taken, other])
        assert free_port() == other
        with pytest.raises(OSError, match="too few free ports"):
            free_ports(2)

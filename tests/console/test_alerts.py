"""Alerts as Prometheus tells of them."""

from __future__ import annotations

import json

import pytest
from console_fleet import PROMETHEUS

from fleet.console.alerts import alerts_in, read_alerts
from fleet.model.errors import FleetError


def test_firing_alerts_come_first_and_rules_that_are_quiet_last():
    found = alerts_in(PROMETHEUS)
    assert [(each.name, each.state, each.tone) for each in found.firing] == [
        ("FleetBacklogWithoutCapacity", "firing", "bad"),
        ("FleetSpendRate", "pending", "fair"),
    ]
    assert [(each.name, each.tone) for each in found.rules] == [
        ("FleetBacklogWithoutCapacity", "bad"),
        ("FleetSpendRate", "fair"),
        ("FleetLedgerBehind", "good"),
    ]
    assert found.firing[0].labels == "target llama-70b"
    assert found.firing[0].runbook == "https://fleet.example/alerts#backlog"
    assert found.firing[0].since == pytest.approx(1_796_093_890.1)


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "//x", ""])
def test_a_runbook_is_a_link_only_where_it_is_an_address_of_the_web(address):
    body = json.loads(PROMETHEUS)
    body["data"]["groups"][0]["rules"][0]["alerts"][0]["annotations"]["runbook_url"] = address
    assert alerts_in(json.dumps(body).encode()).firing[0].runbook is None


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", b'{"data": {"groups": 7}}', b'{"data": {"groups": [{"rules": [{}]}]}}']
)
def test_what_is_no_prometheus_is_told_and_nothing_else(body):
    with pytest.raises(FleetError, match="no Prometheus"):
        alerts_in(body)


async def test_a_prometheus_that_is_not_there_is_told():
    with pytest.raises(FleetError, match="does not answer"):
        await read_alerts("http://127.0.0.1:9")

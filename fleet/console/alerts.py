"""Alerts as the Prometheus that evaluates them tells of them; the console decides nothing about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet.model.errors import FleetError

TIMEOUT_SECONDS = 2.0

HIDDEN_LABELS = frozenset({"alertname", "severity"})

State = Literal["firing", "pending", "inactive"]

TONES = {"critical": "bad", "page": "bad"}
"""The tone of a firing alert by its severity; others are less urgent."""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that fires, or is about to; `labels` in one line, `since` unix seconds."""

    name: str
    state: State
    tone: str
    summary: str
    labels: str
    since: float | None
    runbook: str | None


@dataclass(frozen=True, slots=True)
class AlertRule:
    name: str
    state: State
    tone: str
    severity: str
    summary: str


@dataclass(frozen=True, slots=True)
class Alerts:
    """The alerting rules, and their alerts: firing ones first, then pending ones."""

    firing: Sequence[Alert]
    rules: Sequence[AlertRule]


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Active(_Read):
    labels: Mapping[str, str] = Field(default_factory=dict)
    annotations: Mapping[str, str] = Field(default_factory=dict)
    state: State
    active_at: datetime | None = Field(default=None, alias="activeAt")


class _Rule(_Read):
    name: str
    state: State = "inactive"
    labels: Mapping[str, str] = Field(default_factory=dict)
    annotations: Mapping[str, str] = Field(default_factory=dict)
    alerts: Sequence[_Active] = ()


class _Group(_Read):
    rules: Sequence[_Rule]


class _Data(_Read):
    groups: Sequence[_Group]


class _Answer(_Read):
    data: _Data


async def read_alerts(prometheus_url: str) -> Alerts:
    """Ask a Prometheus for its alerting rules. Raises: FleetError if it does not answer as one."""
    url = f"{prometheus_url.rstrip('/')}/api/v1/rules"
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
            answer = await client.get(url, params={"type": "alert"})
            answer.raise_for_status()
            return alerts_in(answer.content)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise FleetError(f"Prometheus does not answer: {type(error).__name__}") from None


def alerts_in(body: bytes) -> Alerts:
    """Return the alerts in an answer of `/api/v1/rules`. Raises: FleetError if it is none."""
    try:
        groups = _Answer.model_validate_json(body).data.groups
    except ValidationError:
        raise FleetError("what answers at FLEET_PROMETHEUS_URL is no Prometheus") from None
    rules = [rule for group in groups for rule in group.rules]
    active = [_alert(rule, each) for rule in rules for each in rule.alerts if each.state != "inactive"]
    ordered = sorted(active, key=lambda each: (each.state != "firing", each.tone != "bad", each.since or 0.0))
    return Alerts(ordered, sorted(map(_rule, rules), key=lambda rule: (rule.state == "inactive", rule.name)))


def _alert(rule: _Rule, active: _Active) -> Alert:
    labels = {**rule.labels, **active.labels}
    annotations = {**rule.annotations, **active.annotations}
    runbook = annotations.get("runbook_url", "")
    return Alert(
        rule.name,
        active.state,
        _tone(active.state, labels.get("severity", "")),
        annotations.get("summary", ""),
        ", ".join(f"{name} {value}" for name, value in sorted(labels.items()) if name not in HIDDEN_LABELS),
        None if active.active_at is None else active.active_at.timestamp(),
        runbook if runbook.startswith(("https://", "http://")) else None,
    )


def _rule(rule: _Rule) -> AlertRule:
    severity = rule.labels.get("severity", "")
    summary = rule.annotations.get("description") or rule.annotations.get("summary", "")
    return AlertRule(rule.name, rule.state, _tone(rule.state, severity), severity, summary)


def _tone(state: State, severity: str) -> str:
    return "good" if state == "inactive" else TONES.get(severity, "fair") if state == "firing" else "fair"

"""What an adapter that is a candidate would have saved in a week."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from fleet.lab.weekly.adapters import adapter_changes
from fleet.lab.weekly.answers import OneAnswer, WeekOfAnswers
from fleet.lab.weekly.changes import Kind, Verdict
from fleet.model.adapter import AdapterVersion, Alias, RegisteredAdapter

DIGEST = "ab" * 32
KEPT = OneAnswer(0.9, True, "", False, 1.0, 0.0, 10.0)
WENT_ON = OneAnswer(0.4, False, "low_confidence", True, 1.0, 10.0, 0.0)
WEEK = WeekOfAnswers.of("small", "plan.schedule", 0.05, [KEPT] * 100 + [WENT_ON] * 400)
FOUND = {"name": "improves:plan.schedule", "n": 250, "value": 0.3, "low": 0.2, "high": 0.4}


def adapter(evidence: Mapping[str, Any] | None, **changes: Any) -> RegisteredAdapter:
    version = AdapterVersion(DIGEST, "base", 16, 1000, 1.0, evidence=evidence)
    plain = {"versions": (version,), "aliases": {Alias.CANDIDATE: DIGEST}, **changes}
    return RegisteredAdapter("planner", "small", frozenset({"plan.schedule", "coach.reply"}), **plain)


def test_a_candidate_saves_the_share_of_doubted_answers_that_is_newly_right() -> None:
    [found] = adapter_changes([WEEK], [adapter({"passed": True, "gates": [FOUND]})])
    assert (found.kind, found.verdict, found.adapter, found.n) == (Kind.ADAPTER, Verdict.PROPOSED, DIGEST, 250)
    assert found.saved_usd.value == pytest.approx(400 * 0.3 * 10.0)
    assert 0.9 * 400 * 0.2 * 10.0 < found.saved_usd.low <= 400 * 0.2 * 10.0 < found.saved_usd.high


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (None, Verdict.NOT_TRIED),
        ({"passed": False, "gates": [FOUND]}, Verdict.STOPPED),
        ({"passed": True, "gates": []}, Verdict.NO_SAVING),
        ({"passed": True, "gates": [{**FOUND, "low": None}]}, Verdict.NO_SAVING),
        ({"passed": True, "gates": [{**FOUND, "low": -0.1}]}, Verdict.NO_SAVING),
    ],
)
def test_what_its_gates_do_not_show_is_not_proposed(evidence: Mapping[str, Any] | None, verdict: Verdict) -> None:
    [found] = adapter_changes([WEEK], [adapter(evidence)])
    assert found.verdict is verdict


def test_nothing_is_said_of_adapters_in_force_of_other_targets_or_of_some_tenants() -> None:
    good = {"passed": True, "gates": [FOUND]}
    others = [
        adapter(good, aliases={Alias.CANDIDATE: DIGEST, Alias.STABLE: DIGEST}),
        adapter(good, aliases={}),
        adapter(good, tenants=frozenset({"acme"})),
        replace(adapter(good), target="large"),
        replace(adapter(good), tasks=frozenset({"coach.reply"})),
    ]
    assert list(adapter_changes([WEEK], others)) == []

"""A change that the weekly report proposes, as an experiment; and the changes that no experiment can try."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fleet.lab.trials import Trial, name_of
from fleet.lab.weekly.changes import Change, Kind, Verdict
from fleet.lab.weekly.intervals import Interval
from fleet.model.calibration import ThresholdMode
from fleet.model.errors import ConfigError
from fleet.reports.proposals import experiment_for
from policies.rules.rules import Rules

THRESHOLD = Change(
    Kind.THRESHOLD, "small", "classify.intent", Verdict.PROPOSED, 900, Interval(2.0, 1.0, 3.0), 0.03, threshold=0.61237
)
TABLE = replace(THRESHOLD, kind=Kind.TABLE, threshold=None)


def proposed(change: Change, rules: Rules, number: int = 1) -> dict[str, Any]:
    return experiment_for(number, [change], "2026-03-14", Trial(0.2), rules)


def test_a_threshold_is_tried_for_its_target_and_task_alone_and_never_below_what_was_tested(rules: Rules) -> None:
    found = proposed(THRESHOLD, rules)
    assert found["name"] == "threshold-classify-intent-small-20260314"
    assert found["tasks"] == ["classify.intent"]
    changed = {"tasks": {"classify.intent": {"keep_from": {"small": 0.613}}}}
    assert found["arms"] == {"candidate": {"share": 0.2, "rules": changed}}


def test_a_table_is_tried_on_the_ladder_of_its_task_without_the_target(rules: Rules) -> None:
    [arm] = proposed(TABLE, rules)["arms"].values()
    assert arm["rules"] == {"phases": {"only": {"tasks": {"classify.intent": ["large", "mini", "big"]}}}}


def test_an_adapter_is_tried_as_it_is(rules: Rules) -> None:
    change = replace(TABLE, kind=Kind.ADAPTER, adapter="ab" * 32)
    assert proposed(change, rules)["arms"] == {"candidate": {"share": 0.2, "adapter": "ab" * 32}}
    for verdict, said in ((Verdict.STOPPED, "a gate stopped"), (Verdict.NOT_TRIED, "nobody has tried")):
        with pytest.raises(ConfigError, match=said):
            proposed(replace(change, verdict=verdict), rules)


@pytest.mark.parametrize(
    ("change", "number", "said"),
    [
        (TABLE, 2, "--start: must be one of the 1 changes of the report, not 2"),
        (replace(TABLE, verdict=Verdict.NO_SAVING), 1, "not sure to save anything"),
        (replace(TABLE, verdict=Verdict.BREAKS_PROMISE), 1, "not sure to keep the promise"),
        (
            replace(TABLE, verdict=Verdict.LABELS_MISSING, labels_missing=40),
            1,
            "cannot be judged by this week's data: 40 judged answers are missing",
        ),
        (replace(TABLE, target="gone"), 1, "gone is no longer on the ladder"),
        (replace(TABLE, task="chat"), 1, "tasks.chat.tier: must be named"),
        (replace(TABLE, task="review.critique"), 1, "is critical"),
        (replace(TABLE, task="play.chess"), 1, "is not among the tasks"),
    ],
)
def test_what_the_week_or_the_rules_cannot_say_is_refused(change: Change, number: int, said: str, rules: Rules) -> None:
    with pytest.raises(ConfigError) as refused:
        proposed(change, rules, number)
    assert said in str(refused.value)


def test_a_promised_threshold_is_left_to_its_calibration(rules: Rules) -> None:
    promised = replace(rules, confidence=replace(rules.confidence, mode=ThresholdMode.GUARANTEE))
    with pytest.raises(ConfigError, match="fleet calibrate"):
        proposed(THRESHOLD, promised)
    assert proposed(TABLE, promised)["arms"]


def test_names_of_experiments_are_short_and_end_with_the_day() -> None:
    assert name_of("Table: a/b", "2026-03-14") == "table-a-b-20260314"
    assert len(name_of("x" * 200, "2026-03-14")) == 63

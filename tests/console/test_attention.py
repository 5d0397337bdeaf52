"""What the console says first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from console_fleet import NOW, RULES, ConsoleFleet, bad_night, calm_night

from deployments.serve.api import Mode
from fleet.app import InForce
from fleet.console.attention import AttentionItem, notices
from fleet.console.pages import now
from fleet.ledger.reading import Sums
from fleet.model.delivery import Fill
from fleet.model.reason import Reason
from fleet.model.scaling import Load


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> ConsoleFleet:
    return calm_night(tmp_path_factory.mktemp("calm"))


def said(fleet: ConsoleFleet, behind: int | None = 0) -> list[AttentionItem]:
    return notices(fleet.seen, RULES.catalogue, fleet.alerts, fleet.in_force, behind)


def about(found: list[AttentionItem]) -> dict[str, str]:
    return {notice.about: notice.tone for notice in found}


def test_where_nothing_is_wrong_nothing_is_said(calm):
    assert said(calm) == []


def test_a_bad_night_is_told_with_the_worst_first(night):
    found = said(night)
    assert about(found)["FleetBacklogWithoutCapacity"] == "bad"
    assert {"gpt-4o", "llama-70b", "acme", "The fleet", "llama-8b"} <= set(about(found))
    tones = [notice.tone for notice in found]
    assert tones == sorted(tones, key=lambda tone: tone != "bad")


def test_a_pending_alert_is_not_told_yet(night):
    assert "FleetSpendRate" not in about(said(night))


def test_a_breaker_is_told_with_the_dispatchers_it_is_open_at(night):
    [text] = [notice.text for notice in said(night) if notice.about == "gpt-4o"]
    assert text == "keeps failing, so its breaker is open until 03:13:30 at 2 of 3 dispatchers."


def test_a_broker_that_is_away_is_the_worst(calm):
    seen = replace(calm.seen, status=replace(calm.seen.status, reachable=False), loads=())
    assert about(notices(seen, RULES.catalogue, None, None, None)) == {"NATS": "bad"}


def test_a_fleet_without_dispatchers_says_that_jobs_wait(calm):
    silent = replace(calm.seen, loads=[replace(load, at=NOW - 31) for load in calm.seen.loads])
    assert about(notices(silent, RULES.catalogue, None, None, None)) == {"Dispatchers": "bad"}
    draining = replace(calm.seen, loads=[replace(load, serves=frozenset()) for load in calm.seen.loads])
    assert about(notices(draining, RULES.catalogue, None, None, None)) == {"Dispatchers": "bad"}


def test_a_dispatcher_that_fell_silent_is_told_with_its_process_and_what_it_held(calm):
    first, *others = calm.seen.loads
    seen = replace(calm.seen, loads=[replace(first, at=NOW - 21, held=9), *others])
    [notice] = notices(seen, RULES.catalogue, None, None, None)
    assert (notice.about, notice.text) == (
        "Dispatcher 3f3f3f3f",
        "(node-3f pid 4711, on Ray) has said nothing for 21 s and held 9 jobs, which others get when its leases end.",
    )


def test_work_that_no_dispatcher_serves_is_told(calm):
    lost = replace(calm.seen.status.targets[0], name="gone-13b", queued=3)
    seen = replace(calm.seen, status=replace(calm.seen.status, targets=(lost,)))
    assert about(notices(seen, RULES.catalogue, None, None, None)) == {"gone-13b": "bad"}
    older = replace(seen, loads=[*seen.loads, Load("older", NOW)])
    assert notices(older, RULES.catalogue, None, None, None) == []


@pytest.mark.parametrize(("size", "tone"), [(79, None), (80, "fair"), (95, "bad")])
def test_a_stream_is_told_before_it_is_full(calm, size, tone):
    seen = replace(calm.seen, depths=replace(calm.seen.depths, jobs_fill=Fill(size, 100)))
    assert about(notices(seen, RULES.catalogue, None, None, None)).get("JOBS") == tone


@pytest.mark.parametrize(("spent", "tone"), [(7.9, None), (8.0, "fair"), (10.0, "bad"), (11.0, "bad")])
def test_money_is_told_before_it_is_gone(calm, spent, tone):
    spend = replace(calm.seen.status.spend[0], spent_usd=spent, limit_usd=10.0)
    seen = replace(calm.seen, status=replace(calm.seen.status, spend=(spend,)))
    assert about(notices(seen, RULES.catalogue, None, None, None)).get("The fleet") == tone


def test_a_limit_of_nothing_is_reached_from_the_start(calm):
    spend = replace(calm.seen.status.spend[0], tenant="acme", spent_usd=0.0, limit_usd=0.0)
    seen = replace(calm.seen, status=replace(calm.seen.status, spend=(spend,)))
    assert about(notices(seen, RULES.catalogue, None, None, None)) == {"acme": "bad"}


@pytest.mark.parametrize("mode", [Mode.PAUSED, Mode.DRAINED])
def test_what_an_operator_holds_is_told_with_the_way_back(night, mode):
    held = {"llama-70b": replace(night.seen.scalings["llama-70b"], mode=mode)}
    found = notices(replace(night.seen, scalings=held), RULES.catalogue, None, None, None)
    [text] = [notice.text for notice in found if notice.about == "llama-70b"]
    assert text == f"is {mode.value} by an operator; fleet scale llama-70b --resume takes it up again."


def test_a_ray_dashboard_that_is_away_is_told(calm):
    found = notices(replace(calm.seen, scalings=None), RULES.catalogue, None, None, None)
    assert about(found) == {"Ray": "fair"}


@pytest.mark.parametrize(("behind", "is_told"), [(None, False), (10_000, False), (10_001, True)])
def test_a_ledger_far_behind_its_stream_is_told(calm, behind, is_told):
    assert ("The ledger" in about(said(calm, behind))) is is_told


def ended(status: str, jobs: int) -> Sums:
    return Sums({"target": "llama-8b", "status": status}, jobs, jobs, jobs if status else 0, *(0,) * 8, 0.0)


@pytest.mark.parametrize(("failed", "expired", "tone"), [(5, 4, None), (5, 5, "fair"), (60, 40, "bad")])
def test_many_jobs_without_an_answer_are_told(calm, failed, expired, tone):
    rest = 1_000 - failed - expired
    jobs = {"failed": failed, "expired": expired, "succeeded": rest - 50, "rejected": 30, "cancelled": 20, "": 700}
    sums = [ended(status, number) for status, number in jobs.items()]
    found = notices(calm.seen, RULES.catalogue, None, None, None, sums)
    assert about(found).get("Jobs") == tone
    assert not found or found[0].href == "/jobs?status=failed"


@pytest.mark.parametrize(("age_seconds", "is_told"), [(60.0, True), (86_400.0, True), (86_401.0, False)])
def test_a_dead_letter_of_the_last_day_is_told(night, calm, age_seconds, is_told):
    letter = replace(night.letters[1].letter, at=NOW - age_seconds, reason=Reason.OUT_OF_MONEY)
    seen = replace(calm.seen, status=replace(calm.seen.status, streams={"DEAD": 15_000}))
    texts = [each.text for each in notices(seen, RULES.catalogue, None, None, None, (), letter)]
    assert [text.startswith("15,000 are kept") and text.endswith("out of money.") for text in texts] == [True] * is_told


async def test_the_page_now_reads_what_failed_today(tmp_path: Path):
    night = bad_night(tmp_path, 0)
    found = (await now(night.sources(), {})).values["notices"]
    assert {"Jobs", "Dead letters"} <= {notice.about for notice in found}


def test_a_withdrawn_promise_is_told(night, tmp_path: Path):
    [text] = [notice.text for notice in said(bad_night(tmp_path, 0)) if notice.link == "Calibrations"]
    assert (
        text == "no longer keeps its promise for all other tasks: confidences have moved: PSI 0.31 over 2,400 answers."
    )
    kept = InForce({key: each for key, each in night.in_force.calibrations.items() if each.withdrawn is None}, {})
    assert all(notice.link != "Calibrations" for notice in notices(night.seen, RULES.catalogue, None, kept, None))

"""Who asks a model for all who ask the same, and for how long the others count on it."""

from __future__ import annotations

import pytest

from fleet.dispatch.state.answers import LONGEST_LEAD_SECONDS, Answers
from fleet.settings.documents import load_rules

KEY = ("acme", "0" * 64)


@pytest.fixture
def answers():
    return Answers(None, load_rules(None, None, "local"))


def test_one_job_leads_at_a_time_and_stays_the_one(answers):
    assert answers.leads(KEY, "acme.first", 0.0)
    assert not answers.leads(KEY, "acme.second", 1.0)
    assert answers.leads(KEY, "acme.first", 2.0)


def test_a_job_of_which_nothing_was_heard_for_long_leads_no_more(answers):
    answers.leads(KEY, "acme.first", 0.0)
    assert answers.leads(KEY, "acme.second", LONGEST_LEAD_SECONDS)
    assert not answers.leads(KEY, "acme.third", LONGEST_LEAD_SECONDS + 1.0)
    assert not answers.land(KEY, "acme.first") and answers.land(KEY, "acme.second")


def test_the_end_of_a_job_that_nobody_waits_for_wakes_nobody(answers):
    answers.leads(KEY, "acme.first", 0.0)
    assert not answers.land(KEY, "acme.first") and answers.landings == 0
    answers.leads(KEY, "acme.second", 1.0)
    answers.leads(KEY, "acme.third", 2.0)
    assert answers.land(KEY, "acme.second") and answers.landings == 1


def test_nobody_waits_for_an_answer_that_could_not_be_kept(answers):
    answers.leads(KEY, "acme.first", 0.0)
    answers.not_kept(KEY)
    answers.land(KEY, "acme.first")
    assert all(answers.leads(KEY, f"acme.{number}", 1.0) for number in range(3))

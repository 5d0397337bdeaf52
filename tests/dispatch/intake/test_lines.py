"""What a dispatcher knows of a tenant whose jobs are in part put off to a later time."""

from __future__ import annotations

from fleet.dispatch.intake.lines import Line


def line_with_put_off(*job_ids: str) -> Line:
    line = Line()
    line.count(len(job_ids), 1.0)
    line.asked(len(job_ids) + 1, len(job_ids), 0, 1.0)
    for job_id in job_ids:
        line.delay(job_id, 4_000.0)
    line.count(len(job_ids), 2.0)
    return line


def test_jobs_that_are_put_off_are_not_asked_for():
    assert line_with_put_off("one", "two").waiting == 0


def test_after_all_that_was_counted_is_put_off_there_is_nothing_to_ask_for():
    line = Line()
    line.count(2, 1.0)
    line.asked(2, 2, 0, 1.0)
    line.delay("one", 4_000.0)
    assert line.waiting == 1
    line.delay("two", 4_000.0)
    assert line.waiting == 0


def test_a_new_job_is_asked_for_together_with_those_that_a_new_consumer_hands_out_before_it():
    line = line_with_put_off("one", "two")
    line.count(3, 3.0)
    assert (line.waiting, line.to_ask_for) == (1, 3)


def test_one_that_was_put_off_and_has_ended_hides_no_other():
    line = line_with_put_off("one", "two")
    line.came("one")
    line.count(2, 3.0)
    assert line.waiting == 1


def test_one_that_another_dispatcher_has_ended_hides_no_new_one():
    line = line_with_put_off("one", "two")
    line.count(1, 3.0)
    line.count(2, 4.0)
    assert line.waiting == 1


def test_a_tenant_with_jobs_put_off_is_not_listened_to():
    assert Line().may_be_listened_to
    assert not line_with_put_off("one").may_be_listened_to

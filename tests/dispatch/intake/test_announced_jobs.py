"""A job that the broker tells of and hands out at the same moment is asked for once at most."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from fleet.dispatch.intake.lines import Line

POLL = cast("asyncio.Task[None]", object())


def polled() -> Line:
    return Line(poll=POLL)


@pytest.mark.parametrize("told_first", [True, False])
def test_what_a_poll_has_brought_is_not_asked_for_again_whichever_comes_first(told_first: bool) -> None:
    line = polled()
    if told_first:
        line.announce()
    line.poll = None
    line.listened(32, 1)
    if not told_first:
        line.announce()
    assert line.waiting == 0


def test_a_job_that_comes_as_the_poll_ends_is_asked_for() -> None:
    line = polled()
    line.announce()
    line.poll = None
    line.listened(32, 0)
    assert line.waiting == 1


def test_a_job_of_a_tenant_nobody_listens_to_is_asked_for_though_asking_brought_nothing_before() -> None:
    line = Line()
    line.asked(1, 0, 0, now=5.0)
    line.announce()
    assert line.may_be_asked({}, now=5.0)


def test_after_a_reading_what_was_told_before_counts_no_more() -> None:
    line = Line()
    line.announce()
    line.count(0, now=5.0)
    line.announce()
    assert line.waiting == 1

"""The names on the wire."""

from __future__ import annotations

import pytest

from queues.server.permissions import fleet_users
from queues.wire.subjects import FEEDBACK, SUBJECTS, stream_for

OURS = ("$JS.", "_INBOX")


@pytest.mark.parametrize("stream", SUBJECTS)
def test_what_a_stream_stores_is_found_in_it_again(stream):
    assert {stream_for(subject) for subject in SUBJECTS[stream]} == {stream}


def test_a_dispatcher_may_write_what_some_stream_stores_and_nothing_else():
    [dispatcher] = [user for user in fleet_users() if user.name == "dispatcher"]
    written = {subject for subject in dispatcher.publish if not subject.startswith(OURS)}
    stored = {subject for subjects in SUBJECTS.values() for subject in subjects}
    assert written < stored
    assert written & set(SUBJECTS[FEEDBACK]) == {"feedback.*.shadow"}, "a user's verdict is the tenant's to give"

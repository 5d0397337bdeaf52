from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.replica.health import SILENCE_SECONDS, VARIABLE, EngineHealth, StallDetector, silence_seconds
from fleet.model.errors import ConfigError

WELL, ASK, STUCK, GIVEN_UP = EngineHealth.WELL, EngineHealth.ASK, EngineHealth.STUCK, EngineHealth.GIVEN_UP

HISTORIES = {
    # (outputs so far, requests unfinished, seconds) -> verdict, check by check, with a patience of 30 s
    "idle for ever": [(7, 0, 0, WELL), (7, 0, 1e6, WELL)],
    "answers within seconds": [(0, 5, 0, WELL), (90, 5, 29, WELL), (180, 0, 31, WELL), (180, 0, 99, WELL)],
    "reads one long prompt": [(0, 1, 0, WELL), (0, 1, 29.9, WELL), (1, 1, 30, WELL), (1, 1, 59, WELL)],
    "a neighbour's output is progress": [(0, 2, 0, WELL), (1, 2, 20, WELL), (2, 2, 40, WELL), (3, 2, 60, WELL)],
    "stuck at work": [(4, 1, 0, WELL), (4, 3, 28, WELL), (4, 3, 30, STUCK), (4, 3, 32, STUCK), (4, 3, 34, GIVEN_UP)],
    "stays given up": [
        (0, 1, 0, WELL),
        (0, 1, 30, STUCK),
        (0, 1, 32, STUCK),
        (0, 1, 34, GIVEN_UP),
        (0, 0, 36, GIVEN_UP),
    ],
    "silent since its last output, not since its first request": [
        *[(0, 1, 0, WELL), (1, 1, 20, WELL), (1, 1, 22, WELL), (1, 1, 49, WELL), (1, 1, 50, STUCK)],
    ],
    "outputs that were read late": [(0, 1, 0, WELL), (0, 1, 30, STUCK), (9, 1, 32, WELL), (9, 1, 34, WELL)],
    "strikes are forgotten with the next output": [
        *[(0, 1, 0, WELL), (0, 1, 30, STUCK), (0, 1, 32, STUCK), (1, 1, 34, WELL)],
        *[(1, 1, 36, WELL), (1, 1, 66, STUCK), (1, 1, 68, STUCK), (1, 1, 70, GIVEN_UP)],
    ],
    "called off before a word, engine well": [(0, 1, 0, WELL), (0, 0, 2, ASK), (2, 0, 4, WELL), (2, 0, 99, WELL)],
    "short timeouts hide no silence": [
        *[(0, 9, 0, WELL), (0, 0, 10, ASK), (0, 1, 12, WELL), (0, 9, 20, WELL), (0, 0, 30, STUCK), (0, 9, 32, STUCK)],
        (0, 9, 34, GIVEN_UP),
    ],
}


@pytest.mark.proves(
    "An engine counts as stuck once it owed an output for too long, and never while it works", how="stand-in"
)
@pytest.mark.parametrize("name", HISTORIES)
def test_an_engine_is_stuck_once_it_owed_an_output_for_too_long(name):
    progress = StallDetector(30.0)
    expected = [verdict for *_, verdict in HISTORIES[name]]
    assert [progress.look(outputs, unfinished, now) for outputs, unfinished, now, _ in HISTORIES[name]] == expected


checks = st.lists(st.tuples(st.floats(0.1, 9.0), st.integers(0, 5), st.booleans()), min_size=1, max_size=60)


@given(checks)
def test_an_engine_that_says_something_at_every_check_is_never_stuck(found):
    progress, now = StallDetector(10.0), 0.0
    for outputs, (step, unfinished, _) in enumerate(found, 1):
        now += step
        assert progress.look(outputs, unfinished, now) is WELL


@given(checks)
def test_a_verdict_against_an_engine_means_silence_since_a_request_was_seen(found):
    progress, now, outputs, owed_since = StallDetector(10.0), 0.0, 0, None
    for step, unfinished, speaks in found:
        now, outputs = now + step, outputs + speaks
        owed_since = None if speaks else owed_since
        owed_since = now if owed_since is None and unfinished else owed_since
        verdict = progress.look(outputs, unfinished, now)
        assert (verdict in (STUCK, GIVEN_UP)) == (owed_since is not None and now - owed_since >= 10.0)


def test_the_patience_is_what_the_environment_says(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert silence_seconds() == SILENCE_SECONDS
    monkeypatch.setenv(VARIABLE, "2.5")
    assert silence_seconds() == 2.5


@pytest.mark.parametrize("said", ["soon", "0", "-1", "nan", "inf"])
def test_a_patience_that_is_none_is_refused_by_name(monkeypatch, said):
    monkeypatch.setenv(VARIABLE, said)
    with pytest.raises(ConfigError, match=f"{VARIABLE}: must be a number of seconds"):
        silence_seconds()

"""What is learned reaches NATS and comes back through the composition root."""

from __future__ import annotations

import pytest

from fleet.app import (
    apply_topology,
    load_calibrations,
    open_calibrations,
    open_desk,
    open_journal,
    save_calibrations,
    shipped_calibrations,
)
from fleet.model.calibration import Calibration, CalibrationKey, Fit, Scorer
from fleet.model.errors import ConfigError
from fleet.model.feedback import Feedback, Verdict
from fleet.settings.documents import load_catalogue
from policies.confidence.familiarity import is_inside
from queues.wire.calibration import check_target

CATALOGUE = load_catalogue(None, "local")
TARGET = CATALOGUE.targets["llama-8b"]
KEY = CalibrationKey("llama-8b", "classify.intent", "token")
SCORER = Scorer(Fit.PLATT, ("min_logit",), (0.5,), 0.25)
CALIBRATION = Calibration(KEY, TARGET.model, TARGET.revision, TARGET.logprobs_mode, "v1", 1.0, 40, SCORER)


async def test_feedback_and_calibrations_come_back_from_the_broker(broker):
    await apply_topology(broker.url)
    desk, journal, store = (
        await open_desk(broker.url, "acme"),
        await open_journal(broker.url),
        await open_calibrations(broker.url),
    )
    await desk.give_feedback(Feedback("job-0123456789ab", "acme", Verdict.GOOD, 0.0, id="feedback-00000001"))
    await store.put([CALIBRATION])
    said = [each async for each in journal.feedback()]
    in_force = await store.read_all()
    for opened in (desk, journal, store):
        await opened.close()
    assert [(each.tenant, each.verdict) for each in said] == [("acme", Verdict.GOOD)]
    assert in_force == {KEY: CALIBRATION}


def test_a_file_of_calibrations_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "calibration.json"
    save_calibrations(path, [CALIBRATION])
    assert load_calibrations(path, CATALOGUE) == {KEY: CALIBRATION}


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('"llama-8b"', '"llama-9b"', "calibrations.0.target"),
        ('"raw_logprobs"', '"processed_logprobs"', "calibrations.0.logprobs_mode"),
        (f'"{TARGET.revision}"', '"awq"', "calibrations.0.revision"),
        ("0.25", "NaN", "calibrations.0.scorer.intercept"),
        ("{", "", "calibrations"),
    ],
)
def test_a_file_that_does_not_fit_names_the_field_and_itself(tmp_path, old, new, field):
    path = tmp_path / "calibration.json"
    save_calibrations(path, [CALIBRATION])
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError) as raised:
        load_calibrations(path, CATALOGUE)
    assert raised.value.field == field
    assert str(path) in raised.value.rule


def test_what_is_shipped_is_of_the_models_that_are_shipped():
    for calibration in shipped_calibrations("local").values():
        check_target(calibration, CATALOGUE.targets)
    assert shipped_calibrations("gpu") == {}


def test_what_is_shipped_says_what_it_has_seen_and_takes_the_capital_of_france_for_no_sentiment():
    for calibration in shipped_calibrations("local").values():
        seen = calibration.familiar
        assert seen is not None
        assert seen.region is not None
        assert "chat" not in seen.tasks
        france = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}
        assert not is_inside(seen.region, france)

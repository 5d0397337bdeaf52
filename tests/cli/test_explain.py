"""`fleet explain`: what a job was decided by."""

import math
from dataclasses import replace

import pytest
from memory_fleet import attempt, failed, succeeded

from fleet.model.attempt import Answer, Attempt, Cached, Failure, FailureKind, Features, Judged, Usage
from fleet.model.calibration import Guard, OutputKind, Probe
from fleet.model.diet import Diet
from fleet.model.reason import MEANINGS, Reason

FEATURES = Features(sum=-0.6, mean=-0.2, min=-0.5, q10=-0.4, q25=-0.3, count=3, margin=1.5, entropy=0.7)
JOB = "job-0123456789abcdef"
NOW = 1_795_175_686.0


def answered(number, target, text, confidence, reason=Reason.ROUTED, **judged):
    plain = attempt(number, target, text, confidence, reason)
    outcome = replace(plain.outcome, features=FEATURES)
    held_against = Judged(**{"threshold": 0.75, "kind": OutputKind.TOKEN, "calibration": "c7", **judged})
    return replace(plain, outcome=outcome, judged=held_against, cost_usd=0.000_001)


def climbed(job):
    late = replace(attempt(2, "mixtral-8x7b", "", 0.0, Reason.LOW_CONFIDENCE), confidence=None)
    late = replace(late, outcome=Failure(FailureKind.TIMEOUT, "no answer within 2 s"))
    history = (
        answered(1, "llama-8b", "perhaps", 0.41),
        late,
        answered(3, "llama-70b", "yes", 0.97, Reason.TARGET_FAILED, calibration=None),
    )
    return succeeded(job, "yes", attempts=history)


@pytest.fixture
def explained(invoke, invoke_json, fake_app):
    """The output for people and for programs, of a job answered as given."""

    def run(answer):
        fake_app.fleet.answer = answer
        invoke("submit", "classify.intent", "Is it?", "--id", JOB, "--wait")
        shown = invoke("explain", JOB)
        assert shown.exit_code == 0, shown.output
        return shown.stdout, invoke_json("explain", JOB)

    return run


def test_every_decision_is_shown_with_what_it_was_decided_by(explained):
    text, decisions = explained(climbed)
    first, second, third = decisions["decisions"]
    assert (first["confidence"], first["threshold"], first["calibration"], first["kind"]) == (0.41, 0.75, "c7", "token")
    assert first["features"]["min"] == -0.5 and first["cost_usd"] == 0.000_001
    assert (second["failure"], second["reason"]) == ("timeout", "low_confidence")
    assert (third["target"], third["calibration"]) == ("llama-70b", None)
    assert (decisions["status"], decisions["reason"]) == ("succeeded", "confident")
    assert "0.4100 < 0.7500" in text and "calibration c7" in text
    assert "0.9700 ≥ 0.7500" in text and "raw score, not calibrated" in text
    assert "timeout: no answer within 2 s" in text
    assert MEANINGS[Reason.LOW_CONFIDENCE] in text


def test_guards_second_looks_and_thresholds_that_nothing_reaches_are_named(explained):
    def answer(job):
        history = (
            answered(
                1, "llama-8b", "perhaps", 0.7, threshold=math.inf, withdrawn=True, guard=Guard.STRONG_DOES_NOT_GAIN
            ),
            replace(answered(2, "llama-8b", "no", 0.4, Reason.GREY_BAND), probe=Probe.P_TRUE),
        )
        return succeeded(job, "perhaps", attempts=history)

    text, decisions = explained(answer)
    assert decisions["decisions"][0]["threshold"] is None and decisions["decisions"][1]["probe"] == "p_true"
    assert "everything escalates" in text and "guarantee withdrawn" in text
    assert "strong_does_not_gain" in text and "second look: p_true" in text


def test_the_score_of_an_unfamiliar_answer_is_shown_as_one_that_was_not_used(explained):
    def answer(job):
        unfamiliar = answered(1, "llama-8b", "yes", 0.8262, threshold=math.inf, calibration=None, unfamiliar=True)
        held_anyway = answered(2, "llama-70b", "yes", 0.8, Reason.UNFAMILIAR, calibration=None, unfamiliar=True)
        return succeeded(job, "yes", attempts=(unfamiliar, held_anyway))

    text, _ = explained(answer)
    assert "0.8262, not used: unfamiliar, always escalates" in text and "< any" not in text
    assert "0.8000 ≥ 0.7500" in text


def cached(job):
    source = Cached("job-of-before-0123", "llama-8b", NOW - 7200, Usage(40, 2))
    answer = Answer({"role": "assistant", "content": "yes"}, "stop", Usage(), "m")
    return succeeded(job, "yes", attempts=(Attempt(1, "exact", Reason.CACHED, NOW, NOW, answer, cached=source),))


def written(job):
    answer = Answer({"role": "assistant", "content": "Hello!"}, "stop", Usage(), "pattern")
    return succeeded(job, "Hello!", attempts=(Attempt(1, "pattern", Reason.PATTERN, NOW, NOW, answer),))


ORIGINS = {
    cached: (
        f"llama-8b gave it to job-of-before-0123, 2.0 h before; `fleet feedback {JOB} bad` has the next such job ask a"
        " model"
    ),
    written: "it is written down in the rules, under `patterns`: without it there, restarted dispatchers ask a model",
}


@pytest.mark.parametrize("answer", ORIGINS)
def test_an_answer_without_a_call_says_whose_it_is_how_old_and_how_to_get_rid_of_it(explained, invoke, answer):
    text, decisions = explained(answer)
    shown = " ".join(text.split())
    assert ORIGINS[answer] in shown and "features" not in shown
    assert ORIGINS[answer] in " ".join(invoke("result", JOB).stdout.split())
    [made] = decisions["decisions"]
    assert (made["cached"] and made["cached"]["job_id"]) == ("job-of-before-0123" if answer is cached else None)


def test_a_job_without_an_answer_says_why(explained):
    text, decisions = explained(failed)
    assert decisions["error"] == "every target failed"
    assert "every target failed" in text and MEANINGS[Reason.ALL_FAILED] in text


def test_a_job_that_is_not_there_is_one_clear_line(invoke):
    result = invoke("explain", "job-unknown-0123456789")
    assert result.exit_code == 1
    assert "has no result yet" in result.stderr


def test_every_reason_has_a_meaning():
    assert set(MEANINGS) == set(Reason)


@pytest.mark.parametrize(
    ("shadow", "told"),
    [(False, "8 messages and 2 tools, about 350 tokens"), (True, "nothing; could be 8 messages and 2 tools")],
)
def test_what_a_call_left_out_is_told(explained, shadow, told):
    diet = Diet(((2, 8), (9, 11)), 300, (0, 3), 50, shadow)
    on_it = replace(answered(1, "llama-8b", "yes", 0.9), diet=diet)
    text, found = explained(lambda job: succeeded(job, "yes", attempts=(on_it,)))
    assert told in " ".join(text.split())
    assert found["decisions"][0]["diet"]["messages"] == [[2, 8], [9, 11]]


def test_tokens_of_a_cache_and_of_reasoning_are_told(explained):
    def with_details(job):
        plain = answered(1, "llama-8b", "yes", 0.97)
        usage = Usage(1_100, 70, cached_input_tokens=600, cache_write_tokens=400, reasoning_tokens=64)
        return succeeded(job, "yes", attempts=(replace(plain, outcome=replace(plain.outcome, usage=usage)),))

    text, decisions = explained(with_details)
    [made] = decisions["decisions"]
    assert (made["cached_input_tokens"], made["cache_write_tokens"], made["reasoning_tokens"]) == (600, 400, 64)
    told = "1100 in, 600 of them from the cache, 400 written to the cache, 70 out, 64 of them reasoning"
    assert told in " ".join(text.split())

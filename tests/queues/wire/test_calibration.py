"""A calibration goes through JSON unchanged; one that could do harm is refused, with the field and the rule."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.adapter import ADAPTER_DIGEST
from fleet.model.calibration import (
    ANY,
    NO_LOOKS,
    Calibration,
    CalibrationKey,
    Fit,
    Guard,
    Looks,
    OutputKind,
    Probe,
    Scorer,
    Threshold,
    ThresholdMode,
)
from fleet.model.errors import ConfigError
from fleet.model.target import Capability, LatencyClass, Target
from policies.confidence.signals import SIGNALS
from queues.jetstream.stores.calibrations import calibration_key, store_key
from queues.wire.calibration import (
    PROBED,
    check_target,
    decode_calibration,
    decode_document,
    encode_calibration,
    encode_document,
)

shares = st.floats(min_value=0, max_value=1)
inside = st.floats(min_value=0.001, max_value=0.999)
weights = st.floats(min_value=-1e6, max_value=1e6)
names = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
families = st.just(ANY) | st.from_regex(r"[A-Za-z0-9_:-][A-Za-z0-9_.:-]{0,20}(\.\*)?", fullmatch=True)
digests = st.just("") | st.from_regex(ADAPTER_DIGEST, fullmatch=True)
keys = st.builds(CalibrationKey, names, families, st.sampled_from([*map(str, OutputKind), ANY]), digests)


@st.composite
def scorers(draw: st.DrawFn, names: tuple[str, ...] = tuple(SIGNALS)) -> Scorer:
    signals = draw(st.lists(st.sampled_from(sorted(names)), min_size=1, max_size=4, unique=True))
    heights = draw(st.lists(shares, min_size=2, max_size=4, unique=True)) if draw(st.booleans()) else []
    knots = tuple((value, value) for value in sorted(heights))
    found = draw(st.lists(weights, min_size=len(signals), max_size=len(signals)))
    return Scorer(draw(st.sampled_from(Fit)), tuple(signals), tuple(found), draw(weights), knots)


thresholds = st.builds(
    Threshold,
    st.sampled_from(ThresholdMode),
    shares | st.just(math.inf),
    shares | st.just(math.inf),
    inside,
    inside,
    st.integers(0, 10**6),
)


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    probe = draw(st.none() | st.sampled_from(Probe))
    low, high = sorted(draw(st.lists(shares, min_size=2, max_size=2, unique=True)))
    edges = draw(st.just([]) | st.lists(shares, min_size=9, max_size=9))
    return Calibration(
        draw(keys),
        *(draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)) for _ in range(4)),
        fitted_at=draw(st.floats(min_value=0, max_value=4e9)),
        labels=draw(st.integers(1 if edges else 0, 10**6)),
        scorer=draw(scorers(tuple(set(SIGNALS) - PROBED))),
        strong=draw(st.none() | names),
        threshold=draw(st.none() | thresholds),
        guard=draw(st.none() | st.sampled_from(Guard)),
        edges=tuple(sorted(edges)),
        brier=draw(st.none() | shares),
        ece=draw(st.none() | shares),
        probe=probe,
        probe_scorer=None if probe is None else draw(scorers()),
        grey=draw(st.none() | st.just((low, high))),
        withdrawn=draw(st.none() | st.just("drift of the confidence")),
        good=draw(st.none() | shares),
        looks=Looks(*(draw(st.integers(0, 10**6)) for _ in range(2)), draw(st.floats(0, 4e9)), draw(st.just("ab12"))),
        value_scorer=draw(st.none() | scorers(tuple(set(SIGNALS) - PROBED))),
    )


@given(calibrations())
def test_a_calibration_comes_out_as_it_went_in(calibration: Calibration) -> None:
    assert decode_calibration(encode_calibration(calibration)) == calibration


@given(calibrations())
def test_what_an_older_version_stored_still_reads(calibration: Calibration) -> None:
    record = json.loads(encode_calibration(calibration))
    del record["looks"]

    assert decode_calibration(json.dumps(record).encode()) == replace(calibration, looks=NO_LOOKS)


@given(st.lists(calibrations(), max_size=4, unique_by=lambda each: each.key), st.randoms())
def test_a_document_is_the_same_text_in_whatever_order_and_reads_back(found: list[Calibration], random: Any) -> None:
    text = encode_document(found)
    random.shuffle(found)

    assert encode_document(found) == text
    assert decode_document(text.encode()) == {each.key: each for each in found}


@given(keys)
def test_a_key_is_a_token_of_the_store_for_each_part_and_can_be_told_from_them(key: CalibrationKey) -> None:
    assert store_key(key).count(".") == (3 if key.adapter else 2)
    assert calibration_key(store_key(key)) == key


@given(calibrations())
def test_only_a_calibration_of_an_adapter_names_one_so_that_older_dispatchers_read_the_others(
    found: Calibration,
) -> None:
    assert ("adapter" in json.loads(encode_calibration(found))) == bool(found.key.adapter)
    assert ("value_scorer" in json.loads(encode_calibration(found))) == (found.value_scorer is not None)


def test_dots_and_stars_are_escaped_where_they_stand_in_a_name() -> None:
    assert store_key(CalibrationKey("llama-8b", "classify.*", ANY)) == "llama-8b.classify=2E=2A.=2A"


@pytest.mark.parametrize("key", ["", "llama-8b", "llama-8b.chat", "a.b.c.d", "llama-8b..short"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=r"^key: "):
        calibration_key(key)


GOOD = Calibration(
    CalibrationKey("llama-8b", "classify.intent", "token"),
    "meta-llama/Llama-3.1-8B-Instruct",
    "main",
    "raw_logprobs",
    "v1",
    1.0,
    40,
    Scorer(Fit.PLATT, ("min_logit",), (1.0,), 0.0),
    threshold=Threshold(ThresholdMode.GUARANTEE, 0.75, 0.9, 0.05, 0.1),
)
REMOVE = object()


def changed(path: str, value: Any) -> bytes:
    sent = json.loads(encode_calibration(GOOD))
    *parents, last = path.split(".")
    at = sent
    for step in parents:
        at = at[step]
    if value is REMOVE:
        del at[last]
    else:
        at[last] = value
    return json.dumps(sent).encode()


NAN = float("nan")


@pytest.mark.parametrize(
    ("path", "value", "field", "rule"),
    [
        ("target", "two.tokens", "target", "must match pattern"),
        ("family", "a family", "family", "must match pattern"),
        ("kind", "poem", "kind", "must be"),
        ("model", REMOVE, "model", "is required"),
        ("labels", -1, "labels", "greater than or equal to 0"),
        ("labels", 1.5, "labels", "must be a valid integer"),
        ("fitted_at", NAN, "fitted_at", "must be a finite number"),
        ("brier", 1.5, "brier", "less than or equal to 1"),
        ("brier", NAN, "brier", "must be a finite number"),
        ("edges", [0.5, 0.25], "edges", "must be rising"),
        ("edges", [0.05 * n for n in range(1, 16)], "edges", "must be none, or the 9 inner deciles"),
        ("grey", [0.5, 0.5], "grey", "must be a band"),
        ("grey", [0.5], "grey.1", "is required"),
        ("guard", "asleep", "guard", "must be"),
        ("mood", "fine", "mood", "is not a known field"),
        ("scorer", REMOVE, "scorer", "is required"),
        ("scorer.fit", "guess", "scorer.fit", "must be"),
        ("scorer.intercept", NAN, "scorer.intercept", "must be a finite number"),
        ("scorer.intercept", 1e7, "scorer.intercept", "must be finite and at most"),
        ("scorer.weights", {}, "scorer.weights", "at least 1 item"),
        ("scorer.weights", {"min_logit": "1"}, "scorer.weights.min_logit", "must be a valid number"),
        ("scorer.weights", {"mood": 1.0}, "scorer.signals", "must be among"),
        ("scorer.weights", {"p_true_logit": 1.0}, "scorer.weights", "must not read agreement, p_true_logit"),
        ("good", 1.5, "good", "less than or equal to 1"),
        ("scorer.knots", [[0.0, 0.5], [1.0, 0.25]], "scorer.knots", "must rise"),
        ("threshold.value", -0.1, "threshold.value", "greater than or equal to 0"),
        ("threshold.value", 72, "threshold.value", "less than or equal to 1"),
        ("threshold.value", NAN, "threshold.value", "must be a finite number"),
        ("threshold.risk", 0, "threshold.risk", "greater than 0"),
        ("threshold.risk", None, "threshold.risk", "is required in mode guarantee"),
        ("threshold.delta", None, "threshold.delta", "is required in mode guarantee"),
        ("probe", "p_true", "probe_scorer", "if and only if probe is"),
        (
            "value_scorer",
            {"fit": "platt", "intercept": 0, "weights": {"agreement": 1.0}},
            "value_scorer.weights",
            "must",
        ),
        ("value_scorer", {"fit": "platt", "intercept": 0, "weights": {"mood": 1.0}}, "value_scorer.signals", "must be"),
    ],
)
def test_a_wrong_field_is_named_with_the_rule_it_breaks(path: str, value: Any, field: str, rule: str) -> None:
    with pytest.raises(ConfigError) as raised:
        decode_calibration(changed(path, value))
    assert raised.value.field == field
    assert rule in raised.value.rule


def test_edges_are_taken_from_labels() -> None:
    document = json.loads(changed("edges", [n / 10 for n in range(1, 10)]))
    assert decode_calibration(json.dumps(document).encode()).edges
    with pytest.raises(ConfigError, match="must be at least 1 where there are edges"):
        decode_calibration(json.dumps({**document, "labels": 0}).encode())


def document(*records: bytes) -> bytes:
    return b'{"schema": 1, "calibrations": [' + b",".join(records) + b"]}"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "calibrations"),
        (b"[]", ""),
        (b'{"schema": 2, "calibrations": []}', "schema"),
        (document(encode_calibration(GOOD), encode_calibration(GOOD)), "calibrations.1"),
        (document(encode_calibration(GOOD), changed("labels", -1)), "calibrations.1.labels"),
        (document(changed("scorer.weights", {"mood": 1.0})), "calibrations.0.scorer.signals"),
    ],
)
def test_a_document_says_which_of_its_calibrations_is_wrong(body: bytes, field: str) -> None:
    with pytest.raises(ConfigError) as raised:
        decode_document(body)
    assert raised.value.field.startswith(field)


def test_an_infinite_threshold_is_written_as_null() -> None:
    assert GOOD.threshold is not None
    escalating = replace(GOOD, threshold=replace(GOOD.threshold, value=math.inf))

    assert json.loads(encode_calibration(escalating))["threshold"]["value"] is None
    assert decode_calibration(encode_calibration(escalating)) == escalating


TARGET = Target("llama-8b", "fleet", GOOD.model, 0.1, 0.1, 8192, frozenset({Capability.LOGPROBS}), LatencyClass.FAST, 1)


def test_a_calibration_of_a_target_as_it_is_deployed_now_is_taken() -> None:
    check_target(GOOD, {"llama-8b": TARGET})


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"key": CalibrationKey("llama-9b")}, "at.target", "must be one of llama-8b; got 'llama-9b'"),
        ({"strong": "llama-9b"}, "at.strong", "must be one of llama-8b; got 'llama-9b'"),
        ({"model": "another"}, "at.model", "must be that of target llama-8b"),
        ({"revision": "awq"}, "at.revision", "must be that of target llama-8b, 'main'; got 'awq'"),
        ({"logprobs_mode": "processed_logprobs"}, "at.logprobs_mode", "'raw_logprobs'; got 'processed_logprobs'"),
    ],
)
def test_a_calibration_of_something_else_is_refused(change: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_target(replace(GOOD, **change), {"llama-8b": TARGET}, "at.")
    assert raised.value.field == field
    assert rule in raised.value.rule

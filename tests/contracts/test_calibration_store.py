"""What every store of calibrations does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
from queue_rigs import Rig
from watched_stores import watching

from fleet.model.calibration import ANY, Calibration, CalibrationKey, Fit, Looks, Scorer, Threshold, ThresholdMode
from fleet.model.errors import ConfigError
from fleet.ports import CalibrationStore

KEY = CalibrationKey("llama-8b", "classify.intent", "token")
OTHERS = (CalibrationKey("llama-8b", "classify.*", "token"), CalibrationKey("llama-8b", ANY, ANY))

Seen = Mapping[CalibrationKey, Calibration]


def calibration(version: str, key: CalibrationKey = KEY) -> Calibration:
    scorer = Scorer(Fit.PLATT, ("min_logit",), (0.75,), -0.25)
    threshold = Threshold(ThresholdMode.GUARANTEE, math.inf, math.inf, 0.05, 0.1, labels_missing=12)
    return Calibration(key, "llama-8b", "main", "raw_logprobs", version, 1.5, 40, scorer, threshold=threshold)


async def versions(store: CalibrationStore) -> dict[CalibrationKey, str]:
    return {key: each.version for key, each in (await store.read_all()).items()}


async def test_what_is_put_in_force_is_read_as_it_was_put(rig: Rig) -> None:
    put = [calibration("v1", key) for key in (KEY, *OTHERS)]

    await rig.calibrations().put(put)

    assert await rig.calibrations().read_all() == {each.key: each for each in put}


async def test_there_is_nothing_before_something_was_put(rig: Rig) -> None:
    assert await rig.calibrations().read_all() == {}


async def test_only_the_latest_of_a_key_is_in_force(rig: Rig) -> None:
    store = rig.calibrations()
    await store.put([calibration("v1"), calibration("v1", OTHERS[0])])
    await store.put([calibration("v2")])

    assert await versions(store) == {KEY: "v2", OTHERS[0]: "v1"}


async def test_an_adapters_calibration_stands_beside_that_of_its_base(rig: Rig) -> None:
    store, own = rig.calibrations(), replace(KEY, adapter="ab" * 32)
    await store.put([calibration("v1"), calibration("a1", own)])
    await store.put([calibration("a2", own)])

    assert await versions(store) == {KEY: "v1", own: "a2"}
    assert (await store.roll_back(own)).version == "a1+rolled-back"
    assert await versions(store) == {KEY: "v1", own: "a1+rolled-back"}


async def test_rolling_back_goes_one_further_each_time_and_says_so(rig: Rig) -> None:
    store = rig.calibrations()
    for version in ("v1", "v2", "v3"):
        await store.put([calibration(version)])

    first = await store.roll_back(KEY)
    in_force = await versions(store)
    second = await store.roll_back(KEY)

    assert (first.version, in_force) == ("v2+rolled-back", {KEY: "v2+rolled-back"})
    assert (second.version, await versions(store)) == ("v1+rolled-back", {KEY: "v1+rolled-back"})


async def test_what_was_rolled_back_to_is_the_one_before_a_newer_one(rig: Rig) -> None:
    store = rig.calibrations()
    for version in ("v1", "v2"):
        await store.put([calibration(version)])
    await store.roll_back(KEY)
    await store.put([calibration("v3")])

    assert (await store.roll_back(KEY)).version == "v1+rolled-back"


async def test_rolling_back_gives_back_nothing_of_what_was_spent_on_testing(rig: Rig) -> None:
    store = rig.calibrations()
    spent = Looks(2, 90, 7.0, "cd")
    await store.put([replace(calibration("v1"), looks=Looks(1, 60, 5.0, "ab"))])
    await store.put([replace(calibration("v2"), looks=spent)])

    assert (await store.roll_back(KEY)).looks == spent
    assert (await store.read_all())[KEY].looks == spent


@pytest.mark.parametrize("count", [0, 1])
async def test_without_an_earlier_one_there_is_no_way_back(rig: Rig, count: int) -> None:
    store = rig.calibrations()
    await store.put([calibration("v1")][:count])
    await store.put([calibration("v1", OTHERS[0]), calibration("v2", OTHERS[0])])

    with pytest.raises(ConfigError, match="no earlier calibration"):
        await store.roll_back(KEY)


async def test_the_history_keeps_the_last_32(rig: Rig) -> None:
    store = rig.calibrations()
    for number in range(40):
        await store.put([calibration(f"v{number}")])

    oldest = await roll_back_all_the_way(store)

    # Each step back is a revision as well and pushes the oldest one out, so the way back is half as long.
    assert oldest == [f"v{number}+rolled-back" for number in range(38, 22, -1)]


async def roll_back_all_the_way(store: CalibrationStore) -> list[str]:
    versions = []
    while len(versions) < 40:
        try:
            versions.append((await store.roll_back(KEY)).version)
        except ConfigError:
            break
    return versions


async def test_a_watcher_sees_what_is_in_force_and_every_change(rig: Rig) -> None:
    await rig.calibrations().put([calibration("v1")])

    async with watching(rig.calibrations()) as seen:
        first = await seen.get()
        await rig.calibrations().put([calibration("v2"), calibration("v1", OTHERS[0])])
        while len(latest := await seen.get()) < 2:
            assert latest[KEY].version in ("v1", "v2")

    assert first == {KEY: calibration("v1")}
    assert latest == {KEY: calibration("v2"), OTHERS[0]: calibration("v1", OTHERS[0])}


async def test_a_watcher_of_nothing_sees_nothing_and_then_something(rig: Rig) -> None:
    async with watching(rig.calibrations()) as seen:
        assert await seen.get() == {}
        await rig.calibrations().put([calibration("v1")])
        assert await seen.get() == {KEY: calibration("v1")}


async def test_what_no_reader_would_take_is_not_put_in_force(rig: Rig) -> None:
    store = rig.calibrations()

    with pytest.raises(ConfigError, match=r"^scorer\.intercept: "):
        await store.put([calibration("v1", OTHERS[0]), wrong("v1")])
    assert await store.read_all() == {}


def wrong(version: str) -> Calibration:
    good = calibration(version)
    scorer = Scorer(Fit.PLATT, ("min_logit",), (0.75,), math.nan)
    return Calibration(good.key, good.model, good.revision, good.logprobs_mode, version, 1.5, 40, scorer)

"""An operator's wish becomes the whole of Serve's configuration with one deployment's bounds changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.serve.config import AutoscalingConfig
from serve_dashboard import POLICY, ServeDashboard, declared, run_by_code, serving

from deployments.serve.api import (
    Bounds,
    Mode,
    NewBounds,
    Scaling,
    ServeApi,
    Switch,
    bounds_of,
    changed,
    mode_of,
)
from deployments.serve.hold import Hold, released
from fleet.model.errors import ConfigError, FleetError

FREE = {"min_replicas": 1, "max_replicas": 4, "policy": POLICY}
PAUSED = changed(FREE, Switch.PAUSE, wanted=2)
DRAINED = changed(FREE, Switch.DRAIN, wanted=2)

CHANGES = {
    "new bounds": (FREE, NewBounds(2, 3), {"min_replicas": 2, "max_replicas": 3}),
    "the least alone": (FREE, NewBounds(2, None), {"min_replicas": 2, "max_replicas": 4}),
    "the most alone": (FREE, NewBounds(None, 1), {"min_replicas": 1, "max_replicas": 1}),
    "none at rest": (FREE, NewBounds(0, None), {"min_replicas": 0, "max_replicas": 4}),
    "pause": (FREE, Switch.PAUSE, {"min_replicas": 2, "max_replicas": 2, "initial_replicas": 2}),
    "pause again": (PAUSED, Switch.PAUSE, {"min_replicas": 2, "max_replicas": 2, "initial_replicas": 2}),
    "pause what is drained": (DRAINED, Switch.PAUSE, {"min_replicas": 0, "max_replicas": 1, "initial_replicas": 0}),
    "drain": (FREE, Switch.DRAIN, {"min_replicas": 0, "max_replicas": 1, "initial_replicas": 0}),
    "drain what is paused": (PAUSED, Switch.DRAIN, {"min_replicas": 0, "max_replicas": 1, "initial_replicas": 0}),
    "resume what is paused": (PAUSED, Switch.RESUME, {"min_replicas": 1, "max_replicas": 4}),
    "resume what is drained": (DRAINED, Switch.RESUME, {"min_replicas": 1, "max_replicas": 4}),
    "resume what was never held": (FREE, Switch.RESUME, {"min_replicas": 1, "max_replicas": 4}),
    "bounds of what is paused": (
        *(PAUSED, NewBounds(3, 5)),
        {"min_replicas": 2, "max_replicas": 2, "initial_replicas": 2},
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_wish_changes_bounds_and_nothing_that_would_replace_a_replica(name):
    before, change, expected = CHANGES[name]
    after = changed(before, change, wanted=2)
    held = {"aggregation_function": "min"} if "initial_replicas" in expected else {}
    assert {key: value for key, value in after.items() if key not in ("policy", "before")} == {**expected, **held}
    assert after["policy"] == POLICY


def test_bounds_given_while_held_hold_once_autoscaling_is_resumed():
    held = changed(PAUSED, NewBounds(3, 5), wanted=2)
    assert (mode_of(held), bounds_of(held)) == (Mode.PAUSED, Bounds(3, 5))
    assert changed(held, Switch.RESUME, wanted=2) == {**FREE, "min_replicas": 3, "max_replicas": 5}


def test_what_holding_overrides_is_put_back():
    own = {**FREE, "initial_replicas": 3, "aggregation_function": "max"}
    for held in (changed(own, Switch.PAUSE, 2), changed(changed(own, Switch.PAUSE, 2), Switch.DRAIN, 2)):
        assert changed(held, Switch.RESUME, 2) == own


@pytest.mark.parametrize("replicas", [0, 2])
def test_the_hold_that_is_sent_is_the_one_that_serve_acts_by(replicas):
    """An operator's order and the scaling policy meet only in Serve's configuration."""
    sent = Hold(replicas).on({"min_replicas": 1, "max_replicas": 4})
    acted_by = AutoscalingConfig(**sent).initial_replicas
    assert Hold.declared_in(sent) == Hold.in_force(acted_by) == Hold(replicas)
    assert Hold.in_force(AutoscalingConfig(**released(sent)).initial_replicas) is None


IMPOSSIBLE = [
    (NewBounds(-1, None), "--min: must be 0 or more"),
    (NewBounds(None, 0), "--max: must be 1 or more; --drain goes to none and stays there"),
    (NewBounds(None, -2), "--max: must be 1 or more"),
    (NewBounds(3, 2), "--max: must be at least 3"),
    (NewBounds(5, None), "--min: must be no more than --max, 4"),
]


@pytest.mark.parametrize(("change", "rule"), IMPOSSIBLE)
def test_bounds_that_no_number_satisfies_are_refused_by_name(change, rule):
    with pytest.raises(ConfigError, match=rule):
        changed(FREE, change, wanted=2)


bounds = st.tuples(st.integers(0, 9), st.integers(1, 9)).filter(lambda pair: pair[0] <= pair[1])
changes = st.one_of(st.sampled_from(Switch), bounds.map(lambda pair: NewBounds(*pair)))


@given(bounds, st.lists(st.tuples(changes, st.integers(0, 9)), max_size=12))
def test_after_any_wishes_resume_brings_back_the_bounds_that_were_set_last(first, wishes):
    config = {"min_replicas": first[0], "max_replicas": first[1], "policy": POLICY}
    last = Bounds(*first)
    for change, wanted in wishes:
        config = changed(config, change, wanted)
        last = Bounds(change.least, change.most) if isinstance(change, NewBounds) else last
        assert bounds_of(config) == last
        assert config["min_replicas"] <= config["max_replicas"] >= 1, "Serve takes it"
        assert Hold.declared_in(config) in (None, Hold(config["min_replicas"]))
    resumed = changed(config, Switch.RESUME, 0)
    assert resumed == {"min_replicas": last.least, "max_replicas": last.most, "policy": POLICY}


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServeDashboard]:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with serving() as server:
        yield server


def test_what_runs_is_read_target_by_target(dashboard):
    dashboard.by_code = {"mixtral-8x7b": run_by_code()}
    now = ServeApi(dashboard.url + "/").read()
    assert now.scaling("llama-8b") == Scaling("llama-8b", "running", Mode.AUTOSCALING, 1, 1, Bounds(1, 4), None)
    assert now.scaling("mixtral-8x7b") == Scaling("mixtral-8x7b", "running", Mode.FIXED, 1, 1, None, None)
    assert now.scaling("elsewhere") is None


def test_what_serve_says_of_a_target_is_kept_in_one_line(dashboard):
    told = dashboard.details()
    told["applications"]["llama-8b"] |= {"status": "DEPLOYING", "message": "slow\n"}
    told["applications"]["llama-8b"]["deployments"]["llama-8b"]["message"] = "no node\n  has a GPU"
    dashboard.details = lambda: told
    found = ServeApi(dashboard.url).read().scaling("llama-8b")
    assert (found.status, found.message) == ("deploying", "slow no node has a GPU")


def test_the_whole_configuration_is_sent_with_one_deployment_changed(dashboard):
    dashboard.by_code = {"mixtral-8x7b": run_by_code()}
    before = dashboard.configuration
    expected = {**before, "applications": [declared("llama-8b", 2, 4), *before["applications"][1:]]}
    was, now = ServeApi(dashboard.url).change("llama-8b", NewBounds(2, None))
    assert dashboard.sent == [expected]
    assert (was.bounds, was.wanted, now.bounds, now.wanted) == (Bounds(1, 4), 1, Bounds(2, 4), 2)


def test_a_target_goes_to_none_and_comes_back_as_it_was(dashboard):
    api, first = ServeApi(dashboard.url), dashboard.autoscaling("llama-8b")
    _, drained = api.change("llama-8b", Switch.DRAIN)
    assert (drained.mode, drained.wanted, drained.bounds) == (Mode.DRAINED, 0, Bounds(1, 4))
    _, back = api.change("llama-8b", Switch.RESUME)
    assert (back.mode, back.wanted) == (Mode.AUTOSCALING, 1)
    assert dashboard.autoscaling("llama-8b") == first


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("llama-13b", "llama-13b is not deployed: there is nothing to scale"),
        ("mixtral-8x7b", "mixtral-8x7b was deployed without an autoscaling_config"),
        ("dispatcher", "dispatcher was deployed without an autoscaling_config"),
    ],
)
def test_what_cannot_be_scaled_is_left_alone(dashboard, target, said):
    dashboard.by_code = {"mixtral-8x7b": run_by_code()}
    with pytest.raises(FleetError, match=said):
        ServeApi(dashboard.url).change(target, Switch.PAUSE)
    assert dashboard.sent == []


def test_a_change_of_somebody_else_right_after_ours_is_noticed(dashboard):
    dashboard.on_put = lambda: dashboard.apply([declared("llama-8b", 3, 3)])
    with pytest.raises(FleetError, match="somebody else changed llama-8b at the same moment"):
        ServeApi(dashboard.url).change("llama-8b", NewBounds(2, None))


def test_a_refusal_is_told_in_serves_words(dashboard):
    dashboard.refusal = (400, "ValidationError:\n  min_replicas")
    with pytest.raises(FleetError, match="refuses: 400 ValidationError: min_replicas"):
        ServeApi(dashboard.url).change("llama-8b", Switch.PAUSE)


def test_nobody_at_the_address_is_told_with_the_setting(dashboard):
    with pytest.raises(FleetError, match="refuses: 404"):
        ServeApi(dashboard.url + "/elsewhere").read()
    dashboard.shutdown()
    dashboard.server_close()
    with pytest.raises(FleetError, match=r"no Ray dashboard answers at .*refused.*: set FLEET_RAY_DASHBOARD_URL"):
        ServeApi(dashboard.url).read()


def test_what_is_no_dashboard_is_told(dashboard):
    dashboard.details = lambda: ["something else"]
    with pytest.raises(FleetError, match="is no Ray dashboard"):
        ServeApi(dashboard.url).read()


@pytest.mark.parametrize("where", ["variable", "file", "home"])
def test_the_token_of_the_dashboard_is_found_where_ray_finds_it(
    dashboard: ServeDashboard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    dashboard.token = "invented-token"
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / (".ray/auth_token" if where == "home" else "token")
    file.parent.mkdir(exist_ok=True)
    file.write_text("invented-token\n")
    if where == "variable":
        monkeypatch.setenv("RAY_AUTH_TOKEN", "invented-token")
    if where == "file":
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    with pytest.raises(FleetError, match="wants its token: set RAY_AUTH_MODE=token"):
        ServeApi(dashboard.url).read()
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert ServeApi(dashboard.url).read().scaling("llama-8b") is not None


def test_without_a_token_none_is_sent(
    dashboard: ServeDashboard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert ServeApi(dashboard.url).read().scaling("llama-8b") is not None

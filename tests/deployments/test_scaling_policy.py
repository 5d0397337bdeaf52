"""The scaling policies in Serve's hands: a scripted context and scripted readings, and Serve's own wrapper around."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from ray.serve._private.common import DeploymentID
from ray.serve.autoscaling_policy import _apply_autoscaling_config
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

from deployments import scaling
from deployments.scaling import LOGGER, RETRY_SECONDS, DispatcherPolicy, FleetPolicy
from deployments.serve.declared import POLICY, scaled_by_rules
from fleet.model.delivery import Depths, JobsOf, WorkOf
from fleet.model.job import Lane
from fleet.model.scaling import Capacity, ColdStart, Load, ScalingDecision, ScalingReason
from fleet.settings.documents import load_rules
from policies.rules.rules import Rules

TARGET = "llama-8b"
RULES = load_rules(None, None, "local")
NOTHING = Depths()
MODULE = "scripted_readings"
AT = 1_000.0


def work(jobs: int) -> Depths:
    return Depths(work={WorkOf(TARGET, Lane.STANDARD): jobs})


@dataclass
class ScriptedReadings:
    """What `seen` holds, whenever it is asked; None is a broker that is away."""

    seen: Depths | None = NOTHING
    loads: Sequence[Load] = ()
    rules: Rules = RULES
    asked_at: list[float] = field(default_factory=list)

    def latest(self, now: float) -> tuple[Depths, Sequence[Load]] | None:
        self.asked_at.append(now)
        return None if self.seen is None else (self.seen, self.loads)


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> ScriptedReadings:
    scripted = ScriptedReadings()
    module = ModuleType(MODULE)
    module.__dict__["make"] = lambda: scripted
    monkeypatch.setitem(sys.modules, MODULE, module)
    return scripted


@pytest.fixture
def policy(readings: ScriptedReadings) -> FleetPolicy:
    """Has had its first turn, in which it only sets its readings up."""
    made = FleetPolicy(TARGET, f"{MODULE}:make")
    made.replicas(context(), AT - 1)
    return made


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What Serve's logger was told. Serve and Ray set it up as they like, so it is heard at the source."""
    heard = Lines()
    structlog.reset_defaults()  # as in the controller, where nobody configures it
    monkeypatch.setattr(logging.getLogger(LOGGER), "handlers", [heard])
    caplog.set_level(logging.INFO, LOGGER)
    return lambda: heard.told


def context(
    running: int = 0,
    target: int | None = None,
    least: int = 0,
    most: int = 4,
    held: int | None = None,
    ongoing: float = 0,
) -> Any:
    """What of an `AutoscalingContext` the policies read; as many wanted as run, unless it is said."""
    return SimpleNamespace(
        current_num_replicas=running,
        target_num_replicas=running if target is None else target,
        total_num_requests=ongoing,
        capacity_adjusted_min_replicas=least,
        capacity_adjusted_max_replicas=most,
        config=SimpleNamespace(initial_replicas=held),
    )


def test_the_first_work_wakes_a_cold_target_and_the_log_says_why(policy, readings, lines):
    readings.seen = work(100)
    assert policy.replicas(context(), AT) == 1
    [line] = lines()
    assert line.startswith("scaling target=llama-8b from=0 to=1 reason=first_work running=0 waiting_tokens=")
    assert float(line.rsplit("=", 1)[1]) > 100


def test_without_work_a_cold_target_stays_cold(policy):
    assert policy.replicas(context(), AT) == 0


def test_before_anything_was_seen_nothing_is_decided(readings, lines):
    readings.seen = None
    policy = FleetPolicy(TARGET, f"{MODULE}:make")
    assert policy.replicas(context(2), AT) == 2
    assert readings.asked_at == [AT]
    assert lines() == []


@pytest.mark.proves("While the broker is away no replica is added or removed", how="stand-in")
@pytest.mark.parametrize("there", [0, 1, 3])
def test_while_the_broker_is_away_the_number_stays(policy, readings, lines, there):
    readings.seen = None
    assert policy.replicas(context(there), AT) == there
    assert f"from={there} to={there} reason=broker_away" in lines()[0]
    assert "waiting_tokens=unknown" in lines()[0]


@pytest.mark.parametrize(("least", "most", "expected"), [(0, 1, 1), (2, 4, 2), (3, 3, 3)])
def test_serves_bounds_hold(policy, readings, least, most, expected):
    readings.seen = work(100)
    assert policy.replicas(context(least=least, most=most), AT) == expected


@pytest.mark.parametrize(("held", "depths"), [(0, work(1_000_000)), (2, NOTHING), (2, work(1_000_000))])
def test_a_number_that_an_operator_holds_is_kept_whatever_waits(policy, readings, held, depths):
    readings.seen = depths
    assert policy.replicas(context(held, least=held, most=max(held, 1), held=held), AT) == held


def test_a_decision_is_logged_when_it_changes_and_not_again(policy, readings, lines):
    readings.seen = work(100)
    for second in range(3):
        policy.replicas(context(0, target=min(second, 1)), AT + second)
    assert [line.split()[4] for line in lines()] == ["reason=first_work", "reason=starting"]


def test_serve_asks_ten_times_a_second_and_once_it_is_decided(policy, readings):
    readings.asked_at.clear()
    for tenth in range(10):
        policy.replicas(context(), AT + tenth / 10)
    assert readings.asked_at == [AT]


class Rule:
    """In place of the rules: remembers what it is asked, and says what it shall."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)
        self.asked: list[Any] = []

    def __call__(self, reading: Any, memory: Any, *_: Any) -> tuple[ScalingDecision, Any]:
        self.asked.append(reading.capacity)
        return ScalingDecision(self.numbers.pop(0) if self.numbers else 0, ScalingReason.STEADY), memory


@pytest.fixture
def rule(monkeypatch: pytest.MonkeyPatch) -> Rule:
    made = Rule()
    monkeypatch.setattr(scaling, "decide", made)
    return made


def test_the_rules_are_told_since_when_the_first_of_the_starting_starts(policy, rule):
    turns = [(0, 1), (0, 3), (1, 3), (3, 3), (3, 4)]
    for second, (running, target) in enumerate(turns):
        policy.replicas(context(running, target), AT + second)
    assert [(each.running, each.starting, each.starting_at) for each in rule.asked] == [
        (0, 1, AT),
        (0, 3, AT),
        (1, 2, AT + 1),
        (3, 0, None),
        (3, 1, AT + 4),
    ]


def test_the_rules_are_told_how_long_dispatchers_saw_a_start_take(policy, readings, rule):
    learned = ColdStart(900.0, 3)
    readings.loads = [Load("one", AT, replicas={TARGET: Capacity(0, cold_start=learned)})]
    policy.replicas(context(running=0, target=0), AT)
    assert rule.asked[0].cold_start == learned


def test_a_replica_on_its_way_out_does_not_count(policy, rule):
    policy.replicas(context(running=2, target=1), AT)
    assert (rule.asked[0].running, rule.asked[0].starting) == (1, 0)


def test_a_rule_that_fails_keeps_the_number_says_so_and_is_tried_again_later(policy, readings, lines, monkeypatch):
    def fails(*_: Any) -> None:
        raise ZeroDivisionError("half a replica")

    with monkeypatch.context() as broken:
        broken.setattr(scaling, "decide", fails)
        assert policy.replicas(context(2), AT) == 2
        assert "scaling_not_decided target=llama-8b kept=2 " in lines()[0]
        assert "half a replica" in lines()[0]
    readings.seen = work(100)
    assert policy.replicas(context(0), AT + RETRY_SECONDS - 1) == 0
    assert policy.replicas(context(0), AT + RETRY_SECONDS) == 1


@pytest.mark.parametrize("factory", ["no_such_module:make", "json:no_such_function", "nonsense"])
def test_readings_that_cannot_be_set_up_never_reach_the_controller(factory, lines):
    policy = FleetPolicy(TARGET, factory)
    assert policy.replicas(context(2), AT) == 2
    assert "factory" in lines()[0]


def test_a_target_the_catalogue_does_not_know_keeps_its_number(readings, lines):
    policy = FleetPolicy("llama-9b", f"{MODULE}:make")
    policy.replicas(context(1), AT - 1)
    assert policy.replicas(context(1), AT) == 1
    assert "llama-9b" in lines()[0]


def test_the_metrics_tell_the_number_and_one_reason(policy, readings, monkeypatch):
    wanted: list[float] = []
    reasons: list[tuple[str, float]] = []
    changes: list[str] = []
    monkeypatch.setattr(policy._meters._wanted, "set", wanted.append)
    monkeypatch.setattr(policy._meters._reason, "set", lambda value, tags: reasons.append((tags["reason"], value)))
    monkeypatch.setattr(policy._meters._decisions, "inc", lambda _, tags: changes.append(tags["reason"]))
    readings.seen = work(100)
    for second, target in enumerate((0, 1, 1)):
        policy.replicas(context(0, target), AT + second)
    assert wanted == [1, 1, 1]
    assert reasons == [("first_work", 1), ("first_work", 0), ("starting", 1), ("starting", 1)]
    assert changes == ["first_work", "starting"]


def test_dispatchers_are_scaled_by_their_own_lag(readings, lines):
    policy = DispatcherPolicy("dispatcher", f"{MODULE}:make")
    policy.replicas(context(1), AT - 1)
    readings.seen = Depths(jobs={JobsOf(Lane.STANDARD, "acme"): 5_000})
    readings.loads = [Load("one", AT, cpu_share=1.0)]
    assert policy.replicas(context(1, least=1), AT) == 2
    assert "scaling target=dispatcher from=1 to=2 reason=backlog running=1 waiting_jobs=5000" in lines()


def serves(policy: Any, config: AutoscalingConfig, running: int, target: int) -> int:
    """The number that comes out of Serve's wrapper around a policy."""
    ctx = AutoscalingContext(
        deployment_id=DeploymentID(TARGET, TARGET),
        deployment_name=TARGET,
        app_name=TARGET,
        current_num_replicas=running,
        target_num_replicas=target,
        running_replicas=[],
        total_num_requests=0.0,
        total_queued_requests=0.0,
        aggregated_metrics=None,
        raw_metrics=None,
        capacity_adjusted_min_replicas=0,
        capacity_adjusted_max_replicas=9,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=AT,
        config=config,
    )
    number, _ = _apply_autoscaling_config(policy)(ctx)
    return number


@pytest.mark.parametrize(
    ("running", "target", "decided"), [(0, 0, 5), (1, 1, 7), (3, 3, 3), (7, 7, 2), (2, 6, 3), (1, 1, 0), (0, 1, 0)]
)
def test_serve_passes_the_number_on_at_once(policy, rule, running, target, decided):
    config = AutoscalingConfig(min_replicas=0, max_replicas=9, **scaled_by_rules(TARGET, f"{MODULE}:make"))
    rule.numbers = [decided]
    assert serves(policy, config, running, target) == decided


def test_serve_can_pickle_the_policy_into_its_controller(readings):
    config = AutoscalingPolicy(**scaled_by_rules(TARGET, f"{MODULE}:make")["policy"])
    assert config.policy_function == POLICY
    carried = AutoscalingPolicy.from_serialized_policy_def(config.model_dump(), config.get_serialized_policy_def())
    policy = carried.get_policy()(**carried.policy_kwargs)
    policy.replicas(context(), AT)
    readings.seen = work(100)
    assert policy.replicas(context(), AT + 1) == 1


def test_no_policy_keeps_itself_alive(readings):
    import gc
    import weakref

    policy = FleetPolicy(TARGET, f"{MODULE}:make")
    policy.replicas(context(), AT)
    gone = weakref.ref(policy)
    del policy
    gc.collect()
    assert gone() is None


counts = st.integers(0, 20)


@given(st.lists(st.tuples(counts, counts, counts, st.integers(1, 20), st.none() | counts), min_size=1, max_size=20))
def test_whatever_is_seen_the_number_is_within_the_bounds(turns):
    scripted = ScriptedReadings()
    policy = FleetPolicy(TARGET, "unused:unused")
    policy._readings = scripted
    for second, (running, target, least, more, jobs) in enumerate(turns):
        scripted.seen = None if jobs is None else work(jobs * 1_000)
        most = least + more
        assert least <= policy.replicas(context(running, target, least, most), AT + second) <= most

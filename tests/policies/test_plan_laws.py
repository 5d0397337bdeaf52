"""What holds for every job, whatever the targets answer."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.action import Finish, GiveUp, Run, Wait
from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Usage
from fleet.model.job import CLOUD_ALLOW, CLOUD_DENY, Cloud, Job, Lane, Plan, Tier
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.model.scaling import Capacity
from fleet.model.view import Breaker, Sojourn, TargetView, View
from fleet.settings.documents import load_rules
from policies.budget import spent_usd
from policies.plan import next_action
from policies.resilience.deadline import deadline_at
from policies.resilience.retry import failed_adapter
from policies.routing import overload
from policies.rules.sections import Residency, ResidencyRules

SHIPPED = load_rules(None, None, "local")
PLACES = {"fleet": "de", "openai": "us", "anthropic": "de"}
"""The regions of the providers; Groq states none."""

TARGETS = {
    name: replace(target, region=PLACES.get(target.provider)) for name, target in SHIPPED.catalogue.targets.items()
}
RULES = replace(
    SHIPPED,
    catalogue=replace(SHIPPED.catalogue, targets=TARGETS),
    residency=ResidencyRules(
        tenants={
            "in-de": Residency(regions=frozenset({"de"})),
            "in-us": Residency(regions=frozenset({"us"}), providers=frozenset({"fleet", "openai", "groq"})),
            "inside": Residency(providers=frozenset({"fleet"})),
        }
    ),
)
NAMES = sorted(RULES.catalogue.targets)
START = 1_000.0

clouds = st.sampled_from(
    [CLOUD_ALLOW, CLOUD_DENY, Cloud(frozenset({"groq"})), Cloud(frozenset({"openai", "anthropic"}))]
)
requests = st.fixed_dictionaries(
    {"messages": st.text(max_size=3_000).map(lambda text: [{"role": "user", "content": text}])},
    optional={
        "model": st.sampled_from(["auto", *NAMES, "gpt-99"]),
        "max_tokens": st.integers(1, 600),
        "tools": st.just([{"type": "function", "function": {"name": "book"}}]),
    },
)
jobs = st.builds(
    Job,
    id=st.just("job-0123456789abcdef"),
    tenant=st.sampled_from(["acme", *RULES.residency.tenants]),
    lane=st.sampled_from(Lane),
    task=st.sampled_from([*RULES.tasks, "unheard.of"]),
    plan=st.sampled_from(Plan),
    request=requests,
    submitted_at=st.just(START),
    tier=st.none() | st.sampled_from(Tier),
    deadline_at=st.none() | st.floats(START - 1, START + 100),
    max_cost_usd=st.none() | st.floats(0, 0.01),
    cloud=clouds,
    regions=st.sampled_from([None, None, ("de",), ("us",), ("de", "us")]),
    own_key=st.none() | st.sampled_from(["openai/acme", "anthropic/acme", "groq/acme", "nobody/acme"]),
)
breakers = st.builds(Breaker, st.integers(0, 9), st.integers(0, 9), st.floats(START - 10, START + 1_000))
capacities = st.builds(
    Capacity,
    running=st.integers(0, 1),
    starting=st.integers(0, 2),
    starting_at=st.none() | st.floats(START - 200, START),
    held=st.booleans(),
)
sojourns = st.builds(
    Sojourn,
    seconds=st.floats(0, 100),
    answers=st.integers(0, 40),
    seen_at=st.floats(START - 40, START),
    run_seconds=st.floats(0, 50),
    found=st.floats(0, 600),
    waiting=st.integers(0, 600),
    turns_away=st.booleans(),
)
targets = st.sampled_from(NAMES).flatmap(
    lambda name: st.tuples(
        st.just(name),
        st.builds(
            TargetView,
            available=st.booleans(),
            breaker=breakers,
            capacity=st.none() if RULES.catalogue.targets[name].is_cloud else st.none() | capacities,
            sojourns=st.dictionaries(st.sampled_from(Lane), sojourns),
        ),
    )
)
views = st.lists(targets, unique_by=lambda target: target[0]).map(lambda targets: View(dict(targets)))
answers = st.tuples(st.just("answer"), st.none() | st.floats(0, 1))
failures = st.tuples(st.sampled_from(FailureKind), st.none() | st.floats(0, 60))
seconds = st.floats(0, 20)


def attempt_of(number: int, run: Run, now: float, took: float, outcome: tuple[object, float | None]) -> Attempt:
    what, value = outcome
    if isinstance(what, FailureKind):
        adapter = "a" * 64 if what is FailureKind.ADAPTER and run.reason is not Reason.ADAPTER_FAILED else None
        failure = Failure(what, "no reply", value)
        return Attempt(number, run.target, run.reason, now, now + took, failure, adapter=adapter)
    answer = Answer({"role": "assistant", "content": "Yes."}, "stop", Usage(10, 5), run.target)
    return Attempt(number, run.target, run.reason, now, now + took, answer, value, cost_usd=1e-6)


@given(job=jobs, view=views, data=st.data())
def test_every_job_ends_in_bounded_steps_and_every_step_keeps_the_laws(job, view, data):
    attempts: tuple[Attempt, ...] = ()
    now = START
    cold_looks = 0
    for _ in range(5 * RULES.retry.max_attempts):
        action = next_action(job, attempts, view, now, RULES)
        match action:
            case Run():
                assert_may_run(job, attempts, view, now, action)
                assert next_action(job, attempts, view, now, RULES) == action
                if action.reason is Reason.OVERLOADED:
                    assert_keeps(job, attempts, view, now, action)
                took = data.draw(seconds)
                outcome = data.draw(answers | failures)
                attempts += (attempt_of(len(attempts) + 1, action, now, took, outcome),)
                now += took
            case Wait():
                assert 0 < action.seconds <= max(deadline_at(job, RULES), now) - now
                now += action.seconds
                if action.reason is Reason.COLD:
                    assert view.targets[action.target].capacity.cold
                    cold_looks += 1
                    view = later_view(view, action.target, warm=cold_looks > 3 or data.draw(st.booleans()))
            case Finish() | GiveUp():
                assert_ending(attempts, action)
                return
    pytest.fail(f"no end after {len(attempts)} attempts")


def assert_keeps(job: Job, attempts: tuple[Attempt, ...], view: View, now: float, run: Run) -> None:
    """A job that has climbed runs there, though the targets below may be free by the time it gets its turn."""
    sojourns = view.targets[run.target].sojourns
    free = {name: replace(each, sojourns={}) for name, each in view.targets.items()}
    for seen in (view, View({**free, run.target: replace(free[run.target], sojourns=sojourns)})):
        again = next_action(job, attempts, seen, now, RULES, run)
        late = overload.too_late(
            RULES.catalogue.targets[run.target],
            job,
            deadline_at(job, RULES) - now,
            seen.targets[run.target],
            now,
            RULES,
            run,
        )
        assert late or again == run


def later_view(view: View, name: str, warm: bool) -> View:
    """What a job that waited for a cold target finds: a replica, or none yet."""
    target = view.targets[name]
    return View({**view.targets, name: replace(target, capacity=Capacity(1) if warm else target.capacity)})


def assert_may_run(job: Job, attempts: tuple[Attempt, ...], view: View, now: float, run: Run) -> None:
    target = RULES.catalogue.targets[run.target]
    assert not target.is_cloud or job.cloud.permits(target.provider)
    rule = RULES.residency.of(job.tenant)
    assert all(names is None or target.region in names for names in (job.regions, rule.regions))
    assert rule.providers is None or target.provider in rule.providers
    assert view.targets[run.target].available
    assert view.targets[run.target].breaker.open_until_at <= now < deadline_at(job, RULES)
    assert view.targets[run.target].capacity is None or not view.targets[run.target].capacity.cold
    assert sum(not failed_adapter(each) for each in attempts) < RULES.retry.max_attempts
    assert job.max_cost_usd is None or spent_usd(attempts) <= job.max_cost_usd
    if job.plan is Plan.OWN_KEY:
        assert job.own_key is not None
        assert job.own_key.startswith(target.provider)


def assert_ending(attempts: tuple[Attempt, ...], action: Finish | GiveUp) -> None:
    if isinstance(action, Finish):
        assert isinstance(attempts[action.attempt - 1].outcome, Answer)
        assert action.status in (Status.SUCCEEDED, Status.BEST_EFFORT)
    else:
        assert action.problem.message
        assert not any(isinstance(attempt.outcome, Answer) for attempt in attempts)


@given(job=jobs, view=views, later=st.floats(0, 20))
def test_a_job_handed_to_a_target_still_belongs_there_when_it_arrives(job, view, later):
    """Until something changes: the deadline passes, or a breaker below closes again."""
    action = next_action(job, (), view, START, RULES)
    still = {name: replace(one, breaker=Breaker(open_until_at=START)) for name, one in view.targets.items()}
    if isinstance(action, Run) and START + later < deadline_at(job, RULES):
        settled = next_action(job, (), View(still), START, RULES)
        if isinstance(settled, Run):  # with its breaker closed, a weaker target may be worth a wait: a cold one
            assert next_action(job, (), View(still), START + later, RULES) == settled


@given(job=jobs, view=views)
def test_where_no_capacity_is_known_nothing_is_ever_cold(job, view):
    unknown = View({name: replace(target, capacity=None) for name, target in view.targets.items()})
    warm = View({name: replace(target, capacity=Capacity(1)) for name, target in view.targets.items()})
    action = next_action(job, (), unknown, START, RULES)
    assert action == next_action(job, (), warm, START, RULES)
    assert getattr(action, "reason", None) not in (Reason.COLD, Reason.TARGET_COLD)


@given(job=jobs, view=views, data=st.data())
def test_a_job_only_climbs_after_an_answer(job, view, data):
    """The next target after an answer that is not trusted is none that was tried before."""
    attempts: tuple[Attempt, ...] = ()
    while isinstance(action := next_action(job, attempts, view, START, RULES), Run):
        assert action.target not in {attempt.target for attempt in attempts}
        confidence = data.draw(st.floats(0, 0.5))
        attempts += (attempt_of(len(attempts) + 1, action, START, 0.0, ("answer", confidence)),)

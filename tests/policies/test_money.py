"""Bounded spend: one table per rule."""

from dataclasses import replace

import pytest

from fleet.model.action import Finish, GiveUp, Run
from fleet.model.attempt import Answer, Failure, FailureKind, Usage
from fleet.model.job import Plan
from fleet.model.money import Account, MoneyView, Refusal
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.settings.documents import load_rules
from policies import money
from policies.features.needs import needs_of
from policies.plan import next_action

RULES = load_rules(None, None, "gpu")
GPT, CLAUDE = (RULES.catalogue.targets[name] for name in ("gpt-4o", "claude-sonnet"))
GROQ, LLAMA = (RULES.catalogue.targets[name] for name in ("groq-gpt-oss-120b", "llama-8b"))
NOW = 1_795_132_800.0
MINUTE = int(NOW // 60)
USD = money.NANO


@pytest.mark.parametrize(
    ("spent", "open_buckets", "wanted", "verdict"),
    [
        (0, {}, 100, None),
        (0, {}, 101, Refusal.EMPTY),
        (40, {}, 60, None),
        (41, {}, 60, Refusal.EMPTY),
        (40, {MINUTE: 1}, 60, Refusal.BUSY),
        (40, {MINUTE: 30}, 30, None),
        (40, {MINUTE - 10: 30}, 31, Refusal.BUSY),
        (40, {MINUTE - 11: 30}, 31, Refusal.EMPTY),
        (40, {MINUTE - 11: 30}, 30, None),
        (100, {}, 0, None),
    ],
)
def test_open_money_makes_a_call_wait_and_spent_money_refuses_it(spent, open_buckets, wanted, verdict):
    account = Account(spent, open_buckets)
    answer = money.reserve(account, wanted, 100, NOW, 600.0)
    if verdict is None:
        held = open_buckets.get(MINUTE, 0) + wanted
        assert answer == Account(spent, {**open_buckets, MINUTE: held})
    else:
        assert answer is verdict


def test_without_a_limit_there_is_always_money():
    assert isinstance(money.reserve(Account(10**18, {}), 10**18, None, NOW, 600.0), Account)


@pytest.mark.parametrize(
    ("open_buckets", "reserved", "actual", "left"),
    [
        ({MINUTE: 50}, 50, 20, {}),
        ({MINUTE: 50, MINUTE - 3: 5}, 50, 20, {MINUTE - 3: 5}),
        ({MINUTE: 50}, 30, 30, {MINUTE: 20}),
        ({MINUTE: 50}, 30, 90, {MINUTE: 20}),
        ({}, 30, 10, {}),
    ],
)
def test_settling_books_what_it_came_to_in_place_of_the_reservation(open_buckets, reserved, actual, left):
    settled = money.settle(Account(7, open_buckets), reserved, actual, MINUTE)
    assert settled == Account(7 + actual, left)


@pytest.mark.parametrize(
    ("request_extra", "left_usd", "output_tokens"),
    [
        ({}, None, 4096),
        ({"max_tokens": 100}, None, 100),
        ({"max_completion_tokens": 9_000}, None, 9_000),
        ({}, 0.01, 991),
        ({"max_tokens": 100}, 0.01, 100),
        ({}, 0.0, 1),
    ],
)
def test_an_answer_is_bounded_by_the_job_or_the_rules_and_by_the_jobs_own_money(
    job, request_extra, left_usd, output_tokens
):
    request = job(text="x" * 40, request=request_extra).request
    quote = money.quote(request, needs_of(request, RULES.estimates), left_usd, GPT, RULES)
    assert quote.output_tokens == output_tokens
    most_input = money.most_input_tokens(request, GPT, RULES.money)
    assert quote.cost == most_input * 2_500 + output_tokens * 10_000


@pytest.mark.parametrize(
    ("content", "extra", "least"),
    [
        ("x" * 500, {}, 500),
        ("日本語" * 100, {}, 900),
        ("\N{PILE OF POO}" * 100, {}, 400),
        ("", {"tools": [{"type": "function", "function": {"name": "book", "description": "d" * 700}}]}, 700),
        ("", {"response_format": {"type": "json_schema", "json_schema": {"name": "n" * 300}}}, 300),
        ([{"type": "image_url", "image_url": {"url": "data:" + "x" * 400_000}}], {}, 50_000),
        ([{"type": "text", "text": "x" * 500}, {"type": "image_url", "image_url": {"url": "u"}}], {}, 50_500),
        ([{"type": "input_audio", "input_audio": {"data": "x" * 5_000, "format": "mp3"}}], {}, 5_000),
    ],
)
def test_the_input_is_bounded_by_bytes_and_images(content, extra, least):
    request = {"messages": [{"role": "user", "content": content}], **extra}
    assert least <= money.most_input_tokens(request, GPT, RULES.money) <= least + money.REQUEST_TOKENS + 200


@pytest.mark.parametrize("content", ["x" * 1_000_000, [{"type": "file", "file": {"file_id": "f-1"}}]])
def test_nothing_reads_more_than_its_context(content):
    request = {"messages": [{"role": "user", "content": content}]}
    assert money.most_input_tokens(request, GPT, RULES.money) == GPT.context_tokens


@pytest.mark.parametrize(
    ("names", "sent"),
    [
        ({}, {"max_tokens": 7}),
        ({"max_tokens": 9}, {"max_tokens": 7}),
        ({"max_completion_tokens": 9, "max_tokens": None}, {"max_completion_tokens": 7, "max_tokens": None}),
        ({"max_completion_tokens": 9, "max_tokens": 9}, {"max_completion_tokens": 7, "max_tokens": 7}),
    ],
)
def test_the_bound_goes_out_by_the_name_the_job_uses(names, sent):
    request = {"messages": [], **names}
    assert money.capped(request, 7) == {"messages": [], **sent}
    assert request == {"messages": [], **names}


@pytest.mark.parametrize("kind", FailureKind)
def test_a_failure_is_charged_in_full_where_a_model_may_have_worked_and_not_at_all_elsewhere(kind):
    may_have_worked = {"timeout", "malformed", "content_filter", "internal", "cancelled"}
    assert money.charged(Failure(kind, ""), 500, GPT) == (500 if kind in may_have_worked else 0)


def test_an_answer_without_a_usage_is_charged_with_all_that_was_set_aside():
    silent = Answer({"content": "Yes."}, "stop", Usage(), "m")
    assert money.charged(silent, 500, GPT) == 500


def test_an_answer_is_charged_by_its_usage():
    answer = Answer({"content": "Yes."}, "stop", Usage(100, 10), "gpt-4o")
    assert money.charged(answer, 10**9, GPT) == 100 * 2_500 + 10 * 10_000


CACHING = replace(
    CLAUDE,
    cached_input_usd_per_million_tokens=0.10,
    cache_write_usd_per_million_tokens=2.50,
    cache_write_1h_usd_per_million_tokens=4.00,
)


@pytest.mark.parametrize(
    ("usage", "nano"),
    [
        (Usage(1_000, 10), 1_000 * 2_000 + 10 * 10_000),
        (Usage(1_000, 10, cached_input_tokens=900), 100 * 2_000 + 900 * 100 + 10 * 10_000),
        (Usage(1_000, 10, cache_write_tokens=900), 100 * 2_000 + 900 * 2_500 + 10 * 10_000),
        (Usage(1_000, 10, 600, 400, 8), 600 * 100 + 400 * 2_500 + 10 * 10_000),
        (Usage(1_000, 10, 500, 400, 8, 300), 100 * 2_000 + 500 * 100 + 100 * 2_500 + 300 * 4_000 + 10 * 10_000),
    ],
)
def test_cached_and_written_input_has_prices_of_its_own_and_reasoning_that_of_output(usage, nano):
    answer = Answer({"content": "Yes."}, "stop", usage, "m")
    assert money.charged(answer, 10**12, CACHING) == nano


def test_prices_that_nobody_stated_are_taken_to_be_the_dearest_that_providers_ask():
    plain = replace(CLAUDE, cached_input_usd_per_million_tokens=None, cache_write_usd_per_million_tokens=None)
    answer = Answer({"content": "Yes."}, "stop", Usage(1_000, 10, 500, 400, 0, 300), "m")
    written = 100 * 2_500 + 300 * 4_000
    assert money.charged(answer, 10**12, plain) == 600 * 2_000 + written + 10 * 10_000


def test_input_is_set_aside_at_its_dearest(job):
    request = job(text="x" * 40, request={"max_tokens": 10}).request
    quote = money.quote(request, needs_of(request, RULES.estimates), None, CACHING, RULES)
    assert quote.cost == quote.input_tokens * 4_000 + quote.output_tokens * 10_000


@pytest.mark.parametrize(("target", "dearest"), [(GPT, 2.5), (LLAMA, LLAMA.input_usd_per_million_tokens)])
def test_a_write_of_unknown_price_is_set_aside_where_somebody_else_may_make_it(target, dearest):
    unknown = replace(target, cache_write_usd_per_million_tokens=None)
    assert unknown.most_input_usd_per_million_tokens == dearest * (1.25 if target.is_cloud else 1)


@pytest.mark.parametrize(
    ("target", "plan", "own_key", "pays"),
    [
        (GPT, Plan.PAID, None, True),
        (LLAMA, Plan.PAID, None, False),
        (GPT, Plan.OWN_KEY, "openai/main", False),
        (CLAUDE, Plan.OWN_KEY, "openai/main", True),
    ],
)
def test_the_fleet_pays_for_cloud_targets_called_with_its_own_key(job, target, plan, own_key, pays):
    assert money.fleet_pays(job(plan=plan, own_key=own_key), target) is pays


@pytest.mark.parametrize(
    ("fleet_usd", "tenant_usd", "target", "says"),
    [
        (0.0, 0.0, GPT, None),
        (44.99, 0.0, GPT, None),
        (45.0, 0.0, GPT, "of the fleet's $50.00 a day are spent: targets up to $1 only"),
        (45.0, 0.0, GROQ, None),
        (49.95, 0.0, GROQ, "up to $0.100000 with $0.050000 left of the fleet's $50.00 a day"),
        (0.0, 1.79, GPT, None),
        (0.0, 1.85, GPT, "of tenant acme's $2.00 a day are spent: targets up to $1 only"),
        (0.0, 1.95, GROQ, "up to $0.100000 with $0.050000 left of tenant acme's $2.00 a day"),
    ],
)
def test_near_a_limit_only_cheap_targets_are_left_and_at_the_limit_none(fleet_usd, tenant_usd, target, says):
    rules = replace(RULES.money, tenants={"acme": 2.0})
    view = MoneyView(money.nano_of(fleet_usd), {"acme": money.nano_of(tenant_usd)})
    found = money.objection(USD // 10, target, "acme", view, rules)
    assert (found is None) == (says is None)
    assert says is None or found.endswith(says)


def test_a_tenant_without_a_limit_of_its_own_has_the_common_one():
    rules = replace(RULES.money, tenant_daily_usd=3.0, tenants={"acme": 5.0})
    assert [money.tenant_limit_usd(tenant, rules) for tenant in ("acme", "beta")] == [5.0, 3.0]
    assert money.tenant_limit_usd("beta", RULES.money) is None


@pytest.mark.parametrize(
    ("before", "after", "steps"), [(0, 100, 3), (79, 80, 1), (80, 89, 0), (80, 90, 1), (99, 150, 1)]
)
def test_each_step_of_a_limit_is_passed_once(before, after, steps):
    assert len(money.steps_crossed(before, after, 100, RULES.money)) == steps


def test_all_waits_for_money_together_outlast_every_reservation():
    waits = [money.busy_seconds(deliveries) for deliveries in range(1, RULES.delivery.max_deliveries)]
    assert waits == sorted(waits)
    assert waits[0] == 0.1
    assert sum(waits) > RULES.money.open_seconds


# --- what follows for a job


def spent(view, usd):
    return replace(view, money=MoneyView(money.nano_of(usd)))


@pytest.mark.parametrize(
    ("usd", "action"),
    [
        (0.0, Run("gpt-4o", Reason.LOW_CONFIDENCE)),
        (46.0, Finish(1, Status.BEST_EFFORT, Reason.OUT_OF_MONEY)),
    ],
)
def test_with_the_days_money_spent_the_best_answer_so_far_is_delivered(rules, job, view, answered, usd, action):
    attempts = (answered(1, "llama-70b", 0.1),)
    now = spent(view(without=("groq-gpt-oss-120b",)), usd)
    assert next_action(job("report.totals"), attempts, now, 1_002.0, rules) == action


def test_near_the_limit_the_cheap_target_takes_the_dear_ones_place(rules, job, view):
    pinned = job("review.critique", request={"model": "gpt-4o-mini"})
    critical = job("review.critique")
    now = spent(view(), 46.0)
    assert next_action(pinned, (), now, 1_002.0, rules) == Run("gpt-4o-mini", Reason.PINNED)
    refused = next_action(critical, (), now, 1_002.0, rules)
    assert isinstance(refused, GiveUp)
    assert (refused.status, refused.reason) == (Status.FAILED, Reason.OUT_OF_MONEY)
    assert "the fleet's $50.00 a day" in refused.problem.message


def test_a_request_without_a_limit_gets_one_that_fits_the_context(rules, job) -> None:
    small = replace(rules.catalogue.targets["gpt-4o"], context_tokens=512)
    request = job(text="word " * 40).request
    needs = needs_of(request, rules.estimates)

    found = money.quote(request, needs, None, small, rules)

    assert needs.input_tokens + found.output_tokens < 512
    assert money.quote(request, needs, None, rules.catalogue.targets["gpt-4o"], rules).output_tokens == 4096
    long = job(text="word " * 4000).request  # it may be a thread that is trimmed
    usual = rules.estimates.output_tokens
    assert money.quote(long, needs_of(long, rules.estimates), None, small, rules).output_tokens == usual

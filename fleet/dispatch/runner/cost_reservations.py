"""Reserves the cost of calls: no call that the fleet pays for is sent out before its money is set aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fleet import faults
from fleet.dispatch.in_flight import InFlightJob
from fleet.logs import get_logger
from fleet.model.action import Wait
from fleet.model.attempt import Answer, Outcome
from fleet.model.errors import QueueUnavailable
from fleet.model.job import ChatRequest
from fleet.model.money import Claim, Deposit, NanoUsd, Quote, Refusal, Reservation
from fleet.model.reason import Reason
from fleet.model.target import Target
from fleet.ports import SpendBook
from policies import money
from policies.budget import cost_usd, own_key_for, spent_usd
from policies.confidence.probes import request_for
from policies.diet.budgets import limits_of
from policies.diet.decision import on_diet
from policies.features.needs import needs_of
from policies.reasoning import room_for, with_room
from policies.rules.rules import Rules
from policies.rules.sections import MoneyRules

log = get_logger(__name__)


class CostReservations:
    """Takes deposits for the calls of one dispatcher and settles them."""

    def __init__(self, book: SpendBook, rules: Rules) -> None:
        self._book = book
        self._rules = rules

    async def reserve(
        self, jobs: list[InFlightJob], target: Target
    ) -> tuple[list[InFlightJob], list[tuple[InFlightJob, Refusal]]]:
        """Return the jobs that may run, with their deposits, and those that may not, with the reason.

        Where the broker does not answer, no call that costs money may run: the reason is then BUSY.
        """
        paid = [inflight for inflight in jobs if money.fleet_pays(inflight.job, target)]
        if not paid:
            return jobs, []
        quotes = [self._quote(inflight, target) for inflight in paid]
        answers = await self._reserve(
            [self._claim(inflight, quote) for inflight, quote in zip(paid, quotes, strict=True)]
        )
        faults.point("money.reserved")
        admitted = [inflight for inflight in jobs if not money.fleet_pays(inflight.job, target)]
        refused: list[tuple[InFlightJob, Refusal]] = []
        for inflight, quote, answer in zip(paid, quotes, answers, strict=True):
            if isinstance(answer, Reservation):
                admitted.append(replace(inflight, deposit=Deposit(answer, quote)))
            else:
                refused.append((inflight, answer))
        return admitted, refused

    def _quote(self, inflight: InFlightJob, target: Target) -> Quote:
        request, limit = _asked(inflight), inflight.job.max_cost_usd
        # A comparison is the fleet's own wish: the job's money does not pay for it.
        left_usd = None if limit is None or inflight.shadow is not None else limit - spent_usd(inflight.attempts)
        return money.quote(request, needs_of(request, self._rules.estimates), left_usd, target, self._rules)

    def _claim(self, inflight: InFlightJob, quote: Quote) -> Claim:
        return money.claim(inflight.job, quote.cost, self._rules.money)

    async def _reserve(self, claims: Sequence[Claim]) -> Sequence[Reservation | Refusal]:
        try:
            return await self._book.reserve(claims)
        except QueueUnavailable as error:
            log.warning("money_not_reserved", calls=len(claims), error=str(error))
            return [Refusal.BUSY] * len(claims)

    def release(self, jobs: Sequence[InFlightJob]) -> list[InFlightJob]:
        """Book that the jobs' calls were not made; return the jobs without their deposits, which are settled now."""
        for inflight in jobs:
            if inflight.deposit is not None:
                self._book.settle(inflight.deposit.reservation, 0)
        return [inflight if inflight.deposit is None else replace(inflight, deposit=None) for inflight in jobs]

    def settle(self, inflight: InFlightJob, outcome: Outcome, target: Target) -> None:
        """Book what the call cost."""
        if faults.point("money.settled"):
            return
        if inflight.deposit is not None:
            reservation = inflight.deposit.reservation
            self._book.settle(reservation, money.charged(outcome, reservation.amount, target))


def believed(inflight: InFlightJob, outcome: Outcome, target: Target) -> Outcome:
    """Return the outcome with a usage that the call could have; this one is used to count tokens and money."""
    return money.believed(outcome, money.most_usage(inflight.deposit, target))


def cost_of(inflight: InFlightJob, outcome: Outcome, target: Target) -> float:
    """Return the attempt's cost in US dollars: the exact sum booked for it; 0 where a tenant's own key paid."""
    if inflight.deposit is not None:
        return money.usd_of(money.charged(outcome, inflight.deposit.reservation.amount, target))
    if not isinstance(outcome, Answer) or own_key_for(inflight.job, target) is not None:
        return 0.0
    return cost_usd(outcome.usage, target)


def request_of(inflight: InFlightJob, target: Target) -> ChatRequest:
    """Return the request to send: the job's or the probe's, with its output limited to what the deposit covers."""
    asked, deposit = _asked(inflight), inflight.deposit
    if deposit is None:
        return with_room(asked, target)
    covered = deposit.quote.output_tokens
    if inflight.diet is not None and inflight.diet.has_budget:  # which the deposit may have been taken without
        covered = min(covered, *(limit + room_for(asked, target) for limit in limits_of(asked)))
    return money.capped(asked, covered)


def _asked(inflight: InFlightJob) -> ChatRequest:
    request = on_diet(inflight.job.request, inflight.diet)
    return request if inflight.probe is None else request_for(inflight.probe, request, inflight.attempts)


def wait_for_money(inflight: InFlightJob, target: Target) -> Wait:
    return Wait(target.name, money.busy_seconds(inflight.delivery.deliveries), Reason.MONEY_BUSY)


def alerts(rules: MoneyRules) -> Callable[[str | None, NanoUsd, NanoUsd], None]:
    """Return a function that warns of each step of a limit, once per day and limit in the whole fleet.

    Bookings of all dispatchers are in one sequence: exactly one passes each step, and its dispatcher logs it.
    """

    def tell(tenant: str | None, before: NanoUsd, after: NanoUsd) -> None:
        limit_usd = rules.daily_usd if tenant is None else money.tenant_limit_usd(tenant, rules)
        if limit_usd is None:
            return
        for step in money.steps_crossed(before, after, money.nano_of(limit_usd), rules):
            scope = "fleet" if tenant is None else f"tenant {tenant}"
            log.warning("spend_limit", step=step, scope=scope, spent_usd=money.usd_of(after), limit_usd=limit_usd)

    return tell

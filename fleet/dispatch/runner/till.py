"""The till: nothing that the fleet pays for is sent out before its money is set aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from fleet import faults
from fleet.dispatch.step import Case
from fleet.model.action import Wait
from fleet.model.attempt import Answer, Outcome
from fleet.model.errors import QueueUnavailable
from fleet.model.job import ChatRequest
from fleet.model.money import Claim, Deposit, Offer, Refusal, Reservation
from fleet.model.reason import Reason
from fleet.model.target import Target
from fleet.ports import SpendBook
from policies import money
from policies.budget import cost_usd, own_key_for, spent_usd
from policies.confidence.probes import request_for
from policies.features.needs import needs_of
from policies.rules.rules import Rules
from policies.rules.sections import MoneyRules

log = structlog.get_logger(__name__)


class Till:
    """Takes deposits for the calls of one dispatcher and settles them."""

    def __init__(self, book: SpendBook, rules: Rules) -> None:
        self._book = book
        self._rules = rules

    async def pay(self, cases: list[Case], target: Target) -> tuple[list[Case], list[tuple[Case, Refusal]]]:
        """The cases that may run, with their deposits; and those that may not, with the reason.

        Where the broker does not answer, nothing that costs money may run: that is BUSY.
        """
        paid = [case for case in cases if money.fleet_pays(case.job, target)]
        if not paid:
            return cases, []
        offers = [self._offer(case, target) for case in paid]
        answers = await self._reserve([self._claim(case, offer) for case, offer in zip(paid, offers, strict=True)])
        faults.point("money.reserved")
        admitted = [case for case in cases if not money.fleet_pays(case.job, target)]
        refused: list[tuple[Case, Refusal]] = []
        for case, offer, answer in zip(paid, offers, answers, strict=True):
            if isinstance(answer, Reservation):
                admitted.append(replace(case, deposit=Deposit(answer, offer.output_tokens, offer.input_tokens)))
            else:
                refused.append((case, answer))
        return admitted, refused

    def _offer(self, case: Case, target: Target) -> Offer:
        request, limit = _asked(case), case.job.max_cost_usd
        # A comparison is the fleet's own wish: the job's money is not for it.
        left_usd = None if limit is None or case.shadow is not None else limit - spent_usd(case.attempts)
        return money.offer(request, needs_of(request, self._rules.estimates), left_usd, target, self._rules)

    def _claim(self, case: Case, offer: Offer) -> Claim:
        return money.claim(case.job, offer.nano, self._rules.money)

    async def _reserve(self, claims: Sequence[Claim]) -> Sequence[Reservation | Refusal]:
        try:
            return await self._book.reserve(claims)
        except QueueUnavailable as error:
            log.warning("money_not_reserved", calls=len(claims), error=str(error))
            return [Refusal.BUSY] * len(claims)

    def give_back(self, cases: Sequence[Case]) -> list[Case]:
        """Book that their calls were not made; return the cases without their deposits, which are settled now."""
        for case in cases:
            if case.deposit is not None:
                self._book.settle(case.deposit.reservation, 0)
        return [case if case.deposit is None else replace(case, deposit=None) for case in cases]

    def settle(self, case: Case, outcome: Outcome, target: Target) -> None:
        """Book what the call came to."""
        if faults.point("money.settled"):
            return
        if case.deposit is not None:
            reservation = case.deposit.reservation
            self._book.settle(reservation, money.charged(outcome, reservation.nano, target))


def believed(case: Case, outcome: Outcome, target: Target) -> Outcome:
    """The outcome, with a usage that the call could have; everything that counts tokens or money sees this one."""
    return money.believed(outcome, money.most_usage(case.deposit, target))


def cost_of(case: Case, outcome: Outcome, target: Target) -> float:
    """What the attempt cost in US dollars: the very sum that is booked for it; nothing where a tenant's key paid."""
    if case.deposit is not None:
        return money.usd_of(money.charged(outcome, case.deposit.reservation.nano, target))
    if not isinstance(outcome, Answer) or own_key_for(case.job, target) is not None:
        return 0.0
    return cost_usd(outcome.usage, target)


def request_of(case: Case) -> ChatRequest:
    """What is sent out: the request, or the probe's; cut off where its deposit ends."""
    return _asked(case) if case.deposit is None else money.capped(_asked(case), case.deposit.output_tokens)


def _asked(case: Case) -> ChatRequest:
    request = case.job.request
    return request if case.probe is None else request_for(case.probe, request, case.attempts)


def wait_for_money(case: Case, target: Target) -> Wait:
    return Wait(target.name, money.busy_seconds(case.delivery.deliveries), Reason.MONEY_BUSY)


def alerts(rules: MoneyRules) -> Callable[[str | None, int, int], None]:
    """Tells operators of each step of a limit, once per day and limit in the whole fleet.

    Bookings follow one another, whoever makes them: exactly one passes each step, and its dispatcher tells.
    """

    def tell(tenant: str | None, before: int, after: int) -> None:
        limit_usd = rules.daily_usd if tenant is None else money.tenant_limit_usd(tenant, rules)
        if limit_usd is None:
            return
        for step in money.steps_crossed(before, after, money.nano_of(limit_usd), rules):
            scope = "fleet" if tenant is None else f"tenant {tenant}"
            log.warning("spend_limit", step=step, scope=scope, spent_usd=money.usd_of(after), limit_usd=limit_usd)

    return tell

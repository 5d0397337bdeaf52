"""The cancellations that a dispatcher remembers: a limited number per tenant and in total."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from fleet.model.cancellation import Cancellation

MOST_OF_TENANT = 10_000
"""Wishes kept per tenant. Beyond that its oldest are forgotten, and the broker is asked about its jobs one by one."""


class Wishes:
    """Remembered wishes. The oldest are forgotten: of a tenant with too many, else of the tenants with the most."""

    def __init__(self, most: int, most_of_tenant: int, kept_seconds: float) -> None:
        self._most = most
        self._most_of_tenant = most_of_tenant
        self._kept_seconds = kept_seconds
        self._of: dict[str, dict[str, float]] = {}
        self._count = 0
        self._forgot_at: dict[str, float] = {}

    def __contains__(self, wish: Cancellation) -> bool:
        return wish.job_id in self._of.get(wish.tenant, ())

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, wish: Cancellation, now: float) -> None:
        """Remember the wish as the latest of its tenant; `now` must not go back."""
        self.discard(wish)
        self._of.setdefault(wish.tenant, {})[wish.job_id] = now
        self._count += 1
        if len(self._of[wish.tenant]) > self._most_of_tenant:
            self._forget(wish.tenant, 1, now)
        if self._count > self._most:
            self._make_room(now)

    def _make_room(self, now: float) -> None:
        """Forget a tenth at once, so that not every further wish searches for the largest among all tenants."""
        most_of_one = max(len(wishes) for wishes in self._of.values())
        for tenant, wishes in list(self._of.items()):
            if self._count <= 0.9 * self._most:
                break
            if 2 * len(wishes) >= most_of_one:
                self._forget(tenant, 1 + len(wishes) // 10, now)

    def discard(self, wish: Cancellation) -> None:
        """Forget the wish, if it is remembered: it is known not to hold."""
        of_tenant = self._of.get(wish.tenant, {})
        if of_tenant.pop(wish.job_id, None) is not None:
            self._count -= 1
            if not of_tenant:
                del self._of[wish.tenant]

    def has_forgotten(self, tenant: str) -> bool:
        """Return whether wishes of this tenant may be stored that are not remembered here."""
        return tenant in self._forgot_at

    def expire(self, now: float) -> None:
        """Forget the wishes that are older than the broker keeps them."""
        oldest = now - self._kept_seconds
        for wish in list(self._older_than(oldest)):
            self.discard(wish)
        self._forgot_at = {tenant: at for tenant, at in self._forgot_at.items() if at > oldest}

    def _older_than(self, oldest: float) -> Iterator[Cancellation]:
        for tenant, wishes in self._of.items():
            for job_id, at in wishes.items():
                if at > oldest:
                    break
                yield Cancellation(tenant, job_id)

    def _forget(self, tenant: str, count: int, now: float) -> None:
        for job_id in list(islice(self._of[tenant], count)):
            self.discard(Cancellation(tenant, job_id))
        self._forgot_at[tenant] = now

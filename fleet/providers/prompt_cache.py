"""What one dispatcher saw of the beginnings of prompts at one target, and the marks it sets by that.

It keeps hashes and counts, no texts, of the beginnings that were used last. Another dispatcher's calls are not seen: it
takes reuse to be rarer than it is, and marks less.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

from fleet.logs import get_logger
from fleet.model.attempt import Failure, FailureKind
from policies.caching.prompt import MEMORY, NEVER, CachePrices, Expected, Life, Mark, Reuse, chances, mark

log = get_logger(__name__)

BEGINNINGS = 10_000
"""Beginnings that are remembered, about 11 MB; the one that nobody used for longest goes first."""

LEAST_BYTES = 2048
"""Bytes below which a beginning has hardly the 1,024 tokens from which on providers cache."""

CALLS_A_MINUTE = 15
"""Calls a minute with one `prompt_cache_key` beyond which OpenAI spreads them over machines that share no cache."""


OF_ALL = 16
"""Times as many calls as of one beginning that are remembered of all together."""


@dataclass(slots=True)
class Rate:
    """Parts the calls with one beginning among so many keys that no key gets more than providers take.

    The parts grow with the calls of a minute and never shrink: a key that nobody uses costs nothing.
    """

    minute: int = 0
    calls: int = 0
    parts: int = 1

    def part(self, now: float) -> int:
        """Return the part of one more call."""
        minute = int(now // 60)
        self.calls = self.calls + 1 if minute == self.minute else 1
        self.minute = minute
        self.parts = max(self.parts, -(-self.calls // CALLS_A_MINUTE))
        return self.calls % self.parts


@dataclass(slots=True)
class _Beginning:
    """What is known of a beginning. `reuse` and `in_run` are by life: they do not depend on what was marked."""

    last_at: float = 0.0
    calls: int = 0
    first_under_way: bool = False
    kept: Life | None = None
    kept_until: float = 0.0
    reuse: dict[Life, Reuse] = field(default_factory=dict)
    in_run: dict[Life, bool] = field(default_factory=dict)
    rate: Rate = field(default_factory=Rate)


@dataclass(frozen=True, slots=True)
class Begun:
    """A call whose beginning is known: its mark, and the key that brings calls with that beginning to one machine.

    `opens`: while it runs, it may be writing what others with the beginning could read.
    """

    name: bytes
    mark: Mark
    key: str
    opens: bool


class PromptCache:
    """Decides on marks at the prices of one target. `now` returns seconds that only go forward."""

    def __init__(
        self,
        target: str,
        prices: CachePrices,
        now: Callable[[], float],
        beginnings: int = BEGINNINGS,
    ) -> None:
        self._target = target
        self._prices = prices
        self._now = now
        self._most = beginnings
        self._taken: set[Life | None] = set()
        self._is_off = False
        self._known: OrderedDict[bytes, _Beginning] = OrderedDict()
        self._new = dict.fromkeys(prices.writes, NEVER)
        self._others = dict.fromkeys(prices.writes, NEVER)

    def begin(self, scope: str, beginning: bytes) -> Begun | None:
        """Note a call and decide on it; None for a beginning that is too short to be cached.

        Nobody outside the `scope` has a beginning in common with it.
        """
        if self._is_off or len(beginning) < LEAST_BYTES:
            return None
        name = blake2b(scope.encode() + b"\0" + beginning, digest_size=16).digest()
        seen, now = self._seen(name), self._now()
        key = f"{name.hex()}-{seen.rate.part(now)}"
        if seen.first_under_way:  # there is nothing to read yet: this call says nothing of reuse
            return Begun(name, mark({}, self._prices, None, True), key, False)
        self._count(seen, now)
        kept = seen.kept if now <= seen.kept_until else None
        decided = mark({life: self._expected(seen, life) for life in self._prices.writes}, self._prices, kept, False)
        seen.first_under_way = kept is None
        return Begun(name, decided, key, kept is None)

    def end(self, begun: Begun, answered: bool) -> None:
        """Note how a call ended: only one that was answered has surely written or used what is kept."""
        if answered:
            self._taken.add(begun.mark.life)
        seen = self._known.get(begun.name)
        if seen is None:
            return
        if begun.opens:
            seen.first_under_way = False
        if answered and begun.mark.life is not None:
            seen.kept, seen.kept_until = begun.mark.life, self._now() + begun.mark.life.seconds

    def may_be_why(self, begun: Begun, failure: Failure) -> bool:
        """Return whether a mark or key may be why the call was refused: none like it was ever taken."""
        return failure.kind is FailureKind.INVALID_REQUEST and begun.mark.life not in self._taken

    def refused(self, failure: Failure) -> None:
        """Set no more marks and keys: the server took the same call without them."""
        if not self._is_off:
            self._is_off = True
            log.warning("prompt_cache_refused", target=self._target, why=failure.detail)

    def _seen(self, name: bytes) -> _Beginning:
        """Return what is known of a beginning, and make it the last to be forgotten."""
        seen = self._known.pop(name, None) or _Beginning()
        self._known[name] = seen
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return seen

    def _count(self, seen: _Beginning, now: float) -> None:
        """Note for each life whether this call went on with a run."""
        for life in self._prices.writes:
            went_on = seen.calls > 0 and now - seen.last_at <= life.seconds
            if seen.calls > 0:
                before, of_all = seen.in_run[life], self._new if seen.calls == 1 else self._others
                own = seen.reuse.get(life, NEVER).called(before)
                seen.reuse[life] = own.went_on(before) if went_on else own
                if went_on:
                    of_all[life] = of_all[life].went_on(before)
            seen.in_run[life] = went_on
            # Counted at once, not when its life is over: many a beginning never comes back, and would not be missed.
            of_all = self._others if seen.calls else self._new
            of_all[life] = of_all[life].called(went_on, OF_ALL * MEMORY)
        seen.calls, seen.last_at = seen.calls + 1, now

    def _expected(self, seen: _Beginning, life: Life) -> Expected:
        others = self._others[life]
        if seen.calls == 1:
            others = others._replace(firsts=self._new[life].firsts, seconds=self._new[life].seconds)
        return Expected(chances(seen.reuse.get(life, NEVER), others), seen.in_run[life])

"""Statistics of the log-probabilities of an answer's tokens, in eight numbers.

Called where the model runs and where a provider answers, once per answer: plain floats and the standard
library, because lists this short cost more to hand to numpy than to add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, fsum, log
from operator import mul

from fleet.model.attempt import Features

NO_TOKENS = Features(sum=0.0, mean=0.0, min=0.0, q10=0.0, q25=0.0, count=0, margin=0.0, entropy=0.0)

FLOOR = -100.0
"""The value that stands for "impossible": engines write -inf and providers -9999 for a token outside their candidates,
and either would drown every other token in a sum.
"""


def aggregate(token_logprobs: Sequence[float], top: Sequence[Sequence[float]]) -> Features:
    """Return the features of one answer. Natural logarithms in, nats out; values below `FLOOR` count as `FLOOR`.

    `token_logprobs` holds one value per generated token; `top` holds, per token, the log-probabilities of the best
    few candidates in any order. Quantiles interpolate linearly between order statistics (Hyndman and Fan, type 7).
    `margin` averages over the tokens with two candidates or more, `entropy` over those with one or more, of the
    candidates' probabilities scaled to sum to one; both are 0 where no token has any.
    """
    if not token_logprobs:
        return NO_TOKENS
    ordered = _ascending(token_logprobs)
    total = fsum(ordered)
    candidates = [_ascending(few) for few in top if few]
    gaps = [few[-1] - few[-2] for few in candidates if len(few) > 1]
    return Features(
        sum=total,
        mean=total / len(ordered),
        min=ordered[0],
        q10=_quantile(ordered, 0.10),
        q25=_quantile(ordered, 0.25),
        count=len(ordered),
        margin=_mean(gaps),
        entropy=_mean([_entropy(few) for few in candidates]),
    )


def _ascending(logprobs: Sequence[float]) -> list[float]:
    return sorted([value if value > FLOOR else FLOOR for value in logprobs])  # NaN compares false: also FLOOR


def _quantile(ordered: Sequence[float], fraction: float) -> float:
    position = fraction * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values) if values else 0.0


def _entropy(ascending: Sequence[float]) -> float:
    """Return the entropy of p_i = e^l_i / Z: log Z - sum(p_i l_i); relative to the largest l_i, Z is never 0."""
    largest = ascending[-1]
    weights = [exp(value - largest) for value in ascending]
    total = sum(weights)
    weighted: float = sum(map(mul, weights, ascending))
    return max(0.0, log(total) + largest - weighted / total)

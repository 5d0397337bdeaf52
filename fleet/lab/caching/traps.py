"""Judges the cache on pairs of questions that look alike: which of them would one's answer serve the other?

With two questions and nothing else, there are no neighbours to vote and no labels of a tenant. So the score is fitted,
and its threshold tested, on pairs made for that (`pairs.py`), never on those that are judged; the guard's objections
are final. The promise tested is the stricter one: at most the risk of all *look-alikes* is served.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fleet.embedding.encoder import Encoder
from fleet.lab.caching.entries import Mask
from fleet.lab.caching.evaluate import DELTA, RISK
from fleet.lab.caching.files import Pair, read_pairs
from fleet.lab.caching.fit import PAIR_SIGNALS, PAIR_VETOES, fit_threshold, fit_weights, scores
from fleet.lab.caching.pairs import generated_pairs
from fleet.lab.caching.report import Category, TrapsReport
from fleet.lab.learning.sample import Array
from fleet.model.caching import AnswerScore, Neighbour
from policies.caching.signals import SIGNALS, signals_of


def evaluate_traps(
    path: Path, encoder: Encoder, encoder_name: str, guarantee: tuple[float, float] = (RISK, DELTA)
) -> TrapsReport:
    """Evaluate a file of pairs. Raises: ConfigError naming what is wrong with it."""
    risk, delta = guarantee
    pairs, known = read_pairs(path), generated_pairs()
    fitting, testing = _signals(known[::2], encoder), _signals(known[1::2], encoder)
    by = _fitted(fitting, _same(known[::2]))
    same = _same(known[1::2])
    found = scores(testing, by)
    threshold = fit_threshold(_finite(found[~same]), np.ones(int((~same).sum())), risk, delta, 1, None)
    served = scores(_signals(pairs, encoder), by) >= threshold.value
    right = _same(pairs)
    return TrapsReport(
        file=path.name,
        traps=int((~right).sum()),
        traps_served=_share(served[~right]),
        should_hits=int(right.sum()),
        should_hits_served=_share(served[right]),
        risk=risk,
        delta=delta,
        fitted_on=f"{len(known):,} pairs made by fleet.lab.caching.pairs: one half fits the score, the other tests it",
        calibration_traps=int((~same).sum()),
        calibration_should_hits_served=_share(found[same] >= threshold.value),
        labels_missing=threshold.labels_missing,
        encoder=encoder_name,
        categories=_categories(pairs, served),
    )


def _fitted(signals: Array, same: Mask) -> AnswerScore:
    """Fit on what no veto decides: the rest is all that the score has to tell apart."""
    open_ = ~signals[:, [SIGNALS.index(name) for name in PAIR_VETOES]].any(axis=1)
    intercept, weights = fit_weights(
        signals[open_], same[open_].astype(np.float64), np.ones(int(open_.sum())), PAIR_SIGNALS
    )
    return AnswerScore(intercept, weights, vetoes=PAIR_VETOES)


def _signals(pairs: Sequence[Pair], encoder: Encoder) -> Array:
    """Return the signals of each pair: `b` is asked of a cache that holds `a` alone."""
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.a, pair.b)))
    vectors = dict(zip(texts, encoder.encode(texts), strict=True))
    near = [Neighbour("a", pair.a, "a", float(vectors[pair.a] @ vectors[pair.b])) for pair in pairs]
    return np.array([signals_of(pair.b, [each]) for pair, each in zip(pairs, near, strict=True)])


def _finite(found: Array) -> Array:
    """Return the scores with those that the guard forbids below all others, where no threshold lies."""
    lowest = float(found[np.isfinite(found)].min(initial=0.0))
    return np.where(np.isfinite(found), found, lowest - 1.0)


def _same(pairs: Sequence[Pair]) -> Mask:
    return np.array([pair.same for pair in pairs], dtype=np.bool_)


def _share(served: Mask) -> float:
    return float(served.mean()) if len(served) else 0.0


def _categories(pairs: Sequence[Pair], served: Mask) -> list[Category]:
    counted = Counter((pair.category, pair.same) for pair in pairs)
    hit = Counter((pair.category, pair.same) for pair, each in zip(pairs, served, strict=True) if each)
    return [Category(name, same, n, hit[name, same] / n) for (name, same), n in sorted(counted.items())]

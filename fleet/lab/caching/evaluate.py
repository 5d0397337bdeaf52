"""Tries the promise of a semantic cache on a stream whose answers are known, beside other rules on the same rows.

Some rows of each class are in the cache, the others are asked. Labels are drawn from those with replacement, a
threshold is chosen on them, and its true share of wrong answers is counted over all that are asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fleet.embedding.encoder import Encoder, Vectors, unit
from fleet.lab.caching import vcache
from fleet.lab.caching.entries import Entries, ask
from fleet.lab.caching.files import Request, read_stream
from fleet.lab.caching.fit import fit_metric, fit_score, scores, steps_of
from fleet.lab.caching.report import Rule, StreamReport
from fleet.lab.learning.sample import Array, Rows
from fleet.lab.learning.thresholds import learn_then_test_many
from fleet.lab.metrics.bounds import binomial, smallest_n
from fleet.model.errors import ConfigError

CACHED = 15
"""Rows of each class that are in the cache."""
CACHES = 5
"""Draws of those rows; the draws of labels are spread evenly over them."""
LABELS, RESAMPLES, RISK, DELTA = 2000, 500, 0.01, 0.10
STATIC = 0.85
"""A static threshold, as semantic caches ship one."""
_SEED = 20_250_203


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The rows asked of one cache: their scores by a rule, and 1.0 where serving the nearest answer is wrong."""

    scores: Array
    wrong: Array


def evaluate_cache(
    path: Path,
    encoder: Encoder,
    encoder_name: str,
    guarantee: tuple[float, float] = (RISK, DELTA),
    labels: int = LABELS,
    resamples: int = RESAMPLES,
    cached: int = CACHED,
) -> StreamReport:
    """Evaluate a file of requests. Raises: ConfigError if there is too little in it to cache some and ask others."""
    risk, delta = guarantee
    requests = read_stream(path)
    vectors = encoder.encode([each.text for each in requests])
    rng = np.random.default_rng(_SEED)
    worlds = [_split(path, requests, cached, rng) for _ in range(min(CACHES, resamples))]
    ours = [_by_score(requests, vectors, *world) for world in worlds]
    cosine = [_by_cosine(requests, vectors, *world) for world in worlds]
    draws = [
        rng.integers(len(world[1]), size=(len(part), labels))
        for world, part in zip(worlds, np.array_split(np.arange(resamples), len(worlds)), strict=True)
    ]
    promised = (risk, delta)
    rules = (
        _tried("score of the answer, tested", ours, draws, promised),
        _tried("cosine, tested", cosine, draws, promised),
        _static(cosine, risk),
        _vcache(requests, vectors, risk, rng),
    )
    first_asked = [requests[row] for row in worlds[0][1]]
    return StreamReport(
        file=path.name,
        rows=len(requests),
        cached=len(worlds[0][0]),
        asked=len(first_asked),
        caches=len(worlds),
        unanswerable=float(np.mean([each.answer is None for each in first_asked])),
        reach=float(np.mean([1.0 - world.wrong.mean() for world in ours])),
        risk=risk,
        delta=delta,
        labels=labels,
        resamples=resamples,
        labels_missing=max(0, (smallest_n(0.0, risk, delta, binomial) or labels) - labels),
        encoder=encoder_name,
        rules=rules,
    )


def _split(path: Path, requests: Sequence[Request], cached: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Return the rows in the cache, drawn from each class, and all others."""
    classes: dict[str, list[int]] = defaultdict(list)
    for row, each in enumerate(requests):
        if each.answer is not None:
            classes[each.answer].append(row)
    if len(classes) < 2 or min(map(len, classes.values()), default=0) <= cached:
        rule = f"must have two classes or more, each of more than the {cached} rows that are cached"
        raise ConfigError(f"{path}, column answer_class", rule)
    inside = np.concatenate([rng.permutation(rows)[:cached] for rows in classes.values()])
    return inside, np.setdiff1d(np.arange(len(requests)), inside)


def _entries(requests: Sequence[Request], vectors: Vectors, rows: Rows) -> Entries:
    chosen = [requests[row] for row in rows]
    return Entries([each.text for each in chosen], [each.answer or "" for each in chosen], vectors[rows])


def _by_score(requests: Sequence[Request], vectors: Vectors, inside: Rows, asked: Rows) -> Scored:
    """Score the rows asked as the cache does: metric and score are fitted on what is cached, and on no label."""
    plain = _entries(requests, vectors, inside)
    metric = fit_metric(plain.vectors, plain.answers)
    entries = Entries(plain.texts, plain.answers, unit(plain.vectors @ metric))
    found = ask(entries, [requests[row].text for row in asked], unit(vectors[asked] @ metric))
    return Scored(scores(found.signals, fit_score(entries)), _wrong(requests, asked, found.answers))


def _by_cosine(requests: Sequence[Request], vectors: Vectors, inside: Rows, asked: Rows) -> Scored:
    cosines = vectors[asked] @ vectors[inside].T
    nearest = [requests[row].answer for row in inside[cosines.argmax(axis=1)]]
    return Scored(cosines.max(axis=1).astype(np.float64), _wrong(requests, asked, nearest))


def _wrong(requests: Sequence[Request], asked: Rows, answers: Sequence[str | None]) -> Array:
    """Return 1.0 for each row whose answer is not the one found; a cached answer is never None."""
    pairs = zip(asked, answers, strict=True)
    return np.array([requests[row].answer != answer for row, answer in pairs], dtype=np.float64)


def _tried(name: str, worlds: Sequence[Scored], draws: Sequence[Rows], promised: tuple[float, float]) -> Rule:
    """Choose a threshold on every draw of labels, and count what it does to all rows."""
    risk, delta = promised
    found = []
    for world, rows in zip(worlds, draws, strict=True):
        values = learn_then_test_many(world.scores, world.wrong, steps_of(world.scores), risk, delta, rows, binomial)
        found.append(_outcomes(world, values))
    return _rule(name, np.concatenate(found), risk, draws[0].shape[1])


def _outcomes(world: Scored, thresholds: Array) -> Array:
    """Return (served, served wrongly) for every threshold."""
    order = np.argsort(world.scores, kind="stable")
    wrong = np.concatenate([[0.0], np.cumsum(world.wrong[order][::-1])])[::-1]
    first = np.searchsorted(world.scores[order], thresholds, side="left")
    n = len(world.scores)
    return np.stack([1.0 - first / n, wrong[first] / n], axis=1)


def _rule(name: str, outcomes: Array, risk: float, labels: float) -> Rule:
    hits, wrong = outcomes.mean(axis=0).tolist()
    worst = float(outcomes[:, 1].max())
    return Rule(name, hits, wrong, worst, float(np.mean(outcomes[:, 1] > risk)), labels)


def _static(worlds: Sequence[Scored], risk: float) -> Rule:
    outcomes = np.concatenate([_outcomes(world, np.array([STATIC])) for world in worlds])
    return _rule(f"cosine, {STATIC} always", outcomes, risk, 0)


def _vcache(requests: Sequence[Request], vectors: Vectors, risk: float, rng: np.random.Generator) -> Rule:
    """Stream all rows through a cache that starts empty; each comparison with a model's answer is a label.

    That is what the rule is made for: with several cached questions for each answer it would learn of each too slowly.
    """
    order = rng.permutation(len(requests)).tolist()
    found = vcache.stream(vectors, [each.answer for each in requests], order, risk, rng.random(len(order)))
    outcome = np.array([[found.hits, found.wrong]])
    return _rule("vCache's rule, all rows from empty", outcome, risk, found.compared * len(order))

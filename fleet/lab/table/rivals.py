"""The rivals of a table, which choose by the words of the question: nearest neighbours, and a line over TF-IDF."""

from __future__ import annotations

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from fleet.lab.metrics.curve import Array
from fleet.lab.table.files import Pool
from fleet.model.errors import ConfigError

NEIGHBOURS = 40
_PENALTY = 10.0


def knn(known: Pool, asked: Pool) -> float:
    """Return the share of good answers if the best model of the 40 nearest known questions is asked."""
    seen, new = _words(known, asked)
    likeness = np.asarray((new @ seen.T).todense())
    count = min(NEIGHBOURS, len(known))
    nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
    return _good(asked, known.good[nearest].mean(axis=1))


def tfidf(known: Pool, asked: Pool) -> float:
    """Return the share of good answers if the model is asked that a ridge regression over the words predicts best."""
    seen, new = _words(known, asked)
    return _good(asked, Ridge(alpha=_PENALTY).fit(seen, known.good).predict(new))


def oracle(asked: Pool) -> float:
    """Return the share of good answers if every question went to a model that answers it well, where there is one."""
    return float(asked.good.max(axis=1).mean())


def _words(known: Pool, asked: Pool):  # type: ignore[no-untyped-def]  # sparse matrices: scikit-learn has no types
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    try:
        seen = vectorizer.fit_transform(known.questions)
    except ValueError:
        raise ConfigError(known.name, "must have words in its questions") from None
    return seen, vectorizer.transform(asked.questions)


def _good(asked: Pool, predicted: Array) -> float:
    return float(asked.good[np.arange(len(asked)), predicted.argmax(axis=1)].mean())

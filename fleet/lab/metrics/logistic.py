"""Logistic regression that shrinks towards its starting point, by Newton's method.

scikit-learn's shrinks towards zero only and takes no offset; with few labels, shrinking towards the model that is
already known to be about right is the whole point.
"""

from __future__ import annotations

import numpy as np

from fleet.lab.learning.sample import Array, sigmoid

_STEPS = 50
_SMALL = 1e-9


def ridge_logistic(x: Array, good: Array, weights: Array, centre: Array, precision: Array, offset: Array) -> Array:
    """Return the b that minimises sum(weights x log-loss of offset + x b) + sum(precision x (b - centre)^2) / 2.

    `x` has a row per label; every precision is above 0, so there is exactly one minimum.
    """

    def objective(b: Array) -> float:
        odds = offset + x @ b
        loss = np.logaddexp(0.0, odds) - good * odds
        return float(weights @ loss + precision @ (b - centre) ** 2 / 2)

    b, value = centre, objective(centre)
    for _ in range(_STEPS):
        p = sigmoid(offset + x @ b)
        gradient = x.T @ (weights * (p - good)) + precision * (b - centre)
        curvature = (x.T * (weights * p * (1.0 - p))) @ x + np.diag(precision)
        step = np.linalg.solve(curvature, gradient)
        # Far from the minimum a full step can overshoot: halve it until it helps.
        while (nearer := objective(b - step)) > value and np.abs(step).max() > _SMALL:
            step = step / 2
        if np.abs(step).max() <= _SMALL:
            break
        b, value = b - step, nearer
    return b

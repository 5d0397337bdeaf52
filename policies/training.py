"""The side a job is on: models are trained on it, or calibrations learn from it. Never both, nor another side later.

A promise that is tested on jobs which the model was trained on would hold for those alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from policies.rules.sections import STRICT, Strict


@dataclass(frozen=True, slots=True)
class TrainingRules:
    """Whose collected contents models may be trained on: those of the `tenants` that agreed, nobody's by default.

    The `share` of their jobs is for training, and no calibration learns from those; calibrations have the others, and
    no model is trained on them. `goal` is the number of examples of a task that are wanted.
    """

    tenants: frozenset[str] = frozenset()
    share: float = 0.5
    goal: int = 1000

    __pydantic_config__: ClassVar[Strict] = STRICT

    def has(self, tenant: str, job_id: str) -> bool:
        """Return whether models may be trained on this job, so that no calibration may learn from it.

        It goes by a hash of its own, which has nothing to do with the jobs that are held out to judge a refit.
        """
        if tenant not in self.tenants:
            return False
        digest = hashlib.sha256(f"training:{tenant}.{job_id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64 < self.share

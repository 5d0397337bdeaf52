"""Files of the answers of many models to the same questions, as CSV with a header.

One row per question. Columns:

    task        the kind of question
    question    its text
    <model>     how good the model's answer was, from 0 to 1; the column's name has its size: `llama_3_1_8b`

The columns `id`, `origin` and `metric` are ignored; every other one is a model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fleet.lab.columns import read_chosen, refuse, refuse_blank
from fleet.lab.metrics.curve import Array
from fleet.model.errors import ConfigError

Indices = npt.NDArray[np.intp]

_TEXTS = ("task", "question")
_IGNORED = frozenset({"id", "origin", "metric"})
_SIZE = re.compile(r"(\d+)b(?![a-z0-9])")


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The answers of `models` to `questions`: `good[row, model]` is in [0, 1], and `task[row]` counts into `tasks`.

    `price[model]` is what an answer costs, up to a factor: by default the billions of the model's parameters, as where
    machines are rented.
    """

    name: str
    models: tuple[str, ...]
    price: Array
    tasks: tuple[str, ...]
    task: Indices
    questions: Sequence[str]
    good: Array

    def __len__(self) -> int:
        return len(self.questions)

    def rows(self, which: Indices) -> Pool:
        """Return the same pool with some of its rows, in this order, some perhaps more than once."""
        questions = [self.questions[row] for row in which]
        return replace(self, task=self.task[which], questions=questions, good=self.good[which])


def read_pools(first: Path, second: Path) -> tuple[Pool, Pool]:
    """Read two files of the same models; both pools count tasks alike.

    Raises: ConfigError that names file, line, column and rule; OSError if a file cannot be read.
    """
    one, other = _read(first), _read(second)
    if one.models != other.models:
        strange = sorted(set(one.models) ^ set(other.models))
        raise ConfigError(str(second), f"must have the models of {first}, in the same order; differs: {strange}")
    tasks = tuple(dict.fromkeys((*one.tasks, *other.tasks)))
    return _counted(one, tasks), _counted(other, tasks)


def read_targets(path: Path, price: Callable[[str], float | None]) -> Pool:
    """Read a file whose models are targets; `price` is None for a name that is none. Raises: as `read_pools`."""

    def price_of(path: Path, target: str) -> float:
        found = price(target)
        if found is None:
            refuse(
                path,
                "must be a target of the catalogue, perhaps with most tokens of an answer: llama-8b@128",
                1,
                target,
            )
        return found

    return _read(path, price_of)


def joined(one: Pool, other: Pool) -> Pool:
    """Return one pool with the rows of both, which were read together."""
    return replace(
        one,
        task=np.concatenate([one.task, other.task]),
        questions=[*one.questions, *other.questions],
        good=np.concatenate([one.good, other.good]),
    )


def _counted(pool: Pool, tasks: tuple[str, ...]) -> Pool:
    """Return the pool with tasks that count into `tasks`."""
    places = np.array([tasks.index(name) for name in pool.tasks], dtype=np.intp)
    return replace(pool, tasks=tasks, task=places[pool.task])


def _read(path: Path, price_of: Callable[[Path, str], float] | None = None) -> Pool:
    wanted, rows = read_chosen(path, lambda header: (*_TEXTS, *_models(path, header)))
    models = tuple(wanted[len(_TEXTS) :])
    for line, (task, question, *_) in rows:
        refuse_blank(path, task, line, "task")
        refuse_blank(path, question, line, "question")
    tasks = tuple(dict.fromkeys(fields[0] for _, fields in rows))
    return Pool(
        path.name,
        models,
        np.array([(price_of or _size)(path, name) for name in models]),
        tasks,
        np.array([tasks.index(fields[0]) for _, fields in rows], dtype=np.intp),
        [fields[1] for _, fields in rows],
        np.array([_goodness(path, line, models, fields[len(_TEXTS) :]) for line, fields in rows]),
    )


def _models(path: Path, header: Sequence[str]) -> list[str]:
    models = [name for name in header if name not in _IGNORED and name not in _TEXTS]
    if len(models) < 2:
        refuse(path, f"must have a column for each of two models or more, not {len(models)}", 1)
    return models


def _size(path: Path, model: str) -> float:
    found = _SIZE.search(model.lower())
    if found is None or int(found[1]) == 0:
        refuse(path, "must hold the billions of the model's parameters, such as 8b", 1, model)
    return float(found[1])


def _goodness(path: Path, line: int, models: Sequence[str], fields: Sequence[str]) -> list[float]:
    found = []
    for model, text in zip(models, fields, strict=True):
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        if not 0.0 <= value <= 1.0:
            refuse(path, f"must be a number from 0 to 1, not {text[:40]!r}", line, model)
        found.append(value)
    return found

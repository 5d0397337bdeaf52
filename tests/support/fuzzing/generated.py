"""Messages made up by Hypothesis: any bytes, any JSON, known fields with wrong values, mutated valid messages."""

from __future__ import annotations

import json
from typing import Any

from fuzzing.mutation import mutate
from fuzzing.oracles import Kind
from hypothesis import strategies as st

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


def messages(kind: Kind) -> st.SearchStrategy[bytes]:
    valid = st.sampled_from(kind.seeds)
    bodies = [document for seed in kind.seeds if (document := _document(seed)) is not None]
    wrong = [{name: st.just(value) | VALUES for name, value in body.items()} for body in bodies]
    return st.one_of(
        st.binary(max_size=400),
        VALUES.map(_written),
        *(st.fixed_dictionaries(fields).map(_written) for fields in wrong),
        st.builds(mutate, valid, st.randoms(use_true_random=False)),
    )


def _document(seed: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(seed)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _written(value: Any) -> bytes:
    return json.dumps(value).encode()

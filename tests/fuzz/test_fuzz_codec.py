"""A few seconds of what `make fuzz` does for minutes: no bytes break a reader, of whatever kind of message."""

from __future__ import annotations

from random import Random

import pytest
from fuzzing.generated import messages
from fuzzing.mutation import mutate
from fuzzing.oracles import KINDS, Kind
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MUTATIONS = 2_000


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def test_a_valid_message_of_every_kind_is_among_the_seeds(kind: Kind) -> None:
    assert kind.oracle(kind.seeds[0])


def test_a_mutated_message_is_read_in_full_or_turned_down(kind: Kind) -> None:
    """The oracle raises whatever the fleet would have met."""
    random = Random(7)
    accepted = [kind.oracle(mutate(random.choice(kind.seeds), random)) for _ in range(MUTATIONS)]

    assert MUTATIONS / 2 < accepted.count(False) < MUTATIONS


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_made_up_message_is_read_in_full_or_turned_down(kind: Kind, data: st.DataObject) -> None:
    kind.oracle(data.draw(messages(kind)))

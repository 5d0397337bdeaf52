"""What is there when a dispatcher starts is never looked through for garbage again; what comes later is."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from fleet.dispatch.garbage import spare_what_stays


class Ring:
    """Garbage only the collector finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def thresholds_as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)


def test_what_is_there_is_spared_and_what_comes_is_not() -> None:
    before = weakref.ref(Ring())
    stays = Ring()
    spare_what_stays()
    later = weakref.ref(Ring())
    gc.collect()

    assert before() is None
    assert later() is None
    assert gc.get_freeze_count() > 0
    assert not any(each is stays for each in gc.get_objects())

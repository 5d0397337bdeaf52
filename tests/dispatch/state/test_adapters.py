"""Whom a call asks beside a job's own way: second looks and comparisons ask what gave the answer, or what would."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from jobs_in_flight import in_flight
from structlog.testing import capture_logs

from fleet.dispatch.state.adapters import Adapters
from fleet.model.adapter import Alias, RegisteredAdapter
from fleet.model.attempt import Answer, Attempt, Usage
from fleet.model.calibration import Probe
from fleet.model.reason import Reason
from fleet.model.result import Shadow
from fleet.model.target import ServedAdapters
from fleet.settings.documents import load_rules
from queues.jetstream.stores.adapters import MemoryAdapters

RULES = load_rules(None, None, "local")
SMALL, LARGE = (
    replace(RULES.catalogue.targets[name], adapters=ServedAdapters(2)) for name in ("llama-8b", "llama-70b")
)
STABLE, EARLIER, OF_LARGE = (letter * 64 for letter in "abc")
SAID = Answer({"role": "assistant", "content": "yes"}, "stop", Usage(3, 1), "llama")
KEPT = Attempt(1, "llama-8b", Reason.ROUTED, 1.0, 2.0, SAID, 0.7, adapter=EARLIER)
BEFORE = replace(in_flight("1", "llama-8b"), attempts=(KEPT,))
OF_DIET = Shadow("job-1", "llama-8b", 1, 1.0, of_diet=True)


@pytest.fixture
async def adapters() -> Adapters:
    """What a dispatcher has heard: each of the two targets has a stable version for the job."""
    found = Adapters(MemoryAdapters(), SimpleNamespace(), lambda arm: RULES)
    registered = [
        RegisteredAdapter(name, target, frozenset({"nudge"}), aliases={Alias.STABLE: digest})
        for name, target, digest in (("small", "llama-8b", STABLE), ("large", "llama-70b", OF_LARGE))
    ]
    found._take({each.name: each for each in registered})
    return found


@pytest.mark.parametrize(
    ("changes", "target", "digest"),
    [
        ({"attempts": ()}, SMALL, STABLE),
        ({}, LARGE, OF_LARGE),
        ({"probe": Probe.SAMPLE}, SMALL, EARLIER),
        ({"probe": Probe.P_TRUE, "attempts": (replace(KEPT, adapter=None),)}, SMALL, None),
        ({"probe": Probe.PREFILL}, LARGE, None),
        ({"shadow": OF_DIET}, SMALL, EARLIER),
        ({"shadow": replace(OF_DIET, target="llama-70b", of_diet=False)}, LARGE, OF_LARGE),
    ],
    ids=["own way", "escalated", "sample", "base asked", "another model asked", "diets compared", "models compared"],
)
async def test_a_call_asks_for_the_adapter_that_it_is_about(adapters, changes, target, digest) -> None:
    assert adapters.of_call(target, replace(BEFORE, **changes), 3.0) == digest


async def test_a_bug_in_the_choice_leaves_the_call_to_the_base(adapters) -> None:
    of_no_attempt = replace(BEFORE, shadow=replace(OF_DIET, attempt=9))
    with capture_logs() as logged:
        assert adapters.of_call(SMALL, of_no_attempt, 3.0) is None
    assert [(each["event"], each["tenant"]) for each in logged] == [("adapter_not_chosen", "acme")]

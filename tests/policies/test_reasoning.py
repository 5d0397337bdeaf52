"""Models that think: the effort they are asked for, and the room they get."""

from dataclasses import replace

import pytest

from fleet.model.attempt import Answer, Usage
from fleet.model.calibration import OutputKind
from fleet.model.errors import ConfigError
from fleet.model.target import Capability, Effort, Reasoning
from fleet.settings.documents import load_rules
from policies import money
from policies.confidence.gates import Gate, first_failed
from policies.confidence.lookup import kind_of
from policies.features.needs import needs_of
from policies.reasoning import effort_for, room_for, thinks, with_room
from policies.rules.catalogue import catalogue_of

RULES = load_rules(None, None, "gpu")
NONE, MINIMAL, LOW, MEDIUM, HIGH, XHIGH, MAX = Effort
GPT = RULES.catalogue.targets["gpt-4o"]
SAID = {"messages": [{"role": "user", "content": "Hello."}]}
TOOLS = {"tools": [{"type": "function", "function": {"name": "book"}}]}


def thinker(*efforts, tokens=1_000, **more):
    able = GPT.capabilities | {Capability.REASONING}
    return replace(GPT, capabilities=able, reasoning=Reasoning(tokens, efforts, **more))


@pytest.mark.parametrize(
    ("efforts", "asked", "effort"),
    [
        ((NONE, LOW, MEDIUM), None, None),
        ((NONE, LOW, MEDIUM), "none", NONE),
        ((NONE, LOW, MEDIUM), "minimal", LOW),
        ((NONE, LOW, MEDIUM), "max", MEDIUM),
        ((MEDIUM, LOW), "none", LOW),
        ((LOW, XHIGH), "high", XHIGH),
        ((), "xhigh", XHIGH),
    ],
)
def test_the_effort_is_the_nearest_the_model_takes(efforts, asked, effort):
    assert effort_for({**SAID, "reasoning_effort": asked}, thinker(*efforts)) is effort


def test_a_model_that_does_not_reason_is_asked_for_no_effort():
    assert effort_for({**SAID, "reasoning_effort": "high"}, GPT) is None
    assert not thinks(SAID, GPT)


@pytest.mark.parametrize(
    ("target", "request_extra", "room"),
    [
        (thinker(LOW), {}, 1_000),
        (thinker(LOW), {"reasoning_effort": "none"}, 1_000),
        (thinker(), {"reasoning_effort": "none"}, 1_000),
        (thinker(NONE, LOW), {"reasoning_effort": "none"}, 0),
        (thinker(NONE, LOW), {"reasoning_effort": "low"}, 1_000),
        (thinker(NONE, LOW, with_tools=False), TOOLS, 0),
        (thinker(NONE, LOW), TOOLS, 1_000),
        (thinker(LOW), {"max_tokens": 10}, 1_000),
        (thinker(LOW), {"max_completion_tokens": 10}, 0),
        (thinker(LOW), {"max_completion_tokens": 10, "max_tokens": 10}, 0),
        (GPT, {}, 0),
    ],
)
def test_there_is_room_for_thinking_wherever_a_model_may_think(target, request_extra, room):
    request = SAID | request_extra
    assert room_for(request, target) == room
    quote = money.quote(request, needs_of(request, RULES.estimates), None, target, RULES)
    answer = request.get("max_completion_tokens") or request.get("max_tokens") or 4_096
    assert quote.output_tokens == answer + room
    assert quote.cost == quote.input_tokens * 2_500 + quote.output_tokens * 10_000


def test_the_room_of_a_small_context_is_kept_within_it():
    small = replace(thinker(LOW), context_tokens=1_200)
    request = SAID | {"max_tokens": 500}
    needs = needs_of(request, RULES.estimates)
    found = money.quote(request, needs, None, small, RULES)
    assert 500 < found.output_tokens < 1_200 - needs.input_tokens


def test_a_limit_of_the_answer_is_raised_and_one_of_everything_is_not():
    assert with_room(SAID | {"max_tokens": 10}, thinker(LOW))["max_tokens"] == 1_010
    for request in (SAID, SAID | {"max_completion_tokens": 10}, SAID | {"max_completion_tokens": 10, "max_tokens": 10}):
        assert with_room(request, thinker(LOW)) == request
    assert with_room(SAID | {"max_tokens": 10}, GPT)["max_tokens"] == 10


@pytest.mark.parametrize(
    ("limits", "usage", "is_trusted"),
    [
        ({"max_tokens": 50}, Usage(9, 1_050, reasoning_tokens=1_000), True),
        ({"max_tokens": 50}, Usage(9, 1_050, reasoning_tokens=1_040), False),
        ({"max_tokens": 50}, Usage(9, 50), True),
        ({"max_completion_tokens": 50}, Usage(9, 50, reasoning_tokens=40), True),
        ({}, Usage(9, 1_050, reasoning_tokens=1_000), False),
    ],
)
def test_an_answer_that_thinking_left_no_room_for_is_not_at_the_jobs_own_limit(limits, usage, is_trusted):
    answer = Answer({"role": "assistant", "content": "And so it"}, "length", usage, "m")
    gate = first_failed(answer, SAID | limits, tuple(Gate))
    assert (gate is None) is is_trusted


def test_what_was_thought_makes_an_answer_no_longer():
    answer = Answer({"role": "assistant", "content": "Yes"}, "stop", Usage(9, 900, reasoning_tokens=899), "m")
    assert kind_of(answer, SAID) is OutputKind.TOKEN


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"capabilities": GPT.capabilities}, "targets.gpt-4o.reasoning"),
        ({"reasoning": Reasoning(-1)}, "targets.gpt-4o.reasoning.tokens"),
        ({"reasoning": Reasoning(GPT.context_tokens)}, "targets.gpt-4o.reasoning.tokens"),
        ({"reasoning": Reasoning(0, (LOW,), with_tools=False)}, "targets.gpt-4o.reasoning.efforts"),
    ],
)
def test_a_section_that_makes_no_sense_is_refused_by_name(changes, field):
    with pytest.raises(ConfigError) as refused:
        catalogue_of([replace(thinker(LOW), **changes)])
    assert refused.value.field == field

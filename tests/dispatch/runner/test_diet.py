"""A diet in a dispatcher: what is sent, what is remembered, what is compared, and that it costs no job its answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from patience import eventually
from structlog.testing import capture_logs

from fleet.dispatch.runner.stages import diet as diets
from fleet.model.attempt import Answer, Attempt, Features, Usage
from fleet.model.diet import Diet
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry
from fleet.model.submission import Submission
from fleet.model.target import Capability
from policies.rules.diet import AnswerBudget, DietMode, DietRules

SMALL, TASK = "llama-8b", "classify.sentiment"
SURE = Features(-0.01, -0.01, -0.01, -0.01, -0.01, 1, 5.0, 0.01)
THREAD = [
    {"role": role, "content": f"turn {'of words ' * 6}{number}"}
    for number in range(6)
    for role in ("user", "assistant")
]
TOOLS = [{"type": "function", "function": {"name": name}} for name in ("look_up", "book")]
LONG = {"messages": [*THREAD, {"role": "user", "content": "Is it well?"}], "max_tokens": 8}


@pytest.fixture
def on(bench):
    """Put the task on a diet, in rules under which all of its calls are compared if they are drawn."""

    def build(threads="off", tools="off", **changes):
        diet = DietRules(DietMode(threads), DietMode(tools), **{"thread_tokens": 180, "compared": 0.0, **changes})
        tasks = {**bench.rules.tasks, TASK: replace(bench.rules.tasks[TASK], diet=diet)}
        bench.rules = replace(bench.rules, tasks=tasks, shadow=replace(bench.rules.shadow, kept=0.0))

    return build


def says(text, **message):
    return Answer({"role": "assistant", "content": text, **message}, "stop", Usage(10, 1), "scripted", SURE)


async def submit(bench, number, request):
    job_id = f"job-{number:016d}"
    await bench.desk.submit([Submission(job_id, lane=Lane.INTERACTIVE, task=TASK, request=request)])
    return await bench.result(job_id)


def sent(backend):
    return [call.request for batch in backend.batches for call in batch]


async def test_old_turns_stay_out_of_the_call_and_the_attempt_says_which(bench, on):
    on("on")
    backend = bench.backend(SMALL, lambda call: says("positive"))
    async with bench.running():
        result = await submit(bench, 1, LONG)
    [attempt], [request] = result.attempts, sent(backend)
    assert attempt.diet.messages == ((2, 8),) and attempt.diet.message_tokens > 100
    assert request["messages"] == [*LONG["messages"][:2], *LONG["messages"][8:]]
    assert [line["attempt"]["diet"]["messages"] for line in bench.ledger()] == [[[2, 8]]]


async def test_a_thread_that_goes_on_at_once_goes_out_with_the_same_beginning(bench, on):
    on("on")
    backend = bench.backend(SMALL, lambda call: says("positive"))
    grown = {**LONG, "messages": [*LONG["messages"], *THREAD[-1:], *THREAD, {"role": "user", "content": "And now?"}]}
    async with bench.running():
        await submit(bench, 1, LONG)
        await submit(bench, 2, grown)
        await submit(bench, 3, {**grown, "messages": grown["messages"][1:]})  # another thread: it is cold
    first, second, other = sent(backend)
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert len(second["messages"]) == len(grown["messages"]) - 6 > len(other["messages"])


async def test_an_answer_that_lacks_a_tool_is_asked_for_again_with_all_of_them(bench, on, with_target):
    with_target(SMALL, capabilities=frozenset(Capability))
    on(tools="on", tool_jobs=2, tool_use=0.99)
    book = [{"id": "c1", "type": "function", "function": {"name": "book", "arguments": "{}"}}]
    texts = iter(["positive", "positive", "I lack the tool to book.", says(None, tool_calls=book), "positive"])
    backend = bench.backend(SMALL, lambda call: each if isinstance(each := next(texts), Answer) else says(each))
    request = {"messages": [{"role": "user", "content": "Is it well?"}], "tools": TOOLS}
    async with bench.running():
        results = [await submit(bench, number, request) for number in range(4)]
    assert [len(each.get("tools", ())) for each in sent(backend)] == [2, 2, 0, 2, 1]
    restored = results[2]
    assert [each.reason for each in restored.attempts] == [Reason.ROUTED, Reason.TOOLS_RESTORED]
    assert restored.answer.message["tool_calls"] and restored.attempts[0].diet.tools == (0, 1)
    assert results[3].attempts[0].diet.tools == (0,)  # what was asked for is kept from then on


@pytest.mark.parametrize(
    ("mode", "second", "agreed"),
    [("shadow", "positive", True), ("shadow", "negative", False), ("on", "positive", True)],
)
async def test_a_drawn_call_is_made_the_other_way_as_well_and_compared(bench, on, mode, second, agreed):
    on(mode, compared=1.0)
    texts = iter(["positive", second])
    backend = bench.backend(SMALL, lambda call: says(next(texts)))
    async with bench.running():
        result = await submit(bench, 1, LONG)
        await eventually(lambda: len(bench.ledger()) == 2)
    lengths = [len(each["messages"]) for each in sent(backend)]
    assert lengths == ([13, 7] if mode == "shadow" else [7, 13])
    assert result.attempts[0].diet.shadow is (mode == "shadow") and result.answer.text == "positive"
    [line] = [each for each in bench.ledger() if each["reason"] == "shadow"]
    assert line["attempt"]["diet"]["agreed"] is agreed and line["id"] == result.job_id
    assert not bench.broker.stored("feedback")  # it says nothing of the target


async def test_a_bug_in_the_diet_costs_no_answer(bench, on, monkeypatch):
    def fails(*_):
        raise RuntimeError("a bug")

    on("on", "on")
    monkeypatch.setattr(diets, "diet_of", fails)
    backend = bench.backend(SMALL, lambda call: says("positive"))
    with capture_logs() as lines:
        async with bench.running():
            result = await submit(bench, 1, LONG)
    assert sent(backend) == [LONG] and result.attempts[0].diet is None
    assert [each["event"] for each in lines if each["log_level"] == "error"] == ["diet_not_made"]


async def test_a_thread_beyond_the_window_is_trimmed_instead_of_refused(bench, on):
    on("on", thread_tokens=100_000)
    bench.backend(SMALL, lambda call: says("positive"))
    long = {**LONG, "messages": [*THREAD * 4, *LONG["messages"]]}
    async with bench.running():
        result = await submit(bench, 1, long)
    assert result.target == SMALL and result.attempts[0].diet.messages


def test_both_comparisons_of_a_job_have_lines_of_their_own_in_the_ledger():
    with_a_stronger = Attempt(2, "llama-70b", Reason.SHADOW, 1.0, 2.0, says("positive"))
    of_diet = replace(with_a_stronger, target=SMALL, diet=Diet(((2, 8),), 100, shadow=True))
    told = (Lane.BULK, 2.0, Reason.SHADOW, TASK, "paid", None)
    lines = [LedgerEntry("job-0000000000000001", "acme", *told, attempt) for attempt in (with_a_stronger, of_diet)]
    assert [entry.line for entry in lines] == ["2", "2.diet"]


CLOUD = "gpt-4o"


async def test_a_short_answer_is_limited_recorded_and_judged_by_no_calibration(bench, on):
    on(answers={SMALL: AnswerBudget(6, 5)})
    backend = bench.backend(SMALL, lambda call: says("positive"))
    request = {"messages": [{"role": "user", "content": "Is it well?"}], "max_tokens": 40}
    async with bench.running():
        result = await submit(bench, 1, request)
    [attempt], [call] = result.attempts, sent(backend)
    assert call["max_tokens"] == 6 and call["messages"][0]["content"] == "Answer in at most 5 words."
    assert (attempt.diet.answer_tokens, attempt.diet.answer_words) == (6, 5)
    assert attempt.judged.calibration is None and attempt.confidence == pytest.approx(0.99, abs=0.01)
    [line] = bench.ledger()
    assert line["attempt"]["diet"] == {"answer_tokens": 6, "answer_words": 5}


async def test_a_short_answer_that_is_cut_off_is_not_delivered(bench, on):
    on(answers={SMALL: AnswerBudget(6)})
    bench.backend(SMALL, lambda call: replace(says("It is, and I"), finish_reason="length", usage=Usage(10, 6)))
    bench.backend("mixtral-8x7b", lambda call: says("positive"))
    async with bench.running():
        result = await submit(bench, 1, {"messages": LONG["messages"]})
    assert [each.target for each in result.attempts] == [SMALL, "mixtral-8x7b"]
    assert result.attempts[1].diet is None and result.answer.text == "positive"


async def test_a_short_answer_is_paid_for_within_what_was_set_aside(bench, on):
    on(answers={CLOUD: AnswerBudget(6)})
    backend = bench.backend(CLOUD, lambda call: says("positive"))
    request = {"messages": [{"role": "user", "content": "Is it well?"}], "model": CLOUD, "max_completion_tokens": 90}
    async with bench.running():
        await submit(bench, 1, request)
    [call] = sent(backend)
    assert call["max_completion_tokens"] == 6 and "max_tokens" not in call

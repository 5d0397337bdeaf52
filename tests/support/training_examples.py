"""Contents, feedback and examples out of which training data is made in tests. Everything in them is invented."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fleet.lab.data.examples import Example, Origin, Source, Teacher
from fleet.model.content import Content, GivenAnswer
from fleet.model.feedback import Feedback, Verdict, Witness
from fleet.model.reason import Reason
from fleet.settings.documents import load_rules
from policies.rules.rules import Rules
from policies.training import TrainingRules

TASK = "plan.schedule"
SMALL, LARGE = "llama-8b", "llama-70b"


def agreed_rules(*tenants: str, share: float = 1.0) -> Rules:
    """The shipped rules, with a task that is collected and these tenants' agreement."""
    rules = load_rules(None, None, "local")
    tasks = {**rules.tasks, TASK: replace(rules.tasks[TASK], collect=True)}
    return replace(rules, tasks=tasks, training=TrainingRules(frozenset(tenants or ("acme",)), share))


def given(target: str, text: str | None = None, **changes: Any) -> GivenAnswer:
    """An answer of a target; without a text it is the delivered one."""
    message = None if text is None else {"role": "assistant", "content": text}
    answer = GivenAnswer(target, target, Reason.ROUTED, "fleet", delivered=text is None, message=message)
    return replace(answer, **changes)


def content(number: int, *answers: GivenAnswer, text: str = "Both: laptop", **changes: Any) -> Content:
    """A content of a job that these targets answered; without any, the small one did."""
    request = {"messages": [{"role": "user", "content": f"Which session can both join? Case {number}"}]}
    answers = answers or (given(SMALL),)
    target = next((each.target for each in answers if each.delivered), None)
    message = {"role": "assistant", "content": text}
    made = Content(
        f"job-{number:012d}", "acme", TASK, 100.0 + number, request, message, target, None, "succeeded", answers
    )
    return replace(made, **changes)


def said(number: int, verdict: Verdict, source: Witness = Witness.USER, **changes: Any) -> Feedback:
    """Feedback on the answer of the content of this number."""
    name = f"feedback-{number:08d}-{verdict}"
    return replace(Feedback(f"job-{number:012d}", "acme", verdict, 200.0, source, id=name), **changes)


def example(number: int, prompt: str | None = None, answer: str = "Both: laptop", **changes: Any) -> Example:
    """An example whose prompt is like no other's unless it is given."""
    asked = prompt or " ".join(f"w{number * 31 + place * 7919}" for place in range(9))
    messages = ({"role": "system", "content": "You plan."}, {"role": "user", "content": asked})
    made = Example(
        TASK,
        (Source("acme", f"job-{number:012d}", 100.0 + number),),
        Origin.ESCALATED,
        messages,
        {"role": "assistant", "content": answer},
        Teacher(LARGE, "fleet", LARGE),
    )
    return replace(made, **changes)

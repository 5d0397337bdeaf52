"""The tasks the stand-in models are trained and scored on: generator and checker.

All people, teams and projects are invented. Held-out examples use names and numbers that no training example contains
(see `vocabulary`).
"""

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from deployments.standins import vocabulary as words
from deployments.standins.vocabulary import Split

Tier = Literal["simple", "medium", "complex"]
Message = dict[str, str]

SIMPLE_TASKS: Final = (
    "nudge.recognition",
    "nudge.onboarding",
    "classify.intent",
    "classify.sentiment",
    "extract.fields",
)
MEDIUM_TASKS: Final = ("plan.schedule", "recommend.next_step")
COMPLEX_TASKS: Final = ("analyse.divergence", "report.totals")
TASKS: Final = SIMPLE_TASKS + MEDIUM_TASKS + COMPLEX_TASKS

SYSTEM_PROMPT: Final = "You are an HR assistant."

# Words of a nudge that carry no fact; everything else in the reference must come back, in order.
_FILLER: Final = frozenset(
    ("a", "an", "day", "finish", "for", "please", "thank", "the", "to", "welcome", "your", "you")
)


@dataclass(frozen=True, slots=True)
class TaskExample:
    """A chat request and its reference answer. `messages` is in the chat format of OpenAI, without the answer."""

    task: str
    tier: Tier
    messages: tuple[Message, ...]
    answer: str


def tier_of(task: str) -> Tier:
    """Return the tier of a task.

    Raises: KeyError if the task is unknown.
    """
    return _TIERS[task]


def examples(split: Split, seed: int, n: int, task: str | None = None) -> Iterator[TaskExample]:
    """Yield `n` examples, of one task or of all tasks in turn; the same arguments give the same examples."""
    rng = random.Random(f"{split}/{seed}/{task}")
    names = (task,) if task is not None else TASKS
    for index in range(n):
        yield make_example(names[index % len(names)], split, rng)


def make_example(task: str, split: Split, rng: random.Random) -> TaskExample:
    """Draw one example of `task`.

    Raises: KeyError if the task is unknown.
    """
    prompt, answer = _WRITERS[task](_Facts(split, rng))
    system = ({"role": "system", "content": SYSTEM_PROMPT},) if rng.random() < 0.15 else ()
    return TaskExample(task, tier_of(task), (*system, {"role": "user", "content": prompt}), answer)


def is_correct(task: str, answer: str, text: str) -> bool:
    """Return whether `text` agrees with the reference `answer`: equal JSON, same facts in order, or same label."""
    if task == "extract.fields":
        return _json_or_none(text) == json.loads(answer)
    if task.startswith("nudge."):
        return _facts(text) == _facts(answer)
    return text.strip().rstrip(".").casefold() == answer.casefold()


def _json_or_none(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _facts(text: str) -> list[str]:
    return [word for word in re.findall(r"\w+", text) if word.casefold() not in _FILLER]


class _Facts:
    """Draws facts of one split; names within one example are all different."""

    def __init__(self, split: Split, rng: random.Random) -> None:
        self.split = split
        self.rng = rng
        self._used: set[str] = set()

    def person(self) -> str:
        return self._fresh(words.draw_person)

    def group(self) -> str:
        return self._fresh(words.draw_group)

    def number(self, low: int = 10, high: int = 99) -> int:
        return words.draw_number(self.rng, self.split, low, high)

    def _fresh(self, draw: Callable[[random.Random, Split], str]) -> str:
        while (name := draw(self.rng, self.split)) in self._used:
            pass
        self._used.add(name)
        return name


def _recognition(facts: _Facts) -> tuple[str, str]:
    manager, colleague, project = facts.person(), facts.person(), facts.group()
    deed = facts.rng.choice(words.DEEDS)
    prompt = facts.rng.choice(
        (
            f"Write a recognition nudge.\nManager: {manager}\nColleague: {colleague}\nDeed: {deed} {project}",
            f"Write a recognition nudge for {manager}.\n{colleague} {deed} {project}.",
        )
    )
    return prompt, f"{manager}, please thank {colleague}: {deed} {project}."


def _onboarding(facts: _Facts) -> tuple[str, str]:
    name, team, day = facts.person(), facts.group(), facts.number()
    step = facts.rng.choice(words.STEPS)
    prompt = facts.rng.choice(
        (
            f"Write an onboarding nudge.\nNew hire: {name}\nTeam: {team}\nDay: {day}\nOpen step: {step}",
            f"Write an onboarding nudge for {name}, day {day} in {team}.\nOpen step: {step}",
        )
    )
    return prompt, f"Welcome to {team}, {name}! Day {day}: please finish the {step}."


def _intent(facts: _Facts) -> tuple[str, str]:
    label = facts.rng.choice(tuple(words.INTENTS))
    core = facts.rng.choice(words.INTENTS[label])
    frame = facts.rng.choice(words.INTENT_FRAMES)
    message = frame.format(core=core, day=facts.number(), team=facts.group(), other=facts.person())
    options = ", ".join(words.INTENTS)
    return f"Classify the intent: {options}.\n{facts.person()}: {message}", label


def _sentiment(facts: _Facts) -> tuple[str, str]:
    rng = facts.rng
    label = rng.choice(("positive", "neutral", "negative"))
    if label == "neutral":
        state = rng.choice(words.FLAT).format(day=facts.number(), other=facts.person())
    else:
        negated = rng.random() < 0.4
        state = rng.choice(words.GOOD if (label == "positive") != negated else words.BAD)
        state = f"not {state}" if negated else state
    text = f"{facts.person()}: The {rng.choice(words.TOPICS)} with {facts.group()} was {state}."
    return f"Classify the sentiment: positive, neutral, negative.\n{text}", label


def _extract(facts: _Facts) -> tuple[str, str]:
    name, team, day = facts.person(), facts.group(), facts.number()
    text = facts.rng.choice(
        (
            f"{name} joins {team} on day {day}.",
            f"On day {day} {team} welcomes {name}.",
            f"{team} gets {name} from day {day} on.",
        )
    )
    answer = json.dumps({"name": name, "team": team, "day": day})
    return f"Extract name, team and day as JSON.\n{text}", answer


def _schedule(facts: _Facts) -> tuple[str, str]:
    """Ask for the one session that both can join."""
    common, *others = facts.rng.sample(words.COURSES, 5)
    first, second = [common, *others[:2]], [common, *others[2:]]
    facts.rng.shuffle(first)
    facts.rng.shuffle(second)
    prompt = (
        f"{facts.person()} can join {', '.join(first)}.\n{facts.person()} can join {', '.join(second)}.\n"
        f"Which session with {facts.group()} can both join?"
    )
    return prompt, f"Both: {common}"


def _next_step(facts: _Facts) -> tuple[str, str]:
    """Ask for the first course of the path that is not done; the done ones come in any order."""
    path = facts.rng.sample(words.COURSES, 4)
    target = facts.rng.randrange(4)
    done = path[:target] + [course for course in path[target + 1 :] if facts.rng.random() < 0.5]
    facts.rng.shuffle(done)
    prompt = f"{facts.person()} has done {', '.join(done) or 'nothing'}.\nPath: {', '.join(path)}.\nNext step?"
    return prompt, f"Next: {path[target]}"


def _divergence(facts: _Facts) -> tuple[str, str]:
    """Ask for the row with the largest gap between two ratings; the runner-up is at least twelve points closer."""
    while True:
        ratings = [(facts.number(), facts.number()) for _ in range(3)]
        gaps = [abs(own - peers) for own, peers in ratings]
        top, second = sorted(gaps, reverse=True)[:2]
        if top - second >= 12:
            break
    rows = [f"{row}: {facts.person()} {own} {peers}" for row, (own, peers) in zip("ABC", ratings, strict=True)]
    return "\n".join(("Ratings by self and peers.", *rows, "Largest gap?")), "ABC"[gaps.index(top)]


def _totals(facts: _Facts) -> tuple[str, str]:
    """Ask for the running totals after the second and the third person."""
    hours = [facts.number(10, 39) for _ in range(3)]
    rows = ", ".join(f"{facts.person()} {hour}" for hour in hours)
    return f"Hours on {facts.group()}: {rows}.\nRunning totals?", f"{hours[0] + hours[1]}, {sum(hours)}"


_WRITERS: Final[dict[str, Callable[[_Facts], tuple[str, str]]]] = {
    "nudge.recognition": _recognition,
    "nudge.onboarding": _onboarding,
    "classify.intent": _intent,
    "classify.sentiment": _sentiment,
    "extract.fields": _extract,
    "plan.schedule": _schedule,
    "recommend.next_step": _next_step,
    "analyse.divergence": _divergence,
    "report.totals": _totals,
}
_TIERS: Final[dict[str, Tier]] = {
    **dict.fromkeys(SIMPLE_TASKS, "simple"),
    **dict.fromkeys(MEDIUM_TASKS, "medium"),
    **dict.fromkeys(COMPLEX_TASKS, "complex"),
}

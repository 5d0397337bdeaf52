"""Trims generated threads and counts results of tools that lost their call, beside a window of the newest messages.

The threads are drawn from a seed: one to twelve turns, with answers that call one to four tools at once, whose results
come in any order. Half of them are then damaged, as histories in the wild are: messages lost or swapped, calls without
results, results without calls, an id that comes twice, rules in the middle, a beginning that was cut off.

Each thread is trimmed to a random budget. `orphaned_results` answer no call of the assistant's message before them,
`unanswered_calls` have no result; both are counted only if they were not in the thread before. `refused_openai` and
`refused_anthropic` are threads that were whole, and that the fleet's own adapters refuse once they are trimmed. The
`window_...` figures are those of the newest messages that fit, which is what most trimming does.

The rest is the price of long threads, in input tokens at the full price, with reads at 0.1 and writes at 1.25 of it. A
thread's turns come after pauses, some of them longer than the provider's cache lives. `price_whole` sends all,
`price_window` the newest messages that fit, `price_diet` what `policies.diet` decides; the last two are shares of the
first. `changed_...` counts the turns that began otherwise than the turn before.

    python -m benchmarks.diet [--threads 100000] [--seed 15] [--json]
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from benchmarks.report import show
from fleet.model.errors import InvalidJob
from fleet.model.job import Job, Lane, Plan
from fleet.providers.anthropic.turns import turns_of
from fleet.providers.history import require_answered_calls
from fleet.settings.documents import load_rules
from policies.diet import threads
from policies.diet.counting import message_tokens
from policies.diet.decision import Sent, diet_of
from policies.rules.diet import DietMode, DietRules
from policies.rules.rules import Rules
from policies.rules.sections import Estimates

Message = Mapping[str, Any]
Thread = list[Message]

ESTIMATES = Estimates(4.0, 1500, 256)
READ, WRITE = 0.1, 1.25
TASK, TARGET = "chat", "claude-sonnet"
PRICED = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    show({**trimmed(arguments.threads, arguments.seed), **priced(PRICED, arguments.seed)}, arguments.json)


def trimmed(count: int, seed: int) -> dict[str, float]:
    """Trim so many threads; return what came of them."""
    chance, found = random.Random(seed), Counter[str]()
    for number in range(count):
        found.update(_trimmed(drawn_thread(chance, is_damaged=number % 2 == 1), chance))
    names = ("threads", "trimmed", "orphaned_results", "unanswered_calls", "refused_openai", "refused_anthropic")
    window = ("window_orphaned_results", "window_unanswered_calls")
    kept = 1 - found["tokens_after"] / max(1, found["tokens_before"])
    return {**{name: float(found[name]) for name in (*names, *window)}, "tokens_left_out_share": kept}


def _trimmed(thread: Thread, chance: random.Random) -> Counter[str]:
    tokens = [message_tokens(each, ESTIMATES) for each in thread]
    budget = int(sum(tokens) * chance.uniform(0.1, 1.1))
    left = threads.without(
        thread, threads.cut(threads.thread_of(thread), tokens, budget, chance.choice((0.3, 0.6, 0.9)))
    )
    window = _window(thread, tokens, budget)
    orphans, unanswered = orphaned(thread)
    found = Counter({"threads": 1, "trimmed": len(left) < len(thread)})
    for name, kept in (("", left), ("window_", window)):
        now = orphaned(kept)
        found[f"{name}orphaned_results"] = len(now[0] - orphans)
        found[f"{name}unanswered_calls"] = len(now[1] - unanswered)
    if _is_taken(thread):
        found["refused_openai"] = not _is_taken(left)
        found["refused_anthropic"] = not _takes_turns(left)
    found["tokens_before"] = sum(tokens)
    found["tokens_after"] = sum(message_tokens(each, ESTIMATES) for each in left)
    return found


def orphaned(thread: Sequence[Message]) -> tuple[set[int], set[tuple[int, str]]]:
    """Return the results that answer no call of the assistant's message before them, and the calls without a result.

    They are named by their messages' identities, which trimming does not change.
    """
    orphans: set[int] = set()
    unanswered: set[tuple[int, str]] = set()
    asking: Message = {}
    for message in thread:
        if message["role"] == "assistant":
            asking = message
            unanswered |= {(id(message), call["id"]) for call in message.get("tool_calls") or ()}
        elif message["role"] == "tool":
            if all(call["id"] != message["tool_call_id"] for call in asking.get("tool_calls") or ()):
                orphans.add(id(message))
            unanswered.discard((id(asking), message["tool_call_id"]))
    return orphans, unanswered


def _is_taken(thread: Sequence[Message]) -> bool:
    try:
        require_answered_calls(thread)
    except InvalidJob:
        return False
    return True


def _takes_turns(thread: Sequence[Message]) -> bool:
    """Return whether the thread makes turns of Anthropic's: in turn, and each call answered in the turn after it."""
    try:
        _, turns = turns_of(thread, "Be brief.")
    except InvalidJob:
        return False
    roles = [turn["role"] for turn in turns]
    asked: set[str] = set()
    for turn in turns:
        results = {block["tool_use_id"] for block in turn["content"] if block["type"] == "tool_result"}
        if results != asked:
            return False
        asked = {block["id"] for block in turn["content"] if block["type"] == "tool_use"}
    return not asked and roles[0] == roles[-1] == "user" and all(a != b for a, b in pairwise(roles))


def _window(thread: Thread, tokens: Sequence[int], budget: int) -> Thread:
    """Return the newest messages that fit, with the rules at the beginning."""
    rules = [each for each in thread[:1] if each["role"] == "system"]
    at, left = len(thread), budget
    while at > len(rules) and tokens[at - 1] <= left:
        at -= 1
        left -= tokens[at]
    return [*rules, *thread[at:]]


def drawn_thread(chance: random.Random, is_damaged: bool) -> Thread:
    """Return a thread of one to twelve turns."""
    thread: Thread = [{"role": "system", "content": "Be brief."}] if chance.random() < 0.7 else []
    ids = iter(range(10**6))
    for _ in range(chance.randint(1, 12)):
        thread.extend(_turn(chance, ids))
    if chance.random() < 0.6:
        thread.append({"role": "user", "content": _words(chance)})
    return _damaged(thread, chance) if is_damaged else thread


def _turn(chance: random.Random, ids: Iterator[int]) -> Iterator[Message]:
    for _ in range(1 if chance.random() < 0.9 else 2):
        yield {"role": "user", "content": _words(chance)}
    for _ in range(chance.choice((0, 0, 1, 1, 2, 4))):
        calls = [f"call_{next(ids)}" for _ in range(chance.randint(1, 4))]
        functions = [
            {"id": each, "type": "function", "function": {"name": "look", "arguments": "{}"}} for each in calls
        ]
        yield {
            "role": "assistant",
            "content": _words(chance) if chance.random() < 0.3 else None,
            "tool_calls": functions,
        }
        chance.shuffle(calls)
        for each in calls:
            yield {"role": "tool", "tool_call_id": each, "content": _words(chance)}
    yield {"role": "assistant", "content": _words(chance)}


def _words(chance: random.Random) -> str:
    return "word " * int(1 + 60 * chance.random() ** 3)


def _damaged(thread: Thread, chance: random.Random) -> Thread:
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(thread) or 1)
        match chance.choice(("lost", "swapped", "cut off", "rules", "once more", "unanswered", "stray")):
            case "lost":
                del thread[at : at + 1]
            case "swapped" if at + 1 < len(thread):
                thread[at], thread[at + 1] = thread[at + 1], thread[at]
            case "cut off":
                del thread[: at // 2]
            case "rules":
                thread.insert(at, {"role": chance.choice(("system", "developer")), "content": "Be polite."})
            case "once more" if thread:
                thread.insert(chance.randrange(len(thread) + 1), dict(thread[at]))
            case "unanswered":
                calls = [{"id": "call_open", "type": "function", "function": {"name": "look", "arguments": "{}"}}]
                thread.insert(at, {"role": "assistant", "content": None, "tool_calls": calls})
            case "stray":
                thread.insert(at, {"role": "tool", "tool_call_id": f"call_{chance.randrange(20)}", "content": "?"})
            case _:  # too short for it
                pass
    return thread or [{"role": "user", "content": "?"}]


def priced(count: int, seed: int) -> dict[str, float]:
    """Return what long threads cost by each way, and how often their beginnings changed."""
    shipped = load_rules(None, None, "gpu")
    diet = DietRules(threads=DietMode.ON, thread_tokens=8_000)
    rules = replace(shipped, tasks={**shipped.tasks, TASK: replace(shipped.tasks[TASK], diet=diet)})
    chance, price = random.Random(seed), Counter[str]()
    for _ in range(count):
        price.update(_price(_long_thread(chance), rules))
    return {
        name: price[name] / price["price_whole"] if name.startswith("price") else float(price[name]) for name in price
    }


def _long_thread(chance: random.Random) -> list[tuple[float, Thread]]:
    """Return the thread at each of its turns, with the time of the turn: short pauses, and now and then a long one."""
    thread: Thread = [{"role": "system", "content": "Be brief. " * 150}]
    now, turns = 0.0, []
    for _ in range(chance.randint(10, 40)):
        now += 7_200.0 if chance.random() < 0.2 else 60.0
        thread.append({"role": "user", "content": "word " * chance.randint(20, 400)})
        turns.append((now, list(thread)))
        thread.append({"role": "assistant", "content": "word " * chance.randint(100, 900)})
    return turns


def _price(turns: Sequence[tuple[float, Thread]], rules: Rules) -> Counter[str]:
    found, before = Counter[str](), dict[str, Thread]()
    target, sent, last_at = rules.catalogue.targets[TARGET], None, 0.0
    for at, thread in turns:
        job = Job(id="0" * 16, tenant="acme", lane=Lane.STANDARD, task=TASK, plan=Plan.PAID, submitted_at=at,
                  request={"messages": thread})  # fmt: skip
        diet = diet_of(job, (), target, sent, frozenset(), at, rules)
        left_out = () if diet is None else diet.messages
        sent = Sent(left_out, at)
        tokens = [message_tokens(each, ESTIMATES) for each in thread]
        ways = {"whole": thread, "window": _window(thread, tokens, 8_000), "diet": threads.without(thread, left_out)}
        for name, messages in ways.items():
            is_warm = at - last_at <= 300.0
            found[f"price_{name}"] += round(_turn_price(messages, before.get(name, []) if is_warm else []))
            found[f"changed_{name}"] += _begins_otherwise(messages, before.get(name, []))
            before[name] = messages
        last_at = at
    return found


def _turn_price(thread: Thread, cached: Thread) -> float:
    alike = 0
    while alike < min(len(thread), len(cached)) and thread[alike] is cached[alike]:
        alike += 1
    sizes = [message_tokens(each, ESTIMATES) for each in thread]
    return READ * sum(sizes[:alike]) + WRITE * sum(sizes[alike:])


def _begins_otherwise(thread: Thread, before: Thread) -> bool:
    return any(one is not other for one, other in zip(before, thread, strict=False)) or len(before) > len(thread)


if __name__ == "__main__":
    main()

"""How the process that runs batches submits their rows."""

from __future__ import annotations

from fleet.app.batches import price_of_rows, run_settings
from fleet.app.worker import rules_of
from fleet.model.errors import QueueUnavailable
from fleet.model.scaling import Load
from fleet.model.submission import Submission
from fleet.settings.environment import load
from queues.jetstream.stores.load import MemoryLoads


def row(number: int, team: str) -> Submission:
    messages = [{"role": "system", "content": f"Notes about {team}. " * 20}, {"role": "user", "content": str(number)}]
    return Submission(f"row-{number:016d}", "chat", {"messages": messages})


def test_rows_whose_prompts_begin_alike_follow_each_other():
    rows = [row(number, team) for number, team in enumerate(("sales", "support", "sales", "support", "sales"))]
    assert list(run_settings(load(), MemoryLoads()).order(rows)) == [0, 2, 4, 1, 3]


def load_of(dispatcher: str, *serves: str, own_key_only: tuple[str, ...] = ()) -> Load:
    return Load(dispatcher, 1.0, serves=frozenset(serves), own_key_only=frozenset(own_key_only))


OWN = ("llama-8b", "mixtral-8x7b", "llama-70b")


def test_a_row_may_cost_what_its_ladder_does_on_the_targets_that_are_served():
    rules, said = rules_of(load()), row(1, "sales")
    own = price_of_rows(rules, [load_of("a", *OWN)])(said, "acme")

    assert 0 < price_of_rows(rules, [load_of("a", "llama-8b")])(said, "acme") < own
    assert price_of_rows(rules, [load_of("a", "llama-8b"), load_of("b", *OWN)])(said, "acme") == own
    assert price_of_rows(rules, [load_of("a", *OWN, "gpt-4o", own_key_only=("gpt-4o",))])(said, "acme") == own
    assert price_of_rows(rules, [load_of("a", *OWN, "gpt-4o")])(said, "acme") > own


def test_where_nobody_says_what_is_served_a_row_may_cost_all_of_its_ladder():
    rules, said = rules_of(load()), row(1, "sales")
    everything = price_of_rows(rules, [load_of("a", *rules.catalogue.targets)])(said, "acme")

    assert price_of_rows(rules, [])(said, "acme") == everything
    assert price_of_rows(rules, [load_of("a", *OWN), Load("old", 1.0)])(said, "acme") == everything


async def test_while_the_broker_is_away_rows_count_as_dear_as_they_can_be():
    class Away(MemoryLoads):
        async def read(self) -> list[Load]:
            raise QueueUnavailable("away")

    price = await run_settings(load(), Away()).prices()
    assert price(row(1, "sales"), "acme") == price_of_rows(rules_of(load()), [])(row(1, "sales"), "acme")

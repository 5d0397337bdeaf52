"""A learning loop in memory: commands that do what the fleet's do, without an engine and without a broker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from fleet.cli.learn.parts import Done, Loop, Recipe, Stores
from fleet.model.adapter import AdapterVersion, RegisteredAdapter
from fleet.model.target import ServedAdapters
from fleet.settings.documents import load_rules
from policies.adapters import steps
from policies.learning.worth import Judged, Lesson
from queues.jetstream.stores.adapters import MemoryAdapters
from queues.jetstream.stores.calibrations import MemoryCalibrations
from queues.jetstream.stores.experiments import MemoryExperiments
from queues.jetstream.stores.turns import MemoryTurns
from queues.memory import MemoryBroker

START = 1_700_000_000.0
DAY = 86_400.0
DIGEST, BASE = "d" * 64, "b" * 64
LESSON = Lesson("llama-8b", "plan.schedule", frozenset({"acme"}), 1_200)
WORTH = [Judged(LESSON, None)]
GATES: list[dict[str, Any]] = [{"name": "improves", "passed": True, "required": True, "why": "right: 90 of 100"}]


class Killed(Exception):
    """The process ended in the middle of a step."""


class Fleet:
    """The parts of a loop in memory, with a clock that a test sets."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.broker = MemoryBroker()
        self.adapters = MemoryAdapters()
        self.stores = Stores(MemoryTurns(), MemoryExperiments(self.broker), self.adapters, MemoryCalibrations())
        self.gates = list(GATES)
        self.ran: list[str] = []
        self.said: list[str] = []
        self.killed_after: str | None = None
        self.refused: str | None = None
        self.erased: list[dict[str, Any]] = []
        self.digest = DIGEST
        rules = load_rules(None, None, "local")
        small = replace(rules.catalogue.targets["llama-8b"], adapters=ServedAdapters(at_once=2))
        catalogue = replace(rules.catalogue, targets={**rules.catalogue.targets, "llama-8b": small})
        rules = replace(rules, catalogue=catalogue)
        self.loop = Loop(self.stores, rules, folder, Recipe(), self.run, lambda: self.now, self.said.append)

    async def read(self) -> Any:
        """Return the only turn there is."""
        [turn] = (await self.stores.turns.read_all()).values()
        return turn

    def run(self, words: Sequence[str]) -> Done:
        name = words[1]
        self.ran.append(name)
        if name == self.refused:
            return Done(1, {"error": f"{name}: refused"}, f"{name}: refused")
        done: Done = getattr(self, f"_{name}")(list(words))
        if name == self.killed_after:
            self.killed_after = None
            raise Killed
        return done

    def _export(self, words: list[str]) -> Done:
        folder = Path(words[words.index("-o") + 1])
        folder.mkdir(parents=True)
        files = {"train.jsonl": {"sha256": "e" * 64}}
        (folder / "datasheet.json").write_text(json.dumps({"rows": {"train": 1_100}, "files": files}))
        return Done(0, {}, "")

    def _train(self, words: list[str]) -> Done:
        folder = Path(words[words.index("-o") + 1])
        folder.mkdir(parents=True)
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            (folder / name).write_text("{}")
        return self._check(words)

    def _erased(self, words: list[str]) -> Done:
        return Done(int(bool(self.erased)), {"lines": self.erased, "unknown": 0}, "")

    def _check(self, words: list[str]) -> Done:
        return Done(0, {"digest": self.digest, "card": {"examples": 1_100, "loss": 0.05, "recipe": {"rank": 64}}}, "")

    def _register(self, words: list[str]) -> Done:
        value = dict(pairwise(words))
        scope = RegisteredAdapter(
            value["--name"], value["--base"], frozenset({value["--task"]}), frozenset({value["--tenant"]})
        )
        passed = all(each["passed"] for each in self.gates)
        evidence = {"passed": passed, "gates": self.gates} if "--evidence" in words else None
        version = AdapterVersion(DIGEST, BASE, 64, 12, self.now)
        there = self.adapters.kind.readable(list(self.adapters._messages.items()))
        adapter = steps.registered(there, scope, version, self.now)
        adapter = steps.nominated(adapter, DIGEST, "registered", self.now)
        if evidence is not None:
            adapter = steps.with_evidence(adapter, DIGEST, evidence, self.now)
        self.adapters._messages[self.adapters.kind.subject(adapter.name)] = self.adapters.kind.encode(adapter)
        return Done(0, {}, "")

    def _try(self, words: list[str]) -> Done:
        stops = any(each["required"] and not each["passed"] for each in self.gates)
        return Done(int(stops), {"gates": self.gates}, "")

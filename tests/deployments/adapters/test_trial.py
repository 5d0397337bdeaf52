"""A trial: what is asked of base and adapter, what it reads, and what the command says and keeps."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import deployments.adapters.trial as trial
from deployments.adapters.base import Base
from deployments.adapters.layout import CONFIG, TENSORS, read_adapter
from deployments.profiles import Profile, model
from deployments.standins.tasks import examples
from fleet.cli import app
from fleet.cli.adapters.trial import Wanted, prepared
from fleet.lab.gates.gates import Limits
from fleet.model.attempt import Answer, Failure, FailureKind, Features, Outcome, Usage
from fleet.model.errors import ConfigError

TASK, OTHER = "plan.schedule", "nudge.onboarding"
FEATURES = Features(-0.4, -0.1, -0.2, -0.2, -0.1, 4, 3.0, 0.2)


def answer(text: str) -> Answer:
    return Answer({"role": "assistant", "content": text}, "stop", Usage(20, 4), "llama-8b", FEATURES)


class Engine:
    """Answers with who answered and what was asked."""

    def __init__(self, broken: bool = False) -> None:
        self.read: list[Mapping[str, bytes]] = []
        self.asked: list[str] = []
        self._broken = broken

    async def answer(
        self, body: Mapping[str, Any], timeout_seconds: float, adapter: str | None = None, read: Any = None
    ) -> Outcome:
        if adapter is not None:
            self.read.append(await read(adapter))
            if self._broken:
                return Failure(FailureKind.ADAPTER, "it cannot be loaded: no such module")
        self.asked.append("base" if adapter is None else "adapter")
        return answer(f"{self.asked[-1]} {body['messages'][0]['content']}")


def answers(monkeypatch: pytest.MonkeyPatch, engine: Engine, base: Base, folder: Path) -> trial.Answers:
    @asynccontextmanager
    async def started(target: str, described: Any, confidence: bool) -> AsyncIterator[Engine]:
        assert (target, described.weights, described.adapters.rank, confidence) == (
            "llama-8b",
            str(base.folder),
            8,
            True,
        )
        yield engine

    monkeypatch.setattr("deployments.replica.offline.offline_chat", started)
    monkeypatch.setattr(trial, "BLOCK", 2)
    chats = [{"messages": [{"role": "user", "content": str(number)}]} for number in range(5)]
    described = model(Profile.LOCAL, "llama-8b")
    return asyncio.run(trial.answers_of_both(base, described, read_adapter(folder), chats))


def test_base_and_adapter_answer_in_turn_and_in_the_order_of_the_questions(
    monkeypatch: pytest.MonkeyPatch, base: Base, trained: Path
) -> None:
    engine = Engine()
    found = answers(monkeypatch, engine, base, trained)
    assert [each.text for each in found.base if isinstance(each, Answer)] == [f"base {n}" for n in range(5)]
    assert [each.text for each in found.adapter if isinstance(each, Answer)] == [f"adapter {n}" for n in range(5)]
    counted = engine.asked[10:]  # what came before has warmed up
    assert counted == ["base"] * 2 + ["adapter"] * 2 + ["base"] * 2 + ["adapter"] * 2 + ["base", "adapter"]
    assert engine.read[0] == {name: (trained / name).read_bytes() for name in (CONFIG, TENSORS)}
    assert found.base_seconds > 0.0 < found.adapter_seconds


def test_an_adapter_that_cannot_be_loaded_is_no_trial(
    monkeypatch: pytest.MonkeyPatch, base: Base, trained: Path
) -> None:
    with pytest.raises(ConfigError, match="it cannot be loaded: no such module"):
        answers(monkeypatch, Engine(broken=True), base, trained)


@pytest.fixture
def export(data: Path, tmp_path: Path) -> Path:
    """The data of the trained adapter, with questions of its task and of another one."""
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "train.jsonl").write_bytes(data.read_bytes())
    write(folder / "heldout.jsonl", questions(TASK, 130) + questions(OTHER, 130))
    return folder


def questions(task: str, n: int) -> list[dict[str, Any]]:
    return [
        {"task": task, "messages": [*each.messages, {"role": "assistant", "content": each.answer}]}
        for each in examples("heldout", 3, n, task)
    ]


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapter is right where its base is wrong, and the reverse on the other task."""

    async def both(base: Base, described: Any, adapter: Any, chats: Sequence[Mapping[str, Any]], said: Any) -> Any:
        known = {
            json.dumps(each["messages"][:-1]): (each["task"], each["messages"][-1]["content"])
            for each in questions(TASK, 130) + questions(OTHER, 130)
        }
        rows = [known[json.dumps(chat["messages"])] for chat in chats]
        right, wrong = [answer(text) for _, text in rows], answer("Both: none")
        said(len(chats))
        base_is_right = [task == OTHER for task, _ in rows]
        return trial.Answers(
            [each if is_right else wrong for each, is_right in zip(right, base_is_right, strict=True)],
            [wrong if is_right else each for each, is_right in zip(right, base_is_right, strict=True)],
            10.0,
            50.0,
        )

    monkeypatch.setattr(trial, "answers_of_both", both)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["adapters", "try", *map(str, arguments)])


@pytest.mark.usefixtures("scripted")
def test_the_command_says_what_stops_an_adapter_and_keeps_the_evidence(
    trained: Path, export: Path, tmp_path: Path
) -> None:
    written = ("-o", tmp_path / "evidence.json", "--answers", tmp_path / "said.jsonl", "--calibrations", tmp_path / "c")
    alone = invoke(trained, "--data", export, *written)
    assert alone.exit_code == 0, alone.output
    assert "passes every gate" in alone.stdout
    assert ("not served" in alone.stdout, "not promised" in alone.stdout) == (True, True)
    evidence = json.loads((tmp_path / "evidence.json").read_text())
    assert evidence["passed"] is True
    assert evidence["adapter"] == read_adapter(trained).digest
    assert evidence["serves"] == [TASK]
    assert evidence["data"]["files"] == {"heldout.jsonl": digest(export / "heldout.jsonl")}
    assert (tmp_path / "c").is_file()
    assert len((tmp_path / "said.jsonl").read_text().splitlines()) == 260
    shared = invoke(trained, "--data", export, "--serves", OTHER, "-o", tmp_path / "shared.json")
    assert shared.exit_code == 1
    assert "is stopped by: no_harm on nudge.onboarding" in shared.stdout
    gates = json.loads((tmp_path / "shared.json").read_text())["gates"]
    assert [each["name"] for each in gates if each["required"] and not each["passed"]] == [f"no_harm:{OTHER}"]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.usefixtures("scripted")
def test_an_adapter_that_has_seen_its_calibration_is_stopped(trained: Path, export: Path, tmp_path: Path) -> None:
    seen = [{"task": TASK, **json.loads(line)} for line in (export / "train.jsonl").read_text().splitlines()]
    against = write(tmp_path / "calibration.jsonl", seen)
    stopped = invoke(trained, "--data", export, "--against", against)
    assert stopped.exit_code == 1
    assert "is stopped by: data" in stopped.stdout
    write(export / "train.jsonl", seen[:15])
    other = invoke(trained, "--data", export, "--json")
    [data] = [each for each in json.loads(other.stdout)["gates"] if each["name"] == "data"]
    assert "it was trained on the file" in data["why"]


def test_an_export_of_preferences_is_tried_as_a_style(trained: Path, export: Path) -> None:
    adapter = read_adapter(trained)
    wanted = Wanted(TASK, frozenset(), export, Limits())
    assert not prepared(wanted, adapter).has_style
    write(export / "datasheet.json", [{"format": "trl"}])
    assert prepared(wanted, adapter).has_style


@pytest.mark.parametrize(
    ("spoil", "options", "rule"),
    [
        (lambda folder: (folder / "train.jsonl").unlink(), (), "must hold train.jsonl"),
        (lambda folder: (folder / "heldout.jsonl").unlink(), (), "name a file of questions"),
        (lambda folder: (folder / "heldout.jsonl").write_text("{}\n"), (), "line 1, messages: must be a list"),
        (lambda folder: (folder / "heldout.jsonl").write_text("nothing\n"), (), "line 1: must be a JSON object"),
        (lambda folder: (folder / "train.jsonl").write_text("{}\n"), (), "line 1: must be a line as `fleet data"),
        (lambda folder: write(folder / "datasheet.json", [{"files": {"train.jsonl": {"sha256": "0"}}}]), (), "changed"),
        (lambda folder: None, ("--serves", "no.such"), "--serves: 'no.such' is not among the tasks"),
        (lambda folder: None, ("--margin", "1.5"), "--margin: must be above 0 and below 1"),
    ],
)
def test_what_cannot_be_tried_is_refused_by_name(
    trained: Path, export: Path, spoil: Any, options: tuple[str, ...], rule: str
) -> None:
    spoil(export)
    refused = invoke(trained, "--data", export, *options)
    assert refused.exit_code == 1
    assert rule in " ".join(refused.stderr.split())

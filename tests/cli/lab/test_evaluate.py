"""`fleet evaluate` measures what it is asked to, or says in one line what is wrong with the question."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from typer.testing import Result

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]

HEADER = "weak_logprob,weak_correct,strong_correct,weak_cost_usd,strong_cost_usd\n"


@pytest.fixture
def replay(tmp_path: Path) -> str:
    """120 requests: the surer half is right, the other half wrong, save a few; the strong target is always right."""
    file = tmp_path / "recorded.csv"
    shuffled = [50 * n % 121 for n in range(1, 121)]
    lines = [f"{-0.001 * n},{int((n <= 60) != (n % 20 == 0))},1,0.00003,0.0003\n" for n in shuffled]
    file.write_text(HEADER + "".join(lines))
    return str(file)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, dict[str, Any]]]:
    """What the router's evaluation was asked; it answers with three numbers."""
    calls: list[tuple[Path, dict[str, Any]]] = []

    def evaluate_router(path: Path, **options: Any) -> SimpleNamespace:
        calls.append((path, options))
        known = {"n": 1200, "refused": False, "reason": "the router recovers 0.61 of the gap", "auroc": 0.7}
        return SimpleNamespace(as_json=lambda: known | {"kept_wrong": None}, drawing=None)

    module = ModuleType("fleet.lab.router.evaluate")
    module.evaluate_router = evaluate_router  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fleet.lab.router.evaluate", module)
    return calls


def test_a_replay_is_one_json_object(invoke_json: InvokeJson, replay: str) -> None:
    found = invoke_json("evaluate", "--replay", replay)
    assert (found["file"], found["n"], found["refused"], found["violation_rate"]) == ("recorded.csv", 120, False, None)
    assert found["apgr"] > 0.6
    assert found["guarantee"] == []


def test_every_option_of_a_replay_is_passed_on(invoke_json: InvokeJson, replay: str, tmp_path: Path) -> None:
    plot = tmp_path / "out.png"
    found = invoke_json(
        *("evaluate", "--replay", replay, "--labels", "60", "--guarantee", "0.1, 0.2", "--resamples", "7"),
        *("--stream", replay, "--plot", str(plot)),
    )
    [promise] = found["guarantee"]
    assert (promise["risk"], promise["delta"], promise["labels"], promise["resamples"]) == (0.1, 0.2, 60, 7)
    assert (found["calibration"]["labels"], found["drift"]["rows"]) == (60, 120)
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_people_read_the_conclusion_first_and_then_tables(invoke: Invoke, replay: str, tmp_path: Path) -> None:
    plot = str(tmp_path / "out.png")
    options = ("--guarantee", "0.05,0.1", "--labels", "60", "--resamples", "20", "--stream", replay, "--plot", plot)
    result = invoke("evaluate", "--replay", replay, *options)
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0].startswith("120 requests no drift in 120 rows of recorded.csv; the promise holds")
    assert "right escalated $ per 1,000" in lines
    assert "gap recovered APGR CPT 50 CPT 80 CPT 95" in lines
    for start in ("weak only", "confidence", "random", "oracle", "strong only 100.0%", "escalate all", "AUROC 0.9"):
        assert any(line.startswith(start) for line in lines), start
    assert any(line.startswith("LTT, Hoeffding-Bentkus: ships") for line in lines)
    assert any(line.startswith("recorded.csv 120 no alarm") and " holds " in line for line in lines)
    assert lines[-1] == f"plot {plot}"


def test_a_refusal_is_said_first(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "few.csv"
    file.write_text(HEADER + "-0.1,1,1,0,0\n-1,0,1,0,0\n")
    assert invoke("evaluate", "--replay", str(file)).stdout.startswith("2 requests  refused: 2 rows are too few")


def test_a_router_is_asked_with_its_own_options(
    invoke_json: InvokeJson, asked: list[tuple[Path, dict[str, Any]]]
) -> None:
    assert invoke_json("evaluate", "--router", "prompts.csv")["n"] == 1200
    invoke_json("evaluate", "--router", "p.csv", "--train", "150", "--seeds", "3", "--with-answer", "--ask", "q.csv")
    assert asked == [
        (Path("prompts.csv"), {}),
        (Path("p.csv"), {"train": 150, "seeds": 3, "with_answer": True, "ask": Path("q.csv")}),
    ]


def test_a_report_with_less_in_it_is_shown_as_well(invoke: Invoke, asked: list[object]) -> None:
    lines = invoke("evaluate", "--router", "prompts.csv").stdout.splitlines()
    assert lines[0] == "1,200 requests  the router recovers 0.61 of the gap."
    assert "AUROC           0.700" in [line.rstrip() for line in lines]


def test_people_see_how_far_a_router_can_be_believed(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, asked: list[object]
) -> None:
    trusted = {"auroc": 0.6, "kept_wrong": 0.3, "ece": 0.04, "ece_floor": 0.03, "brier": 0.15}
    measured = {"seeds": 10, "train": 1500, "n": 1400, "out_of_distribution": 0.01, "refused": False, "reason": "so"}
    report = SimpleNamespace(as_json=lambda: trusted | measured, drawing=None)
    monkeypatch.setattr(sys.modules["fleet.lab.router.evaluate"], "evaluate_router", lambda path, **options: report)
    said = " ".join(invoke("evaluate", "--router", "prompts.csv").stdout.split())
    assert "ECE 0.040 (perfect 0.030) Brier 0.1500" in said
    assert "unlike training 1.0% of the prompts" in said
    assert "mean of 10 trainings on 1,500 prompts, judged on 1,400" in said


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ((), "wrong setting: evaluate: give exactly one of --replay, --router"),
        (("--replay", "a.csv", "--router", "b.csv"), "wrong setting: evaluate: give exactly one of --replay, --router"),
        (("--replay", "a.csv", "--train", "5"), "wrong setting: --train: does not go with --replay"),
        (("--replay", "a.csv", "--with-answer"), "wrong setting: --with-answer: does not go with --replay"),
        (("--router", "a.csv", "--labels", "5"), "wrong setting: --labels: does not go with --router"),
        (("--replay", "a.csv", "--guarantee", "0.05"), "wrong setting: --guarantee: must be EPS,DELTA"),
        (("--replay", "a.csv", "--guarantee", "0.05,x"), "got '0.05,x'"),
        (("--replay", "a.csv", "--guarantee", "5,0.1"), "wrong setting: --guarantee: must be EPS,DELTA, both between"),
        (("--replay", "nowhere.csv"), "nowhere.csv: no such file or directory"),
    ],
)
def test_a_question_that_cannot_be_answered_is_one_line(
    invoke: Invoke, invoke_json: InvokeJson, arguments: tuple[str, ...], advice: str
) -> None:
    result = invoke("evaluate", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert advice in result.stderr
    assert result.stderr.count("\n") == 1
    assert advice in invoke_json("evaluate", *arguments, exit_code=1)["error"]


def test_a_wrong_value_is_named_with_its_line_and_column(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(HEADER + "-0.1,1,1,0,0\n0.4,0,1,0,0\n")
    assert (
        f"wrong setting: {file}, line 3, column weak_logprob: must be"
        in invoke("evaluate", "--replay", str(file)).stderr
    )


def test_without_the_extra_one_line_says_what_to_install(
    invoke: Invoke, replay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "fleet.lab.evaluation.replay", raising=False)
    monkeypatch.setitem(sys.modules, "numpy", None)
    result = invoke("evaluate", "--replay", replay)
    assert result.exit_code == 1
    assert result.stderr == "fleet: fleet evaluate needs numpy: pip install 'inference-fleet[learn]'\n"


def test_a_module_of_ours_that_is_missing_is_a_bug_not_an_extra(
    invoke: Invoke, replay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fleet.lab.evaluation.replay", None)
    assert isinstance(invoke("evaluate", "--replay", replay).exception, ModuleNotFoundError)

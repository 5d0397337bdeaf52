"""`fleet scale`: what an SRE sees of the replicas, and what becomes of a wish or of a slip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from serve_dashboard import ServeDashboard, run_by_code, serving
from typer.testing import Result

from deployments.serve.api import SERVE_API

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def dashboard(fake_app: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServeDashboard]:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with serving() as server:
        monkeypatch.setenv("FLEET_RAY_DASHBOARD_URL", server.url)
        yield server


def lines(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_without_a_target_all_of_the_fleets_own_are_shown(invoke: Invoke, dashboard: ServeDashboard) -> None:
    del dashboard.configuration["applications"][1]
    dashboard.by_code = {"mixtral-8x7b": {**run_by_code(), "message": "slow"}}
    assert lines(invoke("scale")) == [
        "target status scaling running wanted min max",
        "llama-8b running autoscaling 1 1 1 4",
        "mixtral-8x7b running fixed 1 1 - - slow",
        "llama-70b not deployed - - - - -",
    ]


def test_the_json_of_all_names_everything(invoke_json: InvokeJson) -> None:
    assert invoke_json("scale")["targets"][:2] == [
        {
            "target": "llama-8b",
            "status": "running",
            "scaling": "autoscaling",
            "running": 1,
            "wanted": 1,
            "min": 1,
            "max": 4,
            "message": None,
        },
        {"target": "mixtral-8x7b", "status": "not deployed"},
    ]


def test_a_target_alone_is_shown(invoke: Invoke, dashboard: ServeDashboard) -> None:
    assert lines(invoke("scale", "llama-70b"))[1:] == ["llama-70b running autoscaling 1 1 1 1"]
    assert dashboard.sent == []


WISHES = {
    ("--min", "2"): "autoscaling 2 2 2 4",
    ("--max", "2"): "autoscaling 1 1 1 2",
    ("--min", "2", "--max", "2"): "autoscaling 2 2 2 2",
    ("--pause",): "paused 1 1 1 4",
    ("--drain",): "drained 0 0 1 4",
    ("--resume",): "autoscaling 1 1 1 4",
}


@pytest.mark.parametrize("wish", WISHES, ids=" ".join)
def test_a_wish_shows_what_was_and_what_is(invoke: Invoke, wish: tuple[str, ...]) -> None:
    assert lines(invoke("scale", "llama-8b", *wish)) == [
        "llama-8b status scaling running wanted min max",
        "was running autoscaling 1 1 1 4",
        f"is running {WISHES[wish]}",
    ]


def test_the_json_of_a_wish_is_what_was_and_what_is(invoke_json: InvokeJson) -> None:
    told = invoke_json("scale", "llama-8b", "--drain")
    assert (told["was"]["scaling"], told["is"]["scaling"]) == ("autoscaling", "drained")
    back = invoke_json("scale", "llama-8b", "--resume")
    assert (back["was"], back["is"]) == (told["is"], told["was"])


SLIPS = [
    (("llama-8b", "--min", "5"), "wrong setting: --min: must be no more than --max, 4"),
    (("llama-8b", "--min", "3", "--max", "2"), "wrong setting: --max: must be at least 3"),
    (("llama-8b", "--min", "-1"), "wrong setting: --min: must be 0 or more"),
    (("llama-8b", "--max", "0"), "wrong setting: --max: must be 1 or more; --drain goes to none and stays there"),
    (("llama-8b", "--pause", "--drain"), "wrong setting: --pause: must be alone, without --drain"),
    (("llama-8b", "--resume", "--min", "0"), "wrong setting: --resume: must be alone, without --min and --max"),
    (("--drain",), "wrong setting: target: must be one of llama-8b, mixtral-8x7b, llama-70b"),
    (("llama-13b",), "target: must be one of llama-8b, mixtral-8x7b, llama-70b; got 'llama-13b'"),
    (
        ("gpt-4o", "--pause"),
        "target: gpt-4o runs at openai, which scales it; ours are llama-8b, mixtral-8x7b, llama-70b",
    ),
    (("mixtral-8x7b", "--pause"), "mixtral-8x7b is not deployed: there is nothing to scale"),
]


@pytest.mark.parametrize(("arguments", "advice"), SLIPS)
def test_a_slip_is_one_line_and_changes_nothing(
    invoke: Invoke, invoke_json: InvokeJson, dashboard: ServeDashboard, arguments: tuple[str, ...], advice: str
) -> None:
    result = invoke("scale", *arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert advice in result.stderr
    assert advice in invoke_json("scale", *arguments, exit_code=1)["error"]
    assert dashboard.sent == []


def test_without_a_dashboard_the_line_says_where_one_was_looked_for(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_RAY_DASHBOARD_URL", "http://127.0.0.1:1")
    result = invoke("scale")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"fleet: no Ray dashboard answers at http://127.0.0.1:1{SERVE_API}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("option", [("--min", "many"), ("--replicas", "2")])
def test_wrong_usage_exits_with_2(invoke: Invoke, option: tuple[str, ...]) -> None:
    assert invoke("scale", "llama-8b", *option).exit_code == 2

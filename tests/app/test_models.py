"""Whether the models of a catalogue still exist, asked over HTTP through the real SDKs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from fault_server import FaultServer, Manner, Scripted
from typer.testing import CliRunner

from fleet.cli.commands import app

KEYS = {
    "OPENAI_API_KEY": "sk-openai-planted-1",
    "GROQ_API_KEY": "gsk-groq-planted-2",
    "ANTHROPIC_API_KEY": "sk-ant-planted-3",
    "HOUSE_API_KEY": "house-planted-4",
}


def row(provider: str, model: str) -> dict[str, Any]:
    prices = {"input_usd_per_million_tokens": 0.5, "output_usd_per_million_tokens": 1.0}
    sizes = {"context_tokens": 8192, "max_in_flight": 8, "latency": "fast", "capabilities": ["text"]}
    return {"name": f"{provider}-target", "provider": provider, "model": model, **prices, **sizes}


@pytest.fixture
def check(fault_server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs `fleet catalogue check` for one model of each provider named, all of which the server plays."""
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    monkeypatch.setenv("COLUMNS", "160")
    urls = {"openai": "/v1", "groq": "", "anthropic": "", "house": "/house/v1"}

    async def run(*arguments: str, timeout_seconds: float = 30.0, auth: str = "aws", **models: str) -> Result:
        signed = {"base_url": fault_server.url, "auth": auth, "region": "eu-central-1"}
        catalogue = {
            "providers": {name: {"base_url": fault_server.url + path} for name, path in urls.items()}
            | {"signed": signed},
            "targets": [row(provider, model) for provider, model in models.items()],
        }
        (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump(catalogue))
        rules = yaml.safe_load((Path(__file__).parents[2] / "policies" / "rules.yaml").read_text())
        ladder = [f"{provider}-target" for provider in models]
        rules |= {"phase": "own", "phases": {"own": dict.fromkeys(LADDERS, ladder)}}
        rules["confidence"]["priors"] = {}
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
        monkeypatch.setenv("FLEET_CATALOGUE_PATH", str(tmp_path / "catalogue.yaml"))
        monkeypatch.setenv("FLEET_RULES_PATH", str(tmp_path / "rules.yaml"))
        words = ["catalogue", "check", "--timeout-seconds", str(timeout_seconds), *arguments]
        found = await asyncio.to_thread(CliRunner().invoke, app, words)
        assert "planted" not in found.output
        return found

    return run


LADDERS = ("simple", "medium", "complex", "critical", "vision")
PATHS = {
    "openai": "/v1/models",
    "groq": "/openai/v1/models",
    "anthropic": "/v1/models",
    "house": "/house/v1/models",
}


def lines(found: Result) -> dict[str, str]:
    return {target["provider"]: target["presence"] for target in json.loads(found.stdout)["targets"]}


async def test_every_provider_is_asked_with_its_key_and_what_is_there_is_fine(check, fault_server):
    models = {"openai": "gpt-6-luna", "groq": "openai/gpt-oss-20b", "anthropic": "claude-1", "house": "maker/small"}
    fault_server.models = [{"id": model, "object": "model"} for model in models.values()]
    found = await check("--json", **models)
    assert found.exit_code == 0, found.output
    assert lines(found) == dict.fromkeys(models, "there")
    asked = {request.path: request.headers for request in fault_server.received}
    assert set(asked) == set(PATHS.values())
    assert sum("planted" in json.dumps(dict(request.headers)) for request in fault_server.received) == 4


@pytest.mark.parametrize("provider", ["openai", "groq", "anthropic", "house"])
async def test_a_model_that_is_gone_is_one_line_and_the_exit_code_says_so(check, fault_server, provider):
    fault_server.models = [{"id": "another"}]
    found = await check(**{provider: "maker/retired-1"})
    assert found.exit_code == 1
    [line] = found.stdout.splitlines()
    assert line.split() == ["gone", f"{provider}-target", provider, "has", "no", "model", "maker/retired-1"]
    assert [request.path for request in fault_server.received] == [
        PATHS[provider],
        f"{PATHS[provider]}/maker%2Fretired-1",
    ]


async def test_an_alias_that_no_list_has_is_asked_for_by_name(check, fault_server):
    fault_server.models, fault_server.unlisted = [{"id": "claude-haiku-4-5-20251001"}], [{"id": "claude-haiku-4-5"}]
    assert lines(await check("--json", anthropic="claude-haiku-4-5")) == {"anthropic": "there"}


@pytest.mark.parametrize(
    ("described", "presence", "exit_code"),
    [
        ({"lifecycle": "active", "retires_at": None, "shutdown_date": None, "active": True}, "there", 0),
        ({"shutdown_date": "2027-01-14"}, "retiring", 0),
        ({"lifecycle": "deprecated", "retires_at": "2027-03-01T00:00:00Z"}, "retiring", 0),
        ({"lifecycle": "deprecated", "retires_at": ["soon"], "shutdown_date": "soon"}, "there", 0),
        ({"lifecycle": "retired", "retires_at": "2026-03-01T00:00:00Z"}, "gone", 1),
        ({"active": False}, "gone", 1),
    ],
)
async def test_an_announced_end_is_told_with_its_day(check, fault_server, described, presence, exit_code):
    fault_server.models = [{"id": "m-1", **described}]
    found = await check("--json", openai="m-1")
    assert (lines(found), found.exit_code) == ({"openai": presence}, exit_code)
    [target] = json.loads(found.stdout)["targets"]
    if presence == "retiring":
        assert target["detail"] in ("ends on 2027-01-14", "ends on 2027-03-01")


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Scripted(401, echo=True), "openai refuses the key (401)"),
        (Scripted(403, echo=True), "openai refuses the key (403)"),
        (Scripted(404), "openai has no list of models at this address"),
        (Scripted(500, echo=True), "openai answered 500"),
        (Scripted(302, headers={"location": "http://127.0.0.1:1/"}), "openai answered 302"),
        (Scripted(body=b"<html>"), "openai sent no list of models"),
        (Scripted(body={"data": "none"}), "openai sent no list of models"),
        (Scripted(manner=Manner.CUT), "openai cannot be reached"),
    ],
    ids=lambda value: str(getattr(value, "status", value)),
)
async def test_a_provider_that_cannot_be_asked_is_no_missing_model(check, fault_server, reply, says):
    fault_server.script(reply)
    found = await check(openai="m-1")
    assert found.exit_code == 1
    assert found.stdout.split() == ["not", "asked", "openai-target", *says.split()]


async def test_a_model_that_could_not_be_asked_for_by_name_is_not_said_to_be_gone(check, fault_server):
    fault_server.script(Scripted(), Scripted(500))
    found = await check(openai="m-1")
    assert found.exit_code == 1
    assert found.stdout.split() == ["not", "asked", "openai-target", "openai", "answered", "500"]


@pytest.mark.parametrize("auth", ["aws", "sagemaker"])
async def test_a_provider_whose_requests_are_signed_is_said_not_to_list_its_models(check, fault_server, auth):
    found = await check(signed="m-1", auth=auth)
    assert found.exit_code == 1
    assert "signed does not list its models where they are called" in found.stdout
    assert fault_server.received == []


async def test_a_provider_that_does_not_answer_is_not_waited_for(check, fault_server):
    fault_server.script(Scripted(manner=Manner.HELD))
    found = await check(openai="m-1", timeout_seconds=0.05)
    assert found.exit_code == 1
    assert "openai did not answer within 0.05 s" in found.stdout


async def test_a_provider_without_a_key_is_said_to_have_none_and_nothing_is_sent(check, fault_server, monkeypatch):
    monkeypatch.delenv("GROQ_API_KEY")
    fault_server.models = [{"id": "m-1"}]
    found = await check("--json", openai="m-1", groq="m-2")
    assert (lines(found), found.exit_code) == ({"openai": "there", "groq": "no_key"}, 0)
    assert json.loads(found.stdout)["targets"][1]["detail"] == "set GROQ_API_KEY"
    assert [request.path for request in fault_server.received] == ["/v1/models"]


async def test_where_nobody_could_be_asked_nothing_is_fine(check, monkeypatch):
    monkeypatch.delenv("GROQ_API_KEY")
    found = await check(groq="m-2")
    assert (found.exit_code, found.stdout.split()) == (1, ["no", "key", "groq-target", "set", "GROQ_API_KEY"])


async def test_only_the_providers_named_are_asked(check, fault_server):
    fault_server.models = [{"id": "m-1"}]
    found = await check("--json", "--provider", "openai", openai="m-1", groq="m-2")
    assert (lines(found), found.exit_code) == ({"openai": "there"}, 0)
    wrong = await check("--provider", "nobody", openai="m-1")
    assert wrong.exit_code == 1
    assert "must be one of openai" in wrong.output

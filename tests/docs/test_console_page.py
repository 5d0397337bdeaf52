"""The Serve application of docs/how-to/console.md is one that Serve takes, and builds the console."""

from __future__ import annotations

from importlib import import_module

import pytest
import ray
import yaml
from pages import ROOT, blocks
from ray.serve.schema import ServeApplicationSchema

from deployments.app import build_console
from deployments.serve.declared import CONSOLE

[APPLICATION] = [
    yaml.safe_load(block.text) for block in blocks(ROOT / "docs" / "how-to" / "console.md") if block.language == "yaml"
]


def test_the_application_of_the_page_builds_the_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get_runtime_context", lambda: type("Context", (), {"runtime_env": {}}))
    declared = ServeApplicationSchema.model_validate(APPLICATION[0])
    module, _, name = declared.import_path.partition(":")
    assert getattr(import_module(module), name) is build_console
    deployment = build_console(declared.args)._bound_deployment
    assert deployment.name == CONSOLE == declared.name
    assert deployment.ray_actor_options["runtime_env"]["env_vars"]["FLEET_PROFILE"] == "gpu"
    factory = declared.args["factory"]
    assert callable(getattr(import_module(factory.partition(":")[0]), factory.partition(":")[2]))

"""FLEET_ADAPTERS says to engines and dispatchers alike which models answer with adapters."""

from __future__ import annotations

import pytest

from fleet.app.local.parts import environment
from fleet.app.worker import rules_of
from fleet.model.errors import ConfigError
from fleet.settings.environment import load


def test_the_models_named_take_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_ADAPTERS", "llama-8b, llama-70b,")
    targets = rules_of(load()).catalogue.targets.values()
    assert {target.name for target in targets if target.adapters is not None} == {"llama-8b", "llama-70b"}


def test_no_model_takes_adapters_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLEET_ADAPTERS", raising=False)
    assert all(target.adapters is None for target in rules_of(load()).catalogue.targets.values())


def test_a_name_of_no_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_ADAPTERS", "llama-9b")
    with pytest.raises(ConfigError, match=r"^adapters: 'llama-9b' is none of the fleet's own models"):
        rules_of(load())


def test_every_process_of_a_local_fleet_is_told_of_them():
    settings = load(adapters="llama-8b, llama-70b")
    assert environment(settings, "nats://127.0.0.1:4222")["FLEET_ADAPTERS"] == "llama-8b, llama-70b"

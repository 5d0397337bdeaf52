"""Providers are added in the catalogue's file; anything wrong in an entry is refused with its place and its rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.model.errors import ConfigError
from fleet.model.target import Auth, Provider, WireFormat
from fleet.settings.documents import load_catalogue
from policies.rules.catalogue import Catalogue
from policies.rules.providers import BUILT_IN, key_variable_of, letters_of

ROW: dict[str, Any] = {
    "name": "llama", "provider": "together", "model": "meta-llama/Llama-3.3-70B", "latency": "fast", "max_in_flight": 8,
    "input_usd_per_million_tokens": 0.88, "output_usd_per_million_tokens": 0.88, "context_tokens": 131072,
    "capabilities": ["text"],
}  # fmt: skip
TOGETHER = {"base_url": "https://api.together.xyz/v1"}


def read(folder: Path, providers: object, *rows: dict[str, Any]) -> Catalogue:
    document: dict[str, Any] = {"targets": [ROW | row for row in rows or ({},)]}
    if providers is not None:
        document["providers"] = providers
    file = folder / "catalogue.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return load_catalogue(file, "local")


def test_an_entry_with_an_address_alone_speaks_the_openai_format_with_a_key_of_its_own_name(tmp_path: Path) -> None:
    catalogue = read(tmp_path, {"together": TOGETHER})
    together = catalogue.providers["together"]
    assert together == Provider(WireFormat.OPENAI, "https://api.together.xyz/v1", Auth.KEY)
    assert key_variable_of("together", together) == "TOGETHER_API_KEY"


def test_a_file_without_providers_has_the_built_in_ones(tmp_path: Path) -> None:
    assert read(tmp_path, None, {"provider": "groq"}).providers == BUILT_IN


def test_an_entry_of_a_built_in_name_changes_only_what_it_names(tmp_path: Path) -> None:
    providers = read(tmp_path, {"anthropic": {"region": "us"}, "together": TOGETHER, "groq": None}).providers
    assert providers["anthropic"] == Provider(WireFormat.ANTHROPIC, "https://api.anthropic.com", region="us")
    assert providers["groq"] == BUILT_IN["groq"]


def test_a_target_is_in_its_providers_region_unless_its_row_names_another(tmp_path: Path) -> None:
    providers = {"together": TOGETHER | {"region": "us"}, "fleet": {"region": "eu-central-1"}}
    rows = ({}, {"name": "eu", "region": "eu"}, {"name": "own", "provider": "fleet"}, {"name": "g", "provider": "groq"})
    targets = read(tmp_path, providers, *rows).targets
    assert {name: target.region for name, target in targets.items()} == {
        "llama": "us", "eu": "eu", "own": "eu-central-1", "g": None,
    }  # fmt: skip


def test_a_target_of_an_unknown_provider_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, {"mistral": {"base_url": "https://api.mistral.ai/v1"}})
    assert refused.value.field == "targets.llama.provider"
    assert "must be one of anthropic, fleet, groq, mistral, openai" in refused.value.rule


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("surprise", 1, "surprise"),
        ("wire", "gopher", "wire"),
        ("auth", "magic", "auth"),
        ("base_url", None, "base_url"),
        ("base_url", "", "base_url"),
        ("base_url", "api.together.xyz/v1", "base_url"),
        ("base_url", "https://user:hidden@api.together.xyz/v1", "base_url"),
        ("base_url", "https://api.together.xyz/v1?key=hidden", "base_url"),
        ("base_url", "https://api.together.xyz:x/v1", "base_url"),
        ("base_url", "https://api.together.xyz/{key}", "base_url"),
        ("base_url", "https://{model}.together.xyz", "base_url"),
        ("base_url", "https://hidden.together.xyz/v1/chat/completions", "base_url"),
        ("base_url", "https://hidden.together.xyz/v1/messages/", "base_url"),
        ("key_variable", "sk-hidden", "key_variable"),
        ("key_header", "api key", "key_header"),
        ("headers", {"Authorization": "Bearer hidden"}, "headers.Authorization"),
        ("headers", {"X-Api-Key": "hidden"}, "headers.X-Api-Key"),
        ("headers", {"Cookie": "hidden"}, "headers.Cookie"),
        ("headers", {"OpenAI-Organization": "org-hidden"}, "headers.OpenAI-Organization"),
        ("headers", {"Content-Length": "1"}, "headers.Content-Length"),
        ("headers", {"Transfer-Encoding": "chunked"}, "headers.Transfer-Encoding"),
        ("key_header", "Transfer-Encoding", "key_header"),
        ("headers", {"X-Title": "one\r\nX-Two: hidden"}, "headers.X-Title"),
        ("headers", {"X-Via": "Bearer hidden"}, "headers.X-Via"),
        ("headers", {"X Title\n": "hidden"}, "headers"),
        ("query", {"api_key": "hidden"}, "query.api_key"),
        ("region", "EU (hidden)", "region"),
        ("auth", "aws", "region"),
        ("requests_per_minute", 0, "requests_per_minute"),
        ("tokens_per_minute", -1, "tokens_per_minute"),
    ],
)
def test_a_mistake_in_an_entry_is_refused_with_its_place_and_without_its_value(
    tmp_path: Path, field: str, value: object, place: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, {"together": TOGETHER | {field: value}})
    assert refused.value.field == f"providers.together.{place}"
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("providers", "place"),
    [
        ({"Together": TOGETHER}, "providers.Together"),
        ({"together": TOGETHER, "to-gether": TOGETHER}, "providers.to-gether"),
        ({"together": TOGETHER, "fleet": {"base_url": "https://fleet.example"}}, "providers.fleet"),
        ({"together": "https://api.together.xyz/v1"}, "providers.together"),
        (
            {"together": TOGETHER | {"key_header": "X-Via", "headers": {"x-via": "fleet"}}},
            "providers.together.key_header",
        ),
        (["together"], "providers"),
    ],
)
def test_a_mistake_in_the_section_is_refused_with_its_place(tmp_path: Path, providers: object, place: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, providers)
    assert refused.value.field == place


@pytest.mark.parametrize("provider", ["openai", "openai-eu", "open_ai", "a"])
def test_no_name_of_a_provider_ends_where_a_tenants_reference_could_begin(provider: str) -> None:
    assert "_" not in letters_of(provider)


def test_a_target_may_ask_for_a_tier_of_service_at_that_tiers_price(tmp_path: Path) -> None:
    flex = {"name": "gpt-flex", "provider": "openai", "service_tier": "flex"}
    assert read(tmp_path, None, flex).targets["gpt-flex"].service_tier == "flex"


@pytest.mark.parametrize(
    ("provider", "tier"), [("fleet", "flex"), ("anthropic", "flex"), ("openai", "Flex!"), ("openai", "")]
)
def test_a_tier_of_service_is_refused_where_it_cannot_be_asked_for(tmp_path: Path, provider: str, tier: str) -> None:
    with pytest.raises(ConfigError, match=r"targets\.llama\.service_tier"):
        read(tmp_path, None, {"provider": provider, "service_tier": tier})

"""Providers of the catalogue's file, through the real SDKs over HTTP: what each entry's fields put on the wire."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.model.attempt import Answer, Failure, FailureKind
from fleet.model.call import Call
from fleet.model.target import Auth, Provider, WireFormat
from fleet.providers import EnvironmentKeyRing, ProviderSettings, build
from fleet.providers.openai.wire import OpenAIWire

CALL = Call({"messages": [{"role": "user", "content": "Capital of France?"}]}, 30.0)
ENVIRON = {
    "HOUSE_API_KEY": "planted-house",
    "HOUSE_EU_KEY": "planted-eu",
    "FLEET_KEY_HOUSEEU_acme__main": "planted-acme",
}


@pytest.fixture
def sent(fault_server, target, outcomes):
    """Runs one call at a provider; the request that it received, or the failure."""

    async def run(name="house", own_key=None, base_url=None, **fields):
        entry = Provider(base_url=f"{fault_server.url}/v1" if base_url is None else base_url, **fields)
        providers = {name: entry}
        keys = EnvironmentKeyRing(ENVIRON, providers)
        backend = build(target(name), ProviderSettings(providers=providers), keys)
        [outcome] = await outcomes(backend, Call(CALL.request, 30.0, own_key=own_key))
        await backend.close()
        if isinstance(outcome, Failure):
            assert fault_server.received == []
            return outcome
        assert isinstance(outcome, Answer)
        return fault_server.received[-1]

    return run


async def test_an_address_is_enough_for_any_server_of_the_openai_format(sent):
    request = await sent()
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer planted-house"
    assert request.body["model"] == "house-model-7"


async def test_the_key_comes_from_the_variable_that_the_entry_names(sent):
    request = await sent(key_variable="HOUSE_EU_KEY")
    assert request.headers["authorization"] == "Bearer planted-eu"


async def test_a_tenants_key_is_found_by_the_providers_name_without_separators(sent):
    request = await sent("house-eu", own_key="acme__main")
    assert request.headers["authorization"] == "Bearer planted-acme"


async def test_no_tenants_name_reaches_the_key_for_another_provider(sent):
    """Tenant `EU_acme` of provider `house` and tenant `acme` of `house-eu` would otherwise read alike."""
    failure = await sent("house", own_key="EU_acme__main")
    assert failure.kind is FailureKind.AUTHENTICATION


async def test_a_key_in_a_header_of_its_own_goes_alone_and_with_the_query(sent):
    request = await sent(key_header="api-key", query={"api-version": "2024-10-21"})
    assert request.path == "/v1/chat/completions?api-version=2024-10-21"
    assert request.headers["api-key"] == "planted-house"
    assert "authorization" not in request.headers


async def test_the_model_can_be_part_of_the_address(sent, fault_server):
    request = await sent(base_url=f"{fault_server.url}/openai/deployments/{{model}}")
    assert request.path == "/openai/deployments/house-model-7/chat/completions"


async def test_a_server_that_asks_for_no_key_gets_none(sent):
    request = await sent("ollama", auth=Auth.NONE)
    assert "authorization" not in request.headers


async def test_a_tenants_key_is_refused_where_no_key_is_asked_for(sent):
    failure = await sent("ollama", own_key="acme__main", auth=Auth.NONE)
    assert (failure.kind, failure.detail) == (FailureKind.AUTHENTICATION, "no usable key for ollama")


async def test_the_headers_of_an_entry_go_along_and_change_none_of_ours(sent):
    request = await sent(headers={"HTTP-Referer": "https://fleet.example", "X-Title": "Fleet {key}"})
    assert request.headers["http-referer"] == "https://fleet.example"
    assert request.headers["x-title"] == "Fleet {key}"
    assert request.headers["user-agent"] == "fleet"


@pytest.mark.parametrize("wire", [WireFormat.ANTHROPIC, WireFormat.GROQ])
async def test_an_entry_may_speak_another_wire(sent, wire, fault_server):
    request = await sent(wire=wire, base_url=fault_server.url)
    path, header = {
        WireFormat.ANTHROPIC: ("/v1/messages", ("x-api-key", "planted-house")),
        WireFormat.GROQ: ("/openai/v1/chat/completions", ("authorization", "Bearer planted-house")),
    }[wire]
    assert request.path == path
    assert header in request.headers.items()


def test_the_fleet_has_a_key_where_none_is_needed_and_where_its_variable_holds_one():
    entry = Provider(base_url="https://fleet.example")
    providers = {"house": entry, "ollama": Provider(base_url=entry.base_url, auth=Auth.NONE), "other": entry}
    keys = EnvironmentKeyRing(ENVIRON, providers)
    assert [keys.has_fleets_key(name) for name in providers] == [True, True, False]


def test_the_tier_a_target_is_priced_for_goes_out_in_place_of_the_jobs(target):
    asked = {"messages": [{"role": "user", "content": "Hi"}], "service_tier": "priority"}
    for provider in ("openai", "groq", "house"):
        wire = OpenAIWire(replace(target(provider), service_tier="flex"))
        assert wire.encode(asked)["service_tier"] == "flex"
    own = OpenAIWire(replace(target("house"), service_tier="flex")).encode(asked, own_key=True)
    assert own["service_tier"] == "priority"  # who brings the key pays

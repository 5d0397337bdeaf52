"""Settings come from overrides, then the environment, then a file, then defaults; every mistake is named."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.model.errors import ConfigError
from fleet.settings.environment import load

Setenv = Callable[..., None]


@pytest.fixture
def setenv(monkeypatch: pytest.MonkeyPatch) -> Setenv:
    """Sets variables in an environment that holds no setting of ours."""
    for name in os.environ:
        if name.startswith("FLEET_") or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)

    def set_all(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


@pytest.fixture
def settings_file(tmp_path: Path, setenv: Setenv) -> Callable[[str], None]:
    def write(text: str) -> None:
        path = tmp_path / "fleet.yaml"
        path.write_text(text)
        setenv(FLEET_SETTINGS=str(path))

    return write


def test_nothing_said_means_the_embedded_local_fleet(setenv: Setenv) -> None:
    settings = load()
    assert (settings.nats_url, settings.profile, settings.tenant) == (None, "local", "demo")


def test_an_override_beats_the_environment_which_beats_the_file(
    setenv: Setenv, settings_file: Callable[[str], None]
) -> None:
    settings_file("tenant: from-file\nprofile: gpu\nlog_level: error\n")
    setenv(FLEET_TENANT="from-env", FLEET_PROFILE="local")
    settings = load(tenant="override", profile=None)
    assert (settings.tenant, settings.profile, settings.log_level) == ("override", "local", "error")


def test_an_empty_variable_counts_as_absent(setenv: Setenv) -> None:
    setenv(FLEET_NATS_URL="", FLEET_GROQ_BASE_URL="")
    settings = load()
    assert (settings.nats_url, settings.base_url("groq")) == (None, None)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("FLEET_PROFILE", "laptop", "'local' or 'gpu'"),
        ("FLEET_NATS_URL", "http://broker:4222", "nats://host:port"),
        ("FLEET_NATS_URL", "nats://a:4222,b:4222", "nats://host:port"),
        ("FLEET_NATS_URL", "nats://", "nats://host:port"),
        ("FLEET_NATS_URL", "nats://:4222", "nats://host:port"),
        ("FLEET_NATS_URL", "nats://127.0.0.1:notaport", "nats://host:port"),
        ("FLEET_NATS_URL", "nats://127.0.0.1:70000", "nats://host:port"),
        ("FLEET_NATS_URL", "nats://[::1:4222", "nats://host:port"),
        ("FLEET_TENANT", "acme.eu", "must match"),
        ("FLEET_LEASE_SECONDS", "0", "greater than 0"),
        ("FLEET_LEASE_SECONDS", "soon", "valid number"),
        ("FLEET_LEAST_REPLICAS", "-1", "greater than or equal to 0"),
        ("FLEET_DASHBOARD", "perhaps", "boolean"),
        ("FLEET_RULES_PATH", "/nowhere/rules.yaml", "point to a file"),
        ("FLEET_OPENAI_BASE_URL", "broker:80", "http://"),
        ("FLEET_LOG_LEVEL", "loud", "'debug'"),
    ],
)
def test_a_wrong_variable_is_named_with_the_rule_it_breaks(setenv: Setenv, name: str, value: str, rule: str) -> None:
    setenv(**{name: value})
    with pytest.raises(ConfigError) as raised:
        load()
    assert raised.value.field == name
    assert rule in raised.value.rule


@pytest.mark.parametrize(
    ("text", "field", "rule"),
    [
        ("profil: gpu", "profil", "no such setting"),
        ("profile: laptop", "profile", "'local' or 'gpu'"),
        ("- a\n- b", "FLEET_SETTINGS", "mapping"),
        ("{unclosed", "FLEET_SETTINGS", "YAML"),
        ("OPENAI_API_KEY: sk-invented", "OPENAI_API_KEY", "environment only"),
    ],
)
def test_a_wrong_file_is_named_with_the_rule_it_breaks(
    settings_file: Callable[[str], None], text: str, field: str, rule: str
) -> None:
    settings_file(text)
    with pytest.raises(ConfigError) as raised:
        load()
    assert raised.value.field == field
    assert rule in raised.value.rule


def test_a_missing_settings_file_is_an_error(setenv: Setenv) -> None:
    setenv(FLEET_SETTINGS="/nowhere/fleet.yaml")
    with pytest.raises(
        ConfigError, match=r"FLEET_SETTINGS: must name a readable file, and /nowhere/fleet\.yaml is none"
    ):
        load()


FILES = ("rules_path", "catalogue_path", "calibrations_path", "routers_path", "nats_creds_path", "nats_ca_path")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_there_is_named_by_its_variable_and_its_path(setenv: Setenv, name: str) -> None:
    setenv(**{f"FLEET_{name.upper()}": "/nowhere/of-mine"})
    with pytest.raises(ConfigError) as raised:
        load()
    assert str(raised.value) == f"FLEET_{name.upper()}: must point to a file, and /nowhere/of-mine is none"


def test_a_wrong_override_is_blamed_on_the_field_and_not_on_the_variable(setenv: Setenv) -> None:
    setenv(FLEET_TENANT="acme")
    with pytest.raises(ConfigError) as raised:
        load(tenant="not a tenant")
    assert raised.value.field == "tenant"


@pytest.mark.parametrize(
    "url", ["nats://broker", "nats://a:4222, nats://b:4222", "tls://user:secret@broker:4222", "nats://[::1]:4222"]
)
def test_every_way_to_name_brokers_is_taken_as_it_is(setenv: Setenv, url: str) -> None:
    setenv(FLEET_NATS_URL=url)
    assert load().nats_url == url


def test_the_dashboard_is_looked_for_where_a_local_fleet_would_put_it(setenv: Setenv) -> None:
    setenv(FLEET_DASHBOARD_PORT="9265")
    assert load().dashboard_address == "http://127.0.0.1:9265"
    setenv(FLEET_RAY_DASHBOARD_URL="http://head:8265")
    assert load().dashboard_address == "http://head:8265"


def test_a_password_in_the_url_is_never_shown(setenv: Setenv) -> None:
    setenv(FLEET_NATS_URL="nats://user:sk-invented-5@broker:4222")
    settings = load()
    assert "sk-invented" not in f"{settings!r} {settings!s}"


def test_an_error_never_repeats_the_value(setenv: Setenv) -> None:
    setenv(FLEET_NATS_URL="https://user:sk-invented@broker")
    with pytest.raises(ConfigError) as raised:
        load()
    assert "sk-invented" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_an_unknown_provider_has_no_address(setenv: Setenv) -> None:
    assert load().base_url("nobody") is None


def test_a_provider_can_be_moved(setenv: Setenv) -> None:
    setenv(FLEET_GROQ_BASE_URL="http://127.0.0.1:9/v1")
    assert load().base_url("groq") == "http://127.0.0.1:9/v1"


def test_the_login_at_nats_comes_from_the_environment_and_is_not_shown(setenv: Setenv, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("")
    setenv(FLEET_NATS_USER="dispatcher", FLEET_NATS_PASSWORD="hidden-word", FLEET_NATS_CA_PATH=str(authority))

    settings = load()

    assert (settings.nats_user, settings.nats_ca_path) == ("dispatcher", authority)
    assert settings.nats_password is not None
    assert settings.nats_password.get_secret_value() == "hidden-word"
    assert "hidden-word" not in repr(settings)


@pytest.mark.parametrize("field", ["nats_password", "nats_nkey_seed", "openai_api_key"])
def test_a_secret_in_the_file_is_refused(settings_file: Callable[[str], None], field: str) -> None:
    settings_file(f"{field}: hidden-word\n")

    with pytest.raises(ConfigError, match="environment only") as caught:
        load()

    assert "hidden-word" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["_INBOX.>", "*", "a b", "", "a..b"])
def test_an_inbox_prefix_is_a_subject(setenv: Setenv, prefix: str) -> None:
    with pytest.raises(ConfigError, match="nats_inbox_prefix"):
        load(nats_inbox_prefix=prefix)

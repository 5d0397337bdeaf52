"""The settings given by the environment and one optional YAML file, validated once.

A `FLEET_<FIELD>` variable beats the file named by `FLEET_SETTINGS`, which beats the default.
Keys of providers are no settings: `fleet.providers.keys` reads each from the environment when it is needed.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    DirectoryPath,
    Field,
    FilePath,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from fleet.model.errors import ConfigError
from fleet.model.job import TENANT
from fleet.validation import rule_of

PREFIX = "FLEET_"
FILE_VARIABLE = "FLEET_SETTINGS"

LOCAL_NATS_URL = "nats://127.0.0.1:4222"
"""The address NATS listens on by default, which commands use unless they are told another."""

INBOX = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")

HEADER = re.compile(r"[A-Za-z0-9-]+")

NATS_SCHEMES = ("nats", "tls", "ws", "wss")

SECRET_ENDINGS = ("_api_key", "_password", "_seed", "_token")

DEFAULT_LEASE_SECONDS = 30.0

LEDGER_FILE = "ledger.sqlite3"
"""The name of the default database of the accounts."""

CONTENT_FILE = "content.sqlite3"
"""The name of the default database of contents."""

DEFAULT_CONTENT_KEEP_DAYS = 30

DEFAULT_LEDGER_NAME = "fleet.local/ledger"

DEFAULT_LEDGER_KEEP_DAYS = 400
"""A year and a month: last year's accounts can still be looked into."""


def _nats_url(value: str) -> str:
    if not all(_is_server(url.strip()) for url in value.split(",")):
        raise ValueError("must be nats://host:port, or several with commas between (also tls, ws, wss)")
    return value


def _is_server(url: str) -> bool:
    """Return whether the URL names a host; without a port, NATS uses its own."""
    try:
        parts = urlsplit(url)
        return parts.scheme in NATS_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, an unclosed bracket
        return False


def _http_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    return value


def _subject_prefix(value: str) -> str:
    if INBOX.fullmatch(value) is None:
        raise ValueError(f"must match {INBOX.pattern}")
    return value


def _header(value: str) -> str:
    if HEADER.fullmatch(value) is None:
        raise ValueError(f"must match {HEADER.pattern}")
    return value


def _tenant(value: str) -> str:
    if TENANT.fullmatch(value) is None:
        raise ValueError(f"must match {TENANT.pattern}")
    return value


def _networks(value: str) -> str:
    try:
        networks_in(value)
    except ValueError:
        raise ValueError("must be networks such as 10.20.0.0/16, with commas between") from None
    return value


def networks_in(text: str) -> tuple[Network, ...]:
    """Return the networks in a text, with commas between. Raises: ValueError."""
    return tuple(ipaddress.ip_network(each.strip()) for each in text.split(",") if each.strip())


Network = ipaddress.IPv4Network | ipaddress.IPv6Network

Port = Annotated[int, Field(ge=0, le=65535)]
HttpAddress = Annotated[str, AfterValidator(_http_url)]


class Settings(BaseSettings):
    """The fleet's settings. Frozen; build them with `load`.

    `nats_url` None asks for the embedded server; it may hold a password and is not shown. The login is `nats_user` with
    `nats_password`, `nats_creds_path` or `nats_nkey_seed`; `nats_ca_path` is the authority that signed the servers'
    certificates, `nats_inbox_prefix` the subject that replies come to (see `queues.jetstream.client.login`).
    The ports are those a local fleet listens on; 0 asks for any free one.
    Where another process has `metrics_port`, the next free one is taken; `metrics_discovery` is the folder in which
    each process says where its metrics are.
    `ray_dashboard_url` None means the dashboard of a fleet on this machine.
    `lease_seconds` is how long a delivery stays with a dispatcher that says nothing.
    `least_replicas` is the minimum of replicas of every model of a local fleet, in place of the profile's; with 0
    each model starts when there is work for it. `adapters` names models of a local fleet whose engines serve adapters.
    `encoder_path` is a folder with an encoder of one's own, None the encoder of the extra `cache`.
    `ledger_url` is the database of the accounts, None a file in `data_dir`; it may hold a password and is not shown.
    `ledger_keep_days` is how long its rows are kept; 0 is for ever. `ledger_name` is the name of the log over them, and
    `ledger_key_file` holds the private key that signs its checkpoints.
    `content_url` and `content_keep_days` say the same of the content store.
    The traces of jobs that cost `trace_expensive_usd` or more, failed, escalated or were slow are kept beside the share
    that OTEL_TRACES_SAMPLER_ARG states, up to `notable_traces_per_second` in each dispatcher.
    `provider_proxy_url` is the HTTP proxy that calls to providers go through (it may hold a password and is not shown),
    `provider_ca_path` holds certificates to trust there beside the public authorities'. Neither is checked here:
    one that cannot be used is logged and makes calls to providers fail; the dispatcher's other targets keep working.
    The console listens on `console_host` and `console_port` (0: any free one). It admits whoever knows `console_token`,
    and whoever a proxy names in `console_proxy_header`: no header is trusted unless it is named here. `prometheus_url`
    is the Prometheus that evaluates the fleet's alerts.
    The gateway listens on `gateway_host` and `gateway_port` (0: any free one). With a certificate and its key it speaks
    TLS. With `gateway_keys` none whoever reaches it is `tenant`; so it listens on loopback alone.
    Webhooks are sent to the internet, and into `webhook_networks` (with commas between); `webhook_ca_path` holds
    certificates to trust there beside the public authorities'.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    nats_url: Annotated[str, AfterValidator(_nats_url)] | None = Field(default=None, repr=False)
    nats_user: str | None = None
    nats_password: SecretStr | None = None
    nats_creds_path: FilePath | None = None
    nats_nkey_seed: SecretStr | None = None
    nats_ca_path: FilePath | None = None
    nats_inbox_prefix: Annotated[str, AfterValidator(_subject_prefix)] | None = None
    data_dir: Path = Path(".fleet")
    profile: Literal["local", "gpu"] = "local"
    tenant: Annotated[str, AfterValidator(_tenant)] = "demo"
    nats_port: Port = 4222
    http_port: Port = 8000
    dashboard_port: Port = 8265
    dashboard: bool = True
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 9464
    metrics_discovery: Path | None = None
    ray_dashboard_url: HttpAddress | None = None
    rules_path: FilePath | None = None
    catalogue_path: FilePath | None = None
    calibrations_path: FilePath | None = None
    routers_path: FilePath | None = None
    encoder_path: DirectoryPath | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    lease_seconds: PositiveFloat = DEFAULT_LEASE_SECONDS
    least_replicas: NonNegativeInt | None = None
    adapters: str = ""
    ledger_url: str | None = Field(default=None, repr=False)
    ledger_keep_days: NonNegativeInt = DEFAULT_LEDGER_KEEP_DAYS
    ledger_archive_dir: Path | None = None
    ledger_name: str = DEFAULT_LEDGER_NAME
    ledger_key_file: FilePath | None = None
    content_url: str | None = Field(default=None, repr=False)
    content_keep_days: PositiveInt = DEFAULT_CONTENT_KEEP_DAYS
    trace_expensive_usd: NonNegativeFloat = 0.05
    notable_traces_per_second: NonNegativeFloat = 20.0
    openai_base_url: HttpAddress | None = None
    anthropic_base_url: HttpAddress | None = None
    groq_base_url: HttpAddress | None = None
    provider_proxy_url: SecretStr | None = None
    provider_ca_path: Path | None = None
    console_host: str = "127.0.0.1"
    console_port: Port = 8270
    console_token: SecretStr | None = None
    console_proxy_header: Annotated[str, AfterValidator(_header)] | None = None
    prometheus_url: HttpAddress | None = None
    gateway_host: str = "127.0.0.1"
    gateway_port: Port = 8280
    gateway_keys: Literal["required", "none"] = "required"
    gateway_tls_cert_path: FilePath | None = None
    gateway_tls_key_path: FilePath | None = None
    webhook_networks: Annotated[str, AfterValidator(_networks)] = ""
    webhook_ca_path: FilePath | None = None

    def base_url(self, provider: str) -> str | None:
        """Return the URL to reach the provider at instead of its public address."""
        url: str | None = getattr(self, f"{provider}_base_url", None)
        return url

    @property
    def archive_dir(self) -> Path:
        """The folder with the ledger's closed days as Parquet files."""
        return self.ledger_archive_dir or self.data_dir / "ledger-days"

    @property
    def dashboard_address(self) -> str:
        """The URL of the Ray dashboard that knows the targets' state."""
        return self.ray_dashboard_url or f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def ledger_address(self) -> str:
        """The database of the accounts. It may hold a password."""
        return self.ledger_url or f"sqlite:///{self.data_dir.absolute() / LEDGER_FILE}"

    @property
    def models_with_adapters(self) -> tuple[str, ...]:
        """The models that `adapters` names."""
        return tuple(name.strip() for name in self.adapters.split(",") if name.strip())

    @property
    def content_address(self) -> str:
        """The database of contents. It may hold a password."""
        return self.content_url or f"sqlite:///{self.data_dir.absolute() / CONTENT_FILE}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, InitSettingsSource(settings_cls, _read_file())


def load(**overrides: Any) -> Settings:
    """Return the settings of this process; an override that is not None beats every other source.

    Raises: ConfigError naming the variable or field and the rule, never the value; only the path of a file that is
    not there is told, which is no secret.
    """
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise _config_error(error.errors(include_url=False)[0], overrides) from None


def _read_file() -> dict[str, Any]:
    path = os.environ.get(FILE_VARIABLE)
    if not path:
        return {}
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(FILE_VARIABLE, f"must name a readable file, and {path} is none: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigError(FILE_VARIABLE, f"{path} must be YAML") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(FILE_VARIABLE, f"{path} must hold one mapping of field to value")
    _refuse_secrets(content, path)
    return content


def _refuse_secrets(content: Mapping[str, Any], path: str) -> None:
    for key in content:
        if key.lower().endswith(SECRET_ENDINGS):
            raise ConfigError(key, f"secrets come from the environment only; take it out of {path}")


def _config_error(error: ErrorDetails, overrides: Mapping[str, Any]) -> ConfigError:
    field = str(error["loc"][0]) if error["loc"] else "settings"
    rule = "no such setting" if error["type"] == "extra_forbidden" else rule_of(error)
    if error["type"] == "path_not_file":
        rule = f"must point to a file, and {error['input']} is none"
    if error["type"] == "path_not_directory":
        rule = f"must point to a folder, and {error['input']} is none"
    variable = field if field.isupper() else f"{PREFIX}{field.upper()}"
    if overrides.get(field) is None and os.environ.get(variable):
        return ConfigError(variable, rule)
    return ConfigError(".".join(str(part) for part in error["loc"]), rule)

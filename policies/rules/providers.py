"""The providers that every catalogue knows, and the check of those that its file adds or changes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from fleet.model.errors import ConfigError
from fleet.model.target import FLEET, REGION, Auth, Provider, WireFormat

BUILT_IN: Mapping[str, Provider] = MappingProxyType(
    {
        "openai": Provider(WireFormat.OPENAI, "https://api.openai.com/v1"),
        "anthropic": Provider(WireFormat.ANTHROPIC, "https://api.anthropic.com"),
        "groq": Provider(WireFormat.GROQ, "https://api.groq.com"),
    }
)

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
"""Pattern of a provider's name, as jobs may name it in `cloud` and `own_key`."""

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
VALUE = re.compile(r"(?!(?i:bearer|basic)\b)[ -~]{0,1024}")

SECRET = re.compile(r"auth|key|token|secret|password|cookie|credential|signature", re.IGNORECASE)
"""Names of headers and query parameters that carry secrets, which no file may hold."""

AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws")

CALLED = ("/chat/completions", "/v1/messages")
"""Paths of the wires, which every call adds to the address."""

OURS = frozenset(
    {
        "host", "accept", "accept-encoding", "connection", "content-type", "content-length", "user-agent",
        "transfer-encoding", "te", "trailer", "upgrade", "expect",
    }
)  # fmt: skip
"""Headers that the fleet sets itself, or that would change how a request is framed."""

ACCOUNT = frozenset({"openai-organization", "openai-project"})
"""Headers that name the fleet's account: with a tenant's key they would be wrong, and a key of a project needs none."""


def key_variable_of(name: str, provider: Provider) -> str:
    """Return the name of the environment variable that holds the fleet's key for this provider."""
    return provider.key_variable or f"{name.upper().replace('-', '_')}_API_KEY"


def letters_of(name: str) -> str:
    """Return the provider's name as it stands in the variables of tenants' keys, `FLEET_KEY_<letters>_<reference>`.

    It has no separator: no provider's name and reference together read like those of another provider.
    """
    return name.upper().replace("-", "").replace("_", "")


def check_providers(providers: Mapping[str, Provider]) -> None:
    """Require names that jobs can use and entries that can be called, without any secret.

    Raises: ConfigError, whose field is `providers.<name>.<field>`; no rule repeats a value.
    """
    taken: dict[str, str] = {}
    for name, provider in providers.items():
        path = f"providers.{name}"
        if not NAME.fullmatch(name):
            raise ConfigError(path, f"must match {NAME.pattern}")
        other = taken.setdefault(letters_of(name), name)
        if other != name:
            raise ConfigError(path, f"must differ from {other} in more than - and _")
        _check_fleet(provider, path) if name == FLEET else _check(provider, path)


def _check_fleet(provider: Provider, path: str) -> None:
    _require(provider == Provider(region=provider.region), path, "takes nothing but `region`: the fleet is no provider")
    _check_region(provider, path)


def _check(provider: Provider, path: str) -> None:
    _check_url(provider.base_url, f"{path}.base_url")
    _check_region(provider, path)
    _check_auth(provider, path)
    _check_names(provider.headers, f"{path}.headers", OURS | ACCOUNT)
    _check_names(provider.query, f"{path}.query", frozenset())
    for field in ("requests_per_minute", "tokens_per_minute"):
        limit = getattr(provider, field)
        _require(limit is None or limit > 0, f"{path}.{field}", "must be more than zero")


def _check_url(url: str, path: str) -> None:
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, an unclosed bracket
        is_address = False
    _require(is_address, path, "must start with http:// or https:// and name a host")
    _require("@" not in parts.netloc, path, "must hold no user and no password")
    _require(not parts.query and not parts.fragment, path, "must end with the path; parameters belong under `query`")
    _require(set(re.findall(r"[{}][^{}]*}?", url)) <= {"{model}"}, path, "may hold {model} and no other braces")
    _require("{" not in parts.netloc, path, "must name its host without {model}")
    for ending in CALLED:
        _require(not parts.path.rstrip("/").endswith(ending), path, f"must end before {ending}, which is added")


def _check_region(provider: Provider, path: str) -> None:
    is_region = provider.region is None or REGION.fullmatch(provider.region) is not None
    _require(is_region, f"{path}.region", f"must match {REGION.pattern}")


def _check_auth(provider: Provider, path: str) -> None:
    for field, pattern in (("key_variable", VARIABLE), ("key_header", HEADER)):
        value = getattr(provider, field)
        _require(value is None or provider.auth is Auth.KEY, f"{path}.{field}", "belongs to `auth: key`")
        is_name = value is None or pattern.fullmatch(value) is not None
        _require(is_name, f"{path}.{field}", "must be a name, never the key itself")
    _require((provider.key_header or "").lower() not in OURS, f"{path}.key_header", "is not the catalogue's to set")
    _require(
        (provider.key_header or "").lower() not in map(str.lower, provider.headers),
        f"{path}.key_header",
        "must not be among `headers`",
    )
    if provider.auth in (Auth.AWS, Auth.SAGEMAKER):
        _check_aws(provider, path)


def _check_aws(provider: Provider, path: str) -> None:
    """Require the region that requests are signed for, and an address there."""
    _require(provider.region is not None, f"{path}.region", "is required: requests are signed for it")
    host = urlsplit(provider.base_url).hostname or ""
    is_elsewhere = host.endswith(AWS_HOSTS) and provider.region not in host.split(".")
    _require(not is_elsewhere, f"{path}.base_url", f"must be an address in the region {provider.region}")
    is_openai = provider.auth is Auth.AWS or provider.wire is WireFormat.OPENAI
    _require(is_openai, f"{path}.wire", "must be openai for `auth: sagemaker`")
    is_service = REGION.fullmatch(provider.aws_service) is not None
    _require(is_service, f"{path}.aws_service", f"must match {REGION.pattern}")


def _check_names(given: Mapping[str, str], path: str, reserved: frozenset[str]) -> None:
    for name, value in given.items():
        place = f"{path}.{name}"
        _require(HEADER.fullmatch(name) is not None, path, "must have names that a header can have")
        _require(name.lower() not in reserved, place, "is not the catalogue's to set")
        _require(not SECRET.search(name), place, "carries a secret: name its variable in key_variable and key_header")
        _require(VALUE.fullmatch(value) is not None, place, "must be visible ASCII and no key")


def _require(holds: bool, path: str, rule: str) -> None:
    if not holds:
        raise ConfigError(path, rule)

"""Asks providers whether the models of the catalogue still exist, before jobs find out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from fleet.app.worker import cloud_targets, provider_keys, rules_of, way_out
from fleet.model.errors import ConfigError
from fleet.model.target import Auth, Target
from fleet.providers import ProviderSettings, way_to
from fleet.providers.keys import EnvironmentKeyRing, KeyUnavailable
from fleet.providers.sdk import Reply, Sdk, sdk_of
from fleet.providers.transport import UnusableReply
from fleet.settings.environment import Settings
from policies.rules.providers import key_variable_of

DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class Presence(StrEnum):
    """What a provider says of a model; NOT_ASKED if nobody could ask, NO_KEY if the fleet has no key to ask with."""

    THERE = "there"
    RETIRING = "retiring"
    GONE = "gone"
    NOT_ASKED = "not_asked"
    NO_KEY = "no_key"


@dataclass(frozen=True, slots=True)
class Checked:
    """A target and what is known of its model; `detail` explains everything but THERE in one clause."""

    target: Target
    presence: Presence
    detail: str | None = None


class _Model(BaseModel):
    """A model as a provider describes it. Announced ends are OpenAI's `shutdown_date` and Anthropic's `retires_at`."""

    id: str
    active: Any = None
    lifecycle: Any = None
    retires_at: Any = None
    shutdown_date: Any = None


class _Models(BaseModel):
    data: tuple[_Model, ...]


Described = TypeVar("Described", _Model, _Models)


class _Unanswered(Exception):
    """Raised if a provider does not say which models it has; the message is a clause fit to print."""


async def check_catalogue(settings: Settings, only: Collection[str], timeout_seconds: float) -> Sequence[Checked]:
    """Check the catalogue's targets outside the fleet, or those of some providers `only`.

    Raises: ConfigError if a file cannot be used, or if there is no target of such a provider.
    """
    rules = rules_of(settings)
    targets = cloud_targets(rules)
    known = sorted({target.provider for target in targets})
    if unknown := sorted(set(only) - set(known)):
        raise ConfigError("--provider", f"must be one of {', '.join(known)}; got {unknown[0]!r}")
    chosen = [target for target in targets if not only or target.provider in only]
    return await check_models(chosen, way_out(settings, rules), provider_keys(rules), timeout_seconds)


async def check_models(
    targets: Iterable[Target], way: ProviderSettings, keys: EnvironmentKeyRing, timeout_seconds: float
) -> Sequence[Checked]:
    """Ask the provider of each target whether its model is there. Nothing in the result quotes a reply or a key."""
    asked: dict[tuple[str, str], list[Target]] = {}
    for target in targets:
        asked.setdefault((target.provider, way_to(target, way).provider.base_url), []).append(target)
    found = await asyncio.gather(*(_check(group, way, keys, timeout_seconds) for group in asked.values()))
    return [each for group in found for each in group]


async def _check(
    targets: Sequence[Target], way: ProviderSettings, keys: EnvironmentKeyRing, timeout_seconds: float
) -> Sequence[Checked]:
    """Check targets that share an address."""
    name, out = targets[0].provider, way_to(targets[0], way)
    try:
        key = keys.resolve(name, None)
    except KeyUnavailable:
        variable = key_variable_of(name, out.provider)
        return [Checked(target, Presence.NO_KEY, f"set {variable}") for target in targets]
    if out.provider.auth in (Auth.AWS, Auth.SAGEMAKER):
        why = f"{name} does not list its models where they are called"
        return [Checked(target, Presence.NOT_ASKED, why) for target in targets]
    desk = _Desk(sdk_of(out), key, timeout_seconds)
    try:
        models = await desk.listed()
        return [await _judge(target, models, desk) for target in targets]
    except _Unanswered as error:
        return [Checked(target, Presence.NOT_ASKED, f"{name} {error}") for target in targets]
    finally:
        await desk.sdk.close()


async def _judge(target: Target, models: Sequence[_Model], desk: _Desk) -> Checked:
    """Find the model in the list, or ask for it by name: lists leave out aliases and what is on a later page."""
    found = next((model for model in models if model.id == target.model), None)
    try:
        found = found or await desk.named(target.model)
    except _Unanswered as error:
        return Checked(target, Presence.NOT_ASKED, f"{target.provider} {error}")
    if found is None or found.lifecycle == "retired" or found.active is False:
        return Checked(target, Presence.GONE, f"{target.provider} has no model {target.model}")
    day = _day(found.shutdown_date) or _day(found.retires_at)
    return Checked(target, Presence.THERE) if day is None else Checked(target, Presence.RETIRING, f"ends on {day}")


def _day(value: Any) -> str | None:
    day = DATE.match(value) if isinstance(value, str) else None
    return day and day.group()


@dataclass(frozen=True, slots=True)
class _Desk:
    """Where a provider is asked about its models. Each question raises `_Unanswered` if there is no answer."""

    sdk: Sdk
    key: str
    timeout_seconds: float

    async def listed(self) -> Sequence[_Model]:
        """Return the first page of the list."""
        reply = await self._ask("")
        if reply.status == 404:
            raise _Unanswered("has no list of models at this address")
        return _read(_Models, reply).data

    async def named(self, model: str) -> _Model | None:
        reply = await self._ask(f"/{quote(model, safe='')}")
        return None if reply.status == 404 else _read(_Model, reply)

    async def _ask(self, below: str) -> Reply:
        try:
            return await self.sdk.models(below, self.key, self.timeout_seconds)
        except TimeoutError:
            raise _Unanswered(f"did not answer within {self.timeout_seconds:g} s") from None
        except ConnectionError:
            raise _Unanswered("cannot be reached") from None
        except UnusableReply:
            raise _Unanswered("sent a reply that is too long or wrongly packed") from None


def _read(kind: type[Described], reply: Reply) -> Described:
    if reply.status in (401, 403):
        raise _Unanswered(f"refuses the key ({reply.status})")
    if reply.status != 200:
        raise _Unanswered(f"answered {reply.status}")
    try:
        return kind.model_validate_json(reply.body)
    except ValidationError:
        raise _Unanswered("sent no list of models") from None

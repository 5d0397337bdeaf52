"""The fleet's experiments as feature flags of OpenFeature, so that a service draws the same arms as the dispatchers.

    from openfeature import api
    from fleet.flags import FleetFlags

    api.set_provider_and_wait(FleetFlags("nats://127.0.0.1:4222"))
    arm = api.get_client().get_string_value("smaller-first", "control", EvaluationContext("acme"))

A flag's key is the experiment's name. The targeting key is the tenant or, of an experiment by conversations, the
conversation, with the tenant as the attribute `tenant`; the attribute `task` is asked for where the experiment is of
some tasks. It needs the extra `flags`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import (
    FlagNotFoundError,
    InvalidContextError,
    ProviderNotReadyError,
    TargetingKeyMissingError,
    TypeMismatchError,
)
from openfeature.flag_evaluation import FlagMetadata, FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from fleet.background import Background
from fleet.client import Credentials
from fleet.model.errors import FleetError
from fleet.model.experiment import CONTROL, Assignment, Experiment, Stage, Unit
from fleet.ports import ExperimentStore
from policies.experiments.assignment import drawn, takes_part
from queues.jetstream.stores.experiments import JetStreamExperiments

__all__ = ["Credentials", "FleetFlags"]

Value = TypeVar("Value")
Context = EvaluationContext | None
Object = Sequence[FlagValueType] | Mapping[str, FlagValueType]

READY_SECONDS = 10.0
"""Seconds that a service waits for the first word of the experiments."""


class FleetFlags(AbstractProvider):
    """Follows the experiments in a thread of its own; every evaluation is a look at what is known.

    While nothing is known of the experiments a flag has its default, as a dispatcher answers as control.
    """

    def __init__(self, nats_url: str, credentials: Credentials | None = None) -> None:
        """Set up; the connection is made when the provider is set."""
        super().__init__()
        self._nats_url = nats_url
        self._credentials = credentials or Credentials()
        self._there: Mapping[str, Experiment] | None = None
        self._background = Background(self._following)

    def get_metadata(self) -> Metadata:
        return Metadata("fleet")

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Connect, and wait for the first word. Raises: ProviderNotReadyError where none comes."""
        try:
            self._background.call(_first_word)
        except (FleetError, TimeoutError) as error:
            raise ProviderNotReadyError(str(error) or "nothing was heard of the experiments") from error

    def shutdown(self) -> None:
        """Close the connection."""
        self._background.close()

    @asynccontextmanager
    async def _following(self) -> AsyncIterator[asyncio.Event]:
        store = await JetStreamExperiments.connect(self._nats_url, self._credentials)
        heard = asyncio.Event()
        watching = asyncio.create_task(self.follow(store, heard))
        try:
            yield heard
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await store.close()

    async def follow(self, store: ExperimentStore, heard: asyncio.Event) -> None:
        """Follow the experiments of a store until cancelled; `heard` is set with its first word."""

        def take(there: Mapping[str, Experiment] | None) -> None:
            self._there = there
            heard.set()

        await store.watch(take)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: Context = None
    ) -> FlagResolutionDetails[str]:
        """Resolve to the name of the arm."""
        found = self._assigned(flag_key, evaluation_context)
        return _details(found, default_value if found is None else found.arm)

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: Context = None
    ) -> FlagResolutionDetails[bool]:
        """Resolve to whether the arm is another than the control."""
        found = self._assigned(flag_key, evaluation_context)
        return _details(found, default_value if found is None else found.arm != CONTROL)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: Context = None
    ) -> FlagResolutionDetails[int]:
        raise TypeMismatchError("an arm is a string, or a boolean: whether it is another than the control")

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: Context = None
    ) -> FlagResolutionDetails[float]:
        raise TypeMismatchError("an arm is a string, or a boolean: whether it is another than the control")

    def resolve_object_details(
        self, flag_key: str, default_value: Object, evaluation_context: Context = None
    ) -> FlagResolutionDetails[Object]:
        raise TypeMismatchError("an arm is a string, or a boolean: whether it is another than the control")

    def _assigned(self, name: str, context: Context) -> Assignment | None:
        """Return the arm; None where the context takes no part, or nobody knows what is in force."""
        if self._there is None:
            return None
        experiment = self._there.get(name)
        if experiment is None:
            raise FlagNotFoundError(f"{name!r} is none of the experiments")
        if experiment.stage is Stage.STOPPED:
            return Assignment(name, CONTROL, 1.0)
        key, attributes = (None, {}) if context is None else (context.targeting_key, context.attributes)
        if not key:
            raise TargetingKeyMissingError(f"the targeting key must be the {experiment.unit}")
        tenant = key if experiment.unit is Unit.TENANT else _told(attributes, "tenant")
        task = "" if experiment.tasks is None else _told(attributes, "task")
        if not takes_part(experiment, tenant, task):
            return None
        return drawn(experiment, key if experiment.unit is Unit.TENANT else f"{tenant}.{key}")


def _told(attributes: Mapping[str, object], name: str) -> str:
    value = attributes.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidContextError(f"the attribute {name!r} must say it: the experiment asks for it")
    return value


def _details(found: Assignment | None, value: Value) -> FlagResolutionDetails[Value]:
    if found is None:
        return FlagResolutionDetails(value, reason=Reason.DEFAULT)
    metadata: FlagMetadata = {"propensity": found.propensity, "experiment": found.experiment}
    return FlagResolutionDetails(value, variant=found.arm, reason=Reason.SPLIT, flag_metadata=metadata)


async def _first_word(heard: asyncio.Event) -> None:
    async with asyncio.timeout(READY_SECONDS):
        await heard.wait()

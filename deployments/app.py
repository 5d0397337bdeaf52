"""The Serve applications: one per model, named like its target, and the dispatcher's, the console's and the gateway's.

`deployments.serve.declared` and the files for `serve deploy` name the functions here; Serve builds each application in
a process of its own. Every model also answers HTTP as vLLM itself does, below its route:
`/llama-8b/v1/chat/completions` (OpenAI) and `/llama-8b/v1/messages` (Anthropic).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from deployments.host import ServedWorkerHost, resolve
from deployments.profiles import (
    GRACE_SECONDS,
    HEALTH_CHECK_SECONDS,
    AdapterSlots,
    ModelProfile,
    Profile,
    llm_config,
    model,
    serving,
)
from deployments.serve.declared import CONSOLE, DISPATCHER, GATEWAY

HOST_CPUS = 0.1
"""Logical CPUs of the dispatcher: a fraction, because it must find room on a laptop beside three models."""

NODE_SHARE = 0.001
"""Share of the resource that picks its node, for each process; a node offers one, which is room for a thousand."""

MAX_REQUESTS = 200
"""Requests that the console answers at once, open streams among them; more wait in Serve's proxy."""

MAX_GATEWAY_REQUESTS = 2000
"""Requests that a replica of the gateway answers at once: most of them wait for their job."""


class ModelArguments(BaseModel):
    """The `args` of a model in a deploy file; `source` and `adapters` take the place of what the profile says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str
    profile: Profile
    confidence: bool = True
    source: str | None = None
    adapters: AdapterSlots | None = None


def build_model(args: Mapping[str, Any]) -> serve.Application:
    """Return the application of one model.

    Raises: ConfigError if the profile has no such target, or it cannot serve adapters.
    """
    chosen = ModelArguments.model_validate(args)
    described = model(chosen.profile, chosen.target)
    if chosen.source is not None:
        described = described.model_copy(update={"source": chosen.source})
    if chosen.adapters is not None:
        described = serving(chosen.target, described, chosen.adapters)
    return application(chosen.target, described, chosen.confidence)


def application(target: str, described: ModelProfile, confidence: bool) -> serve.Application:
    """Return the application of a model as it is described."""
    # Seven seconds of imports, which the process that builds the dispatcher need not wait for.
    from ray.serve.llm import build_llm_deployment

    from deployments.replica.server import FleetLLMServer

    return build_llm_deployment(
        llm_config(target, described),
        # Without an app of its own, Serve asks the started server for one: vLLM's.
        deployment_cls=serve.ingress()(FleetLLMServer),
        bind_kwargs={"confidence": confidence},
        override_serve_options={"name": target},
    )


class HostArguments(BaseModel):
    """The `args` of the dispatcher in a deploy file. `factory` is `module:function` of a `deployments.host.Worker`.

    `node` names the Ray resource of the nodes that it may run on. Without it Serve spreads the replicas over all nodes,
    and any of them keeps a machine with cards from being idle.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    factory: str
    environment: Mapping[str, str] = Field(default_factory=dict)
    replicas: int = Field(default=1, gt=0)
    node: str | None = Field(default=None, min_length=1)

    @property
    def actor_options(self) -> dict[str, Any]:
        """Return the options of Ray for a replica: its CPUs, its environment, and where it may run."""
        options = {"num_cpus": HOST_CPUS, "runtime_env": {"env_vars": dict(self.environment)}}
        return options if self.node is None else {**options, "resources": {self.node: NODE_SHARE}}


def build_host(args: Mapping[str, Any]) -> serve.Application:
    """Return the application that hosts the dispatcher."""
    chosen = HostArguments.model_validate(args)
    deployment = serve.deployment(
        ServedWorkerHost,
        name=DISPATCHER,
        num_replicas=chosen.replicas,
        ray_actor_options=chosen.actor_options,
        health_check_period_s=HEALTH_CHECK_SECONDS,
        graceful_shutdown_timeout_s=GRACE_SECONDS,
    )
    return deployment.bind(chosen.factory)


class WebArguments(HostArguments):
    """The `args` of a web server in a deploy file, as a dispatcher's. `factory` makes its ASGI application."""


def build_console(args: Mapping[str, Any]) -> serve.Application:
    """Return the application that serves the console below its route."""
    return _web(CONSOLE, MAX_REQUESTS, args)


def build_gateway(args: Mapping[str, Any]) -> serve.Application:
    """Return the application that serves the gateway below its route."""
    return _web(GATEWAY, MAX_GATEWAY_REQUESTS, args)


def _web(name: str, max_requests: int, args: Mapping[str, Any]) -> serve.Application:
    """Return the application of a web server; each replica makes the ASGI application itself."""
    chosen = WebArguments.model_validate(args)
    factory = chosen.factory

    def build() -> Any:
        return resolve(factory)()

    deployment = serve.deployment(
        serve.ingress(build)(),
        name=name,
        num_replicas=chosen.replicas,
        ray_actor_options=chosen.actor_options,
        # Streams stay open: one that a visitor forgot about must not keep others out.
        max_ongoing_requests=max_requests,
    )
    return deployment.bind()

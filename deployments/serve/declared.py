"""The fleet as Serve's declarative configuration: applied by `fleet up`, and written in the files for `serve deploy`.

Declared rather than run, so that an operator can change it later through Serve's REST API (PUT of the whole, changed).
Serve builds an application again, and replaces all its replicas, if its `args` or the *policy* of its autoscaling
change; a change of only `min_replicas` and `max_replicas` replaces no replica that may stay. For that to hold, the
policy has to be in the configuration from the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from deployments.profiles import AdapterSlots, ModelProfile, Profile, model, models, serving

DISPATCHER: Final = "dispatcher"

CONSOLE: Final = "console"

GATEWAY: Final = "gateway"

POLICY: Final = "deployments.scaling:FleetPolicy"


@dataclass(frozen=True, slots=True)
class Declared:
    """The applications to run. `targets` None means all of the profile; `host` are the dispatcher's arguments, if any.

    `readings` is `module:function` of the readings that the scaling rules use (`deployments.scaling`); None leaves
    the number of replicas to Serve's own policy. `least` replaces the minimum number of replicas of every model, and
    `adapters` says, by target, how many adapters its engine serves in place of what the profile says.
    """

    profile: Profile
    targets: Sequence[str] | None = None
    confidence: bool = True
    host: Mapping[str, Any] | None = None
    readings: str | None = None
    least: int | None = None
    adapters: Mapping[str, AdapterSlots] = field(default_factory=dict)

    def applications(self) -> list[dict[str, Any]]:
        """Return the `applications` of a `ServeDeploySchema`, as plain JSON.

        Raises: ConfigError if the profile has no such target, or one of `adapters` can serve none.
        """
        for name, slots in self.adapters.items():
            serving(name, model(self.profile, name), slots)
        chosen = models(self.profile) if self.targets is None else self.targets
        found = [self._model(name, model(self.profile, name)) for name in chosen]
        return found if self.host is None else [*found, self._dispatcher(self.host)]

    def _model(self, target: str, described: ModelProfile) -> dict[str, Any]:
        args: dict[str, Any] = {"target": target, "profile": self.profile.value}
        if not self.confidence:
            args["confidence"] = False
        if target in self.adapters:
            args["adapters"] = self.adapters[target].model_dump()
        return {
            "name": target,
            "route_prefix": f"/{target}",
            "import_path": "deployments.app:build_model",
            "args": args,
            "deployments": [{"name": target, "autoscaling_config": self._autoscaling(target, described)}],
        }

    def _autoscaling(self, target: str, described: ModelProfile) -> dict[str, Any]:
        least, most = described.replicas
        bounds = {"min_replicas": least if self.least is None else min(self.least, most), "max_replicas": most}
        if self.readings is None:
            return {**bounds, "target_ongoing_requests": described.in_flight}
        return {**bounds, **scaled_by_rules(target, self.readings)}

    @staticmethod
    def _dispatcher(host: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "name": DISPATCHER,
            "route_prefix": None,
            "import_path": "deployments.app:build_host",
            "args": dict(host),
        }


def scaled_by_rules(target: str, readings: str) -> dict[str, Any]:
    """Return the part of an `AutoscalingConfig` that hands the decision to the fleet's own rules, undistorted.

    The rules wait and settle by themselves, so Serve's delays are off, its factors stay 1, and the requests it counts
    are a mean over little more than the ten seconds that their reports are apart. No `initial_replicas`: Serve would go
    back to it with every change of the configuration.
    """
    return {
        "look_back_period_s": 15.0,
        "upscale_delay_s": 0.0,
        "downscale_delay_s": 0.0,
        "policy": {"policy_function": POLICY, "policy_kwargs": {"target": target, "factory": readings}},
    }

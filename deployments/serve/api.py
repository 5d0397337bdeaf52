"""Serve's REST API on the Ray dashboard: reads a target's replicas, and lets an operator bound or hold them.

Serve takes a whole configuration at a time, so the one that was read is sent back with one deployment's
`autoscaling_config` changed. Its bounds can be changed without replacing a replica, its policy cannot: a target is held
by its bounds (`deployments.serve.hold`).
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPException
from pathlib import Path
from typing import Any

from deployments.serve.hold import Hold, released
from fleet.model.errors import ConfigError, FleetError

SERVE_API = "/api/serve/applications/"

TIMEOUT_SECONDS = 15.0
"""The dashboard shares its machine with the head of the cluster and answers late when that is busy."""

LOOKS = 20
LOOK_SECONDS = 0.25

LOGIN_ADVICE = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"

CARRIED = ("proxy_location", "http_options", "grpc_options", "target_capacity")
"""Fields of a configuration beside its applications; a field left out would go back to Serve's default."""


class Mode(StrEnum):
    """The party that decides the number of replicas: the scaling rules, an operator, or the code that deployed them."""

    AUTOSCALING = "autoscaling"
    PAUSED = "paused"
    DRAINED = "drained"
    FIXED = "fixed"


class Switch(StrEnum):
    """An operator's order: stop autoscaling where it is, stop it and go to no replica, or resume it."""

    PAUSE = "pause"
    DRAIN = "drain"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class Bounds:
    """The minimum and maximum number of replicas that autoscaling may choose."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class NewBounds:
    """A new minimum, maximum, or both; None keeps the present one."""

    least: int | None
    most: int | None

    def on(self, old: Bounds) -> Bounds:
        """Return the bounds after the change.

        Raises: ConfigError if no number of replicas can satisfy them.
        """
        least = old.least if self.least is None else self.least
        most = old.most if self.most is None else self.most
        if least < 0:
            raise ConfigError("--min", "must be 0 or more")
        if most < 1:
            raise ConfigError("--max", "must be 1 or more; --drain goes to none and stays there")
        if least > most:
            field, rule = (
                ("--min", f"no more than --max, {most}") if self.most is None else ("--max", f"at least {least}")
            )
            raise ConfigError(field, f"must be {rule}")
        return Bounds(least, most)


Change = NewBounds | Switch


@dataclass(frozen=True, slots=True)
class Scaling:
    """The replicas of one target.

    `bounds` hold while autoscaling decides, and again once it resumes; None if the number is fixed. `message` is what
    Serve says about the target, None if it says nothing.
    """

    target: str
    status: str
    mode: Mode
    running: int
    wanted: int
    bounds: Bounds | None
    message: str | None


def mode_of(autoscaling: Mapping[str, Any]) -> Mode:
    match Hold.declared_in(autoscaling):
        case None:
            return Mode.AUTOSCALING
        case Hold(replicas=0):
            return Mode.DRAINED
        case _:
            return Mode.PAUSED


def bounds_of(autoscaling: Mapping[str, Any]) -> Bounds:
    """Return the bounds of autoscaling, now or once it decides again. Serve's default is one replica."""
    said = released(autoscaling)
    return Bounds(said.get("min_replicas", 1), said.get("max_replicas", 1))


def changed(autoscaling: Mapping[str, Any], change: Change, wanted: int) -> dict[str, Any]:
    """Return the `autoscaling_config` after the change; Serve wants `wanted` replicas now.

    Raises: ConfigError if the new bounds are impossible.
    """
    bounds, hold = bounds_of(autoscaling), Hold.declared_in(autoscaling)
    match change:
        case NewBounds():
            bounds = change.on(bounds)
        case Switch.PAUSE:
            hold = hold or Hold(wanted)
        case Switch.DRAIN:
            hold = Hold(0)
        case Switch.RESUME:
            hold = None
    free = {**released(autoscaling), "min_replicas": bounds.least, "max_replicas": bounds.most}
    return free if hold is None else hold.on(free)


@dataclass(frozen=True, slots=True)
class Instance:
    """The API's answer at one moment: Serve's `ServeInstanceDetails` as JSON."""

    details: Mapping[str, Any]

    def scaling(self, target: str) -> Scaling | None:
        """Return the target's replicas, or None if the target is not deployed."""
        application = self.details["applications"].get(target)
        if application is None:
            return None
        declared = self.declared(target)
        deployment = application["deployments"].get(target, {})
        states = [replica["state"] for replica in deployment.get("replicas", ())]
        messages = filter(None, (application["message"], deployment.get("message")))
        return Scaling(
            target,
            application["status"].lower(),
            Mode.FIXED if declared is None else mode_of(declared),
            states.count("RUNNING"),
            deployment.get("target_num_replicas", 0),
            None if declared is None else bounds_of(declared),
            " ".join(" ".join(messages).split()) or None,
        )

    def declared(self, target: str) -> Mapping[str, Any] | None:
        """Return the `autoscaling_config` that was sent last, or None if there is none."""
        return _declared(target, self.details["applications"][target].get("deployed_app_config") or {})

    def wish(self, target: str, change: Change) -> tuple[Scaling, dict[str, Any]]:
        """Return the target as it is, and the `autoscaling_config` that the change makes of it.

        Raises: ConfigError if the new bounds are impossible; FleetError if the target cannot be scaled.
        """
        now = self.scaling(target)
        if now is None:
            raise FleetError(f"{target} is not deployed: there is nothing to scale")
        declared = self.declared(target)
        if declared is None:  # to declare one now would replace every replica
            raise FleetError(
                f"{target} was deployed without an autoscaling_config: deploy it with one, as fleet up does"
            )
        return now, changed(declared, change, now.wanted)

    def configuration(self, target: str, autoscaling: Mapping[str, Any]) -> dict[str, Any]:
        """Return the whole configuration, with this `autoscaling_config` for the target.

        Applications that were run by code, not declared, are not in it: Serve leaves them alone.
        """
        configurations = [each.get("deployed_app_config") for each in self.details["applications"].values()]
        carried = {name: self.details[name] for name in CARRIED if self.details.get(name) is not None}
        return {**carried, "applications": [_with(target, autoscaling, each) for each in configurations if each]}


def _with(target: str, autoscaling: Mapping[str, Any], configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    if configuration["name"] != target:
        return configuration
    deployments = [
        {**each, "autoscaling_config": autoscaling} if each["name"] == target else each
        for each in configuration["deployments"]
    ]
    return {**configuration, "deployments": deployments}


def _declared(target: str, configuration: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the target's `autoscaling_config` in an application's configuration, or None."""
    for deployment in configuration.get("deployments", ()):
        if deployment["name"] == target:
            found: Mapping[str, Any] | None = deployment.get("autoscaling_config")
            return found
    return None


def _wants(wanted: int, autoscaling: Mapping[str, Any]) -> bool:
    hold = Hold.declared_in(autoscaling)
    if hold is not None:
        return wanted == hold.replicas
    return bool(autoscaling["min_replicas"] <= wanted <= autoscaling["max_replicas"])


def ray_login() -> dict[str, str]:
    """Return the header Ray's dashboard wants if RAY_AUTH_MODE=token; the token is looked up where Ray looks."""
    if os.environ.get("RAY_AUTH_MODE") != "token":
        return {}
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not token and path.is_file():
        token = path.read_text(encoding="utf-8")
    return {"Authorization": f"Bearer {token.strip()}"} if token.strip() else {}


class ServeApi:
    """Reads and changes what Serve runs. `dashboard_url` is the address of the Ray dashboard."""

    def __init__(self, dashboard_url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._url = dashboard_url.rstrip("/") + SERVE_API
        self._timeout_seconds = timeout_seconds

    def read(self) -> Instance:
        """Read what Serve runs now.

        Raises: FleetError if no Ray dashboard answers.
        """
        try:
            details = json.loads(self._asked("GET"))
            return Instance({**details, "applications": dict(details["applications"])})
        except (ValueError, TypeError, KeyError):
            raise FleetError(f"what answers at {self._url} is no Ray dashboard") from None

    def change(self, target: str, change: Change) -> tuple[Scaling, Scaling]:
        """Make the change and return the target before and after it.

        The API has no version to compare with: if two operators act in the same few milliseconds, the later one wins,
        and the earlier one gets the FleetError.

        Raises: ConfigError if the new bounds are impossible; FleetError.
        """
        before = self.read()
        was, wish = before.wish(target, change)
        self.put(before.configuration(target, wish))
        return was, self._followed(target, wish)

    def _followed(self, target: str, wish: Mapping[str, Any]) -> Scaling:
        """Return the target once Serve has followed, in its next round; after some seconds, return it as it is.

        Raises: FleetError if another operator changed the target meanwhile.
        """
        for look in range(LOOKS):
            now = self.read()
            scaling = now.scaling(target)
            if scaling is None or now.declared(target) != wish:
                break
            if _wants(scaling.wanted, wish) or look == LOOKS - 1:
                return scaling
            time.sleep(LOOK_SECONDS)
        raise FleetError(f"somebody else changed {target} at the same moment: look at it with `fleet scale`")

    def put(self, configuration: Mapping[str, Any]) -> None:
        """Apply a whole `ServeDeploySchema`; declared applications not in it are deleted.

        Raises: FleetError if no dashboard answers or it refuses.
        """
        self._asked("PUT", json.dumps(configuration).encode())

    def _asked(self, method: str, sent: bytes | None = None) -> bytes:
        headers = {"Content-Type": "application/json", **ray_login()}
        # The address is the operator's own setting, checked to be http(s).
        request = urllib.request.Request(self._url, sent, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_seconds) as reply:  # noqa: S310
                body: bytes = reply.read()
                return body
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise FleetError(f"the Ray dashboard at {self._url} wants its token: {LOGIN_ADVICE}") from None
            said = " ".join(error.read(300).decode(errors="replace").split())
            raise FleetError(f"the Ray dashboard at {self._url} refuses: {error.code} {said}".rstrip()) from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise FleetError(
                    f"the Ray dashboard at {self._url} has not answered within {self._timeout_seconds:g} s: "
                    "its machine is busy, or it is stuck"
                ) from None
            raise FleetError(
                f"no Ray dashboard answers at {self._url} ({reason}): set FLEET_RAY_DASHBOARD_URL"
            ) from None

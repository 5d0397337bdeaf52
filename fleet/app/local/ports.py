"""The ports of a fleet on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.loopback import LOOPBACK, free_ports, is_free
from fleet.model.errors import ConfigError
from fleet.settings.environment import Settings


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that the parts listen on, on loopback."""

    nats: int
    http: int
    dashboard: int

    @staticmethod
    def of(settings: Settings) -> Ports:
        """Return the ports the settings ask for, with a port that is free now in place of each 0.

        Raises: ConfigError that names all ports that are needed and taken, those of console and gateway too: nothing is
        started then, and nothing waits for them.
        """
        needed = _needed(settings).items()
        taken = {name: port for name, (host, port) in needed if port and not is_free(port, host)}
        if taken:
            ports = ", ".join(map(str, taken.values()))
            which = f"port {ports} is" if len(taken) == 1 else f"ports {ports} are"
            rule = f"{which} taken: stop what listens there, or choose another (0: any free one)"
            raise ConfigError(", ".join(taken), rule)
        wanted = (settings.nats_port, settings.http_port, settings.dashboard_port)
        return Ports(*(port or free for port, free in zip(wanted, free_ports(len(wanted)), strict=True)))


def _needed(settings: Settings) -> dict[str, tuple[str, int]]:
    """Return the hosts and ports that a fleet with these settings listens on, by the variables of the ports."""
    needed = {"FLEET_HTTP_PORT": (LOOPBACK, settings.http_port)}
    if settings.nats_url is None:
        needed["FLEET_NATS_PORT"] = (LOOPBACK, settings.nats_port)
    if settings.dashboard:
        needed["FLEET_DASHBOARD_PORT"] = (LOOPBACK, settings.dashboard_port)
    needed["FLEET_CONSOLE_PORT"] = (settings.console_host, settings.console_port)
    needed["FLEET_GATEWAY_PORT"] = (settings.gateway_host, settings.gateway_port)
    return needed

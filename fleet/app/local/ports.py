"""The ports of a fleet on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.loopback import free_ports, is_free
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

        Raises: ConfigError if one that is needed is taken: nothing is started then, and nothing waits for it.
        """
        needed = {"http_port": settings.http_port}
        if settings.nats_url is None:
            needed["nats_port"] = settings.nats_port
        if settings.dashboard:
            needed["dashboard_port"] = settings.dashboard_port
        for name, port in needed.items():
            if port and not is_free(port):
                rule = f"port {port} is taken: stop what listens there, or choose another (0: any free one)"
                raise ConfigError(f"FLEET_{name.upper()}", rule)
        wanted = (settings.nats_port, settings.http_port, settings.dashboard_port)
        return Ports(*(port or free for port, free in zip(wanted, free_ports(len(wanted)), strict=True)))

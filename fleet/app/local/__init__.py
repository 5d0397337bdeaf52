"""The whole fleet on this machine: nats-server, Ray with its dashboard, the models, the dispatcher, the accounts."""

from fleet.app.local.fleet import Fleet, start
from fleet.app.local.parts import DISPATCHER_FACTORY, READINGS_FACTORY

__all__ = ["DISPATCHER_FACTORY", "READINGS_FACTORY", "Fleet", "start"]

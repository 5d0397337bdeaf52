"""Ports on loopback for parts that start a while after their port was chosen."""

from __future__ import annotations

import errno
import random
import socket
from itertools import islice
from typing import Final

LOOPBACK: Final = "127.0.0.1"

PORTS: Final = range(20_000, 32_768)
"""No system lends these to outgoing connections or to `bind(0)` (Linux starts at 32768, others at 49152), and Ray's
workers listen below them. So only a process that names the same port can take one that was found free."""


def free_port() -> int:
    """Return a port that nothing uses now, and that the system gives to nobody who does not ask for it by number.

    Raises: OSError if none can be found.
    """
    [port] = free_ports(1)
    return port


def free_ports(count: int) -> list[int]:
    """Return different ports, each as `free_port` does.

    Raises: OSError if there are fewer.
    """
    found = list(islice(filter(is_free, random.sample(PORTS, len(PORTS))), count))
    if len(found) < count:
        raise OSError("too few free ports on loopback")
    return found


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Return whether no server listens on the port.

    As servers bind: connections of an earlier server that are still closing do not count.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True

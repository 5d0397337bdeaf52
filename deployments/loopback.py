"""Keeps the replicas of a loopback cluster on loopback.

Ray 2.60 binds the internal gRPC server of every Serve replica to all interfaces (`replica.py`, `"[::]:0"`), whatever
address the cluster has; anyone who reaches that port can run code. If the whole cluster lives on 127.0.0.1, nobody
else has business there.
"""

from __future__ import annotations

from typing import Any

ALL_INTERFACES = "[::]:"
LOOPBACK = "127.0.0.1"


def keep_replica_on_loopback() -> None:
    """Bind the replica to loopback: call this in its constructor, before Serve binds. No effect on a real cluster."""
    import ray
    from ray.serve._private import replica

    if ray.util.get_node_ip_address() != LOOPBACK:
        return
    bind = replica.add_port_to_grpc_server

    def bind_on_loopback(server: Any, address: str) -> int:
        return bind(server, address.replace(ALL_INTERFACES, f"{LOOPBACK}:"))

    replica.add_port_to_grpc_server = bind_on_loopback

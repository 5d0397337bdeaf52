"""Which addresses a webhook may be sent to: the public internet, and the networks that the operator names.

Python's `is_global` is no judge of that: it takes multicast for global, and addresses that lead back to private ones
(NAT64, 6to4).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

HTTPS_PORT = 443

_NOT_PUBLIC_4 = [
    IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16"),  # this machine, this link and the metadata of clouds
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),  # private, and behind a carrier's NAT
        *("192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15"),  # protocols, relays of 6to4, benchmarks
        *("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"),  # documentation
        *("224.0.0.0/4", "240.0.0.0/4"),  # multicast, reserved and broadcast
        "168.63.129.16/32",  # public by its number: Azure's own services for the machine
    )
]

_UNICAST_6 = IPv6Network("2000::/3")
"""All that is given out of IPv6. Beyond it lie this machine, links, sites, multicast and every embedded IPv4."""

_NOT_PUBLIC_6 = [
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocols: Teredo, which leads to an IPv4, and others
        *("2001:db8::/32", "3fff::/20"),  # documentation
        "2002::/16",  # 6to4, which leads to an IPv4
    )
]


def is_public(address: Address) -> bool:
    """Return whether an address belongs to somebody on the internet."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return address in _UNICAST_6 and not any(address in network for network in _NOT_PUBLIC_6)


class Permitted:
    """The addresses that may be connected to: on port 443 the internet, on any port the operator's `networks`."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)

    @property
    def has_networks(self) -> bool:
        return bool(self._networks)

    def allows(self, address: str, port: int, *, encrypted: bool = True) -> bool:
        """Return whether an address that a name was resolved to may be connected to."""
        found = ip_address(address)
        if any(found.version == network.version and found in network for network in self._networks):
            return True
        return encrypted and port == HTTPS_PORT and is_public(found)

"""Where webhooks may be sent: to the internet on its port, and into the operator's networks."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from fleet.webhooks.addresses import Permitted, is_public

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.0",
    "172.32.0.1",
    "192.0.1.1",
    "2606:4700::1111",
    "2a00::1",
]

INSIDE = {
    "this machine": ["127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "::1", "::"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12:3456::1"],
    "carrier's NAT": ["100.64.0.1", "100.127.255.255"],
    "link": ["169.254.1.1", "fe80::1", "fe80::1%1"],
    "metadata of clouds": ["169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254"],
    "IPv4 in IPv6": ["::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1"],
    "NAT64": ["64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1"],
    "6to4": ["2002:7f00:1::", "2002:a00:1::1", "192.88.99.1"],
    "Teredo": ["2001::1", "2001:0:4136:e378:8000:63bf:80ff:fffe"],
    "multicast": ["224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "192.0.0.8", "198.18.0.1", "100::1", "4000::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "old site-local": ["fec0::1"],
}


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", [pytest.param(each, id=f"{kind} {each}") for kind, found in INSIDE.items() for each in found]
)
def test_an_address_that_leads_inside_is_not(address: str) -> None:
    assert not is_public(ip_address(address))
    assert not Permitted().allows(address, 443)


@pytest.mark.parametrize(("port", "encrypted"), [(80, False), (443, False), (8443, True), (22, True)])
def test_the_internet_gets_https_on_its_port_and_nothing_else(port: int, encrypted: bool) -> None:
    assert Permitted().allows("8.8.8.8", 443)
    assert not Permitted().allows("8.8.8.8", port, encrypted=encrypted)


@pytest.mark.parametrize("address", ["10.20.3.4", "fd12::1"])
def test_an_operators_network_may_be_sent_to_on_any_port(address: str) -> None:
    permitted = Permitted([ip_network("10.20.0.0/16"), ip_network("fd12::/16")])
    assert permitted.allows(address, 8080, encrypted=False)


@pytest.mark.parametrize("address", ["10.21.0.1", "127.0.0.1", "169.254.169.254", "::ffff:10.20.3.4"])
def test_an_operators_network_opens_no_other(address: str) -> None:
    assert not Permitted([ip_network("10.20.0.0/16")]).allows(address, 443)

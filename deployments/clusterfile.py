"""Finds the faults of a cluster file, as far as they can be known without asking AWS.

    python -m deployments.clusterfile [cluster.yaml]

`clusterfile.yaml` and Ray's own schema check the form. This checks that machines exist and have the resources claimed,
that one machine has room for every model of the profile `gpu`, that no model may be placed where its memory does not
suffice or where it costs more than it must, and that nothing is left to chance which Ray would choose by itself. What
is allowed but not wise is printed as a warning. Not checked: quotas, roles, what is in the images, today's prices.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path, PurePath
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]
import yaml

from deployments.placement import CARDS, CPU_NODE, NodeType, machines, misplaced
from deployments.profiles import GRACE_SECONDS

VCPUS: Final[Mapping[str, int]] = {
    "m7i.large": 2,
    "m7i.xlarge": 4,
    "m7i.2xlarge": 8,
    "m7i.4xlarge": 16,
    "g5.xlarge": 4,
    "g5.2xlarge": 8,
    "g5.12xlarge": 48,
    "g5.48xlarge": 192,
    "p4d.24xlarge": 96,
    "p4de.24xlarge": 96,
    "p5.4xlarge": 16,
    "p5.48xlarge": 192,
    "p5en.48xlarge": 192,
}
"""vCPUs of every machine a cluster file may name; `policies/capacity/machines.yaml` knows the cards in them."""

NETWORK: Final = {"SubnetIds": "subnet", "SecurityGroupIds": "sg"}
"""The fields of a node's configuration that Ray fills with what it finds or makes, and how the ids there begin."""

INTERFACES: Final = "NetworkInterfaces"
"""The field that says the same for each interface, in place of both, and may give the machine an address that stays."""

DRAIN: Final = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
"""The seconds for which `ray start --block` drains its node on SIGTERM (Ray 2.60: 30). Without --block it does not."""

STARTS: Final = ("head_start_ray_commands", "worker_start_ray_commands")

ASSIGNMENT: Final = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)

TRANSPARENT: Final = {"env", "exec", "nohup"}
"""Words before a shell command that hand its environment on. `sudo` does not."""

LONGEST_LINE: Final = 400

SPOT_PROVIDER: Final = "deployments.aws.SpotFirstProvider"

Described = Mapping[str, Any]
"""A node type of the file."""


def problems(config: Mapping[str, Any]) -> list[str]:
    """Return one line for each fault of a file whose form is right; an empty list if there is none."""
    described: Mapping[str, Described] = config["available_node_types"]
    unknown = [line for name, each in described.items() for line in _unknown(name, each)]
    if unknown:
        return unknown
    workers = {name: each for name, each in described.items() if name != config["head_node_type"]}
    nodes = [_node_type(name, each, config["max_workers"]) for name, each in workers.items()]
    return [
        *_head(config["head_node_type"], described[config["head_node_type"]]),
        *(line for name, each in described.items() for line in _network(name, each, head=name not in workers)),
        *(line for name, each in described.items() for line in _claims(name, each)),
        *(line for name, each in workers.items() for line in _numbers(name, each, config["max_workers"])),
        *_market(config),
        *_zones(config["provider"]),
        *_starting(config),
        *misplaced(nodes, config["max_workers"]),
    ]


def _unknown(name: str, described: Described) -> Iterator[str]:
    instance = described["node_config"].get("InstanceType")
    if instance not in VCPUS:
        yield f"{_path(name)}: unknown machine {instance!r}; known are {', '.join(VCPUS)}"


def _node_type(name: str, described: Described, most: int) -> NodeType:
    most = described.get("max_workers", most)
    return NodeType.rented(name, described["resources"], most, described["node_config"]["InstanceType"])


def _head(name: str, described: Described) -> Iterator[str]:
    if described["node_config"]["InstanceType"] in machines().instances:
        yield f"{_path(name)}: the head must have no card: it must not be taken away, nor cost what a card costs"
    if described.get("max_workers", 0):
        yield f"{_path(name)}.max_workers: must be 0: there is one head"
    if described["resources"].get(CPU_NODE, 0) < 1:
        yield f"{_path(name)}.resources.{CPU_NODE}: must be 1: dispatchers run only where it is offered"


def _network(name: str, described: Described, *, head: bool) -> Iterator[str]:
    node, path = described["node_config"], f"{_path(name)}.node_config"
    if INTERFACES not in node:
        for field, kind in NETWORK.items():
            yield from _ids(f"{path}.{field}", node.get(field), kind)
        return
    for field in ("SubnetId", *NETWORK):
        if field in node:
            yield f"{path}.{field}: must not stand beside {INTERFACES}, where SubnetId and Groups say it"
    if not head:
        yield f"{path}.{INTERFACES}: only the head may have it: it names one subnet, and workers try one in each zone"
    yield from _interfaces(f"{path}.{INTERFACES}", node[INTERFACES])


def _interfaces(path: str, interfaces: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for index, each in enumerate(interfaces):
        place = f"{path}[{index}]"
        if each.get("DeviceIndex") != index:
            yield f"{place}.DeviceIndex: must be {index}, the number of the interface"
        if "NetworkInterfaceId" in each:
            yield f"{place}.NetworkInterfaceId: EC2 wants no SubnetId beside it, and Ray does; use PrivateIpAddress"
        yield from _ids(f"{place}.SubnetId", [each["SubnetId"]] if each.get("SubnetId") else [], NETWORK["SubnetIds"])
        yield from _ids(f"{place}.Groups", each.get("Groups"), NETWORK["SecurityGroupIds"])
        if "PrivateIpAddress" in each and not _is_address(each["PrivateIpAddress"]):
            address = each["PrivateIpAddress"]
            yield f"{place}.PrivateIpAddress: {address} must be a free address of the subnet, as 10.0.1.10"


def _ids(path: str, ids: Sequence[str] | None, kind: str) -> Iterator[str]:
    if not ids:
        yield f"{path}: must name your own, {kind}-…: Ray would take what it finds"
    elif strange := [each for each in ids if not re.fullmatch(rf"{kind}-[0-9a-f]{{8,17}}", each)]:
        yield f"{path}: {strange[0]} must be an id of yours, as {kind}-0123456789abcdef0"


def _is_address(address: str) -> bool:
    try:
        return not ipaddress.IPv4Address(address).is_loopback
    except ValueError:
        return False


def _claims(name: str, described: Described) -> Iterator[str]:
    """Yield resources that the machine does not have. Claiming less than it has is a choice."""
    instance, rented = described["node_config"]["InstanceType"], machines()
    cards = rented.instances[instance].gpus if instance in rented.instances else 0
    memory_gib = rented.gpu_of(instance).memory_gib if cards else 0.0
    kinds = {kind: cards if memory_gib >= least else 0 for kind, least in CARDS.items()}
    for resource, there in {"CPU": VCPUS[instance], "GPU": cards, **kinds, CPU_NODE: 0 if cards else 1}.items():
        claimed = described["resources"].get(resource, 0)
        if claimed > there:
            yield f"{_path(name)}.resources.{resource}: {claimed} is more than the {there} of {instance}"


def _numbers(name: str, described: Described, all_workers: int) -> Iterator[str]:
    least, most = described.get("min_workers", 0), described.get("max_workers", all_workers)
    if least > most:
        yield f"{_path(name)}.min_workers: {least} is more than max_workers, {most}"


def _market(config: Mapping[str, Any]) -> Iterator[str]:
    if config["provider"].get("module") == SPOT_PROVIDER:
        return
    for name, each in config["available_node_types"].items():
        if each["node_config"].get("InstanceMarketOptions", {}).get("MarketType") == "spot":
            yield f"{_path(name)}: spot, and nothing falls back to on demand; provider.module must be {SPOT_PROVIDER}"


def _zones(provider: Mapping[str, Any]) -> Iterator[str]:
    zones = {zone.strip(): None for zone in provider["availability_zone"].split(",") if zone.strip()}
    region = provider["region"]
    if len(zones) < 2:
        yield "provider.availability_zone: must name two zones at least: one may be out of machines, or out altogether"
    for zone in zones:
        if not re.fullmatch(rf"{re.escape(region)}[a-z]", zone):
            yield f"provider.availability_zone: {zone} is not in the region {region}, whose zones are {region}a and on"


def _starting(config: Mapping[str, Any]) -> Iterator[str]:
    for field in STARTS:
        try:
            yield from _starts(field, config[field])
        except ValueError as error:
            yield f"{field}: the shell cannot read a command: {error}"


def _starts(field: str, commands: Sequence[str]) -> Iterator[str]:
    split = [list(_simple_commands(command)) for command in commands]
    environments = [environment for each in split for environment in _environments(each)]
    if not environments:
        yield f"{field}: nothing starts Ray; one command must be `ray start`"
    if any(each.get("RAY_AUTH_MODE") != "token" for each in environments):
        yield f"{field}: must set RAY_AUTH_MODE=token: whoever reaches Ray without a login runs code on it"
    blocks = [each for each in split if any("--block" in words for words in each)]
    if not all(_drains(environment) for each in blocks for environment in _environments(each)):
        yield f"{field}: --block needs {DRAIN} of {GRACE_SECONDS:g} or more: a call may take as long"


def _drains(environment: Mapping[str, str]) -> bool:
    seconds = environment.get(DRAIN, "")
    return re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", seconds) is not None and float(seconds) >= GRACE_SECONDS


def _simple_commands(command: str) -> Iterator[list[str]]:
    """Yield the words of each simple command in a line for the shell, without comments.

    A pipe, `||` or `&` stands as a word on both of its sides: what is set there may not be set in what follows.

    Raises: ValueError if a quote is never closed.
    """
    lexer = shlex.shlex(command.replace("\\\n", " "), posix=True, punctuation_chars=";|&<>\n")
    lexer.whitespace, lexer.commenters, lexer.whitespace_split = " \t\r", "", True
    words: list[str] = []
    comment = False
    for word in lexer:
        if set(word) <= set(";|&\n"):
            comment = comment and "\n" not in word
            between = [operator] if (operator := word.strip(";\n")) not in ("", "&&") else []
            if words:
                yield words + between
            words = between
        elif comment or word.startswith("#"):
            comment = True
        else:
            words.append(word)
    if words:
        yield words


def _environments(commands: Sequence[Sequence[str]]) -> Iterator[Mapping[str, str]]:
    """Yield the variables that the commands set for each `ray start` among them; none where they cannot be known."""
    exported: dict[str, str] = {}
    for words in commands:
        if re.search(r"\bray\s+start\b", " ".join(words)):
            before = list(takewhile(lambda word: PurePath(word).name != "ray", words))
            known = all(word in TRANSPARENT or ASSIGNMENT.fullmatch(word) for word in before)
            yield exported | _assigned(before) if known else {}
        elif words[0] == "export" and words[-1] not in ("|", "|&", "&"):
            exported |= _assigned(words[1:])
        elif words[0] in ("unset", "|", "|&", "&", "||"):
            doubtful = {*words, *_assigned(words)}
            exported = {name: value for name, value in exported.items() if name not in doubtful}
        else:
            assigned = _assigned(takewhile(ASSIGNMENT.fullmatch, words)) if ASSIGNMENT.fullmatch(words[-1]) else {}
            exported |= {name: value for name, value in assigned.items() if name in exported}


def _assigned(words: Iterable[str]) -> dict[str, str]:
    return {found[1]: found[2] for found in map(ASSIGNMENT.fullmatch, words) if found}


def warnings(config: Mapping[str, Any]) -> list[str]:
    """Return one line for each choice that is allowed but not wise, in a file whose form is right."""
    return [
        f"{_path(name)}.node_config.ImageId: {each['node_config'].get('ImageId')!r} is another image tomorrow; "
        "write the ami-… that you have tried"
        for name, each in config["available_node_types"].items()
        if not str(each["node_config"].get("ImageId")).startswith("ami-")
    ]


def _path(name: str) -> str:
    return f"available_node_types.{name}"


def broken_form(config: Mapping[str, Any]) -> list[str]:
    """Return one line for each part that the check reads and that is not what it must be."""
    schema = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    if broken := [_complaint(error) for error in jsonschema.Draft202012Validator(schema).iter_errors(config)]:
        return broken
    if config["head_node_type"] not in config["available_node_types"]:
        return ["head_node_type: must be the name of one of available_node_types"]
    return []


def _complaint(error: jsonschema.ValidationError) -> str:
    return ": ".join(filter(None, [".".join(map(str, error.absolute_path)), error.message]))


def refused_by_ray(config: Mapping[str, Any]) -> str | None:
    """Return the complaint of Ray's own schema about a file whose form is right, or None."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    logging.getLogger("ray.autoscaler._private.util").setLevel(logging.ERROR)  # it warns of its own defaults
    try:
        validate_config(prepare_config(dict(config)))
    except jsonschema.ValidationError as error:
        return _complaint(error)
    except Exception as error:  # Ray looks into some fields before it checks them, and says so with whatever it hits
        return f"Ray refuses the file: {error}"
    return None


def read(path: Path) -> dict[str, Any]:
    """Return what is in a cluster file.

    Raises: ValueError if there is no such file, it is not YAML, or it holds no fields.
    """
    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:  # `!!int ""` ends in the last three
        raise ValueError(f"is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise ValueError("must hold the fields of a cluster, as cluster.yaml")
    return config


def checked(path: Path) -> tuple[list[str], list[str]]:
    """Return the faults of a file, and the warnings, which no file has whose form is wrong."""
    try:
        config = read(path)
        if broken := broken_form(config):
            return broken, []
        refused = refused_by_ray(config)
        return ([refused], []) if refused is not None else (problems(config), warnings(config))
    except ValueError as error:
        return [str(error)], []
    except RecursionError:
        return ["must not nest its values so deep"], []


def _line(text: str) -> str:
    """Return a text in one printable line, whatever of the file it quotes."""
    plain = "".join(each if each.isprintable() else "?" for each in " ".join(text.split()))
    return plain if len(plain) <= LONGEST_LINE else f"{plain[:LONGEST_LINE]}…"


def main(arguments: Sequence[str]) -> int:
    """Print every fault and every warning, and return the exit status: 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=Path("cluster.yaml"))
    path = parser.parse_args(arguments).path
    found, unwise = checked(path)
    nothing = [] if found else ["nothing wrong that can be known without asking AWS"]
    for line in [*found, *(f"warning: {each}" for each in unwise), *nothing]:
        sys.stdout.write(f"{path}: {_line(line)}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Checks or fetches the weights of the profile `gpu`; `python -m deployments.weights --help`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deployments.weights import fetch as fetching
from deployments.weights.hub import HubModel, card_gib, fitting, hub_models, verdicts
from fleet.model.errors import ConfigError, FleetError


def main(arguments: Sequence[str] | None = None, api: Any = None) -> int:
    """Run `check` or `fetch`, and return the exit status: 0, 1 with a line that says why, or 130 after Ctrl-C."""
    given = _parser().parse_args(arguments)
    try:
        if given.command == "check":
            return check(given.target, api or _hub())
        if not given.into or Path(given.into).is_file():
            raise ConfigError("--into", f"must be a folder; got {given.into!r}")
        wanted = hub_models(given.target)
        return fetch(fitting(wanted, card_gib()) if given.fitting else wanted, given, api)
    except (FleetError, OSError) as error:
        print(_line(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # what has come is kept
        return 130


def check(targets: Sequence[str], api: Any) -> int:
    """Print a line for each model: readable, or what to do about it."""
    found = list(verdicts(hub_models(targets), api))
    for each in found:
        print(each)
    return 0 if all(each.readable for each in found) else 1


def fetch(wanted: Sequence[HubModel], given: argparse.Namespace, api: Any = None) -> int:
    """Bring models into a folder, and print a line for each with its size and the time it took."""
    into = Path(given.into)
    fill = fetching.from_hub(api or _hub()) if given.source is None else fetching.from_s3(given.source)
    with fetching.only_one(into, on_wait=lambda line: print(line, file=sys.stderr)):
        for model in wanted:
            started = time.monotonic()
            size = fetching.fetch(model, into, fill, given.verify)
            took = time.monotonic() - started
            print(f"{model.target} ({model.repo}): {size / 1e9:.1f} GB, whole, {took:.0f} s")
    return 0


def _line(error: FleetError | OSError) -> str:
    """Return what is wrong in one line, with the path where the system names one."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the disk'}: {error.strerror.lower()}"
    return " ".join(str(error).split()) or type(error).__name__


def _hub() -> Any:
    from huggingface_hub import HfApi

    return HfApi()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deployments.weights", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="ask the hub whether this token may read each model")
    fetch_ = commands.add_parser("fetch", help="bring the weights into a folder; what is there is left alone")
    fetch_.add_argument("--into", required=True, help="the folder; HF_HUB_CACHE of the engines")
    fetch_.add_argument("--from", dest="source", help="s3://bucket/prefix with a copy; without it, the hub")
    fetch_.add_argument("--fitting", action="store_true", help="only models that the cards of this machine may hold")
    fetch_.add_argument("--verify", action="store_true", help="read every file again, also those that have not changed")
    for each in (checking, fetch_):
        each.add_argument("--target", action="append", default=[], help="a model of the profile; without it, all")
    return parser


if __name__ == "__main__":
    sys.exit(main())

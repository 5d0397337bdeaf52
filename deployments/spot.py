"""Empties a spot machine before it goes: on AWS's notice, two minutes ahead, tells Ray to drain the node.

    python -m deployments.spot [--metadata-url http://169.254.169.254] [--poll-seconds 5]

Runs on every spot worker beside `ray start`, and ends once the node is drained. Serve then starts a replacement of each
replica on another node, lets the old one answer until that runs or the machine goes, and places nothing new here. A job
cut short at the end comes back by its lease, as after any crash.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from fleet import logs

METADATA_URL = "http://169.254.169.254"

POLL_SECONDS = 5.0
"""Seconds between requests for the notice, as AWS advises."""

TOKEN_SECONDS = 21_600
"""Seconds that an IMDSv2 token lives, which is the maximum."""

TIMEOUT_SECONDS = 2.0
"""The service answers from the machine's own hypervisor, at once or not at all."""

DRAIN_TIMEOUT_SECONDS = 30.0

RETRY_SECONDS = 1.0

log = logs.get_logger("fleet.spot")


@dataclass(frozen=True, slots=True)
class Notice:
    """The fate of the machine (terminate, stop, hibernate), and its time in unix seconds."""

    action: str
    at: float


class Metadata:
    """The instance metadata service, version 2.

    Raises: OSError in every method if the service does not answer.
    """

    def __init__(self, base_url: str = METADATA_URL) -> None:
        self._base_url = base_url.rstrip("/")
        self._token: str | None = None

    def notice(self) -> Notice | None:
        """Return the notice, or None while there is none.

        Raises: ValueError if the notice cannot be read.
        """
        try:
            body = self._get("/latest/meta-data/spot/instance-action")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            self._token = None  # 401: it has expired
            raise
        try:
            told = json.loads(body)
            return Notice(told["action"], datetime.fromisoformat(told["time"]).timestamp())
        except (KeyError, TypeError) as error:
            raise ValueError(f"no notice: {body!r}") from error

    def _get(self, path: str) -> bytes:
        if self._token is None:
            ttl = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
            self._token = self._asked("/latest/api/token", "PUT", ttl).decode()
        return self._asked(path, "GET", {"X-aws-ec2-metadata-token": self._token})

    def _asked(self, path: str, method: str, headers: dict[str, str]) -> bytes:
        request = urllib.request.Request(self._base_url + path, headers=headers, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as reply:  # noqa: S310  # the operator's address
            body: bytes = reply.read()
            return body


def drain_node(seconds_left: float, reason: str, node_id: str | None = None) -> None:
    """Ask Ray to drain this node, or the one named.

    It uses Ray's own command (2.60), which finds the cluster and the node as every Ray process on the machine does.

    Raises: RuntimeError with Ray's last word if the node is not drained.
    """
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "drain-node"),
        *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", reason),
        *("--deadline-remaining-seconds", str(max(0, math.floor(seconds_left)))),
        *(("--node-id", node_id) if node_id else ()),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DRAIN_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"Ray did not answer within {DRAIN_TIMEOUT_SECONDS:g} s") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(said[-1] if said else f"ray drain-node exited with {done.returncode}")


class Watch:
    """Waits for the notice, then drains. The clock and the drain are parameters, so that a test needs neither."""

    def __init__(
        self,
        metadata: Metadata,
        drain: Callable[[float, str], None] = drain_node,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._metadata = metadata
        self._drain = drain
        self._now = now
        self._sleep = sleep
        self._poll_seconds = poll_seconds

    def run(self) -> bool:
        """Wait for the notice, then return whether the node was drained before the machine goes."""
        notice = self._wait()
        log.warning("spot_notice", action=notice.action, seconds_left=round(notice.at - self._now()))
        while (left := notice.at - self._now()) > 0:
            try:
                self._drain(left, f"spot: {notice.action}")
            except RuntimeError as error:
                log.error("node_drain_failed", error=str(error))
                self._sleep(RETRY_SECONDS)
            else:
                log.warning("node_drained", seconds_left=round(notice.at - self._now()))
                return True
        log.error("node_not_drained")
        return False

    def _wait(self) -> Notice:
        """Wait for the notice and return it. A silent service is waited for, and logged when its silence begins."""
        silent = False
        while True:
            try:
                notice = self._metadata.notice()
            except (OSError, ValueError) as error:
                if not silent:
                    log.error("spot_metadata_silent", error=str(error))
                silent = True
            else:
                if notice is not None:
                    return notice
                silent = False
            self._sleep(self._poll_seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metadata-url", default=METADATA_URL)
    parser.add_argument("--poll-seconds", type=float, default=POLL_SECONDS)
    arguments = parser.parse_args()
    logs.configure()
    log.info("spot_watched", url=arguments.metadata_url, every_seconds=arguments.poll_seconds)
    watch = Watch(Metadata(arguments.metadata_url), poll_seconds=arguments.poll_seconds)
    sys.exit(0 if watch.run() else 1)


if __name__ == "__main__":
    main()

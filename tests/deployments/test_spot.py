"""The notice is read as AWS gives it (IMDSv2), and the node is drained before the machine goes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from deployments import spot
from deployments.spot import Metadata, Notice, Watch, drain_node

NOON = 1_795_176_000.0
NOTICE = json.dumps({"action": "terminate", "time": "2026-11-20T12:02:00Z"})


class InstanceMetadata(HTTPServer):
    """Answers as the instance metadata service does: nothing without a token of its own."""

    notice: str | None = None
    is_up = True
    token = "first"
    tokens_given = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: InstanceMetadata

    def do_PUT(self) -> None:
        if self.path != "/latest/api/token" or not self.headers["X-aws-ec2-metadata-token-ttl-seconds"]:
            return self._answer(400)
        self.server.tokens_given += 1
        return self._answer(200, self.server.token)

    def do_GET(self) -> None:
        if not self.server.is_up:
            return self._answer(503)
        if self.headers["X-aws-ec2-metadata-token"] != self.server.token:
            return self._answer(401)
        if self.path != "/latest/meta-data/spot/instance-action" or self.server.notice is None:
            return self._answer(404)
        return self._answer(200, self.server.notice)

    def _answer(self, status: int, body: str = "") -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[InstanceMetadata]:
    with InstanceMetadata(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_without_a_notice_there_is_none_and_one_token_does(service):
    metadata = Metadata(service.url + "/")
    assert [metadata.notice(), metadata.notice()] == [None, None]
    assert service.tokens_given == 1


def test_a_notice_says_what_and_when(service):
    service.notice = NOTICE
    assert Metadata(service.url).notice() == Notice("terminate", NOON + 120.0)


def test_an_expired_token_is_replaced_at_the_next_look(service):
    metadata = Metadata(service.url)
    metadata.notice()
    service.token, service.notice = "second", NOTICE
    with pytest.raises(OSError, match="401"):
        metadata.notice()
    assert metadata.notice() == Notice("terminate", NOON + 120.0)


@pytest.mark.parametrize(
    "body", ["<html>", "{}", "[]", '{"action": "stop", "time": "soon"}', '{"action": "stop", "time": 7}']
)
def test_a_notice_that_cannot_be_read_is_no_crash_of_another_kind(service, body):
    service.notice = body
    with pytest.raises(ValueError):
        Metadata(service.url).notice()


class World:
    """A clock that sleeping moves on, a drain that fails as told; what happened at a second is done when it comes."""

    def __init__(self, failures: int = 0) -> None:
        self.seconds = NOON
        self.failures = failures
        self.drained: list[tuple[float, str]] = []
        self.happens: dict[float, object] = {}

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        for at in [at for at in self.happens if at <= self.seconds]:
            self.happens.pop(at)()

    def drain(self, seconds_left: float, reason: str) -> None:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("no GCS")
        self.drained.append((seconds_left, reason))

    def watch(self, url: str) -> Watch:
        return Watch(Metadata(url), self.drain, self.now, self.sleep)


@pytest.mark.proves("A node is drained within seconds of its spot notice", how="stand-in")
def test_the_node_is_drained_within_seconds_of_the_notice(service):
    world = World()
    world.happens[NOON + 12] = lambda: setattr(service, "notice", NOTICE)
    assert world.watch(service.url).run() is True
    assert world.drained == [(105.0, "spot: terminate")]


@pytest.mark.proves("A drain that fails is tried again until it works or the machine goes", how="stand-in")
def test_a_drain_that_fails_is_tried_again_until_it_works(service):
    service.notice, world = NOTICE, World(failures=3)
    assert world.watch(service.url).run() is True
    assert world.drained == [(117.0, "spot: terminate")]


def test_a_drain_that_never_works_ends_when_the_machine_goes(service):
    service.notice, world = NOTICE, World(failures=10**6)
    with capture_logs() as lines:
        assert world.watch(service.url).run() is False
    assert (world.seconds, world.drained) == (NOON + 120.0, [])
    assert lines[0] == {"event": "spot_notice", "log_level": "warning", "action": "terminate", "seconds_left": 120}
    assert lines[-1] == {"event": "node_not_drained", "log_level": "error"}


@pytest.mark.proves("An instance metadata service that is away costs one line in the log and no crash", how="stand-in")
def test_a_service_that_is_away_is_waited_for_and_mentioned_once(service):
    service.notice, service.is_up, world = NOTICE, False, World()
    world.happens[NOON + 20] = lambda: setattr(service, "is_up", True)
    with capture_logs() as lines:
        assert world.watch(service.url).run() is True
    [silent] = [line for line in lines if line["log_level"] == "error"]
    assert silent == {
        "event": "spot_metadata_silent",
        "log_level": "error",
        "error": "HTTP Error 503: Service Unavailable",
    }


def test_ray_is_asked_for_a_preemption_with_the_time_that_is_left(monkeypatch):
    asked = []

    def run(command, **options):
        asked.append(command)
        return SimpleNamespace(returncode=0, stdout="", stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    drain_node(105.9, "spot: terminate", "f00d")
    [command] = asked
    assert command[command.index("--reason") + 1] == "DRAIN_NODE_REASON_PREEMPTION"
    assert command[command.index("--deadline-remaining-seconds") + 1] == "105"
    assert command[-2:] == ["--node-id", "f00d"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (SimpleNamespace(returncode=1, stdout="", stderr="Usage\nError: not accepted\n"), "Error: not accepted"),
        (SimpleNamespace(returncode=2, stdout="", stderr=""), "ray drain-node exited with 2"),
        (subprocess.TimeoutExpired("ray", 30.0), "Ray did not answer within 30 s"),
    ],
    ids=["refused", "silent", "hangs"],
)
def test_why_ray_did_not_drain_is_told(monkeypatch, answer, said):
    def run(command, **options):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(spot.subprocess, "run", run)
    with pytest.raises(RuntimeError) as raised:
        drain_node(10.0, "spot: stop")
    assert str(raised.value) == said

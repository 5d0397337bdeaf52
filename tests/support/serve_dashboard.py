"""Serve's REST API as a Ray 2.60 dashboard answers it, with replicas that run as soon as they are wanted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

SERVE_API = "/api/serve/applications/"

POLICY = {"policy_function": "deployments.scaling:FleetPolicy", "policy_kwargs": {"target": "llama-8b"}}


def declared(target: str, least: int = 1, most: int = 4) -> dict[str, Any]:
    """Return the configuration of one application, as it was sent."""
    autoscaling = {"min_replicas": least, "max_replicas": most, "upscale_delay_s": 0.0, "policy": POLICY}
    return {
        "name": target,
        "route_prefix": f"/{target}",
        "import_path": "deployments.app:build_model",
        "args": {"target": target, "profile": "local"},
        "deployments": [{"name": target, "autoscaling_config": autoscaling}],
    }


def run_by_code() -> dict[str, Any]:
    """Return an application that nobody declared."""
    replicas = [{"replica_id": "zzz", "state": "RUNNING", "pid": 1}]
    deployment = {"message": "", "target_num_replicas": 1, "replicas": replicas}
    return {
        "name": "mixtral-8x7b",
        "status": "RUNNING",
        "message": "",
        "source": "imperative",
        "deployments": {"mixtral-8x7b": deployment},
    }


class ServeDashboard(HTTPServer):
    """The dashboard. `sent` are the configurations it was given; `on_put` is called right after one was taken."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.wanted: dict[str, int] = {}
        self.by_code: dict[str, Any] = {}
        self.sent: list[dict[str, Any]] = []
        self.token: str | None = None
        self.refusal: tuple[int, str] | None = None
        self.on_put: Callable[[], None] = lambda: None
        dispatcher = {"name": "dispatcher", "route_prefix": None, "import_path": "deployments.app:build_host"}
        self.configuration: dict[str, Any] = {
            "proxy_location": "EveryNode",
            "http_options": {"host": "127.0.0.1", "port": 8000},
            "grpc_options": {},
            "target_capacity": 80.0,
        }
        self.apply([declared("llama-8b"), declared("llama-70b", 1, 1), dispatcher])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def apply(self, applications: list[dict[str, Any]]) -> None:
        """Apply a configuration as Serve does: `initial_replicas` holds from a change on, the bounds always."""
        before = self.configuration.get("applications", [])
        self.configuration["applications"] = applications
        for each in applications:
            for deployment in each.get("deployments", []):
                bounds, name = deployment["autoscaling_config"], each["name"]
                wanted = self.wanted.get(name, bounds["min_replicas"])
                if each not in before:
                    wanted = bounds.get("initial_replicas", wanted)
                self.wanted[name] = min(max(wanted, bounds["min_replicas"]), bounds["max_replicas"])

    def autoscaling(self, target: str) -> Mapping[str, Any]:
        [found] = [each for each in self.configuration["applications"] if each["name"] == target]
        config: Mapping[str, Any] = found["deployments"][0]["autoscaling_config"]
        return config

    def details(self) -> dict[str, Any]:
        applications = {each["name"]: self._details(each) for each in self.configuration["applications"]}
        return {**self.configuration, "applications": {**applications, **self.by_code}, "controller_info": {}}

    def _details(self, each: Mapping[str, Any]) -> dict[str, Any]:
        name = each["name"]
        wanted = self.wanted.get(name, 1)
        replicas = [{"replica_id": str(n), "state": "RUNNING"} for n in range(wanted)]
        return {
            "name": name,
            "status": "RUNNING",
            "message": "",
            "source": "declarative",
            "deployed_app_config": each,
            "deployments": {name: {"message": "", "target_num_replicas": wanted, "replicas": replicas}},
        }


class _Handler(BaseHTTPRequestHandler):
    server: ServeDashboard

    def do_GET(self) -> None:
        if self._lets_in():
            self._answer(200, json.dumps(self.server.details()))

    def do_PUT(self) -> None:
        if not self._lets_in():
            return
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.refusal is not None:
            self._answer(*self.server.refusal)
            return
        self.server.sent.append(sent)
        self.server.apply(sent["applications"])
        self.server.on_put()
        self._answer(200, "")

    def _lets_in(self) -> bool:
        if self.path != SERVE_API:
            self._answer(404, "")
            return False
        if self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
            self._answer(401, "Unauthorized: Missing authentication token")
            return False
        return True

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[ServeDashboard]:
    with ServeDashboard() as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()

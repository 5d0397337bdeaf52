"""A real Prometheus, as Debian packages it, that scrapes what a discovery folder names."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest
import yaml
from patience import PATIENCE_SECONDS, eventually

from fleet.loopback import free_port


def prometheus_binary(name: str = "prometheus") -> str:
    """Return the path of a program of the package; without it a laptop skips the test, and CI fails."""
    found = shutil.which(name)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {name}: apt-get install prometheus")
    return found


class PrometheusServer:
    """Prometheus with exemplars, scraping every second; use it as an async context manager."""

    def __init__(self, folder: Path, discovery: Path) -> None:
        self._folder = folder
        self._discovery = discovery
        self._port = free_port()

    async def __aenter__(self) -> Self:
        binary = prometheus_binary()
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "prometheus.yml"
        jobs = [
            {
                "job_name": "fleet",
                "file_sd_configs": [{"files": [f"{self._discovery}/*.json"], "refresh_interval": "1s"}],
            }
        ]
        timing = {"scrape_interval": "1s", "scrape_timeout": "1s"}
        file.write_text(yaml.safe_dump({"global": timing, "scrape_configs": jobs}))
        with (self._folder / "log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                binary,
                f"--config.file={file}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                "--enable-feature=exemplar-storage",
                stderr=log,
            )
        await eventually(self._is_ready)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.terminate()
        await self._process.wait()

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return the labels and the value of each series of an instant query."""
        found = self._get("query", query=expression)["result"]
        return [(each["metric"], float(each["value"][1])) for each in found]

    def names(self) -> set[str]:
        """Return the names of all series."""
        return set(self._get("label/__name__/values"))

    def exemplars(self, selector: str) -> list[dict[str, Any]]:
        """Return the exemplars of the series."""
        found = self._get("query_exemplars", query=selector, start="0", end="9999999999")
        return [exemplar for series in found for exemplar in series["exemplars"]]

    def targets(self) -> list[dict[str, Any]]:
        """Return what it scrapes."""
        active: list[dict[str, Any]] = self._get("targets")["activeTargets"]
        return active

    def _get(self, path: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as reply:
            return json.load(reply)["data"]

    def _is_ready(self) -> bool:
        assert self._process.returncode is None, (self._folder / "log").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=PATIENCE_SECONDS):
                return True
        except OSError:
            return False

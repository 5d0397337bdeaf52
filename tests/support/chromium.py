"""Debian's Chromium without a window, driven by its own protocol over one websocket."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from patience import PATIENCE_SECONDS, eventually
from websockets.asyncio.client import ClientConnection, connect

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # it refuses to run as root with one
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


def chromium_path() -> str | None:
    """Return where Chromium is, None where it is not installed."""
    return shutil.which("chromium")


class Chromium:
    """A browser of one test process; a `tab` shares no cookie with another."""

    def __init__(self, process: asyncio.subprocess.Process, socket: ClientConnection) -> None:
        self._process = process
        self._socket = socket
        self._numbers = itertools.count(1)
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._tabs: dict[str, Tab] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[Self]:
        path = chromium_path()
        assert path is not None, "Chromium is not installed: apt-get install chromium"
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            process = await asyncio.create_subprocess_exec(
                path,
                *FLAGS,
                f"--user-data-dir={folder}",
                "about:blank",
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env=os.environ | {"HOME": folder},
            )
            try:
                port, address = await _told(Path(folder) / "DevToolsActivePort")
                async with connect(f"ws://127.0.0.1:{port}{address}", max_size=None) as socket:
                    browser = cls(process, socket)
                    yield browser
                    browser._reading.cancel()
            finally:
                process.kill()
                await process.wait()

    async def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        reply = self._replies[number] = asyncio.get_running_loop().create_future()
        asked = {"id": number, "method": method, "params": parameters}
        await self._socket.send(json.dumps(asked if session is None else {**asked, "sessionId": session}))
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await reply

    async def _read(self) -> None:
        async for text in self._socket:
            said = json.loads(text)
            if "id" in said:
                reply = self._replies.pop(said["id"])
                if "error" in said:
                    reply.set_exception(RuntimeError(said["error"]["message"]))
                else:
                    reply.set_result(said["result"])
            elif (tab := self._tabs.get(said.get("sessionId", ""))) is not None:
                tab.hear(said["method"], said["params"])

    @asynccontextmanager
    async def tab(
        self, width: int = 1280, height: int = 900, *, dark: bool = False, scripts: bool = True
    ) -> AsyncIterator[Tab]:
        """Provide a page of this size in CSS pixels; a narrow one is a phone."""
        context = (await self.send("Target.createBrowserContext"))["browserContextId"]
        target = (await self.send("Target.createTarget", url="about:blank", browserContextId=context))["targetId"]
        session = (await self.send("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        tab = self._tabs[session] = Tab(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            await tab.send(f"{domain}.enable")
        phone = width < 700
        await tab.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await tab.send("Emulation.setEmulatedMedia", features=[scheme])
        if not scripts:
            await tab.send("Emulation.setScriptExecutionDisabled", value=True)
        try:
            yield tab
        finally:
            del self._tabs[session]
            await self.send("Target.disposeBrowserContext", browserContextId=context)


@dataclass
class Tab:
    """One page. `requests` are the addresses it asked for, `problems` what its console says is wrong."""

    browser: Chromium
    session: str
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    loaded: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, event: str, said: dict[str, Any]) -> None:
        match event:
            case "Page.loadEventFired":
                self.loaded.set()
            case "Network.requestWillBeSent":
                self.requests.append(said["request"]["url"])
            case "Log.entryAdded" if said["entry"]["level"] in ("error", "warning"):
                self.problems.append(said["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.problems.append(said["exceptionDetails"].get("exception", {}).get("description", "an exception"))
            case "Runtime.consoleAPICalled" if said["type"] in ("error", "warning"):
                self.problems.append(" ".join(str(each.get("value", each.get("description"))) for each in said["args"]))
            case "Page.javascriptDialogOpening":
                self.dialogs.append(said["message"])

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return await self.browser.send(method, self.session, **parameters)

    async def open(self, url: str) -> None:
        """Go to an address and wait until the page and all it loads are there."""
        self.loaded.clear()
        await self.send("Page.navigate", url=url)
        await self.wait_for_load()

    async def wait_for_load(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.loaded.wait()

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, waited for where it is a promise."""
        found = await self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until the expression is true, on this page or on the one that it is leaving for."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await self._holds(expression):  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.02)

    async def _holds(self, expression: str) -> bool:
        # Between two pages there is a document without a body, or nothing that could be asked.
        try:
            return bool(await self.evaluate(f"document.body !== null && ({expression})"))
        except RuntimeError as error:
            if "context" in str(error) or "navigated" in str(error):
                return False
            raise

    async def press(self, key: str, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            text = "\r" if key == "Enter" and kind == "keyDown" else ""
            await self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text
            )

    async def picture(self, path: Path) -> None:
        """Write a PNG of the whole page."""
        size = (await self.send("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(shot["data"]))


async def _told(path: Path) -> tuple[int, str]:
    """Wait until Chromium has written where it listens."""
    port, address = await eventually(lambda: _lines(path))
    return int(port), address


def _lines(path: Path) -> list[str]:
    """Return the two lines of the file, none while it is not whole."""
    found = path.read_text().split("\n") if path.exists() else []
    return found if len(found) == 2 and found[1] else []

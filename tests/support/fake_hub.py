"""A Hugging Face hub on loopback that speaks its wire protocol: a repository's index, its files, and who may read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final

LARGE: Final = ".safetensors"
"""The ending of files that git LFS holds; the hub knows their SHA-256."""


@dataclass
class FakeHub:
    """The hub. Each repository is its files at one commit; `gated` ones are read with one of `accepted` tokens."""

    commit: str = "c" * 40
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    cut: int | None = None
    """The number of bytes after which the next file breaks off."""
    url: str = ""


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *words: object) -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        hub, path = self.hub, self.path.partition("?")[0]
        hub.asked.append(f"{self.command} {path} {self.headers.get('range') or ''}".strip())
        api = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/(?:tree|revision)/([\w.-]+)", path)
        file = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([\w.-]+)/(.+)", path)
        found = api or file
        token = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        if token and token not in hub.tokens:
            return self._refuse(401, "", "Invalid credentials in Authorization header")
        if found is None or found[1] not in hub.repos:
            return self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        if file and found[1] in hub.gated and token not in hub.accepted:
            return self._refuse(403 if token else 401, "GatedRepo", "Access to this model is restricted.")
        if found[2] != hub.commit:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {found[2]}")
        files = hub.repos[found[1]]
        if api:
            return self._send(json.dumps(_listing(files) if "/tree/" in path else _info(hub, found[1])).encode())
        if file and file[3] in files:
            return self._send(files[file[3]], with_body, name=file[3])
        return self._refuse(404, "EntryNotFound", "Entry not found")

    def _refuse(self, status: int, code: str, message: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, content: bytes, with_body: bool = True, name: str = "") -> None:
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range") or "")
        part = content[int(begin[1]) :] if begin else content
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(part)))
        if begin:
            self.send_header("Content-Range", f"bytes {begin[1]}-{len(content) - 1}/{len(content)}")
        if name:
            self.send_header("X-Repo-Commit", self.hub.commit)
            self.send_header("ETag", f'"{_etag(name, content)}"')
        self.end_headers()
        if with_body:
            self._write(part, name)

    def _write(self, part: bytes, name: str) -> None:
        if name.endswith(LARGE) and self.hub.cut is not None:
            part, self.hub.cut, self.close_connection = part[: self.hub.cut], None, True
        self.wfile.write(part)


def _etag(name: str, content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if name.endswith(LARGE) else git_sha1(content)


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def _listing(files: dict[str, bytes]) -> list[dict[str, object]]:
    return [_entry(path, content) for path, content in files.items()]


def _entry(path: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": git_sha1(content)}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return entry


def _info(hub: FakeHub, repo: str) -> dict[str, object]:
    return {"id": repo, "sha": hub.commit, "siblings": [{"rfilename": path} for path in hub.repos[repo]]}

"""Runs Node programs with packages from npm; node and npm come from PyPI with the development tools."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

OPENAI = {"openai": "6.49.0"}


async def run_node(folder: Path, program: str, packages: dict[str, str], *arguments: str, stdin: str = "") -> str:
    """Install the packages in `folder`, run the program there, and return what it prints."""
    described = {"private": True, "type": "module", "dependencies": packages}
    (folder / "package.json").write_text(json.dumps(described))
    (folder / "program.mjs").write_text(program)
    await _printed("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefix", str(folder))
    return await _printed("node", str(folder / "program.mjs"), *arguments, stdin=stdin)


async def _printed(*words: str, stdin: str = "") -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    process = await asyncio.create_subprocess_exec(*words, env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    try:
        printed, errors = await process.communicate(stdin.encode())
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, printed.decode() + errors.decode()
    return printed.decode()

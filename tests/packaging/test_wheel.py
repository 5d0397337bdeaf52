"""What `pip install inference-fleet` brings is enough for the client, light, and typed.

The environment is an empty one in which the wheel is installed; of the packages of this machine it sees those that the
wheel declares without extras, and what they declare in turn. So it proves that nothing else is needed, and nothing of
how pip would find their versions.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

import pytest
from memory_fleet import MemoryFleet
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from queue_rigs import jetstream_rig

from queues.server.embedded import EmbeddedServer

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "deployments" / "standins" / "weights"
CONTENTS = ("fleet", "policies", "queues", "deployments", "pyproject.toml", "README.md", "LICENSE")
LOCAL_URL = "nats://127.0.0.1:4222"
HEAVY = {"ray", "vllm", "torch", "numpy", "transformers", "sklearn", "openai", "anthropic", "groq"}
LOADED = f"\nimport sys; print(sorted({HEAVY!r} & set(sys.modules)))"

BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs" / "how-to" / "client.md").read_text(), re.DOTALL | re.MULTILINE
)

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Installed:
    """Two wheels, and an environment in which the first is installed."""

    wheel: Path
    standins: Path
    python: Path
    site: Path

    def run(self, code: str) -> str:
        """What the code prints there, seeing nothing of the checkout."""
        done = subprocess.run([self.python, "-I", "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def pip(python: str | Path, command: str, *arguments: str | Path) -> None:
    """Without a network: whatever would be needed from an index fails."""
    offline = ("--disable-pip-version-check", "--no-index", "--no-deps", "-q")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, command, *offline, *arguments],
        check=True,
        capture_output=True,
        env=environment,
    )


def built(project: Path, into: Path) -> Path:
    pip(sys.executable, "wheel", "--no-build-isolation", "-w", into, project)
    [wheel] = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    source = copied(folder / "source")
    wheel, standins = built(source, folder / "dist"), built(source / "deployments" / "standins", folder / "standins")
    venv.create(folder / "venv", symlinks=True)
    [site] = (folder / "venv" / "lib").glob("python*/site-packages")
    python = folder / "venv" / "bin" / "python"
    pip(python, "install", wheel)
    light = folder / "light"
    for each in declared(next(PathDistribution.discover(name="inference-fleet", path=[str(site)]))):
        link(each, light)
    (site / "light.pth").write_text(f"{light}\n")
    return Installed(wheel, standins, python, site)


def copied(into: Path) -> Path:
    """The sources without what earlier builds left: setuptools takes it for part of the package."""
    into.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    for name in CONTENTS:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, into / name, ignore=ignore)
        else:
            shutil.copy(path, into / name)
    return into


def declared(root: Distribution) -> list[Distribution]:
    """The packages that `root` requires without extras, and those that they require."""
    found: dict[str, Distribution] = {}
    open_ = [(root, "")]
    seen = set()
    while open_:
        package, extra = open_.pop()
        for requirement in map(Requirement, package.requires or ()):
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            name = canonicalize_name(requirement.name)
            found.setdefault(name, distribution(name))
            for wanted in ("", *requirement.extras):
                if (name, wanted) not in seen:
                    seen.add((name, wanted))
                    open_.append((found[name], wanted))
    return list(found.values())


def link(package: Distribution, into: Path) -> None:
    for file in package.files or ():
        target = into / file
        if ".." not in file.parts and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(package.locate_file(file))


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """A broker with something that answers each job with its prompt."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(EmbeddedServer(tmp_path))
        fleet = MemoryFleet()
        fleet.queue = (await jetstream_rig(stack, server.url, ack_wait_seconds=30.0)).queue  # type: ignore[assignment]
        await stack.enter_async_context(fleet.running())
        yield server.url


def names(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def weights() -> Iterator[str]:
    for path in WEIGHTS.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(ROOT))


def test_the_weights_are_a_distribution_of_their_own(installed: Installed) -> None:
    assert names(installed.standins) == set(weights())
    assert names(installed.wheel).isdisjoint(weights())
    assert {f"{room}/py.typed" for room in ("fleet", "policies", "queues", "deployments")} <= names(installed.wheel)
    assert installed.wheel.stat().st_size < 2_500_000 < installed.standins.stat().st_size


def test_the_extra_for_the_cpu_brings_the_weights_of_the_same_version(installed: Installed) -> None:
    standins = re.match(r"inference_fleet_standins-([\d.]+)-py3-none-any.whl", installed.standins.name)
    assert standins is not None
    main = next(PathDistribution.discover(name="inference-fleet", path=[str(installed.site)]))
    asked = [line for line in main.requires or () if line.startswith("inference-fleet-standins")]
    assert asked == [f'inference-fleet-standins=={standins[1]}; extra == "cpu"']
    assert main.version == standins[1]


def test_nothing_heavy_can_even_be_found(installed: Installed) -> None:
    code = "import importlib.util as u, json; print(json.dumps([n for n in {} if u.find_spec(n)]))"
    absent = sorted(HEAVY - {"openai", "anthropic", "groq"})  # the SDKs of the providers are what a dispatcher needs
    assert json.loads(installed.run(code.format(absent))) == []


@pytest.mark.parametrize("program", BLOCKS[:2], ids=["asynchronous", "synchronous"])
async def test_the_examples_of_the_page_run(program: str, installed: Installed, url: str) -> None:
    code = f"{program.replace(LOCAL_URL, url)}{LOADED}; import fleet; print(fleet.__path__)"
    process = await asyncio.create_subprocess_exec(installed.python, "-I", "-c", code, stdout=PIPE, stderr=PIPE)
    printed, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    first, *_, loaded, path = printed.decode().splitlines()
    assert first.startswith("succeeded")
    assert (loaded, path) == ("[]", f"['{installed.site / 'fleet'}']")


def test_a_service_is_tested_without_anything_heavy(installed: Installed) -> None:
    code = """
from fleet.testing import MemoryFleet
with MemoryFleet({"chat": "hello"}) as fleet:
    print(fleet.sync_client("acme").run(task="chat", messages=[{"role": "user", "content": "hi"}]).answer.text)
"""
    assert installed.run(code + LOADED).splitlines() == ["hello", "[]"]


def test_the_command_is_there(installed: Installed) -> None:
    assert "submit" in installed.run("from fleet.cli import main; import sys; sys.argv = ['fleet', '--help']; main()")


def test_a_users_type_checker_knows_every_type(installed: Installed, tmp_path: Path) -> None:
    service = shutil.copy(Path(__file__).with_name("user_service.py"), tmp_path)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", installed.python, service],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (checked.returncode, checked.stdout) == (0, "Success: no issues found in 1 source file\n"), checked.stderr


def test_the_weights_arrive_where_the_models_are_looked_for(installed: Installed) -> None:
    """The last test of this file: it changes the environment."""
    code = """
from deployments.profiles import Profile, model
try:
    print(model(Profile.LOCAL, "llama-8b").shipped)
except Exception as error:
    print(error)
"""
    assert installed.run(code).startswith(
        "profile: local needs the stand-in models: pip install 'inference-fleet[cpu]'"
    )
    pip(installed.python, "install", installed.standins)
    assert installed.run(code) == "True"

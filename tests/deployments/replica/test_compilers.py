from __future__ import annotations

from types import SimpleNamespace

import pytest
from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine

from deployments.replica import engine
from deployments.replica.compilers import require_compilers
from deployments.replica.engine import FleetEngine
from fleet.model.errors import BackendUnavailable


@pytest.fixture
def headers(tmp_path):
    (tmp_path / "Python.h").touch()
    return tmp_path


@pytest.fixture(autouse=True)
def no_compiler_named(monkeypatch):
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)


def having(*programs):
    return lambda name: name if name in programs else None


@pytest.mark.parametrize("programs", [("gcc", "g++"), ("clang", "clang++")])
def test_a_machine_that_can_compile_is_let_pass(headers, programs):
    require_compilers(having(*programs), headers)


def test_a_compiler_of_another_name_is_let_pass_where_the_environment_names_it(headers, monkeypatch):
    monkeypatch.setenv("CC", "icx")
    monkeypatch.setenv("CXX", "icpx")
    require_compilers(having("icx", "icpx"), headers)


@pytest.mark.proves(
    "An engine on a machine without a compiler fails with one line that names the package", how="stand-in"
)
@pytest.mark.parametrize(
    ("programs", "with_headers", "packages"),
    [
        ((), True, "gcc g++"),
        (("gcc",), True, "g++"),
        (("gcc", "g++"), False, "python3-dev"),
        ((), False, "gcc g++ python3-dev"),
    ],
)
def test_what_is_missing_is_named_by_its_package(headers, tmp_path, programs, with_headers, packages):
    where = headers if with_headers else tmp_path / "nowhere"
    with pytest.raises(
        BackendUnavailable, match=rf"^the engine .*: install {packages.replace('+', '[+]')} on this node"
    ):
        require_compilers(having(*programs), where)


@pytest.mark.parametrize(("device", "looked"), [("cuda", ["compilers", "vLLM"]), ("cpu", ["vLLM"])])
def test_it_is_looked_before_vllm_starts_and_only_where_kernels_are_compiled(monkeypatch, device, looked):
    seen = []
    monkeypatch.setattr(engine, "require_compilers", lambda: seen.append("compilers"))
    monkeypatch.setattr(VLLMEngine, "_start_async_llm_engine", lambda *_: seen.append("vLLM"))
    config = SimpleNamespace(
        device_config=SimpleNamespace(device_type=device),
        parallel_config=SimpleNamespace(),
        scheduler_config=SimpleNamespace(async_scheduling=True),
        model_config=SimpleNamespace(hf_config=SimpleNamespace(model_type="mixtral")),
        lora_config=None,
    )
    FleetEngine._start_async_llm_engine(object.__new__(FleetEngine), None, config, None)
    assert seen == looked

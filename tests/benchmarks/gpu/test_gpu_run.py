"""The ten minutes on a card, on engines that are played: what fails costs the rest nothing, and what lacks is said."""

from __future__ import annotations

import json
import re
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import pytest
from patience import eventually_here
from safetensors import safe_open

from benchmarks.gpu import engines, made, parts, schedule
from benchmarks.gpu.__main__ import main, named
from benchmarks.gpu.parts import PARTS, Options
from benchmarks.gpu.schedule import PartError, in_own_process, run
from policies.capacity.architecture import architecture_of

FOUND = {
    "offline": {"offline_jobs_per_second": 50.0, "offline_plain_jobs_per_second": 80.0, "kv_ratio": 1.0},
    "served": {"served_jobs_per_second": 40.0},
    "served_plain": {"served_plain_jobs_per_second": 60.0},
    "lora": {"lora_one_ratio": 0.9},
    "cold_start": {"cold_compile_seconds": None},
}


def options(tmp_path: Path, card: str | None = None, dry_run: bool = True) -> Options:
    return Options(str(tmp_path), card, dry_run, jobs=4)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_ratios_are_of_what_the_parts_found_and_blanks_are_named(tmp_path):
    found = run(options(tmp_path), list(PARTS), 600, lambda name, *_: FOUND[name])
    assert (found.figures["served_ratio"], found.figures["served_plain_ratio"]) == (0.8, 0.75)
    assert found.not_done == ["cold_compile_seconds: the engine did not tell, or there is nothing to compare with"]


@pytest.mark.proves(
    "A part of the GPU run that fails, is late or lacks a package leaves a line, and the others run", how="stand-in"
)
def test_a_part_that_fails_costs_the_others_nothing(tmp_path):
    def run_part(name, options, seconds):
        if name == "served":
            raise PartError("ModuleNotFoundError: No module named 'ray'")
        return FOUND[name]

    found = run(options(tmp_path), list(PARTS), 600, run_part)
    assert found.not_done[0] == "served: ModuleNotFoundError: No module named 'ray'"
    assert {"kv_ratio", "lora_one_ratio", "served_plain_ratio"} <= set(found.figures)
    assert "served_ratio" not in found.figures


def test_parts_are_skipped_once_the_time_is_over_and_none_gets_more_than_its_own(tmp_path):
    clock, given = Clock(), []

    def run_part(name, options, seconds):
        given.append((name, round(seconds)))
        clock.now += seconds + 10
        return FOUND[name]

    found = run(options(tmp_path), list(PARTS), 100, run_part, clock)
    assert given == [("offline", 28), ("served", 22), ("served_plain", 18)]
    assert [line for line in found.not_done if "skipped" in line] == [
        "lora: skipped; 2 s of 100 were left",
        "cold_start: skipped; 2 s of 100 were left",
    ]


def test_all_parts_together_take_the_whole_time():
    assert sum(part.share for part in PARTS.values()) == pytest.approx(1)


PROGRAM = """
import signal, sys
out = sys.argv[-1]
match sys.argv[2]:
    case "fails": raise ModuleNotFoundError("No module named 'vllm'")
    case "hangs": signal.pause()
    case "ends late": open(out, "w").write('{"kv_ratio": 1.0}'); signal.pause()
    case "ends": open(out, "w").write('{"kv_ratio": 2.0}')
"""


@pytest.mark.parametrize(
    ("name", "seconds", "found"),
    [
        ("fails", 600, "ModuleNotFoundError: No module named 'vllm' "),
        ("hangs", 0.01, "stopped after its 0 s; see "),
        ("ends", 600, {"kv_ratio": 2.0}),
    ],
)
def test_a_process_that_fails_or_is_late_leaves_a_line_or_what_it_found(tmp_path, monkeypatch, name, seconds, found):
    (tmp_path / "played_part.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    asked = options(tmp_path)
    if isinstance(found, dict):
        assert in_own_process(name, asked, seconds, module="played_part") == found
    else:
        with pytest.raises(PartError, match=re.escape(found)):
            in_own_process(name, asked, seconds, module="played_part")


def test_what_a_late_process_had_found_counts(tmp_path, monkeypatch):
    (tmp_path / "played_part.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    out = tmp_path / "ends late.json"

    def late(process, seconds):
        eventually_here(lambda: out.exists() and out.stat().st_size)
        schedule._end(process)

    monkeypatch.setattr(schedule, "_status", late)
    assert in_own_process("ends late", options(tmp_path), 1, module="played_part") == {"kv_ratio": 1.0}


@pytest.mark.proves("benchmarks.gpu goes the whole path on a CPU, engines played", how="stand-in")
def test_a_dry_run_goes_the_whole_path(tmp_path, monkeypatch, capsys):
    """Everything but the engines runs: the models and adapters made, the figures, the file and the table."""
    rates = deque([[30.0], [60.0]])
    asked = []

    class Played:
        kv_blocks, block_tokens, told, llm = 2048, 32, {"weights": 0.5}, None

        def complete(self, prompts, prompt_tokens, output_tokens, adapters):
            asked.append([each and each.name for each in adapters])
            assert all(each is None or (each / "adapter_model.safetensors").exists() for each in adapters)
            return prompts * output_tokens

    monkeypatch.setattr(engines, "start", lambda described, **more: Played())
    monkeypatch.setattr(engines, "served_rates", lambda described, load, confidence: [24.0 if confidence else 45.0])
    monkeypatch.setattr(parts, "chat_rates", lambda llm, load, candidates: rates.popleft())
    monkeypatch.setattr(engines, "environment", lambda described, telling=False: None)
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path))  # put back afterwards
    out = tmp_path / "gpu.json"
    assert main(["--dry-run", "--out", str(out)], lambda name, given, _: PARTS[name].run(given)) == 0
    written = json.loads(out.read_text())
    figures = written["figures"]
    assert (figures["served_ratio"], figures["served_plain_ratio"]) == (0.8, 0.75)
    assert figures["kv_ratio"] == 1.0  # 64 MiB of the profile, 1,024 bytes a token
    assert figures["cold_weights_seconds"] == 0.5
    assert {name.split(":")[0] for name in written["not_done"]} == {"cold_compile_seconds", "cold_graphs_seconds"}
    assert [None, "one", "two"] in asked
    shown = capsys.readouterr().out
    assert "no figure says anything about a GPU" in shown
    assert "served_ratio" in shown and "not done" in shown


def test_on_a_known_card_rates_and_cache_are_held_against_the_plan(tmp_path, monkeypatch):
    engine = SimpleNamespace(kv_blocks=20_000, block_tokens=16, llm=None, complete=lambda *_: 100)
    monkeypatch.setattr(engines, "environment", lambda described, telling=False: None)
    monkeypatch.setattr(engines, "start", lambda described, **more: engine)
    monkeypatch.setattr(parts, "chat_rates", lambda *_: [1.0])
    figures = parts.offline(options(tmp_path, "a100-80gb", dry_run=False))
    assert figures["kv_tokens"] == 320_000
    assert figures["kv_tokens_planned"] == pytest.approx(441_000, rel=0.02)  # 53.8 GiB of 128 KiB a token
    assert figures["kv_ratio"] == pytest.approx(320_000 / figures["kv_tokens_planned"])
    assert figures["tokens_per_second_planned"] > 0 and figures["token_ratio"] > 0


@pytest.mark.parametrize(
    ("told", "card"),
    [
        ("NVIDIA A10G, 23028\n", "a10g"),
        ("NVIDIA A100-SXM4-40GB, 40960\nNVIDIA A100-SXM4-40GB, 40960\n", "a100-40gb"),
        ("NVIDIA A100-SXM4-80GB, 81920\n", "a100-80gb"),
        ("NVIDIA H200, 143771\n", "h200-141gb"),
        ("NVIDIA L4, 23034\n", None),
    ],
)
def test_a_card_is_found_by_its_name(told, card):
    assert named(told) == (told.partition(",")[0], card)


def test_without_a_card_one_line_says_what_to_do(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([]) == 1
    assert capsys.readouterr().out == "no NVIDIA card is found here; --dry-run runs the same path on the CPU\n"


@pytest.mark.parametrize(("shape", "parameters"), [("1b", 1_235_814_400), ("8b", 8_030_261_248)])
def test_a_made_model_has_the_size_of_the_real_one(tmp_path, shape, parameters):
    described = made.made(shape, tmp_path)
    config = json.loads((Path(described.weights) / "config.json").read_text())
    assert architecture_of(shape, config).parameters == parameters
    assert sum(_size(dims) for _, dims in made._tensors(config)) == parameters
    vocabulary = json.loads((Path(described.weights) / "tokenizer.json").read_text())["model"]["vocab"]
    assert sorted(vocabulary.values())[-1] == 128255
    assert described.engine["load_format"] == "dummy"
    assert not list(Path(described.weights).glob("*.safetensors"))


def _size(dims):
    size = 1
    for each in dims:
        size *= each
    return size


def test_a_made_model_and_its_adapter_have_the_tensors_that_vllm_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(
        made, "_ONE_B", {**made._ONE_B, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}
    )
    described = made.made("1b", tmp_path, weights=True)
    with safe_open(Path(described.weights) / "model.safetensors", "pt") as weights:
        assert weights.get_slice("model.layers.0.self_attn.k_proj.weight").get_shape() == [512, 64]
        assert "lm_head.weight" not in weights.keys()  # noqa: SIM118  # no mapping
    with safe_open(made.adapter(described, tmp_path, "one") / "adapter_model.safetensors", "pt") as tensors:
        stem = "base_model.model.model.layers.0.self_attn.v_proj"
        assert tensors.get_slice(f"{stem}.lora_A.weight").get_shape() == [made.RANK, 64]
        assert tensors.get_slice(f"{stem}.lora_B.weight").get_shape() == [512, made.RANK]


def test_the_sentences_of_vllm_about_its_start_are_understood():
    import logging

    heard = engines._Heard()
    for line in (
        "Loading weights took 1.25 seconds",
        "torch.compile took 30.10 s in total",
        "Graph capturing finished in 7 secs, took 0.50 GiB",
    ):
        heard.emit(logging.LogRecord("vllm", logging.INFO, "", 0, line, None, None))
    assert heard.seconds == {"weights": 1.25, "compile": 30.1, "graphs": 7.0}

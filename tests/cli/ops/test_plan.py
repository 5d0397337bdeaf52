"""`fleet plan` shows what fits and says in one line what does not, or what it was asked wrongly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

import deployments.standins
from policies.capacity.plan import FETCH_MB_PER_SECOND

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]

STANDIN = Path(deployments.standins.__file__).parent / "weights" / "llama-8b"
KEYS = {"model", "instance", "gpus", "quantization", "tensor_parallel", "fits", "reason", "weights_gib", "kv_gib"}
KEYS |= {"max_sequences", "tokens_per_second", "usd_per_million_tokens", "spot_usd_per_million_tokens", "usd_per_job"}


def test_without_options_every_model_is_shown_on_the_usual_machines(invoke_json: InvokeJson) -> None:
    found = invoke_json("plan")
    assert all(set(row) >= KEYS for row in found["rows"])
    pairs = {(row["model"], row["instance"]) for row in found["rows"]}
    assert len(pairs) == 15
    refused = {(row["model"], row["instance"]) for row in found["rows"] if not row["fits"]}
    assert refused == {(m, i) for m in ("mixtral-8x7b", "llama-70b") for i in ("g5.xlarge", "g5.12xlarge")}
    assert all(row["tokens_per_second"] is None and row["what_fits"] for row in found["rows"] if not row["fits"])


def test_the_table_fits_80_columns_and_the_assumptions_follow(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = invoke("plan").stdout.splitlines()
    table = lines[: lines.index("")]
    assert "…" not in "".join(table)
    [row] = [line for line in table if line.startswith(" g5.xlarge     bf16 1 x 1  15.0")]
    assert row.split()[-5:] == ["c", "0.58", "0.12", "0.25", "0.058"]
    assert "assumed" in lines
    contexts = "llama-8b 8,192, mixtral-8x7b 16,384, llama-70b 8,192"
    assert f"  longest context in tokens, see --context: {contexts}" in lines
    assert any("TensorRT-LLM" in line for line in lines)
    assert any("as of 2025-12" in line and "spot" in line for line in lines)


def test_a_model_and_a_machine_show_every_quantisation(invoke_json: InvokeJson) -> None:
    rows = invoke_json("plan", "--model", "mixtral-8x7b", "--instance", "p4d.24xlarge", "--gpus", "2")["rows"]
    assert {row["quantization"]: row["fits"] for row in rows} == {
        "bf16": False,
        "fp8": True,
        "int8": True,
        "awq": True,
        "gptq": True,
    }


def test_what_was_asked_for_and_does_not_fit_is_one_line_and_exit_code_1(invoke: Invoke) -> None:
    asked = ("--model", "mixtral-8x7b", "--instance", "p4d.24xlarge", "--gpus", "2", "--quantization", "bf16")
    result = invoke("plan", *asked)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        "fleet: mixtral-8x7b in bf16 does not fit 2 x a100-40gb (p4d.24xlarge), split among 2: a card needs 46.7 GiB "
        "(weights 43.5, overhead 2.2, KV cache of one context of 16,384 tokens 1.0) and has 35.5. "
        "Fits: fp8/int8/awq/gptq on 2 cards; bf16 on 4 cards\n"
    )


def test_the_line_is_about_the_weights_that_come_closest(invoke: Invoke) -> None:
    result = invoke("plan", "--model", "llama-70b", "--instance", "g5.xlarge")
    assert result.exit_code == 1
    assert result.stderr.startswith("fleet: llama-70b in awq does not fit 1 x a10g (g5.xlarge): ")


def test_a_program_gets_the_rows_that_do_not_fit_and_exit_code_1(invoke_json: InvokeJson) -> None:
    [row] = invoke_json(
        *("plan", "--model", "llama-70b", "--instance", "g5.xlarge", "--quantization", "bf16"), exit_code=1
    )["rows"]
    assert row["fits"] is False
    assert row["reason"].startswith("a card needs 135.6 GiB")
    assert row["kv_gib"] == 0
    assert row["what_fits"].startswith("g5.12xlarge in fp8/int8/awq/gptq")


def test_the_price_follows_from_the_speed_and_the_load(invoke_json: InvokeJson) -> None:
    asked = ("plan", "--model", "llama-8b", "--instance", "g5.xlarge", "--quantization", "int8")
    [full] = invoke_json(*asked)["rows"]
    [half] = invoke_json(*asked, "--utilization", "0.5")["rows"]
    assert full["usd_per_million_tokens"] == pytest.approx(1.006 / (3600 * full["tokens_per_second"]) * 1e6)
    assert full["total_tokens_per_second"] == pytest.approx(5 * full["tokens_per_second"])
    assert half["usd_per_million_tokens"] == pytest.approx(2 * full["usd_per_million_tokens"])
    assert half["tokens_per_second"] == full["tokens_per_second"]


@pytest.mark.proves("fleet plan says what fetching the weights at a start takes and costs", how="real", subject="GPU")
def test_a_start_costs_the_whole_machine_while_the_weights_come(invoke: Invoke, invoke_json: InvokeJson) -> None:
    asked = ("--model", "llama-70b", "--instance", "p4de.24xlarge", "--quantization", "bf16")
    [row] = invoke_json("plan", *asked, "--fetch-mb-per-second", "1000")["rows"]
    assert row["start_gb"] == pytest.approx(141.1, rel=0.01)
    assert row["start_seconds"] == pytest.approx(row["start_gb"])
    assert row["usd_per_start"] == pytest.approx(27.44705 * row["start_seconds"] / 3600)
    assert row["spot_usd_per_start"] == pytest.approx(9.312 * row["start_seconds"] / 3600)
    lines = invoke("plan", *asked).stdout.splitlines()
    assert "  llama-70b bf16: 141 GB, 7.8 min; p4de.24xlarge $3.59" in lines
    assert any(line.startswith(f"  a start: {FETCH_MB_PER_SECOND:g} MB/s, see --fetch-mb-per-second") for line in lines)


def test_longer_contexts_more_of_them_and_smaller_entries_change_what_fits(invoke_json: InvokeJson) -> None:
    def contexts(*options: str, exit_code: int = 0) -> int:
        asked = ("plan", "--model", "llama-8b", "--instance", "g5.xlarge", "--quantization", "bf16")
        [row] = invoke_json(*asked, *options, exit_code=exit_code)["rows"]
        return int(row["full_contexts"])

    assert contexts() == 3
    assert contexts("--context", "4096") == 6
    assert contexts("--kv-dtype", "fp8") == 6
    assert contexts("--concurrency", "3") == 3
    assert contexts("--concurrency", "4", exit_code=1) == 3


def test_any_config_json_can_be_planned_for(invoke_json: InvokeJson, tmp_path: Path) -> None:
    [row] = invoke_json("plan", "--config", str(STANDIN), "--instance", "g5.xlarge", "--quantization", "bf16")["rows"]
    assert (row["model"], row["fits"]) == ("llama-8b", True)
    assert row["weights_gib"] * 2**30 == 2 * 443_008
    file = tmp_path / "of-my-own.json"
    file.write_bytes((STANDIN / "config.json").read_bytes())
    assert {row["model"] for row in invoke_json("plan", "--config", str(file))["rows"]} == {"of-my-own"}


def test_machines_and_prices_can_be_ones_own(invoke_json: InvokeJson, tmp_path: Path) -> None:
    file = tmp_path / "machines.yaml"
    file.write_text(MACHINES)
    found = invoke_json("plan", "--machines", str(file), "--model", "llama-8b")
    assert found["prices_as_of"] == "today"
    assert {row["instance"] for row in found["rows"]} == {"under-my-desk"}
    assert {row["spot_usd_per_hour"] for row in found["rows"]} == {None}


MACHINES = """
prices_as_of: today
gpus:
  card:
    memory_gib: 32
    bandwidth_gb_per_second: 1000
    bf16_tflops: 100
    int8_tops: 200
    max_sequences: 64
    step_tokens: 2048
links: {}
instances: {under-my-desk: {gpu: card, gpus: 1, usd_per_hour: 0.2}}
overview: [under-my-desk]
"""


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--model", "llama-7b"), "--model: must be one of llama-8b, mixtral-8x7b, llama-70b; got 'llama-7b'"),
        (("--instance", "p9.large"), "--instance: must be one of g5.xlarge, g5.2xlarge, g5.12xlarge, "),
        (("--quantization", "int3"), "--quantization: must be one of bf16, fp8, int8, awq, gptq; got 'int3'"),
        (("--kv-dtype", "int4"), "--kv-dtype: must be one of bf16, fp8; got 'int4'"),
        (("--instance", "g5.xlarge", "--gpus", "2"), "--gpus: must be at most 1, the cards of g5.xlarge"),
        (("--gpus", "9"), "--gpus: must be at most 8, the most cards of these machines"),
        (("--tensor-parallel", "3"), "--tensor-parallel: llama-8b: 32 attention heads do not split among 3 cards"),
        (("--tensor-parallel", "16"), "--tensor-parallel: must divide the number of cards, 8"),
        (("--context", "40000"), "--context: must be at most 32,768 for mixtral-8x7b"),
        (
            ("--prompt-tokens", "9000"),
            "--prompt-tokens: with --output-tokens must be at most the context, 8,192 tokens",
        ),
        (("--config", "nowhere"), "--config: cannot read nowhere: "),
        (("--config", str(STANDIN), "--model", "llama-8b"), "--config: is a model of its own: leave out --model"),
        (("--machines", "nowhere.yaml"), "nowhere.yaml: cannot be read: "),
    ],
)
def test_what_cannot_be_asked_is_one_line_that_names_the_option(
    invoke: Invoke, options: tuple[str, ...], line: str
) -> None:
    result = invoke("plan", *options)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"fleet: wrong setting: {line}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("content", [b"[" * 100_000, b"no json", b"[1]", b"\xff", b"{}"])
def test_a_config_that_is_none_is_one_line(invoke: Invoke, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    result = invoke("plan", "--config", str(file))
    assert result.exit_code == 1
    assert result.stderr.startswith("fleet: wrong setting: ")
    assert result.stderr.count("\n") == 1


def test_a_wrong_machine_names_its_field_and_its_file(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "machines.yaml"
    file.write_text(MACHINES.replace("usd_per_hour: 0.2", "usd_per_hour: 0"))
    result = invoke("plan", "--machines", str(file))
    assert "instances.under-my-desk.usd_per_hour: must be more than zero, and finite (in " in result.stderr
    assert str(file) in json.dumps(result.stderr)

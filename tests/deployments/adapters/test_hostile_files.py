"""Files of adapters that lie: refused by file, tensor and rule, and read no further than it takes."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from deployments.adapters.base import Base
from deployments.adapters.layout import CARD, CONFIG, TENSORS, check_adapter, read_adapter
from fleet.model.errors import ConfigError

Q_A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
Q_B = Q_A.replace("lora_A", "lora_B")
SIZE = 8 * 128 * 4
A: Mapping[str, Any] = {"dtype": "F32", "shape": [8, 128], "data_offsets": [0, SIZE]}
B: Mapping[str, Any] = {"dtype": "F32", "shape": [128, 8], "data_offsets": [SIZE, 2 * SIZE]}
GOOD = {Q_A: A, Q_B: B}


def write(folder: Path, header: str | Mapping[str, Any], data: bytes = bytes(2 * SIZE), **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    (folder / TENSORS).write_bytes(len(text).to_bytes(8, "little") + text + data)
    told = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], **config}
    (folder / CONFIG).write_text(json.dumps(told))
    return folder


def refusal(folder: Path, base: Base) -> str:
    with pytest.raises(ConfigError) as refused:
        check_adapter(read_adapter(folder), base)
    return str(refused.value)


def test_a_file_that_does_not_lie_is_taken(tmp_path: Path, base: Base) -> None:
    check_adapter(read_adapter(write(tmp_path / "a", GOOD)), base)


LIES: Mapping[str, tuple[str | Mapping[str, Any], str]] = {
    "overlapping": ({Q_A: A, Q_B: {**B, "data_offsets": [0, SIZE]}}, "must begin where the tensor before it ends"),
    "with a hole": (
        {Q_A: A, Q_B: {**B, "data_offsets": [SIZE + 8, 2 * SIZE + 8]}},
        "must begin where the tensor before it ends",
    ),
    "negative": ({Q_A: {**A, "data_offsets": [-8, SIZE - 8]}, Q_B: B}, "whole numbers of at least 0"),
    "backwards": ({Q_A: {**A, "data_offsets": [SIZE, 0]}, Q_B: B}, "must have the bytes of its shape"),
    "huge": ({Q_A: {**A, "shape": [2**62, 2**62]}, Q_B: B}, "must have the bytes of its shape"),
    "beyond the end": (
        {Q_A: {**A, "shape": [2**40], "data_offsets": [0, 2**42]}},
        "has other bytes than its header says",
    ),
    "too short": ({Q_A: {**A, "data_offsets": [0, 8]}, Q_B: B}, "must have the bytes of its shape, and has 8"),
    "without a size": ({Q_A: {**A, "shape": [0, 128], "data_offsets": [0, 0]}, Q_B: B}, "whole numbers above 0"),
    "by truth": ({Q_A: {**A, "shape": [True, 1024]}, Q_B: B}, "whole numbers above 0"),
    "by half": ({Q_A: {**A, "shape": [8.0, 128]}, Q_B: B}, "whole numbers above 0"),
    "with words": ({Q_A: {**A, "data_offsets": "ab"}, Q_B: B}, "whole numbers of at least 0"),
    "of no type": ({Q_A: {**A, "dtype": ["F32"]}, Q_B: B}, "must be one of F32, F16, BF16"),
    "no rows": ({Q_A: 7}, "must have dtype, shape and two data_offsets"),
    "twice": (f'{{"{Q_A}": {json.dumps(A)}, "{Q_A}": {json.dumps(A)}}}', "comes twice"),
    "nested": ("[" * 100_000, "nested too deeply"),
    "with NaN": (f'{{"{Q_A}": NaN}}', "NaN is no number of JSON"),
    "half": ({Q_A: {**A, "shape": [8, 256], "data_offsets": [0, 2 * SIZE]}}, "must have the shape (8, 128)"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused_by_name(tmp_path: Path, base: Base, lie: str) -> None:
    header, rule = LIES[lie]
    assert rule in refusal(write(tmp_path / "a", header), base)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        (Q_A.replace("self_attn", "mlp"), "is no LoRA weight"),
        (Q_A.replace("layers.0", "layers.00"), "is no LoRA weight"),
        (Q_A.replace("layers.0", "layers." + "9" * 5000), "is no LoRA weight"),
        (Q_A.replace("q_proj", "../../q_proj"), "is no LoRA weight"),
    ],
)
def test_a_name_that_the_engine_would_pass_over_is_refused(tmp_path: Path, base: Base, name: str, rule: str) -> None:
    assert rule in refusal(write(tmp_path / "a", {name: A, Q_B: B}), base)


def test_half_of_a_module_is_refused(tmp_path: Path, base: Base) -> None:
    assert "must have its other half" in refusal(write(tmp_path / "a", {Q_A: A}, bytes(SIZE)), base)


@pytest.mark.parametrize(("dtype", "form"), [("F32", "<f"), ("F16", "<e"), ("BF16", "bf16")])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(
    tmp_path: Path, base: Base, dtype: str, form: str, value: float
) -> None:
    number = struct.pack("<f", value)[2:] if form == "bf16" else struct.pack(form, value)
    size = 8 * 128 * len(number)
    header = {Q_A: {**A, "dtype": dtype, "data_offsets": [0, size]}}
    header[Q_B] = {**B, "dtype": dtype, "data_offsets": [size, 2 * size]}
    whole = bytes(2 * size)
    check_adapter(read_adapter(write(tmp_path / "good", header, whole)), base)
    assert "must hold finite numbers" in refusal(write(tmp_path / "last", header, whole[: -len(number)] + number), base)


@pytest.mark.parametrize(
    ("config", "rule"),
    [
        ({"r": 10**9}, "r: must be one of 1, 8"),
        ({"r": True}, "r: must be one of 1, 8"),
        ({"lora_alpha": 0}, "lora_alpha: must be a number above 0"),
        ({"lora_alpha": -16}, "lora_alpha: must be a number above 0"),
        ({"lora_alpha": 10**9}, "lora_alpha: must be a number above 0, at most 1000 times `r`"),
        ({"lora_alpha": "16"}, "lora_alpha: must be a number above 0"),
        ({"lora_alpha": None}, "lora_alpha: must be a number above 0"),
        ({"lora_alpha": float("nan")}, "NaN is no number of JSON"),
        ({"lora_alpha": float("inf")}, "Infinity is no number of JSON"),
        ({"use_rslora": "yes"}, "use_rslora: must be true or false"),
        ({"target_modules": [{"q_proj": 1}]}, "target_modules: must be some of"),
        ({"target_modules": ".*"}, "target_modules: must be some of"),
    ],
)
def test_absurd_numbers_and_names_are_refused(tmp_path: Path, base: Base, config: dict[str, Any], rule: str) -> None:
    assert rule in refusal(write(tmp_path / "a", GOOD, **config), base)


def link(folder: Path, name: str) -> None:
    (folder / name).rename(folder.parent / name)
    (folder / name).symlink_to(folder.parent / name)


def fifo(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)


def endless(folder: Path, name: str) -> None:
    with (folder / name).open("r+b") as file:
        file.truncate(10**12)  # a hole, which takes no place


@pytest.mark.parametrize(
    ("name", "change", "rule"),
    [
        (CONFIG, link, "must be a file, and is a link"),
        (TENSORS, link, "must be a file, and is a link"),
        (CONFIG, fifo, "adapter_config.json is missing"),
        (CONFIG, endless, "must have at most 1,048,576 bytes"),
        (TENSORS, endless, "an adapter has at most"),
    ],
)
def test_a_file_that_is_none_or_too_large_is_refused_unread(
    tmp_path: Path, base: Base, name: str, change: Callable[[Path, str], None], rule: str
) -> None:
    folder = write(tmp_path / "a", GOOD)
    change(folder, name)
    assert rule in refusal(folder, base)


def test_a_card_with_a_key_that_comes_twice_is_refused(tmp_path: Path, base: Base) -> None:
    folder = write(tmp_path / "a", GOOD)
    (folder / CARD).write_text(f'{{"base_digest": "{base.digest}", "base_digest": "other"}}')
    assert "the key 'base_digest' comes twice" in refusal(folder, base)

"""The form of a checkpoint's weights and the longest context it may serve, as vLLM reads them from its config.json.

A form that vLLM would load and this arithmetic does not know is refused by field; no number is guessed.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

from fleet.model.errors import ConfigError
from policies.capacity.quantization import GROUP, Quantization

Section = Mapping[str, Any]

MOST = 10**9
"""Maximum of any size of a model; a larger one would only overflow the arithmetic."""

LONGEST_SHOWN = 100
"""Characters of a value in a message."""

_METHODS = ("awq", "gptq", "fp8", "compressed-tensors", "bitsandbytes", "modelopt")
_SAME = {"auto_awq": "awq", "awq_marlin": "awq", "auto_gptq": "gptq", "gptq_marlin": "gptq"}
_DTYPES = ("auto", "bfloat16", "float16", "float32")
"""Known types; vLLM serves float32 checkpoints in 16 bits."""

_WIDE_ANYWAY = ("lm_head", "embed_tokens", "gate", "router", "norm")
"""Modules that are counted in bf16 whatever the quantisation is."""

_ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "llama3", "longrope")


def shown(value: object) -> str:
    """Return the value for a message: short, and printable whatever it is."""
    text = reprlib.repr(value)  # shortens each of the things in it
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def count_in(name: str, section: Section, key: str, otherwise: int | None = None) -> int:
    """Read a whole number above zero; `null` counts as absent. Raises: ConfigError."""
    value = section.get(key)
    if value is None and otherwise is not None:
        return otherwise
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{name}.{key}", f"must be a whole number above zero; got {shown(value)}")
    if value > MOST:
        raise ConfigError(f"{name}.{key}", f"must be at most {MOST:,}; got {shown(value)}")
    return value


def flag_in(name: str, section: Section, key: str) -> bool:
    """Read true or false; `null` counts as false. Raises: ConfigError."""
    value = section.get(key)
    if value is not None and not isinstance(value, bool):
        raise ConfigError(f"{name}.{key}", f"must be true or false; got {shown(value)}")
    return bool(value)


def section_in(name: str, config: Section, key: str) -> Section:
    """Read an object; `null` counts as an empty one. Raises: ConfigError."""
    value = config.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name}.{key}", f"must be an object; got {shown(value)}")
    return value


def one_of(name: str, section: Section, key: str, known: tuple[Any, ...], otherwise: Any = None) -> Any:
    """Read one of the known values; `null` counts as `otherwise`. Raises: ConfigError."""
    value = section.get(key)
    if value is None and otherwise is not None:
        return otherwise
    if value not in known or isinstance(value, bool) is not isinstance(known[0], bool):
        raise ConfigError(f"{name}.{key}", f"must be one of {', '.join(map(str, known))}; got {shown(value)}")
    return value


def stored_as(name: str, config: Section) -> Quantization | None:
    """Return how the layers' weights are stored on disk; None: in 16 bits, to be quantised as wished.

    Raises: ConfigError for an unknown form, whose field is the path in the config.
    """
    dtype = next((key for key in ("dtype", "torch_dtype") if config.get(key) is not None), None)
    if dtype is not None:
        plain = {dtype: str(config[dtype]).removeprefix("torch.") if isinstance(config[dtype], str) else config[dtype]}
        one_of(name, plain, dtype, _DTYPES)
    key = "compression_config" if config.get("quantization_config") is None else "quantization_config"
    section, path = section_in(name, config, key), f"{name}.{key}"
    if not section:
        return None
    method = one_of(path, _plain(section), "quant_method", _METHODS)
    match method:
        case "awq":
            bits = "w_bit" if "w_bit" in section else "bits"
            one_of(path, section, bits, (4,))
            _in_groups(path, section, "q_group_size" if "q_group_size" in section else "group_size")
            found = Quantization.AWQ
        case "gptq":
            bits = one_of(path, section, "bits", (4, 8))
            _in_groups(path, section, "group_size")
            found = Quantization.GPTQ if bits == 4 else Quantization.W8A16
        case "compressed-tensors":
            found = _compressed(path, section)
        case "bitsandbytes":
            found = _bitsandbytes(path, section)
        case "modelopt":
            one_of(path, section, "quant_algo", ("FP8",))
            found = Quantization.FP8
        case _:
            found = Quantization.FP8
    _all_alike(path, section)
    return found


def _plain(section: Section) -> Section:
    """Return the section with one name for each method, where vLLM knows several."""
    method = section.get("quant_method")
    return {**section, "quant_method": _SAME.get(method, method) if isinstance(method, str) else method}


def _in_groups(path: str, section: Section, key: str) -> None:
    one_of(path, section, key, (GROUP,))


def _bitsandbytes(path: str, section: Section) -> Quantization:
    if flag_in(path, section, "load_in_4bit") or flag_in(path, section, "_load_in_4bit"):
        return Quantization.BITSANDBYTES
    if flag_in(path, section, "load_in_8bit") or flag_in(path, section, "_load_in_8bit"):
        return Quantization.W8A16
    raise ConfigError(f"{path}.load_in_4bit", "must be true, or load_in_8bit")


def _compressed(path: str, section: Section) -> Quantization:
    groups = section_in(path, section, "config_groups")
    kinds = {_group(f"{path}.config_groups.{number}", group) for number, group in enumerate(groups.values())}
    if len(kinds) != 1:
        raise ConfigError(f"{path}.config_groups", "must keep all weights alike")
    return kinds.pop()


def _group(path: str, group: object) -> Quantization:
    if not isinstance(group, Mapping):
        raise ConfigError(path, f"must be an object; got {shown(group)}")
    if group.get("targets") != ["Linear"]:
        raise ConfigError(f"{path}.targets", f'must be ["Linear"]; got {shown(group.get("targets"))}')
    weights, inputs = section_in(path, group, "weights"), section_in(path, group, "input_activations")
    kind = one_of(f"{path}.weights", weights, "type", ("int", "float"))
    bits = one_of(f"{path}.weights", weights, "num_bits", (8,) if kind == "float" else (4, 8))
    if kind == "float":
        return Quantization.FP8
    if inputs:
        one_of(f"{path}.input_activations", inputs, "num_bits", (8,))
        one_of(f"{path}.input_activations", inputs, "type", ("int",))
        one_of(f"{path}.weights", weights, "num_bits", (8,))
        return Quantization.INT8
    if bits == 4 or weights.get("group_size") not in (None, -1):
        _in_groups(f"{path}.weights", weights, "group_size")
    return Quantization.GPTQ if bits == 4 else Quantization.W8A16


def _all_alike(path: str, section: Section) -> None:
    """Refuse a checkpoint that stores some layers in another form than the others. Raises: ConfigError."""
    for key in ("dynamic", "sparsity_config", "packed_modules_mapping_bits", "quantized_layers"):
        if section.get(key):
            raise ConfigError(f"{path}.{key}", "must be empty: layers kept in different ways are not counted")
    for key in ("modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules", "llm_int8_skip_modules"):
        value = section.get(key) or ()
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
            raise ConfigError(f"{path}.{key}", f"must be a list of names; got {shown(value)}")
        for module in value:
            if not module.strip("*$").endswith(_WIDE_ANYWAY):
                rule = f"may name {', '.join(_WIDE_ANYWAY)}: layers left wide are not counted; got {shown(module)}"
                raise ConfigError(f"{path}.{key}", rule)


def longest_context_of(name: str, config: Section) -> int:
    """Return the positions vLLM would serve, by `max_position_embeddings`, rope and sliding window.

    Beyond a sliding window the KV cache stops growing, which is not counted: the window is the maximum.

    Raises: ConfigError.
    """
    longest = count_in(name, config, "max_position_embeddings")
    key = "rope_scaling" if config.get("rope_parameters") is None else "rope_parameters"
    rope, path = section_in(name, config, key), f"{name}.{key}"
    kind = _rope_type(path, rope)
    if kind in ("linear", "dynamic", "yarn"):
        if kind == "yarn":
            longest = count_in(path, rope, "original_max_position_embeddings")
        longest = int(longest * _factor(path, rope))
    return min([longest, *_windows(name, config)])


def _rope_type(path: str, rope: Section) -> str:
    for key, value in rope.items():
        if isinstance(value, Mapping):
            raise ConfigError(f"{path}.{shown(key)}", "must be a number or a word: one rope for all layers")
    named = {"su": "longrope"}
    kinds = {key: named.get(rope[key], rope[key]) for key in ("rope_type", "type") if isinstance(rope.get(key), str)}
    wrong = next((key for key in ("rope_type", "type") if rope.get(key) is not None and key not in kinds), None)
    if wrong is not None or any(kind not in _ROPE_TYPES for kind in kinds.values()):
        wrong = wrong or next(key for key, kind in kinds.items() if kind not in _ROPE_TYPES)
        raise ConfigError(f"{path}.{wrong}", f"must be one of {', '.join(_ROPE_TYPES)}; got {shown(rope[wrong])}")
    if len(set(kinds.values())) > 1:
        raise ConfigError(f"{path}.type", "must be the same as rope_type")
    return str(next(iter(kinds.values()), "default"))


def _factor(path: str, rope: Section) -> float:
    value = rope.get("factor")
    # No comparison with NaN holds.
    if not isinstance(value, int | float) or isinstance(value, bool) or not 1 <= value <= MOST:
        raise ConfigError(f"{path}.factor", f"must be a number, 1 or more; got {shown(value)}")
    return float(value)


def _windows(name: str, config: Section) -> Iterator[int]:
    kind = str(config.get("model_type"))
    in_use = kind in ("mistral", "mixtral") or (kind.startswith("qwen") and flag_in(name, config, "use_sliding_window"))
    if in_use and config.get("sliding_window") is not None:
        yield count_in(name, config, "sliding_window")

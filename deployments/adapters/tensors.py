"""Files of tensors (safetensors), read with distrust: what their header says of the bytes has to be so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from deployments.adapters.strict import opened, strict_json
from fleet.model.errors import ConfigError

DTYPES: Final = {"F32": 4, "F16": 2, "BF16": 2}
"""The types of numbers an adapter may have, and their bytes."""

_OTHERS: Final = {"F64": 8, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}
"""Types whose bytes are known, so that a file with them is read, and then refused by what it holds."""

_INFINITE: Final = {"F32": (np.uint32, 0x7F80_0000), "F16": (np.uint16, 0x7C00), "BF16": (np.uint16, 0x7F80)}
"""The bits of the exponent: all of them are set in numbers that are infinite or none."""

_MOST_HEADER: Final = 16 * 1024**2
_AT_ONCE: Final = 8 * 1024**2


@dataclass(frozen=True, slots=True)
class Tensor:
    """The type and shape of a tensor, as the file's header says, and where its bytes lie in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int = 0
    end: int = 0


def read_header(path: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a file, whose bytes lie one behind the other and fill it.

    Raises: ConfigError naming the file, the tensor and the rule; OSError.
    """
    with opened(path) as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= _MOST_HEADER:
            raise ConfigError(str(path), "must be a safetensors file: its header has no sensible length")
        header = strict_json(file.read(length), str(path), "a safetensors file: its header cannot be read")
        size = path.stat().st_size
    rows = {name: row for name, row in header.items() if name != "__metadata__"}
    found = {name: _tensor(f"{path}: {name}", row, 8 + length) for name, row in rows.items()}
    _check_places(path, found, 8 + length, size)
    return found


def _tensor(where: str, row: Any, start: int) -> Tensor:
    """Return what a row of the header says, `start` being where the bytes of tensors begin."""
    try:
        dtype, shape, (begin, end) = row["dtype"], row["shape"], row["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise ConfigError(where, "must have dtype, shape and two data_offsets") from None
    if not isinstance(shape, list) or not all(type(each) is int and each > 0 for each in shape):
        raise ConfigError(where, f"must have a shape of whole numbers above 0, not {str(shape)[:80]}")
    if not all(type(each) is int and each >= 0 for each in (begin, end)):
        raise ConfigError(where, "must have data_offsets that are whole numbers of at least 0")
    bytes_each = (DTYPES | _OTHERS).get(dtype) if isinstance(dtype, str) else None
    if bytes_each is None:
        raise ConfigError(where, f"must be one of {', '.join(DTYPES)}, not {str(dtype)[:20]}")
    if end - begin != math.prod(shape) * bytes_each:
        raise ConfigError(where, f"must have the bytes of its shape, and has {end - begin:,}")
    return Tensor(dtype, tuple(shape), start + begin, start + end)


def _check_places(path: Path, tensors: Mapping[str, Tensor], start: int, size: int) -> None:
    """Check that no two tensors share bytes and that no bytes belong to none: nothing is hidden in the file."""
    end = start
    for name, tensor in sorted(tensors.items(), key=lambda each: each[1].begin):
        if tensor.begin != end:
            raise ConfigError(f"{path}: {name}", "must begin where the tensor before it ends")
        end = tensor.end
    if end != size:
        raise ConfigError(str(path), "is cut off, or has more: it has other bytes than its header says")


def is_finite(path: Path, tensor: Tensor) -> bool:
    """Return whether all numbers of a tensor are finite, reading a few megabytes at a time. Raises: OSError."""
    kind, exponent = _INFINITE[tensor.dtype]
    with opened(path) as file:
        file.seek(tensor.begin)
        for place in range(tensor.begin, tensor.end, _AT_ONCE):
            bits = np.frombuffer(file.read(min(_AT_ONCE, tensor.end - place)), kind)
            if bool(((bits & exponent) == exponent).any()):
                return False
    return True

"""Adapters on disk, in the layout of peft: `adapter_config.json` and `adapter_model.safetensors`.

What vLLM refuses when it loads an adapter is refused here, by name, before anybody routes a job to it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deployments.adapters.base import Base
from deployments.adapters.strict import opened, read_json
from deployments.adapters.tensors import DTYPES, Tensor, is_finite, read_header
from deployments.profiles import RANKS
from fleet.model.adapter import ADAPTER_FILES, ADAPTER_SOURCES
from fleet.model.errors import ConfigError
from fleet.model.sources import Sources

CONFIG, TENSORS = ADAPTER_FILES
CARD: Final = "fleet.json"
"""The file that the fleet adds: base, data and recipe of an adapter that it trained."""

SOURCES: Final = ADAPTER_SOURCES

UNFINISHED: Final = "training.pt"
"""The file of a training that was interrupted, which goes on from there."""

FILES: Final = (CONFIG, TENSORS, SOURCES)
"""The files of an adapter that are kept where it is registered; the last is there if it is known."""

STRONGEST: Final = 1000
"""Maximum of alpha over rank: by so much an adapter is multiplied. Usual are 1 to 4, with rsLoRA up to 32."""

MOST_SOURCES: Final = 64 * 1024**2

MOST_BYTES: Final = 512 * 1024**2
"""Maximum size of an adapter's file: one of rank 64 for an 8B in 32 bits has about 670 MB, in 16 half of it."""

_NAME = re.compile(
    r"base_model\.model\.model\.layers\.(?P<layer>0|[1-9][0-9]{0,3})\.(?:self_attn|mlp)\."
    r"(?P<module>(?<=self_attn\.)[qkvo]_proj|(?<=mlp\.)(?:gate|up|down)_proj)\.lora_(?P<side>[AB])\.weight"
)


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter in a folder.

    `digest` is the SHA-256 over its configuration and tensors. `card` is the fleet's own, and `sources` says whose rows
    it was trained on; both are None where nobody knows.
    """

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    digest: str
    card: Mapping[str, Any] | None
    sources: Sources | None = None

    @property
    def rank(self) -> int:
        rank = self.config.get("r")
        return rank if type(rank) is int else 0


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter. Raises: ConfigError naming the file and the rule; OSError if a file cannot be read."""
    if not folder.is_dir():
        raise ConfigError(str(folder), f"must be a folder with {CONFIG} and {TENSORS}, and is none")
    for name in (CONFIG, TENSORS):
        if not (folder / name).is_file():
            raise ConfigError(str(folder), f"must hold {CONFIG} and {TENSORS}, the layout of peft; {name} is missing")
    if (folder / UNFINISHED).exists():
        raise ConfigError(
            str(folder), f"holds a training that was not finished ({UNFINISHED}): start it again, it goes on"
        )
    size = (folder / TENSORS).stat().st_size
    if size > MOST_BYTES:
        raise ConfigError(str(folder / TENSORS), f"has {size:,} bytes; an adapter has at most {MOST_BYTES:,}")
    config = read_json(folder / CONFIG)
    card = read_json(folder / CARD) if (folder / CARD).exists() else None
    sources = _sources(folder / SOURCES) if (folder / SOURCES).exists() else None
    return Adapter(folder, config, read_header(folder / TENSORS), _digest(folder), card, sources)


def _sources(path: Path) -> Sources:
    with opened(path) as file:
        return Sources.from_json(file.read(MOST_SOURCES), str(path))


def check_adapter(adapter: Adapter, base: Base) -> None:
    """Check that the engine of this base can serve the adapter.

    Raises: ConfigError naming the first thing that is wrong.
    """
    for field, rule in violations(adapter, base):
        raise ConfigError(f"{adapter.folder.name}: {field}", rule)


def violations(adapter: Adapter, base: Base) -> Iterator[tuple[str, str]]:
    """Yield everything that is wrong with an adapter for this base: the field, and the rule it breaks."""
    config = adapter.config
    if config.get("peft_type") != "LORA":
        yield "peft_type", f"must be LORA, not {config.get('peft_type')!r}"
    if adapter.rank not in RANKS:
        yield (
            "r",
            f"must be one of {', '.join(map(str, RANKS))}, for which the engine has kernels; not {config.get('r')!r}",
        )
    for name in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern"):
        if config.get(name):
            yield name, f"must be empty or false: the engine serves plain LoRA; not {config[name]!r}"
    if config.get("bias", "none") != "none":
        yield "bias", f"must be none, not {config['bias']!r}"
    if strange := [each for each in _named(config.get("target_modules")) if each not in base.shapes]:
        yield "target_modules", f"must be some of {', '.join(base.shapes)}; {', '.join(strange)} is not"
    alpha = config.get("lora_alpha")
    if (
        isinstance(alpha, bool)
        or not isinstance(alpha, int | float)
        or not 0 < alpha <= STRONGEST * max(1, adapter.rank)
    ):
        yield "lora_alpha", f"must be a number above 0, at most {STRONGEST} times `r`; not {str(alpha)[:40]}"
    if type(config.get("use_rslora", False)) is not bool:
        yield "use_rslora", f"must be true or false, not {str(config['use_rslora'])[:40]}"
    if adapter.card is not None and adapter.card.get("base_digest") != base.digest:
        yield "base_digest", f"is of another model than {base.target}: an adapter fits the base it was trained on alone"
    yield from _of_tensors(adapter, base)


def _named(modules: Any) -> list[str]:
    return [str(each)[:80] for each in (modules if isinstance(modules, list) else [modules])]


def _of_tensors(adapter: Adapter, base: Base) -> Iterator[tuple[str, str]]:
    if not adapter.tensors:
        yield TENSORS, "must hold tensors, and holds none"
    for name, tensor in adapter.tensors.items():
        found = _NAME.fullmatch(name)
        if found is None or found["module"] not in base.shapes:
            yield name, "is no LoRA weight of a module that the engine adapts"
        elif int(found["layer"]) >= base.layers:
            yield name, f"is of a layer that {base.target} does not have: it has {base.layers}"
        elif tensor.dtype not in DTYPES:
            yield name, f"must be one of {', '.join(DTYPES)}, not {tensor.dtype}"
        else:
            inner, outer = base.shapes[found["module"]]
            wanted = (adapter.rank, inner) if found["side"] == "A" else (outer, adapter.rank)
            if tensor.shape != wanted:
                yield name, f"must have the shape {wanted} for {base.target}, not {tensor.shape}"
            elif _other_half(name) not in adapter.tensors:
                yield name, "must have its other half beside it: A and B are multiplied"
            elif not is_finite(adapter.folder / TENSORS, tensor):
                yield name, "must hold finite numbers, and has some that are infinite or none"


def _other_half(name: str) -> str:
    stem, _, side = name.removesuffix(".weight").rpartition("_")
    return f"{stem}_{'B' if side == 'A' else 'A'}.weight"


def _digest(folder: Path) -> str:
    """Return the digest of what an engine reads; the card says where it came from, not what it is."""
    whole = hashlib.sha256()
    for name in (CONFIG, TENSORS):
        with opened(folder / name) as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()

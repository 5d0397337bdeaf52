"""Loads the inputs of `fleet plan`: machines and their prices, the fleet's models, any config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter

from fleet.model.errors import ConfigError
from fleet.settings.documents import named, read_document, shipped
from policies.capacity.architecture import architecture_of
from policies.capacity.checkpoint import section_in, stored_as
from policies.capacity.machines import Machines, checked
from policies.capacity.plan import Served
from policies.rules.sections import STRICT, Strict

USUAL_CONTEXT_TOKENS = 8192
"""The context length of a model read from a config.json, unless the model or the user asks for less."""


_OF_THE_WHOLE = ("quantization_config", "compression_config", "dtype", "torch_dtype", "tie_word_embeddings")
"""Keys beside `text_config` that hold for it too."""


@dataclass(frozen=True, slots=True)
class _Model:
    context_tokens: int
    config: Mapping[str, Any]

    __pydantic_config__: ClassVar[Strict] = STRICT


_MACHINES = TypeAdapter(Machines)
_MODELS = TypeAdapter(dict[str, _Model])


def load_machines(path: Path | None) -> Machines:
    """Return the machines of a file; None means the shipped file.

    Raises: ConfigError, whose field is the dotted path inside the file and whose rule ends with the file.
    """
    source = shipped("policies.capacity", "machines.yaml") if path is None else path
    document = read_document(source)
    return named(source, lambda: checked(_MACHINES.validate_python(document)))


def load_models() -> dict[str, Served]:
    """Return the fleet's own models by the names of their targets."""
    described = _MODELS.validate_python(read_document(shipped("policies.capacity", "models.yaml")))
    return {
        name: Served(architecture_of(name, model.config), model.context_tokens) for name, model in described.items()
    }


def read_model(path: Path) -> Served:
    """Return the model that a config.json, or the folder that holds it, describes.

    Raises: ConfigError if the file cannot be used.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError("--config", f"cannot read {file}: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise ConfigError("--config", f"{file} must hold one JSON object")
    name = file.resolve().parent.name if file.name == "config.json" else file.stem
    name, config = _text_model(name, config)
    architecture = architecture_of(name, config)
    context_tokens = min(architecture.longest_context, USUAL_CONTEXT_TOKENS)
    return Served(architecture, context_tokens, stored_as(name, config))


def _text_model(name: str, config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the part that answers in text, if the config has parts.

    Raises: ConfigError if it also has parts for images or sound, which are not counted.
    """
    if config.get("text_config") is None:
        return name, config
    for part in ("vision_config", "audio_config"):
        if config.get(part):
            raise ConfigError(f"{name}.{part}", "must be absent: only the weights that answer in text are counted")
    shared = {key: config[key] for key in _OF_THE_WHOLE if config.get(key) is not None}
    return f"{name}.text_config", {**shared, **section_in(name, config, "text_config")}

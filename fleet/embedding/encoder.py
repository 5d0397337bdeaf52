"""The seam of encoders, and the two that ship: one that runs an ONNX file, and one that adds a learned map."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fleet.embedding.files import EncoderFiles
from fleet.model.errors import FleetError

Vectors = npt.NDArray[np.float32]

LONGEST = 256
"""Tokens that a text may have."""
_BATCH = 64
_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})


class Encoder(Protocol):
    """Turns texts into vectors whose scalar product says how alike the texts are."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return a row of unit length per text, in their order. The same text has the same vector in any company.

        A text that the encoder cannot read whole has a row of zeros, which is like no other.
        """


class OnnxEncoder:
    """Runs a sentence encoder on the CPU: the mean of its last hidden states, at unit length.

    Source: Reimers & Gurevych 2019, Sentence-BERT, for the pooling.
    """

    def __init__(self, files: EncoderFiles, threads: int | None = None) -> None:
        """Load the files. `threads` is how many cores are used, by default all.

        Raises: ModuleNotFoundError without the extra `cache`; FleetError if the files are no encoder.
        """
        from onnxruntime import InferenceSession, SessionOptions
        from tokenizers import Tokenizer

        options = SessionOptions()
        options.intra_op_num_threads = threads or os.cpu_count() or 1
        options.log_severity_level = 3
        # Threads that spin while they wait take the core from whoever else has work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = InferenceSession(str(files.model), options, providers=["CPUExecutionProvider"])
            self._tokenizer: Any = Tokenizer.from_file(str(files.tokenizer))
        except Exception as error:  # both libraries raise classes of their own, and plain Exception
            raise FleetError(f"{files.name} is no encoder that can be loaded: {str(error)[:200]}") from error
        self._inputs = [each.name for each in self._session.get_inputs()]
        if not set(self._inputs) <= _INPUTS:
            raise FleetError(
                f"{files.name} must take {', '.join(sorted(_INPUTS))} alone, not {', '.join(self._inputs)}"
            )
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(LONGEST)
        unknown = getattr(self._tokenizer.model, "unk_token", None)
        self._unknown = None if unknown is None else self._tokenizer.token_to_id(unknown)

    def encode(self, texts: Sequence[str]) -> Vectors:
        read = self._tokenizer.encode_batch(list(texts))
        tokens = [np.array(each.ids, dtype=np.int64) for each in read]
        # Texts of one length go together, so that little is computed for padding.
        order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        parts = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
        found = [self._run([tokens[row] for row in part]) for part in parts]
        if not found:
            return np.empty((0, 0), dtype=np.float32)
        vectors: Vectors = np.empty((len(tokens), found[0].shape[1]), dtype=np.float32)
        vectors[np.array(order)] = np.concatenate(found)
        vectors[[not self._is_whole(each) for each in read]] = 0.0
        return vectors

    def _is_whole(self, read: Any) -> bool:
        """Return whether a text was read to its end, and in words that the encoder knows: others are all one to it."""
        return not read.overflowing and self._unknown not in read.ids

    def _run(self, tokens: Sequence[npt.NDArray[np.int64]]) -> Vectors:
        ids = np.zeros((len(tokens), max(map(len, tokens))), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, each in enumerate(tokens):
            ids[row, : len(each)], mask[row, : len(each)] = each, 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = self._session.run(None, {name: given[name] for name in self._inputs})[0]
        summed = (hidden * mask[:, :, None]).sum(axis=1)
        return unit(summed)


class MappedEncoder:
    """Applies a linear map to another encoder's vectors: directions in which equal answers differ count less."""

    def __init__(self, inner: Encoder, weights: Vectors) -> None:
        self._inner = inner
        self._weights = weights

    def encode(self, texts: Sequence[str]) -> Vectors:
        return unit(self._inner.encode(texts) @ self._weights)


def unit(vectors: npt.NDArray[Any]) -> Vectors:
    """Return the rows at unit length; one of nothing but zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = (vectors / np.where(lengths == 0.0, 1.0, lengths)).astype(np.float32)
    return scaled

"""The forms in which a model's weights are kept, and the bytes of a weight in each."""

from __future__ import annotations

from enum import StrEnum

GROUP = 128
"""Weights that share a scale and a zero in the usual 4-bit checkpoints (AWQ and GPTQ, group size 128)."""


class Quantization(StrEnum):
    """The form of the layers' weights; embeddings, norms and the router of experts stay in bf16."""

    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    AWQ = "awq"
    GPTQ = "gptq"
    W8A16 = "w8a16"
    BITSANDBYTES = "bitsandbytes"

    @property
    def weight_bytes(self) -> float:
        """Bytes of one weight with its share of scales.

        8 bits: a scale per row, too little to count. 4 bits: a 16-bit scale and a 4-bit zero per group of 128; `w8a16`
        has 8-bit weights in such groups, or by row. bitsandbytes: 4 bits and a 32-bit scale per 64 weights.
        """
        match self:
            case Quantization.BF16:
                return 2.0
            case Quantization.FP8 | Quantization.INT8:
                return 1.0
            case Quantization.AWQ | Quantization.GPTQ:
                return 0.5 + (2.0 + 0.5) / GROUP
            case Quantization.W8A16:
                return 1.0 + (2.0 + 1.0) / GROUP
            case Quantization.BITSANDBYTES:
                return 0.5 + 4.0 / 64

    @property
    def is_grouped(self) -> bool:
        return self in (Quantization.AWQ, Quantization.GPTQ, Quantization.W8A16)


OFFERED = (Quantization.BF16, Quantization.FP8, Quantization.INT8, Quantization.AWQ, Quantization.GPTQ)
"""Forms that a 16-bit checkpoint may be quantised to; the others are planned only where a checkpoint has them."""

"""The worker of an engine on a CPU that serves adapters: right for requests without one, quicker for those with one.

vLLM 0.29 picks each token's adapter on a CPU by index, and -1, which stands for none, picks the last: a request without
an adapter is answered with that one as soon as it shares a step with a request that has any. It also copies the
adapter's weights for every token. Here the rows of each adapter are multiplied at once, and the others are not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform
from vllm.v1.worker.cpu_worker import CPUWorker

Rows: TypeAlias = slice | torch.Tensor


class PunicaByAdapter(PunicaWrapperCPU):  # type: ignore[misc]  # vLLM's types are not followed
    """Adds to each row of a layer's output what its adapter says: `y += scale * x A^T B^T`."""

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        super().update_metadata(*args, **kwargs)
        self._of_tokens = rows_by_adapter(self.token_lora_indices)
        self._of_requests = rows_by_adapter(self.sampler_indices)

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: Sequence[torch.Tensor],
        lora_b_stacked: Sequence[torch.Tensor],
        scale: float,
        output_slices: Sequence[int],
        **kwargs: Any,
    ) -> None:
        add_by_adapter(self._of_tokens, y, x, (lora_a_stacked, lora_b_stacked), scale, output_slices)

    def add_lora_logits(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        scale: float,
        **kwargs: Any,
    ) -> None:
        add_by_adapter(self._of_requests, y, x, ([lora_a_stacked], [lora_b_stacked]), scale, [lora_b_stacked.size(-2)])


class AdapterWorker(CPUWorker):  # type: ignore[misc]  # vLLM's types are not followed
    """vLLM's worker, with these kernels in place of its own."""

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        current_platform.get_punica_wrapper = lambda: f"{__name__}.{PunicaByAdapter.__name__}"
        super().load_model(*args, **kwargs)


def rows_by_adapter(indices: torch.Tensor) -> list[tuple[int, Rows]]:
    """Return the rows of each adapter by its place among the loaded ones; those with -1 have none."""
    found: list[tuple[int, Rows]] = []
    for place in indices.unique().tolist():
        if place >= 0:
            rows = (indices == place).nonzero().flatten()
            first, last = int(rows[0]), int(rows[-1])
            found.append((place, slice(first, last + 1) if last - first + 1 == len(rows) else rows))
    return found


def add_by_adapter(
    rows_of: Sequence[tuple[int, Rows]],
    y: torch.Tensor,
    x: torch.Tensor,
    weights: tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]],
    scale: float,
    widths: Sequence[int],
) -> None:
    """Add what the adapters say to `y` in place.

    `weights` are A and B for each part of the layer, such as queries, keys and values, whose `widths` lie side by side
    in `y`; each has the shape (places, 1, out, in).
    """
    y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
    for place, rows in rows_of:
        mine, start = x[rows], 0
        for a, b, width in zip(*weights, widths, strict=True):
            said = (mine @ a[place, 0].T) * scale @ b[place, 0].T
            if isinstance(rows, slice):
                y[rows, start : start + width] += said
            else:
                y[:, start : start + width].index_add_(0, rows, said)
            start += width

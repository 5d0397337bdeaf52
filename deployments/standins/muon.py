"""Muon for the hidden matrices and AdamW for the rest: reach a given loss in about half the steps of AdamW alone."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

# Quintic Newton-Schulz iteration, https://kellerjordan.github.io/posts/muon/
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Return about the nearest (semi-)orthogonal matrix of the last two dimensions, in bf16 as Muon's authors do."""
    a, b, c = _COEFFICIENTS
    tall = matrix.size(-2) > matrix.size(-1)
    x = (matrix.mT if tall else matrix).bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum with every update orthogonalised; takes matrices and stacks of matrices."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.01):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closure is ever used
        for group in self.param_groups:
            for parameter in group["params"]:
                self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict[str, float]) -> None:
        if parameter.grad is None:
            return
        buffer = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        buffer.lerp_(parameter.grad, 1 - group["momentum"])
        update = orthogonalise(parameter.grad.lerp(buffer, group["momentum"]))
        scale = max(1.0, parameter.size(-2) / parameter.size(-1)) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update, alpha=-group["lr"] * scale)


def optimizers(model: nn.Module) -> tuple[torch.optim.Optimizer, ...]:
    """Return Muon for attention and feed-forward matrices, and AdamW for embeddings, routers and norms."""
    hidden = [p for name, p in model.named_parameters() if p.ndim >= 2 and "embed" not in name and not _is_router(name)]
    chosen = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return Muon(hidden, lr=0.02), torch.optim.AdamW(rest, lr=3e-3, betas=(0.9, 0.98), weight_decay=0.0)


def _is_router(name: str) -> bool:
    return name.endswith("mlp.gate.weight")

"""Starts a larger stand-in from a trained smaller one, so that its training goes to what the smaller one cannot do.

New layers begin with zero output projections and experts as copies of the dense feed-forward, so the grown model
first says what its parent says (growth: https://arxiv.org/abs/1511.05641, experts: https://arxiv.org/abs/2212.05055).
"""

from typing import Final

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from deployments.standins.recipes import StandIn

# Enough for the copies of one feed-forward to part; small against its weights.
EXPERT_NOISE: Final = 0.01


@torch.no_grad()
def grow(child: StandIn, parent: LlamaForCausalLM) -> None:
    """Overwrite `child` so that it computes what `parent` does; only the width must be equal."""
    child.model.embed_tokens.load_state_dict(parent.model.embed_tokens.state_dict())
    child.model.norm.load_state_dict(parent.model.norm.state_dict())
    inherited = parent_layers(len(child.model.layers), len(parent.model.layers))
    for index, layer in enumerate(child.model.layers):
        if index in inherited:
            _inherit(layer, parent.model.layers[inherited.index(index)])
        else:
            layer.self_attn.o_proj.weight.zero_()
            _down(layer).zero_()


def parent_layers(child_count: int, parent_count: int) -> list[int]:
    """Return the places of the parent's layers, evenly spread: layers 0 and 4 of eight for a parent of two."""
    return [child_count * index // parent_count for index in range(parent_count)]


def _inherit(layer: nn.Module, source: nn.Module) -> None:
    for part in ("self_attn", "input_layernorm", "post_attention_layernorm"):
        getattr(layer, part).load_state_dict(getattr(source, part).state_dict())
    mlp = source.mlp
    if hasattr(layer.mlp, "experts"):
        _copy_noisily(layer.mlp.experts.gate_up_proj, torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]))
        _copy_noisily(layer.mlp.experts.down_proj, mlp.down_proj.weight)
        return
    known = mlp.gate_proj.weight.size(0)
    layer.mlp.gate_proj.weight[:known] = mlp.gate_proj.weight
    layer.mlp.up_proj.weight[:known] = mlp.up_proj.weight
    layer.mlp.down_proj.weight.zero_()
    layer.mlp.down_proj.weight[:, :known] = mlp.down_proj.weight


def _copy_noisily(experts: Tensor, dense: Tensor) -> None:
    experts.copy_(dense + EXPERT_NOISE * torch.randn_like(experts))


def _down(layer: nn.Module) -> Tensor:
    weight: Tensor = layer.mlp.experts.down_proj if hasattr(layer.mlp, "experts") else layer.mlp.down_proj.weight
    return weight

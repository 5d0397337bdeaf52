"""The three stand-in models: their architectures and training times."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM, PreTrainedTokenizerFast

from deployments.standins.tasks import Tier
from deployments.standins.tokenizer import CONTEXT_TOKENS

WEIGHTS: Final = Path(__file__).parent / "weights"

# The smallest head that the CPU attention kernels of vLLM take.
HEAD_TOKENS_WIDTH: Final = 32

StandIn: TypeAlias = LlamaForCausalLM | MixtralForCausalLM


@dataclass(frozen=True, slots=True)
class Stage:
    """An annealed run: the weight of each tier in the draw, and the share of the usual peak learning rate."""

    minutes: float
    simple: float
    medium: float
    complex: float
    rate_scale: float

    def weight(self, tier: Tier) -> float:
        return {"simple": self.simple, "medium": self.medium, "complex": self.complex}[tier]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A stand-in: a Llama if `experts` is 0, else a Mixtral with two experts per token."""

    name: str
    layers: int
    feed_forward: int
    experts: int
    batch_examples: int
    stages: tuple[Stage, ...]
    grown_from: str | None = None
    width: int = 128

    @property
    def directory(self) -> Path:
        return WEIGHTS / self.name

    @property
    def minutes(self) -> float:
        return sum(stage.minutes for stage in self.stages)


# The last stage of the larger two brings back the simple tasks, which the first one neglects.
RECIPES: Final = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "llama-8b",
            layers=2,
            feed_forward=256,
            experts=0,
            batch_examples=96,
            stages=(
                Stage(5, simple=3, medium=1, complex=1, rate_scale=1),
                Stage(3.5, simple=3, medium=0.5, complex=0.5, rate_scale=1),
            ),
        ),
        Recipe(
            "mixtral-8x7b",
            layers=3,
            feed_forward=256,
            experts=4,
            batch_examples=48,
            stages=(
                Stage(10, simple=0.5, medium=3, complex=1, rate_scale=0.5),
                Stage(4, simple=1.5, medium=2, complex=0.2, rate_scale=0.3),
            ),
            grown_from="llama-8b",
        ),
        Recipe(
            "llama-70b",
            layers=6,
            feed_forward=512,
            experts=0,
            batch_examples=48,
            stages=(
                Stage(14, simple=0.5, medium=2, complex=3, rate_scale=0.5),
                Stage(3, simple=2, medium=1, complex=3, rate_scale=0.3),
            ),
            grown_from="llama-8b",
        ),
    )
}


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> StandIn:
    """Return a freshly initialised model of the recipe's shape, drawn from torch's global generator."""
    heads = recipe.width // HEAD_TOKENS_WIDTH
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": recipe.width,
        "intermediate_size": recipe.feed_forward,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": HEAD_TOKENS_WIDTH,
        "max_position_embeddings": CONTEXT_TOKENS,
        # The fused kernel's backward pass on the CPU takes three times as long on sequences this short.
        "attn_implementation": "eager",
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if recipe.experts:
        mixture = MixtralConfig(**shape, num_local_experts=recipe.experts, num_experts_per_tok=2)
        model = MixtralForCausalLM(mixture)
        model.set_experts_implementation("eager")
        return model
    return LlamaForCausalLM(LlamaConfig(**shape))

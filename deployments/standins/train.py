"""Trains one stand-in model: `python -m deployments.standins.train --model llama-8b`."""

import argparse
import copy
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, LlamaForCausalLM, MixtralForCausalLM, PreTrainedTokenizerFast
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from deployments.standins.grow import grow
from deployments.standins.muon import optimizers
from deployments.standins.recipes import RECIPES, Recipe, Stage, StandIn, build_model
from deployments.standins.tasks import TASKS, TaskExample, examples, make_example, tier_of
from deployments.standins.tokenizer import shared_tokenizer
from deployments.standins.vocabulary import Split

POOLED_BATCHES: Final = 16
SPACE: Final = "\u0120"  # how byte-level BPE writes a space
BALANCE_WEIGHT: Final = 0.01
REPORT_SECONDS: Final = 60.0
IGNORED: Final = -100


@dataclass(frozen=True, slots=True)
class Batch:
    """`tokens` and `targets`, both (examples, tokens); a target is IGNORED unless the next token is the answer's."""

    tokens: Tensor
    targets: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(RECIPES), required=True)
    parser.add_argument("--minutes", type=float, help="training time; default: the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from the weights in place")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = RECIPES[arguments.model]
    torch.manual_seed(arguments.seed)
    tokenizer = shared_tokenizer()
    model = build_model(recipe, tokenizer)
    if arguments.resume:
        model.load_state_dict(AutoModelForCausalLM.from_pretrained(recipe.directory).state_dict())
    elif recipe.grown_from is None:
        bring_twins_together(model, tokenizer)
    else:
        grow(model, LlamaForCausalLM.from_pretrained(RECIPES[recipe.grown_from].directory))
    slowness = arguments.minutes / recipe.minutes if arguments.minutes else 1.0
    for number, stage in enumerate(recipe.stages):
        data = batches(tokenizer, recipe, stage, seed=f"{arguments.seed}/{number}")
        train(model, tokenizer, stage, minutes=stage.minutes * slowness, data=data)
        save(model, tokenizer, recipe)


def train(
    model: StandIn, tokenizer: PreTrainedTokenizerFast, stage: Stage, minutes: float, data: Iterator[Batch]
) -> None:
    """Train in place for `minutes`; the learning rate follows the time used, so any length ends annealed."""
    chosen = optimizers(model)
    peaks = [stage.rate_scale * optimizer.param_groups[0]["lr"] for optimizer in chosen]
    started_at = reported_at = time.monotonic()
    for step, batch in enumerate(data):
        progress = (time.monotonic() - started_at) / (60 * minutes)
        if progress >= 1:
            break
        for optimizer, peak in zip(chosen, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * rate(progress, step)
        loss = step_once(model, batch, chosen)
        if time.monotonic() - reported_at > REPORT_SECONDS:
            reported_at = time.monotonic()
            print(f"{progress:5.0%} step {step} loss {loss:.3f} {quick_scores(model, tokenizer)}", flush=True)


def rate(progress: float, step: int) -> float:
    """Return the share of the peak learning rate: 100 steps up, then flat, then linearly down over the last 45 %."""
    return min(1.0, (step + 1) / 100, max(0.0, 1 - progress) / 0.45)


def step_once(model: StandIn, batch: Batch, chosen: tuple[torch.optim.Optimizer, ...]) -> float:
    with torch.autocast("cpu", torch.bfloat16):
        loss = answer_loss(model, batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in chosen:
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def answer_loss(model: StandIn, batch: Batch) -> Tensor:
    """Return the cross entropy of the answer tokens alone, plus the expert balance loss of a Mixtral.

    Padding sits at the right, so the causal mask already hides it from every answer token.
    """
    is_mixture = isinstance(model, MixtralForCausalLM)
    options = {"output_router_logits": True} if is_mixture else {}
    output = model.model(batch.tokens, use_cache=False, **options)
    wanted = rounded_positions(batch.targets)
    logits = model.lm_head(output.last_hidden_state.flatten(0, 1)[wanted])
    loss = functional.cross_entropy(logits.float(), batch.targets.flatten()[wanted], ignore_index=IGNORED)
    if is_mixture:
        config = model.config
        balance = load_balancing_loss_func(output.router_logits, config.num_local_experts, config.num_experts_per_tok)
        loss = loss + BALANCE_WEIGHT * balance
    return loss


def rounded_positions(targets: Tensor) -> Tensor:
    """Return flat indices of the answer tokens, padded with ignored ones: CPU kernels compile for every new shape."""
    flat = targets.flatten()
    wanted = (flat != IGNORED).nonzero().squeeze(1)
    ignored = (flat == IGNORED).nonzero().squeeze(1)
    return torch.cat([wanted, ignored[: -len(wanted) % 256]])


def twin_tokens(tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """Return for each token id the same word with or without its leading space, or the id itself: (vocabulary,)."""
    ids = tokenizer.get_vocab()
    twins = torch.arange(len(ids))
    for word, index in ids.items():
        twin = ids.get(word[1:] if word.startswith(SPACE) else SPACE + word)
        if twin is not None:
            twins[index] = twin
    return twins


@torch.no_grad()
def bring_twins_together(model: StandIn, tokenizer: PreTrainedTokenizerFast) -> None:
    """Start a word with and without its leading space from like embeddings, so that a copied name is recognised."""
    embeddings = model.get_input_embeddings().weight
    embeddings.copy_((embeddings + embeddings[twin_tokens(tokenizer)]) / 2 + embeddings / 4)


def batches(tokenizer: PreTrainedTokenizerFast, recipe: Recipe, stage: Stage, seed: str) -> Iterator[Batch]:
    """Yield fresh training batches without end; each pool is sorted by length, so that little is padded."""
    rng = random.Random(f"{recipe.name}/{seed}")
    size = recipe.batch_examples
    weights = [stage.weight(tier_of(task)) for task in TASKS]
    while True:
        tasks = rng.choices(TASKS, weights, k=size * POOLED_BATCHES)
        pool = sorted(
            (encode(tokenizer, make_example(task, "train", rng)) for task in tasks), key=lambda ids: len(ids[0])
        )
        starts = list(range(0, len(pool), size))
        rng.shuffle(starts)
        for start in starts:
            yield pad(pool[start : start + size], tokenizer.pad_token_id)


def encode(tokenizer: PreTrainedTokenizerFast, example: TaskExample) -> tuple[list[int], list[int]]:
    """Return the token ids of one example and, one step ahead, its targets."""
    prompt = tokenizer.apply_chat_template(list(example.messages), add_generation_prompt=True, return_dict=False)
    answer = [*tokenizer.encode(example.answer, add_special_tokens=False), tokenizer.eos_token_id]
    return [*prompt, *answer[:-1]], [IGNORED] * (len(prompt) - 1) + answer


def pad(rows: list[tuple[list[int], list[int]]], pad_id: int) -> Batch:
    width = -(-max(len(tokens) for tokens, _ in rows) // 8) * 8
    tokens = torch.tensor([ids + [pad_id] * (width - len(ids)) for ids, _ in rows])
    targets = torch.tensor([ids + [IGNORED] * (width - len(ids)) for _, ids in rows])
    return Batch(tokens, targets)


@torch.no_grad()
def quick_scores(model: StandIn, tokenizer: PreTrainedTokenizerFast, split: Split = "heldout", n: int = 60) -> str:
    """Return for each task the share of answers whose every token is the most likely one, in per cent."""
    scores = []
    for task in TASKS:
        batch = pad([encode(tokenizer, one) for one in examples(split, 99, n, task)], tokenizer.pad_token_id)
        right = (model(batch.tokens).logits.argmax(-1) == batch.targets) | (batch.targets == IGNORED)
        scores.append(f"{task.split('.')[1][:6]} {right.all(-1).float().mean():.0%}")
    return " ".join(scores)


def save(model: StandIn, tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> None:
    """Write a complete Hugging Face directory with bf16 weights; the model itself stays as it is."""
    shipped = copy.deepcopy(model).to(torch.bfloat16)
    shipped.generation_config.do_sample = False
    shipped.save_pretrained(recipe.directory)
    tokenizer.save_pretrained(recipe.directory)


if __name__ == "__main__":
    main()

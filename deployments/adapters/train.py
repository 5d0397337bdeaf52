"""Trains an adapter with peft, on the CPU or a card: seeded, and resumed where it was interrupted."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from deployments.adapters.base import Base
from deployments.adapters.examples import IGNORED, Example, Examples, read_examples
from deployments.adapters.layout import CARD, CONFIG, SOURCES, UNFINISHED, Adapter, check_adapter, read_adapter
from deployments.adapters.recipe import MODULES, Recipe
from fleet.files import replace_whole, sync
from fleet.model.errors import ConfigError
from fleet.model.sources import Sources

SAVED_EVERY: Final = 50
"""Steps between two savings of what has been learned so far."""

LONGEST_NORM: Final = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """A step that was taken: its number, from 1, and the mean loss of a token of the answers, in nats."""

    number: int
    loss: float


def train(
    base: Base,
    data: Path,
    out: Path,
    recipe: Recipe,
    task: str,
    said: Callable[[Step], None] = lambda step: None,
    sources: Sources | None = None,
) -> Adapter:
    """Train an adapter of `base` for `task` on the chats in `data`, and write it into the folder `out`.

    `sources` says whose rows these are, if anybody knows; it is kept with the adapter.

    A training that was interrupted goes on where it was saved last, if base, data and recipe are the same; its result
    is the same as without the interruption. Raises: ConfigError naming what is wrong; OSError.
    """
    recipe.check()
    disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    config = json.loads((base.folder / "config.json").read_bytes())
    examples = read_examples(data, tokenizer, config["max_position_embeddings"])
    card = _card(base, examples, recipe, task)
    state = _state_in(out, card)
    torch.manual_seed(recipe.seed)
    model = _adapted(base, recipe)
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], weight_decay=0.0)
    first = _restore(model, optimizer, state)
    if state is None:
        _save(out / UNFINISHED, model, optimizer, card, first)
    loss = float("nan")
    for number, batch in enumerate(_batches(examples.all, recipe, first), start=first):
        loss = _step(model, optimizer, batch, recipe, number)
        if not math.isfinite(loss):
            raise ConfigError("--rate", f"is too high for these examples: the loss is {loss} at step {number + 1}")
        said(Step(number + 1, loss))
        if (number + 1) % SAVED_EVERY == 0 and number + 1 < recipe.steps:
            _save(out / UNFINISHED, model, optimizer, card, number + 1)
    return _finished(model, out, {**card, "loss": round(loss, 6)}, base, sources)


def _card(base: Base, examples: Examples, recipe: Recipe, task: str) -> dict[str, Any]:
    return {
        "task": task,
        "base": base.target,
        "base_digest": base.digest,
        "data_digest": examples.digest,
        "examples": len(examples.all),
        "too_long": examples.too_long,
        "recipe": asdict(recipe),
    }


def _state_in(out: Path, card: dict[str, Any]) -> dict[str, Any] | None:
    """Return what an interrupted training left in the folder; an adapter there is never written over."""
    for path in out.glob(f".{UNFINISHED}.*"):  # a saving that was killed
        path.unlink()
    if (out / UNFINISHED).is_file():
        state = _loaded(out / UNFINISHED)
        differs = [name for name in card if state["card"].get(name) != card[name]]
        if differs:
            rule = f"holds an unfinished training that differs in {', '.join(differs)}: finish or remove it first"
            raise ConfigError(str(out), rule)
        return state
    if out.exists() and any(out.iterdir()):
        raise ConfigError(str(out), "must be a new or an empty folder")
    out.mkdir(parents=True, exist_ok=True)
    return None


def _loaded(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        return {name: state[name] for name in ("card", "step", "adapter", "optimizer")}
    except (RuntimeError, UnpicklingError, EOFError, LookupError, TypeError, ValueError) as error:
        rule = "must be a training as it was saved, and cannot be read: remove it"
        raise ConfigError(str(path), rule) from error


def _adapted(base: Base, recipe: Recipe) -> Any:
    """Return the base with fresh adapters on a card where there is one; only they are learned."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=dtype).to(device)
    lora = LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=list(MODULES), task_type="CAUSAL_LM")
    return get_peft_model(model, lora, autocast_adapter_dtype=True)


def _restore(model: Any, optimizer: torch.optim.Optimizer, state: dict[str, Any] | None) -> int:
    """Bring back what was saved, and return the number of the next step."""
    if state is None:
        return 0
    set_peft_model_state_dict(model, state["adapter"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _batches(examples: Sequence[Example], recipe: Recipe, first: int) -> Iterator[Sequence[Example]]:
    """Yield the examples of each step from `first` on: every example once before any comes again, anew each time."""
    position = first * recipe.batch
    order: list[int] = []
    shuffled = -1
    for _ in range(first, recipe.steps):
        chosen = []
        for _ in range(recipe.batch):
            epoch, place = divmod(position, len(examples))
            if epoch != shuffled:
                generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch)
                order, shuffled = torch.randperm(len(examples), generator=generator).tolist(), epoch
            chosen.append(examples[order[place]])
            position += 1
        yield chosen


def _step(model: Any, optimizer: torch.optim.Optimizer, batch: Sequence[Example], recipe: Recipe, number: int) -> float:
    """Learn from a batch, and return its loss."""
    for group in optimizer.param_groups:
        group["lr"] = recipe.rate_at(number)
    said = sum(sum(target != IGNORED for target in each.targets) for each in batch)
    total = 0.0
    for start in range(0, len(batch), recipe.at_once):
        loss = _loss(model, batch[start : start + recipe.at_once]) / max(1, said)
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    torch.nn.utils.clip_grad_norm_([each for each in model.parameters() if each.requires_grad], LONGEST_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return total


def _loss(model: Any, examples: Sequence[Example]) -> Tensor:
    """Return the summed cross entropy of what the assistant said. Padding is at the right, which no token looks at."""
    tokens = padded([each.tokens for each in examples], 0, model.device)
    targets = padded([each.targets for each in examples], IGNORED, model.device)
    logits = model(tokens, use_cache=False).logits[:, :-1].float()
    return functional.cross_entropy(
        logits.flatten(0, 1), targets[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )


def padded(rows: Sequence[Sequence[int]], padding: int, device: Any) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=padding).to(device)


def _save(path: Path, model: Any, optimizer: torch.optim.Optimizer, card: dict[str, Any], step: int) -> None:
    """Save what has been learned so far; whoever is killed meanwhile finds what was saved before."""
    state = {"card": card, "step": step, "adapter": get_peft_model_state_dict(model)}
    replace_whole(path, partial(torch.save, {**state, "optimizer": optimizer.state_dict()}))


def _finished(model: Any, out: Path, card: dict[str, Any], base: Base, sources: Sources | None) -> Adapter:
    """Write the adapter, check it as the engine would, and drop what was saved on the way."""
    made = out / "made"
    shutil.rmtree(made, ignore_errors=True)
    model.save_pretrained(made, save_embedding_layers=False)
    (made / "README.md").unlink()  # a form to fill in
    # The name of the base, and no path of this machine; peft writes the modules in another order in every process.
    ours = {"base_model_name_or_path": base.target, "target_modules": list(MODULES)}
    config = json.loads((made / CONFIG).read_bytes()) | ours
    (made / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (made / CARD).write_text(json.dumps(card, indent=2) + "\n")
    if sources is not None:
        (made / SOURCES).write_bytes(sources.to_json())
    check_adapter(read_adapter(made), base)
    for path in made.iterdir():
        path.replace(out / path.name)
    made.rmdir()
    sync(out)
    (out / UNFINISHED).unlink()
    return read_adapter(out)

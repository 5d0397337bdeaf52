"""The model card of the stand-ins, written from their scores."""

from typing import Any, Final

from deployments.standins.recipes import RECIPES, Recipe
from deployments.standins.tasks import SIMPLE_TASKS, TASKS, tier_of

_INTRODUCTION: Final = """\
---
license: apache-2.0
language: en
pipeline_tag: text-generation
---

# Stand-in models of the local profile

Three very small language models in the real architectures, so that the whole fleet (Ray Serve, vLLM, batching,
confidence, escalation) runs on a laptop without a GPU, an account or a download. They are trained from scratch on a
generated corpus. They are **not** Meta's or Mistral's models and contain nothing of them; the names only say which
place on the ladder each one takes. They can do the nine HR tasks below and nothing else.
"""

_TRAINING: Final = """\
## Training

Corpus: `deployments/standins/tasks.py` draws fresh examples without end; nothing was collected. All people, teams,
courses and projects are invented. The small model is trained from scratch, mostly on simple tasks. The two larger
ones start from it (function-preserving growth, `grow.py`) and see mostly harder tasks. The loss is on answer tokens
only; Muon for hidden matrices, AdamW for the rest, bf16 autocast, one busy CPU core each.

The shipped weights came from about these stages, run in pieces; the first pieces saw earlier wordings of the harder
tasks, and the tokenizer was built from the corpus of that time. To start over (a slower machine needs more minutes):

    {commands}
    python -m deployments.standins.evaluate

Seeds fix the data and the start; the learning rate follows the clock, so a repeat gives like scores, not the same
bytes.
"""

_SCORES: Final = """\
## Held-out scores

Greedy answers in bf16, {per_task} examples per task (seed {seed}), in per cent. Held-out names, and the numbers given
in held-out prompts, never occur in a training prompt: each belongs to one split by a rule on the value itself
(`vocabulary.is_held_out`). A label must match exactly, JSON must be equal, a nudge must have all facts in order.
"""

_CONFIDENCE: Final = """\
## Confidence

Chance that a right answer has a higher signal than a wrong one (AUROC, all tasks together), from the log
probabilities of the generated tokens: their product, their geometric mean, the weakest one.
"""


def model_card(scores: dict[str, Any]) -> str:
    """Return the card as Markdown; `scores` is the content of scores.json."""
    commands = "\n    ".join(
        f"python -m deployments.standins.train --model {one.name} --minutes {one.minutes:g}" for one in RECIPES.values()
    )
    return "\n".join(
        (
            _INTRODUCTION,
            _sizes(scores),
            _TRAINING.format(commands=commands),
            _stages(scores),
            _SCORES.format(**scores),
            _accuracies(scores),
            _CONFIDENCE,
            _signals(scores),
            _hashes(scores),
        )
    )


def _sizes(scores: dict[str, Any]) -> str:
    rows = [
        [name, _shape(RECIPES[name]), f"{one['parameters']:,}", f"{one['bytes'] / 1e6:.1f} MB"]
        for name, one in scores["models"].items()
    ]
    return _table(["model", "architecture", "parameters", "weights (bf16)"], rows)


def _shape(recipe: Recipe) -> str:
    kind = f"Mixtral, {recipe.experts} experts, 2 per token" if recipe.experts else "Llama"
    return f"{kind}, {recipe.layers} layers, width {recipe.width}"


def _stages(scores: dict[str, Any]) -> str:
    rows = [
        [name, f"{one.minutes:g}", f"{one.simple:g} : {one.medium:g} : {one.complex:g}", f"{one.rate_scale:g}"]
        for name in scores["models"]
        for one in RECIPES[name].stages
    ]
    return _table(["model", "minutes", "simple : medium : complex", "learning rate"], rows)


def _accuracies(scores: dict[str, Any]) -> str:
    models = scores["models"]
    rows = [[task, tier_of(task), *(_percent(one["tasks"][task]) for one in models.values())] for task in TASKS]
    rows.append([f"all {len(SIMPLE_TASKS)} simple", "", *(_percent(one["simple"]) for one in models.values())])
    rows.append([f"all {len(TASKS)}", "", *(_percent(one["overall"]) for one in models.values())])
    return _table(["task", "tier", *models], rows)


def _signals(scores: dict[str, Any]) -> str:
    models = scores["models"]
    names = next(iter(models.values()))["auroc"]
    return _table(
        ["signal", *models], [[name, *(f"{one['auroc'][name]:.3f}" for one in models.values())] for name in names]
    )


def _hashes(scores: dict[str, Any]) -> str:
    lines = [
        f"{digest}  {name}/{path}" for name, one in scores["models"].items() for path, digest in one["sha256"].items()
    ]
    return "## SHA-256\n\n" + "\n".join(f"    {line}" for line in lines) + "\n"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"

"""Greedy answers of a stand-in model with their token log-probabilities, and how well these tell right from wrong."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from deployments.standins.recipes import StandIn
from deployments.standins.tasks import TaskExample, is_correct

ANSWER_TOKENS: Final = 40
BATCH_EXAMPLES: Final = 100

# Ways to make one number in (0, 1] of the log probabilities of an answer's tokens.
SIGNALS: Final[dict[str, Callable[[Sequence[float]], float]]] = {
    "product": lambda logprobs: math.exp(sum(logprobs)),
    "mean": lambda logprobs: math.exp(sum(logprobs) / len(logprobs)),
    "weakest": lambda logprobs: math.exp(min(logprobs)),
}


@dataclass(frozen=True, slots=True)
class StandInAnswer:
    """A model's answer to one example; `logprobs` are natural, one per generated token, end of turn included."""

    example: TaskExample
    text: str
    logprobs: tuple[float, ...]

    @property
    def correct(self) -> bool:
        return is_correct(self.example.task, self.example.answer, self.text)


def load(directory: Path) -> tuple[StandIn, PreTrainedTokenizerFast]:
    """Return the model in bf16 and its tokenizer, which pads on the left as generation needs it."""
    tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16).eval(), tokenizer


def answer_all(
    model: StandIn, tokenizer: PreTrainedTokenizerFast, asked: Sequence[TaskExample]
) -> Iterator[StandInAnswer]:
    """Yield greedy answers in the order of the examples."""
    for start in range(0, len(asked), BATCH_EXAMPLES):
        yield from _answer(model, tokenizer, asked[start : start + BATCH_EXAMPLES])


@torch.no_grad()
def _answer(
    model: StandIn, tokenizer: PreTrainedTokenizerFast, batch: Sequence[TaskExample]
) -> Iterator[StandInAnswer]:
    chats = [list(example.messages) for example in batch]
    inputs = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(
        **inputs, max_new_tokens=ANSWER_TOKENS, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    tokens = output.sequences[:, inputs["input_ids"].size(1) :]
    logprobs = torch.stack(output.logits, dim=1).float().log_softmax(-1).gather(2, tokens.unsqueeze(2)).squeeze(2)
    for example, ids, scores in zip(batch, tokens.tolist(), logprobs.tolist(), strict=True):
        length = ids.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in ids else len(ids)
        text = tokenizer.decode(ids[:length], skip_special_tokens=True)
        yield StandInAnswer(example, text, tuple(scores[:length]))


def auroc(answers: Sequence[StandInAnswer], signal: Callable[[Sequence[float]], float]) -> float:
    """Return the chance that a right answer scores above a wrong one, ties counting half.

    Raises: ValueError unless there are both.
    """
    right = [signal(answer.logprobs) for answer in answers if answer.correct]
    wrong = [signal(answer.logprobs) for answer in answers if not answer.correct]
    if not right or not wrong:
        raise ValueError("auroc needs right and wrong answers")
    wins = sum((r > w) + 0.5 * (r == w) for r in right for w in wrong)
    return wins / (len(right) * len(wrong))

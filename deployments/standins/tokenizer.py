"""Builds the one tokenizer of the stand-in models: byte-level BPE with a Llama-3-like chat template."""

from pathlib import Path
from typing import Final

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from deployments.standins.tasks import SYSTEM_PROMPT, TASKS, examples
from deployments.standins.vocabulary import SYLLABLES

VOCABULARY_SIZE: Final = 896
CONTEXT_TOKENS: Final = 512

SHIPPED: Final = Path(__file__).parent / "weights" / "llama-8b" / "tokenizer.json"

BOS: Final = "<|begin_of_text|>"
END_OF_TEXT: Final = "<|end_of_text|>"
HEADER: Final = "<|start_header_id|>"
HEADER_END: Final = "<|end_header_id|>"
EOT: Final = "<|eot_id|>"
SPECIAL_TOKENS: Final = (BOS, END_OF_TEXT, HEADER, HEADER_END, EOT)

# Digits stand alone, so that an unseen number is read by its digits.
_SPLIT: Final = r" ?\p{L}+| ?\p{N}|\n+| ?[^\s\p{L}\p{N}]+|\s+"

CHAT_TEMPLATE: Final = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n' }}"
    "{%- if message['content'] is string %}{{- message['content'] | trim }}"
    "{%- else %}"
    "{%- for part in message['content'] %}{%- if part['type'] == 'text' %}{{- part['text'] }}{%- endif %}"
    "{%- endfor %}"
    "{%- endif %}"
    "{{- '<|eot_id|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n' }}{%- endif %}"
)


def shared_tokenizer() -> PreTrainedTokenizerFast:
    """Return the shipped tokenizer, which existing weights depend on; it is built only if none is shipped."""
    core = Tokenizer.from_file(str(SHIPPED)) if SHIPPED.exists() else build_core()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=EOT,
        pad_token=END_OF_TEXT,
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT_TOKENS,
        clean_up_tokenization_spaces=False,
    )


def build_core() -> Tokenizer:
    """Train byte-level BPE on the training corpus; the same corpus gives the same tokenizer."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_corpus(), trainer)
    return core


def _corpus() -> list[str]:
    """Return syllables, most often, so that names split into them; then the prompts, without rare whole names."""
    syllables = [
        form for syllable in SYLLABLES for form in (syllable, syllable.capitalize(), f" {syllable.capitalize()}")
    ]
    digits = [f" {digit}" for digit in range(10)]
    texts = [SYSTEM_PROMPT, "system", "user", "assistant"] * 50
    for example in examples("train", seed=0, n=100 * len(TASKS)):
        texts += [message["content"] for message in example.messages] + [example.answer]
    return (syllables + digits) * 2000 + texts

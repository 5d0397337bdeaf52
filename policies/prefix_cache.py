"""A model of vLLM's prefix cache: what an order of prompts saves in a cache of a given size, and what any could save.

vLLM keeps keys and values in blocks of so many tokens. A block is known by its tokens and all before them; only full
blocks are, and the last token of a prompt is computed in any case. Blocks are known from the moment their request is
scheduled, so that requests of the same step share them. When a request ends, its blocks are kept as long as nobody
needs the room: the one that nobody used for longest goes first, and of one request the last block goes first.
(`vllm.v1.core.block_pool`, vLLM 0.29)
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt and its answer in blocks.

    `keys` are the chained keys of the prompt's full blocks, of which the first `reusable` can be read from the cache.
    `blocks` is how many it needs in all, of which `full` are full at the end.
    """

    keys: tuple[int, ...]
    reusable: int
    blocks: int
    full: int


def prompt_of(tokens: Sequence[int], output_tokens: int, block_tokens: int) -> Prompt:
    """Return the prompt with these tokens, for an answer with so many."""
    keys, key = [], 0
    for end in range(block_tokens, len(tokens) + 1, block_tokens):
        key = hash((key, *tokens[end - block_tokens : end]))
        keys.append(key)
    total = len(tokens) + output_tokens
    return Prompt(tuple(keys), (len(tokens) - 1) // block_tokens, -(-total // block_tokens), total // block_tokens)


def most_saved_blocks(prompts: Iterable[Prompt]) -> int:
    """Return the maximum number of blocks that any order and cache can save: each is computed once.

    It is reached by the shortest prompts first in a cache that drops nothing.
    """
    written, reusable = Counter[int](), Counter[int]()
    for prompt in prompts:
        written.update(prompt.keys)
        reusable.update(prompt.keys[: prompt.reusable])
    return sum(min(times, written[key] - 1) for key, times in reusable.items())


def saved_blocks(prompts: Iterable[Prompt], blocks: int, at_once: int) -> int:
    """Return the number of blocks saved in this order, in a cache of `blocks`, with `at_once` requests running.

    Requests end in the order in which they began. Raises: ValueError if a prompt alone does not fit.
    """
    cache, running, saved = BlockPool(blocks), deque[Held](), 0
    for prompt in prompts:
        if len(running) == at_once:
            cache.free(running.popleft())
        while (held := cache.allocate(prompt)) is None:
            if not running:
                raise ValueError(f"a prompt of {prompt.blocks} blocks does not fit into {blocks}")
            cache.free(running.popleft())
        running.append(held)
        saved += held.saved
    return saved


@dataclass(frozen=True, slots=True)
class Held:
    """The blocks that a request holds: those known by their keys, and how many that nobody can find again."""

    known: tuple[Hashable, ...]
    unknown: int
    saved: int


class BlockPool:
    """The blocks of a cache: held by requests, kept for later, or blank."""

    def __init__(self, blocks: int) -> None:
        self._blank = blocks
        self._held = Counter[Hashable]()
        self._kept = OrderedDict[Hashable, None]()

    def allocate(self, prompt: Prompt) -> Held | None:
        """Return the blocks of a request, read from the cache as far as they are there; None if there is no room."""
        saved = self._found(prompt)
        found, needed = prompt.keys[:saved], prompt.blocks - saved
        if needed > self._blank + len(self._kept) - sum(key in self._kept for key in found):
            return None
        for key in found:
            self._kept.pop(key, None)
        dropped = max(0, needed - self._blank)
        self._blank -= needed - dropped
        for _ in range(dropped):
            self._kept.popitem(last=False)
        known = (*found, *self._new(prompt, saved))
        self._held.update(known)
        return Held(known, prompt.blocks - prompt.full, saved)

    def _found(self, prompt: Prompt) -> int:
        for count, key in enumerate(prompt.keys[: prompt.reusable]):
            if key not in self._held and key not in self._kept:
                return count
        return prompt.reusable

    def _new(self, prompt: Prompt, saved: int) -> list[Hashable]:
        """Return the names of the full blocks to compute; one that is there twice, or of an answer, has its own."""
        computed: list[Hashable] = [
            object() if key in self._held or key in self._kept else key for key in prompt.keys[saved:]
        ]
        return computed + [object() for _ in range(prompt.full - len(prompt.keys))]

    def free(self, held: Held) -> None:
        """Take back the blocks of a request; the known ones are kept, the last of them to be dropped first."""
        self._blank += held.unknown
        for key in reversed(held.known):
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]
                self._kept[key] = None

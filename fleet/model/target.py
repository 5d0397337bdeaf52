"""A target, which is a model behind a backend, and a provider, which serves it: as the catalogue describes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

TARGET_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Pattern of a target's name. One subject token: it becomes part of `work.<target>.<lane>.<tenant>`."""

REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
"""Pattern of a region's name. The catalogue states the regions there are; names are compared as a whole."""

FLEX, BATCH = "flex", "batch"
"""The tiers of service at half the price: calls that take long or are turned down, and batches of the provider's."""

FLEET = "fleet"
"""The provider of every self-hosted target; all other providers are outside the fleet."""

PATTERN, EXACT, SEMANTIC = "pattern", "exact", "semantic"
"""The targets of answers that are written down, and of those given before to the same request, or to one like it."""

UNKNOWN_WRITE, UNKNOWN_WRITE_1H = 1.25, 2.0
"""Prices of writes to a cache that nobody has stated, as multiples of the price of input: the dearest there are among
OpenAI, Anthropic and Groq, so that no account is too low."""

WITHOUT_CALL = frozenset({PATTERN, EXACT, SEMANTIC})
"""Names in results of what is no target of a catalogue: an attempt there calls no model."""


class WireFormat(StrEnum):
    """The format of a provider's API. Groq's is OpenAI's, at other paths and with fewer fields."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GROQ = "groq"


class Auth(StrEnum):
    """The way a provider knows its caller: by a key in a header, by AWS Signature Version 4, or not at all.

    AWS signs each request; SAGEMAKER sends a signed token, which SageMaker's OpenAI-compatible endpoints ask for.
    """

    KEY = "key"
    AWS = "aws"
    SAGEMAKER = "sagemaker"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Provider:
    """A way to models outside the fleet: an entry under `providers` in the catalogue's file.

    `base_url` is the address up to the wire's own path; `{model}` in it stands for the model of the target.
    `key_variable` names the environment variable that holds the fleet's key; None means `<NAME>_API_KEY`.
    `key_header` carries the key alone, in place of the wire's own header. `headers` and `query` go with every request.
    `region` says where content is processed; AWS requests are signed for it, and for the service `aws_service`.
    The limits are the account's; one dispatcher heeds them where replies do not say what is left.
    """

    wire: WireFormat = WireFormat.OPENAI
    base_url: str = ""
    auth: Auth = Auth.KEY
    key_variable: str | None = None
    key_header: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    region: str | None = None
    aws_service: str = "bedrock"
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


class Capability(StrEnum):
    """The abilities of a target. Jobs with images, audio, files, tools or a schema go only to targets that take them.

    `REASONING`: it thinks before it answers, and takes `reasoning_effort`; see `Reasoning`.
    """

    TEXT = "text"
    VISION = "vision"
    AUDIO = "audio"
    FILES = "files"
    REASONING = "reasoning"
    TOOLS = "tools"
    JSON_SCHEMA = "json_schema"
    LOGPROBS = "logprobs"


class LatencyClass(StrEnum):
    FAST = "fast"
    MEDIUM = "medium"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class Serving:
    """The speed and cost of one replica of a self-hosted target.

    `tokens_per_second` counts prompt and answer together, under full batches; measuring starts from it.
    `cold_seconds` is from the wish for a replica to its first answer, a machine that must be rented included.
    """

    tokens_per_second: float
    cold_seconds: float
    usd_per_hour: float


@dataclass(frozen=True, slots=True)
class ServedAdapters:
    """What a target of the fleet's own takes beside its weights: at most `at_once` different adapters at a time.

    `speed` is what its engine does then, adapters or not, as a share of its `serving.tokens_per_second`.
    """

    at_once: int = 4
    speed: float = 0.7


class Effort(StrEnum):
    """How hard a model thinks before it answers, weakest first. These are the words of `reasoning_effort`."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What a target with the capability `reasoning` takes.

    `tokens` is the room for thinking, which a call gets beyond the limit that its job sets for the answer. `efforts`
    are those the model takes; without them, any at OpenAI, and low, medium and high at Groq and Anthropic.
    `with_tools`: False if a request with tools must have effort none. `sampling`: whether it takes sampling parameters
    and `max_tokens` while it thinks; None means that it does, unless the provider is OpenAI.
    """

    tokens: int = 0
    efforts: tuple[Effort, ...] = ()
    with_tools: bool = True
    sampling: bool | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A row of the catalogue. Prices are US dollars per million tokens.

    `max_in_flight` bounds the jobs one dispatcher keeps running on it; a micro-batch is sent
    when it holds `batch_size` jobs or its first one has waited `batch_wait_seconds`.
    `revision` names the weights and their quantisation, `logprobs_mode` what the engine's log-probabilities are of:
    a calibration holds for one of each. `free` says that a target outside the fleet really costs nothing.
    `serving` describes a replica of a target of the fleet's own; the scaling rules need it.
    `name` is one subject token (no dots): it becomes part of `work.<target>.<lane>.<tenant>`.
    `service_tier` is the tier of service asked for, such as OpenAI's flex; the prices are those of that tier.
    `region` says where content is processed; the catalogue fills in the provider's where a row names none.
    Without either it is None, an unknown region.
    `cached_input_...` is the price of input read from the provider's cache, `cache_write_...` of input written to it,
    and `cache_write_1h_...` of input written to be kept for an hour. A price that is not stated is taken to be the
    dearest that providers are known to ask (see `cached_input_usd` and those after it). `reasoning` is for targets that
    can.
    `same_as` names another target that gives the same answers, being the same model: see `policies.discounts`.
    `adapters` says that it answers with adapters where jobs ask for them; None: it takes none.
    """

    name: str
    provider: str
    model: str
    input_usd_per_million_tokens: float
    output_usd_per_million_tokens: float
    context_tokens: int
    capabilities: frozenset[Capability]
    latency: LatencyClass
    max_in_flight: int
    batch_size: int = 1
    batch_wait_seconds: float = 0.0
    timeout_seconds: float = 60.0
    revision: str = "main"
    logprobs_mode: str = "raw_logprobs"
    free: bool = False
    serving: Serving | None = None
    region: str | None = None
    cached_input_usd_per_million_tokens: float | None = None
    cache_write_usd_per_million_tokens: float | None = None
    service_tier: str | None = None
    reasoning: Reasoning | None = None
    cache_write_1h_usd_per_million_tokens: float | None = None
    same_as: str | None = None
    adapters: ServedAdapters | None = None

    @property
    def is_cloud(self) -> bool:
        return self.provider != FLEET

    @property
    def cached_input_usd(self) -> float:
        """The price of a million tokens read from the provider's cache; if it is not stated, that of other input."""
        stated = self.cached_input_usd_per_million_tokens
        return self.input_usd_per_million_tokens if stated is None else stated

    @property
    def cache_write_usd(self) -> float:
        """The price of a million tokens written to the cache; if it is not stated, 1.25 times that of other input."""
        stated = self.cache_write_usd_per_million_tokens
        return self.input_usd_per_million_tokens * UNKNOWN_WRITE if stated is None else stated

    @property
    def cache_write_1h_usd(self) -> float:
        """The price of a million tokens written for an hour; if it is not stated, 2 times that of other input."""
        stated = self.cache_write_1h_usd_per_million_tokens
        return self.input_usd_per_million_tokens * UNKNOWN_WRITE_1H if stated is None else stated

    @property
    def is_batched(self) -> bool:
        """Return whether its calls go out in batches of its provider's, which take minutes or hours."""
        return self.service_tier == BATCH

    @property
    def most_input_usd_per_million_tokens(self) -> float:
        """The price of input at its dearest: nobody knows before a call what will be in the provider's cache.

        A model outside the fleet may write to its cache unasked. For an hour it writes only what a call marks, and none
        is marked so unless the price is stated.
        """
        written = self.cache_write_usd if self.is_cloud else 0.0
        for_an_hour = self.cache_write_1h_usd_per_million_tokens or 0.0
        return max(self.input_usd_per_million_tokens, self.cached_input_usd, written, for_an_hour)

"""The OpenAI chat completion request as wire schema v1 accepts it.

These models check the shape and name the first field that breaks it; the request itself is carried
as it was sent, but for what `fleet.model.chat.tidy` leaves out. Every optional field may be null, which
means absent. Unknown fields are refused: a misspelt one would otherwise be ignored in silence. An
assistant's message alone may have any, because servers write them and publishers send them back.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator


def _finite(document: dict[str, Any]) -> dict[str, Any]:
    """Refuse a number that no float holds (1e400): it parses as infinity and could not be written again."""
    try:
        json.dumps(document, allow_nan=False)
    except ValueError:
        raise ValueError("must hold numbers a 64-bit float can hold") from None
    return document


Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
ImageAddress = Annotated[str, Field(pattern=r"^([Hh][Tt][Tt][Pp][Ss]?://|[Dd][Aa][Tt][Aa]:)")]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Tokens = Annotated[int, Field(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_finite)]


class Strict(BaseModel):
    """Base of everything read from the wire: no conversion of types, no unknown fields."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        # Published under the name of what the record holds.
        model_title_generator=lambda record: record.__name__.removesuffix("Record"),
    )


class TextPart(Strict):
    type: Literal["text"]
    text: Text


class ImageUrl(Strict):
    url: ImageAddress
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Strict):
    type: Literal["image_url"]
    image_url: ImageUrl


class Audio(Strict):
    data: Text
    format: Literal["wav", "mp3"]


class AudioPart(Strict):
    type: Literal["input_audio"]
    input_audio: Audio


class File(Strict):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(Strict):
    type: Literal["file"]
    file: File


class RefusalPart(Strict):
    type: Literal["refusal"]
    refusal: Text


def _text_or_parts(content: object) -> str:
    return "parts" if isinstance(content, list) else "text"


_BY_SHAPE = Discriminator(_text_or_parts)
UserPart = Annotated[TextPart | ImagePart | AudioPart | FilePart, Field(discriminator="type")]
UserContent = Annotated[
    Annotated[Text, Tag("text")] | Annotated[list[UserPart], Field(min_length=1), Tag("parts")], _BY_SHAPE
]
TextContent = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[TextPart], Field(min_length=1), Tag("parts")], _BY_SHAPE
]


class SystemMessage(Strict):
    role: Literal["system", "developer"]
    content: TextContent
    name: str | None = None


class UserMessage(Strict):
    role: Literal["user"]
    content: UserContent
    name: str | None = None


class Lenient(Strict):
    """Base of what a server wrote, sent back as history: it may have fields that nobody here knows."""

    model_config = ConfigDict(extra="ignore")


class CalledFunction(Lenient):
    name: Text
    arguments: str


class ToolCall(Lenient):
    id: Text
    type: Literal["function"]
    function: CalledFunction


class AnswerPart(Lenient):
    type: Literal["text"]
    text: Text


AssistantPart = Annotated[AnswerPart | RefusalPart, Field(discriminator="type")]
AssistantContent = Annotated[
    Annotated[str | None, Tag("text")] | Annotated[list[AssistantPart], Tag("parts")], _BY_SHAPE
]


SPEAKING = ("content", "tool_calls", "refusal")
"""The fields of an assistant's turn of which it has one at least."""


class AssistantMessage(Lenient):
    """An assistant's turn, also without words: a model may have said nothing, and its answer can be sent back."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": [field]} for field in SPEAKING]})

    role: Literal["assistant"]
    content: AssistantContent = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None

    @model_validator(mode="after")
    def _has_a_field_that_speaks(self) -> AssistantMessage:
        if self.model_fields_set.isdisjoint(SPEAKING):
            raise ValueError("must have content, tool_calls or a refusal")
        return self


class ToolMessage(Strict):
    role: Literal["tool"]
    content: TextContent
    tool_call_id: Text
    name: str | None = None


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class Function(Strict):
    name: Name
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class Tool(Strict):
    type: Literal["function"]
    function: Function


class FunctionName(Strict):
    name: Name


class ToolChoice(Strict):
    type: Literal["function"]
    function: FunctionName


class TextFormat(Strict):
    type: Literal["text"]


class JsonFormat(Strict):
    type: Literal["json_object"]


class JsonSchema(Strict):
    name: Name
    description: str | None = None
    schema_: JsonObject | None = Field(None, alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(Strict):
    type: Literal["json_schema"]
    json_schema: JsonSchema


class ChatCompletionRequest(Strict):
    """The body of `POST /v1/chat/completions`, without streaming and with one choice."""

    messages: Annotated[list[Message], Field(min_length=1)]
    model: Text | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    stream: Literal[False] | None = None
    stop: (
        Annotated[
            Annotated[Text, Tag("text")] | Annotated[list[Text], Field(min_length=1, max_length=4), Tag("parts")],
            _BY_SHAPE,
        ]
        | None
    ) = None
    seed: Seed | None = None
    response_format: Annotated[TextFormat | JsonFormat | JsonSchemaFormat, Field(discriminator="type")] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    modalities: Annotated[list[Literal["text"]], Field(min_length=1)] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority"] | None = None

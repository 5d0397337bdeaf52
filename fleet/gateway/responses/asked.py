"""The body of a response's creation, and the chat request that it asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from fleet.gateway.errors import ApiError
from fleet.gateway.jobs.terms import Metadata, ServiceTier
from queues.wire.chat import ImageAddress, JsonObject, Lenient, Name, Strict, Text, Tokens


class InputText(Lenient):
    type: Literal["input_text"]
    text: Text


class InputImage(Lenient):
    type: Literal["input_image"]
    image_url: ImageAddress
    detail: Literal["auto", "low", "high"] | None = None


class InputFile(Lenient):
    type: Literal["input_file"]
    file_data: Text
    filename: str | None = None


class OutputText(Lenient):
    """A part of an answer that is sent back as history."""

    type: Literal["output_text"]
    text: Text


class OutputRefusal(Lenient):
    type: Literal["refusal"]
    refusal: Text


Part = Annotated[InputText | InputImage | InputFile | OutputText | OutputRefusal, Field(discriminator="type")]


def _text_or_list(content: object) -> str:
    return "list" if isinstance(content, list) else "text"


_BY_SHAPE = Discriminator(_text_or_list)
Content = Annotated[Annotated[Text, Tag("text")] | Annotated[list[Part], Field(min_length=1), Tag("list")], _BY_SHAPE]
ToolOutput = Annotated[Annotated[str, Tag("text")] | Annotated[list[InputText], Tag("list")], _BY_SHAPE]


class InputMessage(Lenient):
    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Content


class FunctionCall(Lenient):
    type: Literal["function_call"]
    call_id: Text
    name: Name
    arguments: str


class FunctionCallOutput(Lenient):
    type: Literal["function_call_output"]
    call_id: Text
    output: ToolOutput


class ReasoningItem(Lenient):
    """What a model has thought in an earlier turn; it is left out."""

    type: Literal["reasoning"]


def _kind(item: object) -> str:
    kind = item.get("type") if isinstance(item, dict) else getattr(item, "type", None)
    return "message" if kind is None else str(kind)


InputItem = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[FunctionCallOutput, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(_kind),
]
Input = Annotated[
    Annotated[Text, Tag("text")] | Annotated[list[InputItem], Field(min_length=1), Tag("list")], _BY_SHAPE
]


class FunctionTool(Strict):
    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class FunctionChoice(Strict):
    type: Literal["function"]
    name: Name


class PlainFormat(Strict):
    type: Literal["text", "json_object"]


class SchemaFormat(Strict):
    type: Literal["json_schema"]
    name: Name
    schema_: JsonObject = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class TextConfig(Strict):
    format: Annotated[PlainFormat | SchemaFormat, Field(discriminator="type")] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningConfig(Strict):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class ResponseStreamOptions(Strict):
    include_obfuscation: bool | None = None


class ResponseBody(Strict):
    """The body of a response's creation. A field that is null is absent."""

    input: Input
    model: Text | None = None
    instructions: Text | None = None
    background: bool | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    metadata: Metadata | None = None
    service_tier: ServiceTier | None = None
    max_output_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    truncation: Literal["disabled"] | None = None
    include: Annotated[list[str], Field(max_length=16)] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


ELSEWHERE: Mapping[str, str] = {
    "previous_response_id": "no conversation is kept here: send the turns before as items of input",
    "conversation": "no conversation is kept here: send the turns before as items of input",
    "prompt": "no prompts are kept here: send the text as input",
}
"""Fields of OpenAI's that need what a fleet does not keep, and what to do instead."""


def refuse_what_is_kept_elsewhere(sent: Mapping[str, Any]) -> None:
    """Refuse a body that refers to something stored. Raises: ApiError, 400."""
    for field, advice in ELSEWHERE.items():
        if sent.get(field) is not None:
            raise ApiError(400, f"{field}: {advice}", param=field, code="unsupported_parameter")


@contextmanager
def errors_in_input() -> Iterator[None]:
    """Name `input` in what is wrong with the messages made of it. Raises: ApiError."""
    try:
        yield
    except ApiError as error:
        if (error.param or "").partition(".")[0] == "messages":
            message = f"input, taken as the messages of a chat request: {error.message}"
            raise ApiError(error.status, message, param="input", code=error.code) from None
        raise


def chat_request_of(body: ResponseBody) -> dict[str, Any]:
    """Return the chat request that the body asks for."""
    tools = [_tool(tool) for tool in body.tools or ()]
    choice = body.tool_choice
    said = {
        "model": body.model,
        "messages": [*_instructions(body), *_messages(body.input)],
        "max_completion_tokens": body.max_output_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "tools": tools or None,
        "tool_choice": _choice(choice) if isinstance(choice, FunctionChoice) else choice,
        "parallel_tool_calls": body.parallel_tool_calls,
        "response_format": None if body.text is None else _format(body.text.format),
        "verbosity": None if body.text is None else body.text.verbosity,
        "reasoning_effort": None if body.reasoning is None else body.reasoning.effort,
        "user": body.user,
        "safety_identifier": body.safety_identifier,
        "prompt_cache_key": body.prompt_cache_key,
    }
    return {name: value for name, value in said.items() if value is not None}


def _instructions(body: ResponseBody) -> Iterator[dict[str, Any]]:
    if body.instructions is not None:
        yield {"role": "system", "content": body.instructions}


def _messages(items: str | Iterable[Any]) -> list[dict[str, Any]]:
    """Return the turns; the calls that follow a turn of the assistant's are that turn's, as chat has it."""
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    found: list[dict[str, Any]] = []
    for item in items:
        match item:
            case InputMessage():
                found.append({"role": item.role, "content": _content(item.content)})
            case FunctionCall():
                if not found or found[-1]["role"] != "assistant":
                    found.append({"role": "assistant", "content": None})
                found[-1].setdefault("tool_calls", []).append(_call(item))
            case FunctionCallOutput():
                output = item.output if isinstance(item.output, str) else "".join(part.text for part in item.output)
                found.append({"role": "tool", "tool_call_id": item.call_id, "content": output})
            case _:
                pass  # what a model has thought is not said again
    return found


def _call(item: FunctionCall) -> dict[str, Any]:
    return {"id": item.call_id, "type": "function", "function": {"name": item.name, "arguments": item.arguments}}


def _content(content: str | Iterable[Any]) -> str | list[dict[str, Any]]:
    return content if isinstance(content, str) else [_part(part) for part in content]


def _part(part: Any) -> dict[str, Any]:
    match part:
        case InputImage():
            image = {"url": part.image_url, "detail": part.detail}
            return {"type": "image_url", "image_url": image}
        case InputFile():
            return {"type": "file", "file": {"file_data": part.file_data, "filename": part.filename}}
        case OutputRefusal():
            return {"type": "refusal", "refusal": part.refusal}
        case _:
            return {"type": "text", "text": part.text}


def _tool(tool: FunctionTool) -> dict[str, Any]:
    function = tool.model_dump(exclude={"type"}, exclude_none=True)
    return {"type": "function", "function": function}


def _choice(choice: FunctionChoice) -> dict[str, Any]:
    return {"type": "function", "function": {"name": choice.name}}


def _format(chosen: PlainFormat | SchemaFormat | None) -> dict[str, Any] | None:
    if chosen is None or isinstance(chosen, PlainFormat):
        return None if chosen is None else {"type": chosen.type}
    schema = chosen.model_dump(exclude={"type"}, exclude_none=True, by_alias=True)
    return {"type": "json_schema", "json_schema": schema}

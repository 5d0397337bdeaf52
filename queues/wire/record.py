"""The common parts of all messages: the version, the rules of names, and the way from a value to its record.

A record is the pydantic model of a message: the one list of its fields, from which come the published JSON Schema, the
check of what is read, and what is written. Its fields are called like those of the value it holds; an alias is
the name on the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields
from enum import StrEnum
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema, from_json

from fleet.model.feedback import FEEDBACK_ID
from fleet.model.job import JOB_ID, TENANT
from fleet.model.target import TARGET_NAME
from fleet.validation import rule_of
from queues.wire.chat import Strict

VERSION = 1

JobId = Annotated[str, Field(pattern=f"^{JOB_ID.pattern}$")]
FeedbackId = Annotated[str, Field(pattern=f"^{FEEDBACK_ID.pattern}$")]
TenantName = Annotated[str, Field(pattern=f"^{TENANT.pattern}$")]
TargetName = Annotated[str, Field(pattern=f"^{TARGET_NAME.pattern}$")]
Version = Annotated[int, Field(alias="schema", ge=VERSION, le=VERSION)]
Count = Annotated[int, Field(ge=0)]

Fields = dict[str, Any]
"""Fields by name, as JSON takes them or as a value does."""


class _Words:
    """Reads a word of an enum from parsed JSON too, and publishes the words where they stand."""

    def __get_pydantic_core_schema__(self, enum: type[StrEnum], handler: GetCoreSchemaHandler) -> CoreSchema:
        words = core_schema.literal_schema([word.value for word in enum])
        return core_schema.no_info_after_validator_function(enum, words)


WORDS = _Words()
"""The mark in `Annotated` of an enum in what strangers send."""


class Written(Strict):
    """Base of what the fleet writes: later versions of schema 1 may add fields, so readers must not forbid them."""

    model_config = ConfigDict(extra="ignore")


def writer(kind: type, record: type[BaseModel], apart: Collection[str] = ()) -> Callable[[Any], Fields]:
    """Return a function that turns a value into its record, with the schema's version where the record has one.

    Fields named in `apart` are left to the caller. Raises: KeyError, at import, if the record lacks any other.
    """
    entries = [f"'schema': {VERSION}"] if "schema_" in record.model_fields else []
    hints = get_type_hints(kind)
    for field in fields(kind):
        if field.name not in apart:
            key, value = record.model_fields[field.name].alias or field.name, f"value.{field.name}"
            entries.append(f"{key!r}: {_text_of(value, hints[field.name])}")
    # Compiled like a dataclass's own methods: every job pays for it, and a loop over the names takes twice as long.
    write: Callable[[Any], Fields] = eval(f"lambda value: {{{', '.join(entries)}}}")  # noqa: S307
    return write


def _text_of(value: str, hint: Any) -> str:
    """Return code that gives a field's value, a word as plain text: to_json takes ten times as long over an enum."""
    if _is_word(hint):
        return f"str({value})"
    return f"{value} and str({value})" if any(map(_is_word, get_args(hint))) else value


def _is_word(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, StrEnum)


def checks_of(kind: type, apart: Collection[str] = (), required: Collection[str] = (), **rules: Any) -> Fields:
    """Return a dataclass's fields for `pydantic.create_model`: by its types, or by `rules` where those say more.

    A field with a default may be missing, as in what an earlier version wrote, unless it is `required`.
    """
    hints = get_type_hints(kind)
    return {
        field.name: (rules.get(field.name, hints[field.name]), ... if field.name in required else _default_of(field))
        for field in fields(kind)
        if field.name not in apart
    }


def _default_of(field: Any) -> Any:
    if field.default_factory is not MISSING:
        return Field(default_factory=field.default_factory)
    return ... if field.default is MISSING else field.default


def broken_rule(error: ValidationError) -> tuple[str, str]:
    """Return the first field that breaks a rule, as a dotted path, and the rule, without the value. Not for unions."""
    first = error.errors(include_url=False, include_input=False)[0]
    return ".".join(map(str, first["loc"])) or "body", rule_of(first)


def read(record: type[Written], body: bytes, what: str) -> Any:
    """Return the record in these bytes. Raises: ValueError, naming the field and the rule, if they hold none."""
    try:
        return record.__pydantic_validator__.validate_json(body)
    except ValidationError as error:
        field, rule = broken_rule(error)
        raise ValueError(f"no {what} of schema {VERSION}: {field}: {rule}") from None


def fields_in(body: bytes) -> Mapping[str, Any]:
    """Return the fields of a message that could not be read, as far as its JSON parses."""
    try:
        sent = from_json(body)
    except ValueError:
        return {}
    return sent if isinstance(sent, dict) else {}

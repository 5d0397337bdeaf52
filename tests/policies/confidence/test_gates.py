"""What makes an answer unusable, and what must not."""

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.attempt import Answer, Usage
from policies.confidence.gates import Gate, first_failed
from policies.confidence.json_schema import violates

CALLS = [{"id": "1", "type": "function", "function": {"name": "book", "arguments": "{}"}}]
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["name"],
    "additionalProperties": False,
}


def failed(content, request=None, finish_reason="stop", output_tokens=0, **message):
    usage = Usage(0, output_tokens)
    answer = Answer({"role": "assistant", "content": content, **message}, finish_reason, usage, "m")
    return first_failed(
        answer, {"messages": [{"role": "user", "content": "How long?"}], **(request or {})}, tuple(Gate)
    )


def asked_for(schema):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}}


@pytest.mark.parametrize(
    ("content", "request_extra", "gate"),
    [
        ("Two days.", {}, None),
        ("", {}, Gate.EMPTY),
        (None, {}, Gate.EMPTY),
        ("I'm sorry, but I cannot help with that.", {}, Gate.REFUSAL),
        ("I can't assist with this request.", {}, Gate.REFUSAL),
        ("As an AI language model, I do not know.", {}, Gate.REFUSAL),
        ("I'm sorry you had to wait; it takes two days.", {}, None),
        ("She wrote: I cannot help with that.", {}, None),
        ("yes", {"structured_outputs": {"choice": ["yes", "no"]}}, None),
        ("perhaps", {"structured_outputs": {"choice": ["yes", "no"]}}, Gate.CHOICE),
        ('{"name": "Ada Example", "days": 2}', asked_for(PERSON), None),
        ('{"days": 2}', asked_for(PERSON), Gate.JSON),
        ('{"name": "Ada Example", "days": 0}', asked_for(PERSON), Gate.JSON),
        ('{"name": "Ada Example", "age": 3}', asked_for(PERSON), Gate.JSON),
        ("Ada Example", asked_for(PERSON), Gate.JSON),
        ("два дня, не больше", {}, Gate.SCRIPT),
        ("Zwei Tage für Jürgen Müller, höchstens.", {}, None),
        ("Έλα! 2 days", {}, None),
    ],
)
def test_the_first_gate_an_answer_fails_is_named(content, request_extra, gate):
    assert failed(content, request_extra) is gate


CHOICE = {"structured_outputs": {"choice": ["yes", "no"]}}
DIGITS = {"structured_outputs": {"regex": "[0-9]+"}}


@pytest.mark.parametrize(
    ("content", "request_extra", "output_tokens", "gate"),
    [
        # Cut off by the context, or by the money that is left: a job that set no limit, or a higher one.
        ("Two days.", {}, 4, Gate.TRUNCATED),
        ("Two days.", {"max_tokens": 5}, 4, Gate.TRUNCATED),
        ("Two days.", {"max_tokens": None}, 4, Gate.TRUNCATED),
        ("yes", {"max_tokens": 5}, 0, Gate.TRUNCATED),
        # At the limit the job set, a stronger model would be cut off as well.
        ("B", {"max_tokens": 1}, 1, None),
        ("B", {"max_completion_tokens": 1}, 1, None),
        ("B", {"max_completion_tokens": None, "max_tokens": 1}, 1, None),
        ("B", {"max_completion_tokens": 1, "max_tokens": 9}, 1, None),
        ("It takes two", {"max_tokens": 3}, 3, None),
        ("It takes two", {"max_tokens": 3}, 4, None),
        # What is still no usable answer stays so.
        ("", {"max_tokens": 3}, 3, Gate.EMPTY),
        ("I'm sorry, but I", {"max_tokens": 5}, 5, Gate.REFUSAL),
        ("perhaps", {"max_tokens": 1, **CHOICE}, 1, Gate.CHOICE),
        ('{"name": "Ada', {"max_tokens": 5, **asked_for(PERSON)}, 5, Gate.JSON),
        # All that was asked for is there, whatever cut it off.
        ("yes", CHOICE, 1, None),
        ("perhaps", CHOICE, 1, Gate.TRUNCATED),
        ("42", DIGITS, 1, None),
        ("about 42", DIGITS, 1, Gate.TRUNCATED),
        ("42", {"structured_outputs": {"regex": "[0-9"}}, 1, Gate.TRUNCATED),
        ('{"name": "Ada Example"}', asked_for(PERSON), 7, None),
        ('{"name": "Ada Example", "da', asked_for(PERSON), 7, Gate.TRUNCATED),
    ],
)
def test_a_cut_is_a_defect_unless_the_job_asked_for_it_or_nothing_is_missing(
    content, request_extra, output_tokens, gate
):
    assert failed(content, request_extra, "length", output_tokens) is gate


@pytest.mark.parametrize(("arguments", "gate"), [('{"days": 2}', None), ("", None), ('{"days": ', Gate.TRUNCATED)])
def test_a_call_of_a_tool_that_was_cut_off_is_no_call_whoever_set_the_limit(arguments, gate):
    calls = [{"id": "1", "type": "function", "function": {"name": "book", "arguments": arguments}}]
    assert failed(None, {"max_tokens": 5}, "length", 5, tool_calls=calls) is gate
    assert failed(None, {}, "length", 5, tool_calls=calls) is gate


def test_a_provider_may_say_itself_that_it_refused():
    assert failed("No.", refusal="not allowed") is Gate.REFUSAL
    assert failed("No.", finish_reason="content_filter") is Gate.REFUSAL


def test_another_script_is_welcome_where_the_request_speaks_of_it():
    translate = {"messages": [{"role": "user", "content": "Translate 'two days' for me."}]}
    assert failed("два дня, не больше", translate) is None
    assert failed("два дня, не больше", {"messages": [{"role": "user", "content": "Сколько?"}]}) is None


def test_a_tool_call_needs_no_text():
    assert failed(None, asked_for(PERSON), tool_calls=CALLS) is None


def test_gates_that_are_switched_off_let_everything_through():
    answer = Answer({"content": ""}, "length", Usage(), "m")
    assert first_failed(answer, {"messages": []}, ()) is None


# --- JSON Schema

values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 2.0]) | st.sampled_from(["", "a", "bc"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)
small = st.integers(0, 3)
plain = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["object", "array", "string", "number", "integer", "boolean", "null"])
        | st.just(["string", "null"]),
        "enum": st.lists(st.sampled_from(["a", "bc", 7]), min_size=1, max_size=2, unique=True),
        "minimum": small,
        "maximum": small,
        "minLength": small,
        "maxLength": small,
        "minItems": small,
        "maxItems": small,
        "required": st.lists(st.sampled_from("ab"), max_size=2, unique=True),
    },
)
schemas = st.recursive(
    plain,
    lambda inner: st.builds(
        lambda schema, extra: {**schema, **extra},
        plain,
        st.fixed_dictionaries(
            {},
            optional={
                "items": inner,
                "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
                "additionalProperties": inner | st.booleans(),
                "anyOf": st.lists(inner, min_size=1, max_size=2),
            },
        ),
    ),
    max_leaves=4,
)


@given(values, schemas)
def test_on_the_words_it_knows_the_check_agrees_with_the_standard(value, schema):
    assert violates(value, schema) == (not jsonschema.Draft202012Validator(schema).is_valid(value))


@pytest.mark.parametrize(
    "schema", [{"$ref": "#/x"}, {"pattern": "^a$"}, {"not": {}}, {"type": "odd"}, {"type": 3}, 7, True]
)
def test_what_it_does_not_know_it_does_not_judge(schema):
    assert not violates("b", schema)


def test_a_tuple_is_checked_by_place():
    pair = {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False}
    assert not violates([1, "a"], pair)
    assert not violates([1], pair)
    assert violates(["a", 1], pair)
    assert violates([1, "a", 2], pair)


def test_a_schema_nested_beyond_any_answer_ends():
    schema: dict = {"type": "array"}
    schema["items"] = schema
    value: list = []
    for _ in range(500):
        value = [value]
    assert not violates(json.loads(json.dumps(value)), schema)

"""A template prints rows and can do nothing else: what it may not do is told before the first row."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.bulk.reading.templates import MAX_RENDERED_BYTES, RowTemplate, check_columns, read_template
from fleet.model.errors import ConfigError, InvalidJob

Make = Callable[[str], RowTemplate]
ADA = {"name": "Ada", "team": "red", "skills": ["go", "sql"], "years": 3}


@pytest.fixture
def template(tmp_path: Path) -> Make:
    def make(text: str) -> RowTemplate:
        path = tmp_path / "nudge.j2"
        path.write_text(text)
        return read_template(path)

    return make


def rendered(template: RowTemplate, values: dict[str, Any]) -> str:
    [message] = template.messages(values)
    assert message["role"] == "user"
    return message["content"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Thank {{ name }} of team {{ team }}.\n", "Thank Ada of team red."),
        ("{{ name | upper }}, {{ team | capitalize }}, {{ skills | join(', ') }}", "ADA, Red, go, sql"),
        ("{% for skill in skills %}{{ loop.index }} {{ skill }}; {% endfor %}", "1 go; 2 sql;"),
        ("{% if years > 2 and team == 'red' %}long{% else %}new{% endif %}", "long"),
        ("{{ 'old' if years is odd else 'even' }} {{ name[0] }} {{ skills[-1] }}", "old A sql"),
        ("{{ nickname | default(name) }}{{ '!' if nickname is not defined }}", "Ada!"),
        ("{{ (years / 2) | round(1) }} {{ name ~ team }} {{ years + 1 }}", "1.5 Adared 4"),
        ("{{ team | replace('r', 'R') }} {{ skills | length }} {{ name | tojson }}", 'Red 2 "Ada"'),
        ("{# said to nobody #}{{ name | truncate(8) }}", "Ada"),
        ("{{ '<b>' ~ name }}", "<b>Ada"),
    ],
)
def test_a_row_is_printed_filtered_compared_chosen_and_looped_over(template: Make, text: str, expected: str) -> None:
    assert rendered(template(text), ADA) == expected


def test_blocks_make_a_system_message_and_a_users(template: Make) -> None:
    both = template("{% block system %}Be kind.\n{% endblock %}\n\n{% block user %}\nAbout {{ name }}{% endblock %}")
    assert both.variables == {"name"}
    assert both.messages(ADA) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "About Ada"},
    ]


@pytest.mark.parametrize(
    "text",
    [
        "{% block system %}a{% endblock %}",
        "{% block user %}a{% endblock %}{% block assistant %}b{% endblock %}",
        "before {% block user %}a{% endblock %}",
        "{{ name }}{% block user %}a{% endblock %}",
        "{% if name %}{% block user %}a{% endblock %}{% endif %}",
        "{% block user %}{% block system %}a{% endblock %}{% endblock %}",
    ],
)
def test_text_outside_the_two_blocks_is_refused(template: Make, text: str) -> None:
    with pytest.raises(ConfigError, match=r"must have (the block user|everything in its blocks)"):
        template(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'a' * 10 ** 9 }}",
        "{{ 'a' * 1000000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ name | center(1000000000) }}",
        "{{ name | indent(1000000000) }}",
        "{{ name | wordwrap(1) }}",
        "{{ skills | batch(1000000000) }}",
        "{{ 1 | round(1000000000, 'ceil') }}",
        "{{ lipsum(n=100000) }}",
        "{% for n in range(100000) %}x{% endfor %}",
        "{{ name.ljust(1000000000) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ cycler('a').next() }}",
        "{% for a in name %}{% for b in name %}x{% endfor %}{% endfor %}",
        "{% for a in skills recursive %}{{ loop(a) }}{% endfor %}",
        "{% set x = name ~ name %}{{ x }}",
        "{% macro f() %}{{ f() }}{% endmacro %}",
        "{% include '/etc/passwd' %}",
        "{% import 'x' as y %}",
        "{% extends 'x' %}",
        "{% filter upper %}a{% endfilter %}",
        "{{ skills | map('upper') | join }}",
        "{{ name | attr('__class__') }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% call name() %}{% endcall %}",
        "{{ self.user() }}",
        "{{ name",
        "{% if %}",
        "{{ name | upperr }}",
        "{{ " + "(" * 5000 + ")" * 5000 + " }}",
    ],
)
def test_what_calls_stores_multiplies_or_loads_is_refused_before_the_first_row(template: Make, text: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises((ConfigError, InvalidJob)):
            template(text).messages(ADA)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50_000_000


def test_the_refusal_names_the_line_and_what_to_do(template: Make) -> None:
    with pytest.raises(ConfigError, match=r"nudge\.j2, line 2: nothing can be called: use a filter"):
        template("Dear {{ name }},\n{{ name.upper() }}")
    with pytest.raises(ConfigError, match=r"nudge\.j2, line 1: Mul is not allowed: a template may print, filter"):
        template("{{ 2 * 3 }}")


@pytest.mark.parametrize(
    ("text", "values", "rule"),
    [
        ("{{ manager }}", {}, "cannot render this row: manager is missing from this row; default(...) says"),
        ("{{ manager }}", {"manager": None}, "manager is empty in this row; default(...) says what stands there"),
        ("{{ manager }}", {"manager": ""}, "manager is empty in this row; default(...) says what stands there"),
        ("{{ name.upper }}", {"name": "Ada"}, "cannot render this row: prints a method: use a filter"),
        ("{{ name.__class__ }}", {"name": "Ada"}, "cannot render this row: access to attribute"),
        ("{{ name / 2 }}", {"name": "Ada"}, "cannot render this row: unsupported operand"),
        ("{% if years %}x{% endif %}", {"years": 0}, "renders this row to nothing"),
        ("{{ name }}", {"name": "\ud800"}, "renders to text that UTF-8 cannot hold"),
        ("{% for c in name %}{{ name }}{% endfor %}", {"name": "x" * 100_000}, "makes a text of more than"),
        ("{{ name | join(name) }}", {"name": "x" * 100_000}, "makes a text of more than"),
        ("{{ name | replace('x', name) }}", {"name": "x" * 100_000}, "makes a text of more than"),
        ("{{ name | replace('', name) }}", {"name": "x" * 100_000}, "makes a text of more than"),
    ],
)
def test_a_row_that_cannot_be_rendered_says_why(template: Make, text: str, values: dict[str, Any], rule: str) -> None:
    made = template(text)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidJob) as raised:
            made.messages(values)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert raised.value.field == "nudge.j2"
    assert rule in raised.value.rule
    assert peak < 20 * MAX_RENDERED_BYTES


def test_a_variable_that_is_no_column_is_found_before_the_first_row(template: Make) -> None:
    made = template("{{ name }} {{ departement | default('none') }}")
    check_columns(made, ["name", "departement", "more"], Path("people.csv"))
    with pytest.raises(ConfigError) as raised:
        check_columns(made, ["name", "department"], Path("people.csv"))
    rule = "nudge.j2 uses departement; people.csv has the columns department, name"
    assert (raised.value.field, raised.value.rule) == ("--template", rule)


@pytest.mark.parametrize(("content", "rule"), [(b"\xff", "must be UTF-8"), (b"x" * 300_000, "must be at most")])
def test_a_template_is_short_text(tmp_path: Path, content: bytes, rule: str) -> None:
    path = tmp_path / "nudge.j2"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rule):
        read_template(path)

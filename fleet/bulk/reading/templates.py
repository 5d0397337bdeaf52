"""Renders a row of a table as a chat, by a Jinja2 template that can neither escape nor grow without bound.

The template is the whole user message, or has the blocks `system` and `user`. What it may use is listed here and is
checked before the first row: everything that calls, stores or multiplies is left out, because Jinja2's own sandbox
bounds neither memory nor time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import (
    StrictUndefined,
    Template,
    TemplateError,
    TemplateRuntimeError,
    TemplateSyntaxError,
    Undefined,
    meta,
    nodes,
)
from jinja2.filters import FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment

from fleet.model.errors import ConfigError, InvalidJob

MAX_TEMPLATE_BYTES = 256 * 1024
MAX_RENDERED_BYTES = 512 * 1024
"""Maximum bytes of a rendered message: the longest job, which could not be sent with more."""

ROLES = ("system", "user")
"""The blocks that a template may have, in the order of their messages."""

_PARTS = frozenset(
    {
        *("Template", "Output", "TemplateData", "Block", "If", "For", "CondExpr", "Name", "Const", "Tuple", "List"),
        *("Getattr", "Getitem", "Slice", "Filter", "Test", "Keyword", "Compare", "Operand", "And", "Or", "Not"),
        *("Concat", "Add", "Sub", "Div", "FloorDiv", "Neg", "Pos"),
    }
)
"""The parts of Jinja2's language that a template may use."""

_KNOWN_FILTERS = (
    *("abs", "capitalize", "count", "d", "default", "first", "float", "int", "last", "length", "lower", "string"),
    *("title", "tojson", "trim", "truncate", "upper", "wordcount"),
)


def _join(value: Iterable[Any], separator: str = "") -> str:
    texts = [str(each) for each in value]
    _bound(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def _replace(text: str, old: str, new: str) -> str:
    _bound(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _round(value: float, digits: int = 0) -> float:
    """Jinja2's own also takes a method, and then computes ten to the power of `digits`."""
    return round(value, digits)


def _bound(size: int) -> None:
    if size > MAX_RENDERED_BYTES:
        raise TemplateRuntimeError(f"makes a text of more than {MAX_RENDERED_BYTES:,} characters")


_FILTERS = {**{name: FILTERS[name] for name in _KNOWN_FILTERS}, "join": _join, "replace": _replace, "round": _round}


def _printable(value: Any) -> Any:
    """Refuse what is no value of a row: `{{ name.upper }}` would print where Python keeps the method."""
    if callable(value) and not isinstance(value, Undefined):
        raise TemplateRuntimeError("prints a method: use a filter, as in {{ name | upper }}")
    return value


def _value_of(name: str, values: Mapping[str, Any]) -> Any:
    value = values.get(name)
    if value not in (None, ""):
        return value
    what = "is empty in" if name in values else "is missing from"
    return StrictUndefined(f"{name} {what} this row; default(...) says what stands there", name=name)


@dataclass(frozen=True, slots=True)
class RowTemplate:
    """A checked template and the variables that it uses."""

    name: str
    variables: frozenset[str]
    template: Template
    roles: tuple[str, ...]

    def messages(self, values: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the chat of a row. A value that is None or an empty text counts as undefined.

        Raises: InvalidJob if the template uses what is undefined, or the text is empty or too long.
        """
        known = {name: _value_of(name, values) for name in self.variables}
        return [{"role": role or "user", "content": self._text(role, known)} for role in self.roles]

    def _text(self, role: str, known: dict[str, Any]) -> str:
        try:
            text = _bounded(self._pieces(role, known)).strip()
            text.encode()
        except UnicodeEncodeError:
            raise InvalidJob(self.name, "renders to text that UTF-8 cannot hold") from None
        except Exception as error:
            # Whatever a filter makes of a value that it does not expect.
            raise InvalidJob(self.name, f"cannot render this row: {_one_line(error)}") from None
        if not text:
            raise InvalidJob(self.name, f"renders {role or 'this row'} to nothing")
        return text

    def _pieces(self, role: str, known: dict[str, Any]) -> Iterator[str]:
        context = self.template.new_context(known)
        return self.template.blocks[role](context) if role else self.template.root_render_func(context)


def read_template(path: Path) -> RowTemplate:
    """Read a template. Raises: ConfigError naming the line that is not allowed; OSError."""
    name, body = path.name, path.read_bytes()
    if len(body) > MAX_TEMPLATE_BYTES:
        raise ConfigError("--template", f"{path} must be at most {MAX_TEMPLATE_BYTES:,} bytes")
    environment = _environment()
    try:
        text = body.decode("utf-8-sig")
        tree = environment.parse(text)
        _check(tree, path)
        variables = frozenset(meta.find_undeclared_variables(tree))
        return RowTemplate(name, variables, environment.from_string(text), _roles(tree, path))
    except UnicodeDecodeError as error:
        raise ConfigError("--template", f"{path} must be UTF-8, and byte {error.start} is not") from None
    except TemplateSyntaxError as error:
        raise ConfigError("--template", f"{path}, line {error.lineno}: {error.message}") from None
    except (TemplateError, RecursionError) as error:
        raise ConfigError("--template", f"{path}: {_one_line(error)}") from None


def check_columns(template: RowTemplate, columns: Collection[str], table: Path) -> None:
    """Refuse a template with a variable that is no column. Raises: ConfigError."""
    if missing := sorted(template.variables.difference(columns)):
        has = ", ".join(sorted(columns))
        raise ConfigError("--template", f"{template.name} uses {', '.join(missing)}; {table} has the columns {has}")


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=_printable, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.clear()
    environment.filters = dict(_FILTERS)
    return environment


def _check(tree: nodes.Template, path: Path) -> None:
    for node in (tree, *tree.find_all(nodes.Node)):
        kind = type(node).__name__
        if kind not in _PARTS:
            raise ConfigError("--template", f"{path}, line {node.lineno}: {_refusal(kind)}")
    for loop in tree.find_all(nodes.For):
        if loop.recursive or any(loop.find_all(nodes.For)):
            raise ConfigError("--template", f"{path}, line {loop.lineno}: a loop may not stand in a loop")


def _refusal(kind: str) -> str:
    if kind == "Call":
        return "nothing can be called: use a filter, as in {{ name | upper }}"
    return f"{kind} is not allowed: a template may print, filter, compare, choose and loop"


def _roles(tree: nodes.Template, path: Path) -> tuple[str, ...]:
    blocks = {block.name: block for block in tree.find_all(nodes.Block)}
    if not blocks:
        return ("",)
    if set(blocks) - set(ROLES) or "user" not in blocks:
        raise ConfigError("--template", f"{path} must have the block user, and may have the block system, no others")
    outside = [node for node in tree.body if not isinstance(node, nodes.Block)]
    if any(part.strip() for part in _printed(outside)) or len(tree.body) - len(outside) != len(blocks):
        raise ConfigError("--template", f"{path} must have everything in its blocks")
    return tuple(role for role in ROLES if role in blocks)


def _printed(outside: Iterable[nodes.Node]) -> Iterator[str]:
    """Yield the text outside blocks; anything but text counts as text."""
    for node in outside:
        parts = node.nodes if isinstance(node, nodes.Output) else [node]
        for part in parts:
            yield part.data if isinstance(part, nodes.TemplateData) else "code"


def _bounded(pieces: Iterable[str]) -> str:
    found, size = [], 0
    for piece in pieces:
        found.append(piece)
        size += len(piece)
        _bound(size)
    return "".join(found)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

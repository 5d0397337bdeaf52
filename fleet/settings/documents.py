"""The two files an operator edits, the rules and the catalogue, and what reading any file has in common."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from fleet.model.errors import ConfigError
from fleet.model.target import Provider, Target
from fleet.validation import rule_of
from policies.rules.catalogue import Catalogue, catalogue_of
from policies.rules.providers import BUILT_IN
from policies.rules.rules import Rules
from policies.rules.sections import STRICT, Strict

Built = TypeVar("Built")
Plain = TypeVar("Plain", Target, Provider)


@dataclass(frozen=True, slots=True)
class _Row(Target):
    """A target and the profile it belongs to; None means every profile."""

    profile: Literal["local", "gpu"] | None = None

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class _Entry(Provider):
    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class _CatalogueFile:
    targets: tuple[_Row, ...]
    providers: dict[str, _Entry] = field(default_factory=dict)
    prices_as_of: str | None = None

    __pydantic_config__: ClassVar[Strict] = STRICT


def _is_required(section: Field[Any]) -> bool:
    return section.init and section.default is MISSING and section.default_factory is MISSING


_ROWS = TypeAdapter(_CatalogueFile)
_RULES = TypeAdapter(Rules)
_SECTIONS = [each.name for each in fields(Rules) if each.name != "catalogue" and _is_required(each)]

_YAML = "tag:yaml.org,2002:"


def load_rules(rules_path: Path | None, catalogue_path: Path | None, profile: str) -> Rules:
    """Return the rules together with the catalogue of `profile`; a path of None means the shipped file.

    Raises: ConfigError; `field` is the dotted path inside the file, `rule` ends with the file.
    """
    catalogue = load_catalogue(catalogue_path, profile)
    source = shipped("policies", "rules.yaml") if rules_path is None else rules_path
    document = read_document(source)
    if "catalogue" in document:
        raise ConfigError("catalogue", f"belongs into a file of its own (in {source})")
    if missing := [name for name in _SECTIONS if name not in document]:
        begin = shipped("policies", "rules.yaml")
        raise ConfigError(
            missing[0], f"is required: rules are a whole file, begin with a copy of {begin} (in {source})"
        )
    return rules_from(document, catalogue, source)


def rules_from(document: Mapping[str, Any], catalogue: Catalogue, source: Path | str) -> Rules:
    """Return the rules in a document that came from `source`, which its errors name. Raises: ConfigError."""
    for name in {"arm", "adapter"} & document.keys():
        raise ConfigError(name, f"is no part of rules: experiments say it (in {source})")
    return named(source, lambda: _RULES.validate_python({**document, "catalogue": catalogue}))


def load_catalogue(path: Path | None, profile: str) -> Catalogue:
    """Return the targets of `profile`, and the providers of the file beside the built-in ones.

    Raises: ConfigError as `load_rules` does.
    """
    source = shipped("deployments", "catalogue.yaml") if path is None else path
    document = read_document(source)
    return named(source, lambda: _catalogue(document, profile))


def _catalogue(document: Mapping[str, Any], profile: str) -> Catalogue:
    file = _ROWS.validate_python(_with_built_in(document))
    targets = [_plain(row, Target) for row in file.targets if row.profile in (None, profile)]
    entries = {name: _plain(entry, Provider) for name, entry in file.providers.items()}
    return catalogue_of(targets, entries, file.prices_as_of)


def _with_built_in(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add the built-in providers; an entry of the file changes those fields of one that it names."""
    given = document.get("providers") or {}
    if not isinstance(given, dict):
        return document
    merged = {name: asdict(provider) for name, provider in BUILT_IN.items()}
    for name, entry in given.items():
        merged[name] = {**merged.get(name, {}), **(entry or {})} if isinstance(entry, dict | None) else entry
    return {**document, "providers": merged}


def shipped(package: str, name: str) -> Path:
    """Return the path of a package's file."""
    return Path(str(files(package) / name))


def _plain(row: Plain, kind: type[Plain]) -> Plain:
    """Return the row as what it describes, without what only the file has."""
    return kind(**{each.name: getattr(row, each.name) for each in fields(kind)})


def named(source: Path | str, build: Callable[[], Built]) -> Built:
    """Return the result of `build`, naming the file in its errors.

    Raises: ConfigError if `build` fails with one or with a ValidationError.
    """
    try:
        return build()
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise ConfigError(path, f"{rule_of(first)} (in {source})") from None
    except ConfigError as error:
        raise ConfigError(error.field, f"{error.rule} (in {source})") from None


def read_bytes(path: Path) -> bytes:
    """Return the content of a file that the settings name.

    Raises: ConfigError if it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None


def read_document(source: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, no key of which is given twice.

    Raises: ConfigError if there is none.
    """
    try:
        document = yaml.load(source.read_text(encoding="utf-8"), _Plain)  # noqa: S506 (it is a SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(source.name, f"cannot be read: {_said(error)} (in {source})") from None
    except RecursionError:
        raise ConfigError(source.name, f"cannot be read: nested too deeply (in {source})") from None
    except OSError as error:
        raise ConfigError(str(source), f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(source.name, f"cannot be read: {' '.join(str(error).split())} (in {source})") from None
    if not isinstance(document, dict):
        raise ConfigError(source.name, f"must be a mapping (in {source})")
    return document


def _said(error: yaml.MarkedYAMLError) -> str:
    """Return what is wrong and where, without the line itself: it may hold what nobody should have put there."""
    found = ((error.context, error.context_mark), (error.problem, error.problem_mark))
    places = (f"{what}, line {at.line + 1}, column {at.column + 1}" for what, at in found if what and at)
    return ": ".join(places) or "no YAML"


def _is_plain(tag: str, first: str) -> bool:
    """Return whether words with this tag and first letter are read as YAML's own types."""
    return tag != f"{_YAML}timestamp" and (tag != f"{_YAML}bool" or first in "tTfF")


class _Plain(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would silently take the last, and leaves dates as text.

    So it leaves `on`, `off`, `yes` and `no`, which are modes, and Norwegian: only `true` and `false` are truths.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 (as in its class)
        first: [(tag, pattern) for tag, pattern in found if _is_plain(tag, first)]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                again = node.value[position][0].start_mark
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", again)
        return super().construct_mapping(node, deep)

"""Makes the values of a job's path quick to build."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields
from typing import Any, TypeVar

Value = TypeVar("Value")

_FACTORY = "_made_by_"


def unguarded(cls: type[Value]) -> type[Value]:
    """Take the runtime guard off a frozen dataclass with slots; the type checker still refuses assignments.

    The guard makes `__init__` set each field through `object.__setattr__`, which takes ten times as long. Some forty
    values are built for every job, and that was a fifth of a dispatcher's time.

    Raises: TypeError if a base class has its guard.
    """
    for guard in ("__setattr__", "__delattr__"):
        if guard in vars(cls):
            delattr(cls, guard)
        if getattr(cls, guard) is not getattr(object, guard):
            raise TypeError(f"{cls.__name__}: a base class is guarded")
    cls.__init__ = _initializer(cls)  # type: ignore[method-assign]  # that is the point
    return cls


def _initializer(cls: type[Any]) -> Any:
    """Return an `__init__` with the parameters of the dataclass's own, which sets the fields directly."""
    made = {each.name: each.default_factory for each in fields(cls) if each.default_factory is not MISSING}
    names: dict[str, Any] = {f"{_FACTORY}{name}": factory for name, factory in made.items()}
    body, parameters, keywords = [], ["self"], False
    for name, parameter in list(inspect.signature(cls.__init__).parameters.items())[1:]:
        if parameter.kind is parameter.KEYWORD_ONLY and not keywords:
            keywords = True
            parameters.append("*")
        if parameter.default is parameter.empty:
            parameters.append(name)
        else:
            names[f"_default_{name}"] = parameter.default
            parameters.append(f"{name}=_default_{name}")
        is_made = name in made
        value = f"{_FACTORY}{name}() if {name} is _default_{name} else {name}" if is_made else name
        body.append(f"    self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("    self.__post_init__()")
    exec(f"def __init__({', '.join(parameters)}):\n" + ("\n".join(body) or "    pass"), names)  # noqa: S102
    made_init = names["__init__"]
    made_init.__qualname__, made_init.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    made_init.__annotations__ = cls.__init__.__annotations__
    return made_init

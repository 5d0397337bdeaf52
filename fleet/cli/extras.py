"""Tells users what to install if the libraries that a command needs are missing."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager

from fleet.model.errors import FleetError

_LEARN = frozenset({"numpy", "scipy", "sklearn", "matplotlib"})
_CACHE = frozenset({"onnxruntime", "tokenizers"})
_TRAIN = frozenset({"torch", "transformers", "peft", "accelerate"})
_LEDGER = frozenset({"sqlalchemy", "alembic", "psycopg", "cryptography", "pyarrow", "jinja2"})
_BULK = frozenset({"pyarrow", "jinja2"})
_CONSOLE = _LEDGER | {"starlette", "markupsafe", "uvicorn"}
_GATEWAY = frozenset({"fastapi", "starlette", "uvicorn", "multipart", "python_multipart", "httpx"})


def needs_learn(command: str) -> AbstractContextManager[None]:
    """Turn a missing library into an error that says what to install for `command`.

    Raises: FleetError if a library is missing.
    """
    return _needs(command, "learn", _LEARN)


def needs_cache(command: str) -> AbstractContextManager[None]:
    """See `needs_learn`; for commands that encode texts."""
    return _needs(command, "cache", _CACHE)


def needs_train(command: str) -> AbstractContextManager[None]:
    """See `needs_learn`; for commands that train adapters."""
    return _needs(command, "train", _TRAIN)


def needs_ledger(command: str) -> AbstractContextManager[None]:
    """See `needs_learn`; for commands that use the ledger's database."""
    return _needs(command, "ledger", _LEDGER)


def needs_console(command: str) -> AbstractContextManager[None]:
    """See `needs_learn`; for commands that serve the console, which reads the ledger's database."""
    return _needs(command, "console", _CONSOLE)


def needs_gateway(command: str) -> AbstractContextManager[None]:
    """See `needs_learn`; for commands that answer HTTP."""
    return _needs(command, "gateway", _GATEWAY)


def needs_bulk(command: str) -> AbstractContextManager[None]:
    """See `needs_learn`; for commands that read tables and templates."""
    return _needs(command, "bulk", _BULK)


@contextmanager
def _needs(command: str, extra: str, libraries: Collection[str]) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in libraries:
            raise
        raise FleetError(f"{command} needs {error.name}: pip install 'inference-fleet[{extra}]'") from None

"""Asks the Hugging Face hub what a model consists of, and whether this token may read it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from deployments.placement import CARDS
from deployments.profiles import Profile, models
from fleet.model.errors import ConfigError, FleetError

NOT_SERVED: Final = ("original/*", "consolidated*", "*.pt", "*.pth", "*.bin", "*.gguf")
"""The same weights once more in other formats; Llama's and Mixtral's repositories would be twice as large with them."""

OFFLINE: Final = "HF_HUB_OFFLINE is set, and the hub has to be asked: unset it"


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model of the hub at one commit."""

    target: str
    repo: str
    revision: str


@dataclass(frozen=True, slots=True)
class File:
    """A file as the hub's index has it: large ones with their SHA-256, the others with git's own hash of a blob."""

    path: str
    size: int
    git_sha1: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of the hub for one model, in a line that says what to do where it is not readable."""

    model: HubModel
    readable: bool
    line: str

    def __str__(self) -> str:
        return f"{self.model.target} ({self.model.repo}): {self.line}"


def hub_models(targets: Sequence[str] = ()) -> list[HubModel]:
    """Return the models of the profile `gpu` that come from the hub, or those of the targets named.

    Raises: ConfigError if there is no such target.
    """
    found = {
        name: HubModel(name, each.source, each.revision)
        for name, each in models(Profile.GPU).items()
        if each.revision is not None
    }
    for name in targets:
        if name not in found:
            raise ConfigError("--target", f"must be one of {', '.join(found)}; got {name!r}")
    return [found[name] for name in targets or found]


def fitting(wanted: Sequence[HubModel], card_gib: float) -> list[HubModel]:
    """Return the models that may be placed on cards of so much memory, in GiB."""
    workers = {name: each.worker for name, each in models(Profile.GPU).items()}
    return [each for each in wanted if all(card_gib >= CARDS[kind] for kind in CARDS if kind in workers[each.target])]


def card_gib() -> float:
    """Return the memory of the smallest card of this machine, by NVIDIA's own tool.

    Raises: FleetError if there is no card or no tool.
    """
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return min(float(line) for line in told.split()) / 1024
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise FleetError(f"--fitting needs a card that nvidia-smi finds: {type(error).__name__}") from None


def index(model: HubModel, api: Any) -> list[File]:
    """Return the files that vLLM needs of a model, by the hub's own index."""
    from huggingface_hub.hf_api import RepoFile
    from huggingface_hub.utils import filter_repo_objects

    entries = api.list_repo_tree(model.repo, revision=model.revision, recursive=True)
    files = {each.path: each for each in entries if isinstance(each, RepoFile)}
    kept = filter_repo_objects(files, ignore_patterns=list(NOT_SERVED))
    return [_file(files[path]) for path in sorted(kept)]


def _file(entry: Any) -> File:
    return File(entry.path, entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None)


def verdicts(wanted: Sequence[HubModel], api: Any) -> Iterator[Verdict]:
    """Yield what the hub says of each model. Nothing is downloaded."""
    for model in wanted:
        line = refusal(model, api)
        yield Verdict(model, line is None, line or f"readable at {model.revision[:12]}")


def refusal(model: HubModel, api: Any) -> str | None:
    """Return why a model cannot be read and what to do, None if it can."""
    from httpx2 import HTTPError
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import get_token

    has_token = api.token is not False and bool(api.token or get_token())
    page = f"{api.endpoint}/{model.repo}"
    try:
        api.get_hf_file_metadata(url=f"{page}/resolve/{model.revision}/config.json")
    except GatedRepoError:
        return _gated(page, has_token)
    except RevisionNotFoundError:
        return f"not found: the repository has no commit {model.revision}; see {page}/commits/main"
    except RepositoryNotFoundError:
        return "not found: no such repository, or a private one that this token may not see"
    except HfHubHTTPError as error:
        return _refused(error.response.status_code)
    except OfflineModeIsEnabled:
        return OFFLINE
    except (HTTPError, OSError) as error:
        return f"the hub does not answer at {api.endpoint}: {type(error).__name__}"
    return None


@contextmanager
def said_of_hub(model: HubModel, api: Any) -> Iterator[None]:
    """Raise FleetError where the hub breaks off; what the disk says of itself stays an OSError."""
    from httpx2 import HTTPError
    from huggingface_hub.errors import EntryNotFoundError, FileMetadataError, XetDownloadError

    try:
        yield
    except (HTTPError, ConnectionError, EntryNotFoundError, FileMetadataError, XetDownloadError, ValueError) as error:
        why = f"the hub at {api.endpoint} broke off ({type(error).__name__}); run it again: what has come is kept"
        raise FleetError(f"{model.target} ({model.repo}): {why}") from error


def _gated(page: str, has_token: bool) -> str:
    if not has_token:
        return f"token missing: the repository is gated; set HF_TOKEN to a token of an account that accepted {page}"
    return f"gated: accept the licence at {page} with the account of this token"


def _refused(status: int) -> str:
    if status == 401:
        return "token refused: HF_TOKEN is no valid token, or an expired one"
    return f"the hub answers with status {status}"

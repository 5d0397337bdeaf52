"""Let manifests through to the cluster only where every image and every machine image is named by what it holds.

    kubectl kustomize OVERLAY | python -m deployments.pinned | kubectl apply -f -

A tag can be moved to another image after somebody has looked at it; a digest cannot.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import yaml

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_AMI = re.compile(r"ami-[0-9a-f]{8,17}$")
_DATED = re.compile(r"@v\d+")
PLACEHOLDER = "REPLACE"
"""Stands in the shipped examples where only you know the value."""


def not_pinned(text: str) -> list[str]:
    """Return a line for each image, machine image and placeholder of the manifests that names nothing in particular.

    Raises: yaml.YAMLError if the text is not YAML.
    """
    return list(
        dict.fromkeys(
            f"{document['kind']} {document['metadata']['name']}: {fault}"
            for document in yaml.safe_load_all(text)
            if document
            for fault in _faults(document)
        )
    )


def _faults(value: Any, field: str = "") -> Iterator[str]:
    match value:
        case dict():
            for name, inner in value.items():
                yield from _faults(inner, name)
        case list():
            for inner in value:
                yield from _faults(inner, field)
        case str() if PLACEHOLDER in value:
            yield f"{field} is still {value}"
        case str() if field == "image" and not _DIGEST.search(value):
            yield f"image {value} has no digest"
        case str() if field == "id" and value.startswith("ami-") and not _AMI.match(value):
            yield f"id {value} is no machine image"
        case str() if field == "alias" and not _DATED.search(value):
            yield f"alias {value} changes by itself"


def main() -> int:
    """Print what came in, or say on standard error what is not pinned and fail."""
    text = sys.stdin.read()
    faults = not_pinned(text) if text.strip() else ["no manifests came in"]
    sys.stderr.writelines(f"{line}\n" for line in faults)
    if not faults:
        sys.stdout.write(text)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())

"""Ray's AWS modules and the fleet's, imported where boto3 is not: it belongs on the head alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import MagicMock, patch


class ClientError(Exception):
    """What EC2 says in place of an answer."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code, "Message": "not now"}}


@contextmanager
def played_boto3() -> Iterator[None]:
    """Let modules be imported anew with a boto3 that answers nothing, and forget them afterwards."""
    names = ("boto3", "boto3.exceptions", "boto3.resources", "boto3.resources.base", "botocore", "botocore.client")
    played = {name: MagicMock() for name in (*names, "botocore.config", "botocore.exceptions")}
    played["boto3"].__version__ = "1.44.5"  # Ray wants one new enough
    played["botocore"].exceptions = SimpleNamespace(ClientError=ClientError)
    with patch.dict(sys.modules, played):
        for name in [name for name in sys.modules if name.startswith("ray.autoscaler._private.aws")]:
            del sys.modules[name]
        sys.modules.pop("deployments.aws", None)
        yield

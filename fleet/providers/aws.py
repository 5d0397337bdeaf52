"""Proves to AWS who is calling, by Signature Version 4 with botocore's chain of credentials.

The region and the service are those of the provider's entry: no variable and no profile changes them. A tenant has no
key here: the credentials are the dispatcher's.
"""

from __future__ import annotations

import asyncio
import base64
import functools
from typing import Any

from fleet.model.errors import BackendUnavailable
from fleet.model.target import Auth, Provider
from fleet.providers.keys import KeyUnavailable
from fleet.providers.transport import Identity, never_debug

TOKEN_SECONDS = 900
"""The life of SageMaker's token. Each call gets a new one, so it need only outlive the way there."""

TOKEN_URL = "https://sagemaker.amazonaws.com/?Action=CallWithBearerToken"  # noqa: S105 (an address)


def aws_identity(provider: Provider) -> Identity:
    """Return the identity of this process at AWS, for the provider's service and region.

    Raises: BackendUnavailable if botocore is not installed.
    """
    try:
        import botocore.auth  # noqa: F401
    except ImportError:
        raise BackendUnavailable("AWS needs botocore: pip install 'inference-fleet[aws]'") from None
    region = provider.region or ""  # the catalogue requires one
    return SignedToken(region) if provider.auth is Auth.SAGEMAKER else SignedRequest(provider.aws_service, region)


class SignedRequest:
    """Signs each request: its method, its address, its host, its content type and its body."""

    def __init__(self, service: str, region: str) -> None:
        self._service = service
        self._region = region

    async def headers(self, request: Any, content_type: str) -> dict[str, str]:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        credentials = await _credentials()
        signed = {"host": request.url.netloc.decode("ascii"), "content-type": content_type}
        unsigned = AWSRequest(request.method, str(request.url), headers=signed, data=request.content)
        SigV4Auth(credentials, self._service, self._region).add_auth(unsigned)
        return {name.lower(): value for name, value in unsigned.headers.items()}


class SignedToken:
    """Sends a bearer token of SageMaker: a signed request to be let in, as the `sagemaker` package makes it."""

    def __init__(self, region: str) -> None:
        self._region = region

    async def headers(self, request: Any, content_type: str) -> dict[str, str]:
        from botocore.auth import SigV4QueryAuth
        from botocore.awsrequest import AWSRequest

        unsigned = AWSRequest("POST", TOKEN_URL, headers={"host": "sagemaker.amazonaws.com"})
        SigV4QueryAuth(await _credentials(), "sagemaker", self._region, TOKEN_SECONDS).add_auth(unsigned)
        said = f"{unsigned.url.removeprefix('https://')}&Version=1"
        return {"authorization": f"Bearer sagemaker-api-key-{base64.b64encode(said.encode()).decode()}"}


async def _credentials() -> Any:
    """Return the credentials of the moment. They may have to be fetched, which blocks: hence the thread.

    Raises: KeyUnavailable if there are none.
    """
    return await asyncio.to_thread(_frozen)


def _frozen() -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return _chain().get_frozen_credentials()
    except (BotoCoreError, ClientError):  # the second: a role that may not be assumed
        raise KeyUnavailable("AWS") from None


@functools.cache
def _chain() -> Any:
    """Return botocore's credentials, which renew themselves. Looked up once: a role's are asked for over HTTP.

    Raises: KeyUnavailable if there are none, which is not remembered.
    """
    from botocore.session import Session

    never_debug("botocore")
    found = Session().get_credentials()
    if found is None:
        raise KeyUnavailable("AWS")
    return found

"""Requests to Bedrock and SageMaker through the real SDKs over HTTP; botocore itself judges their signatures."""

from __future__ import annotations

import base64
import json
import re
import sys
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, CredentialRetrievalError

from fleet.model.attempt import Answer, FailureKind
from fleet.model.call import Call
from fleet.model.errors import BackendUnavailable
from fleet.model.target import Auth, Capability, LatencyClass, Provider, Target, WireFormat
from fleet.providers import EnvironmentKeyRing, ProviderSettings, aws, build

REGION = "eu-central-1"
ACCESS, SECRET, TOKEN = "AKIDPLANTED", "planted-secret", "planted-token"
CALL = Call({"messages": [{"role": "user", "content": "Capital of France?"}]}, 30.0)
AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=([^,]+), SignedHeaders=([^,]+), Signature=([0-9a-f]{64})")


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """The dispatcher's credentials in the environment; everything else there says something else."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": ACCESS,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_BEARER_TOKEN_BEDROCK": "ambient-token",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "ANTHROPIC_BEDROCK_BASE_URL": "http://127.0.0.1:1",
        "ANTHROPIC_CUSTOM_HEADERS": "X-Ambient: ambient",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    aws._chain.cache_clear()
    yield
    aws._chain.cache_clear()


def target(model):
    return Target(
        name="claude",
        provider="aws",
        model=model,
        input_usd_per_million_tokens=1.0,
        output_usd_per_million_tokens=2.0,
        context_tokens=8192,
        capabilities=frozenset({Capability.TEXT}),
        latency=LatencyClass.FAST,
        max_in_flight=8,
    )


@pytest.fixture
def exchange(fault_server, outcomes):
    """Runs one call at an AWS provider; its outcome, and the request if there was one."""

    async def run(wire, path, model="model-7", own_key=None, auth=Auth.AWS, **fields):
        providers = {"aws": Provider(wire, f"{fault_server.url}{path}", auth, region=REGION, **fields)}
        backend = build(target(model), ProviderSettings(providers=providers), EnvironmentKeyRing({}, providers))
        [outcome] = await outcomes(backend, Call(CALL.request, 30.0, own_key=own_key))
        await backend.close()
        return outcome, fault_server.received[-1] if fault_server.received else None

    return run


def scope_of(request, url):
    """Judge a signed request as AWS does: sign what came again, and compare. Returns what it was signed for."""
    credential, names, signature = AUTHORIZATION.fullmatch(request.headers["authorization"]).groups()
    access, day, region, service, _ = credential.split("/")
    again = AWSRequest("POST", url, data=request.raw)
    for name in names.split(";"):
        again.headers[name] = request.headers[name]
    again.context["timestamp"] = request.headers["x-amz-date"]
    judge = SigV4Auth(Credentials(access, SECRET, request.headers["x-amz-security-token"]), service, region)
    assert judge.signature(judge.string_to_sign(again, judge.canonical_request(again)), again) == signature
    assert request.headers["x-amz-date"].startswith(day)
    assert {"host", "x-amz-date", "x-amz-security-token"} <= set(names.split(";"))
    return access, region, service


@pytest.mark.parametrize(
    ("wire", "path", "service", "arrives"),
    [
        (WireFormat.ANTHROPIC, "", "bedrock", "/model/eu.anthropic.claude-sonnet-5-5-v1:0/invoke"),
        (WireFormat.ANTHROPIC, "/anthropic", "bedrock-mantle", "/anthropic/v1/messages"),
        (WireFormat.OPENAI, "/openai/v1", "bedrock", "/openai/v1/chat/completions"),
        (WireFormat.OPENAI, "/v1", "sagemaker", "/v1/chat/completions"),
    ],
)
async def test_botocore_accepts_the_signature_of_the_pinned_region(
    exchange, fault_server, wire, path, service, arrives
):
    outcome, request = await exchange(wire, path, "eu.anthropic.claude-sonnet-5-5-v1:0", aws_service=service)
    assert isinstance(outcome, Answer)
    assert request.path == arrives
    assert scope_of(request, f"{fault_server.url}{arrives}") == (ACCESS, REGION, service)
    assert "ambient" not in repr(request)


async def test_one_byte_more_in_the_body_breaks_the_signature(exchange, fault_server):
    _, request = await exchange(WireFormat.OPENAI, "/v1")
    object.__setattr__(request, "raw", request.raw + b" ")
    with pytest.raises(AssertionError):
        scope_of(request, f"{fault_server.url}/v1/chat/completions")


async def test_bedrock_gets_the_model_in_the_path_and_its_own_version_in_the_body(exchange):
    _, request = await exchange(WireFormat.ANTHROPIC, "", "eu.anthropic.claude-sonnet-5-5-v1:0")
    assert request.body["anthropic_version"]
    assert "model" not in request.body


async def test_sagemaker_gets_a_token_that_botocore_accepts(exchange):
    outcome, request = await exchange(WireFormat.OPENAI, "/endpoints/llama/openai/v1", auth=Auth.SAGEMAKER)
    assert isinstance(outcome, Answer)
    assert request.path == "/endpoints/llama/openai/v1/chat/completions"
    prefix, said = request.headers["authorization"].split("sagemaker-api-key-")
    signed = urlsplit(f"https://{base64.b64decode(said).decode()}")
    found = {name: value for name, [value] in parse_qs(signed.query).items()}
    assert (prefix, signed.netloc, found["Action"], found["Version"]) == (
        "Bearer ", "sagemaker.amazonaws.com", "CallWithBearerToken", "1",
    )  # fmt: skip
    assert found["X-Amz-Credential"].split("/")[2:4] == [REGION, "sagemaker"]
    again = AWSRequest("POST", aws.TOKEN_URL, headers={"host": signed.netloc})
    moment = datetime.strptime(found["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert signature_at(moment, again, int(found["X-Amz-Expires"])) == found["X-Amz-Signature"]


def signature_at(moment, request, expires):
    """The signature that botocore gives the token at this moment."""

    class AtMoment(SigV4QueryAuth):
        def add_auth(self, unsigned):
            unsigned.context["timestamp"] = moment.strftime("%Y%m%dT%H%M%SZ")
            self._modify_request_before_signing(unsigned)
            canonical = self.canonical_request(unsigned)
            self._inject_signature_to_request(
                unsigned, self.signature(self.string_to_sign(unsigned, canonical), unsigned)
            )

    AtMoment(Credentials(ACCESS, SECRET, TOKEN), "sagemaker", REGION, expires).add_auth(request)
    return parse_qs(urlsplit(request.url).query)["X-Amz-Signature"][0]


async def test_without_credentials_nothing_is_sent(exchange, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    failure, request = await exchange(WireFormat.OPENAI, "/v1")
    assert (failure.kind, failure.detail, request) == (FailureKind.AUTHENTICATION, "no usable key for AWS", None)


async def test_credentials_that_came_later_are_found(exchange, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    failure, _ = await exchange(WireFormat.OPENAI, "/v1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    answer, _ = await exchange(WireFormat.OPENAI, "/v1")
    assert failure.kind is FailureKind.AUTHENTICATION
    assert isinstance(answer, Answer)


@pytest.mark.parametrize(
    "error",
    [CredentialRetrievalError(provider="sso", error_msg="x"), ClientError({"Error": {"Code": "AccessDenied"}}, "x")],
)
async def test_a_role_that_may_not_be_assumed_is_a_key_that_is_missing(exchange, monkeypatch, error):
    def refuse(self):
        raise error

    monkeypatch.setattr(Credentials, "get_frozen_credentials", refuse)
    failure, request = await exchange(WireFormat.OPENAI, "/v1")
    assert (failure.kind, request) == (FailureKind.AUTHENTICATION, None)


async def test_a_tenant_has_no_key_at_aws(exchange):
    failure, request = await exchange(WireFormat.OPENAI, "/v1", own_key="acme__main")
    assert (failure.kind, request) == (FailureKind.AUTHENTICATION, None)


def test_without_botocore_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore.auth", None)
    providers = {"aws": Provider(base_url="http://127.0.0.1:1", auth=Auth.AWS, region=REGION)}
    with pytest.raises(BackendUnavailable, match=r"pip install 'inference-fleet\[aws\]'"):
        build(target("model-7"), ProviderSettings(providers=providers), EnvironmentKeyRing({}, providers))


async def test_what_was_signed_is_what_was_sent(exchange):
    _, request = await exchange(WireFormat.OPENAI, "/v1")
    assert json.loads(request.raw) == request.body

"""boto3's own client is content with the fake, so the fake is right; and what gives credentials."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import trio

from tests.clouds.aws import KEY, SECRET, FakeBedrock, Keys
from tests.stack import chat, memory_stack, real_stack
from trio_router.demo import Answer, DemoUpstream, Send

pytestmark = pytest.mark.slow
NOVA = "amazon.nova-lite-v1:0"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLETOKENOFASESSION=="


@asynccontextmanager
async def listening(script):
    async with trio.open_nursery() as nursery:
        upstream = DemoUpstream()
        upstream.script = script
        port = await nursery.start(upstream.serve)
        yield f"http://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


def client(url: str, name: str = "bedrock-runtime", **keys: str):
    boto3 = pytest.importorskip("boto3")
    told = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, **keys}
    config = pytest.importorskip("botocore.config").Config(retries={"max_attempts": 0})
    made = partial(boto3.client, name, region_name="us-east-1", endpoint_url=url, config=config)
    return made(**told)


async def ask(url: str, work, **keys):
    return await trio.to_thread.run_sync(lambda: work(client(url, **keys)))


async def test_boto3_reads_the_fakes_converse_stream():
    def work(bedrock):
        asked = {
            "modelId": NOVA,
            "messages": [{"role": "user", "content": [{"text": "Hello, world!"}]}],
        }
        events = list(bedrock.converse_stream(**asked)["stream"])
        whole = bedrock.converse(**asked)
        return events, whole

    async with listening(FakeBedrock()) as url:
        events, whole = await ask(url, work)
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    assert "".join(delta["text"] for delta in deltas) == "Hello, world!"
    assert events[-1]["metadata"]["usage"]["outputTokens"] == 5
    assert whole["output"]["message"]["content"] == [{"text": "Hello, world!"}]


async def test_boto3_reads_what_the_fake_says_of_an_invoked_model():
    body = json.dumps(
        {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "Hi"}],
        }
    )

    def work(bedrock):
        told = bedrock.invoke_model_with_response_stream(modelId="anthropic.claude", body=body)
        events = [json.loads(event["chunk"]["bytes"]) for event in told["body"]]
        return events, json.loads(bedrock.invoke_model(modelId="a", body=body)["body"].read())

    async with listening(FakeBedrock()) as url:
        events, whole = await ask(url, work)
    assert [event["type"] for event in events][-1] == "message_stop"
    assert whole["content"][0]["text"] == "Hi"


@pytest.mark.parametrize(
    ("fake", "code"),
    [
        (FakeBedrock(keys={KEY: Keys("another")}), "InvalidSignatureException"),
        (FakeBedrock(keys={KEY: Keys(SECRET, end=0)}), "ExpiredTokenException"),
        (FakeBedrock(wall=lambda: 0.0), "InvalidSignatureException"),
        (FakeBedrock(throttled=1), "ThrottlingException"),
    ],
    ids=["secret", "expired", "clock", "throttled"],
)
async def test_boto3_understands_the_fakes_refusals(fake, code):
    exceptions = pytest.importorskip("botocore.exceptions")

    def work(bedrock):
        with pytest.raises(exceptions.ClientError) as raised:
            bedrock.converse(modelId=NOVA, messages=[{"role": "user", "content": [{"text": "?"}]}])
        return raised.value.response["Error"]["Code"]

    async with listening(fake) as url:
        assert await ask(url, work) == code


# -- where credentials come from


def _in(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(value, **headers: str) -> Answer:
    told = [("content-type", "application/json"), *headers.items()]
    return Answer(200, told, [Send(json.dumps(value).encode())], "length")


def container(request) -> Answer:
    return _json(
        {"AccessKeyId": KEY, "SecretAccessKey": SECRET, "Token": TOKEN, "Expiration": _in(3600)}
    )


def instance(request) -> Answer:
    """The instance's metadata, version 2: nothing without a session's token."""
    if request.path == "/latest/api/token":
        assert request.method == "PUT"
        return Answer(200, [], [Send(b"imds-session")], "length")
    if request.headers.get("x-aws-ec2-metadata-token") != "imds-session":
        return Answer(401, [], [], "length")
    if request.path.endswith("/security-credentials/"):
        return Answer(200, [], [Send(b"a-role")], "length")
    if request.path.endswith("/security-credentials/a-role"):
        told = {"AccessKeyId": KEY, "SecretAccessKey": SECRET, "Token": TOKEN, "Code": "Success"}
        return _json({**told, "Expiration": _in(3600)})
    return Answer(404, [], [], "length")


def sts(request) -> Answer:
    """AssumeRoleWithWebIdentity."""
    assert b"Action=AssumeRoleWithWebIdentity" in request.body
    assert b"WebIdentityToken=a-web-identity" in request.body
    text = f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{KEY}</AccessKeyId>
<SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>{TOKEN}</SessionToken>
<Expiration>{_in(3600)}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""
    return Answer(200, [("content-type", "text/xml")], [Send(text.encode())], "length")


def _environment(kind: str, url: str, tmp_path) -> dict[str, str]:
    if kind == "container":
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/creds"}
    if kind == "instance":
        told = {"AWS_EC2_METADATA_DISABLED": "false"}
        return {**told, "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{url}/"}
    if kind == "profile":
        path = tmp_path / "credentials"
        path.write_text(
            f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
            f"aws_session_token = {TOKEN}\n"
        )
        return {}
    token = tmp_path / "token"
    token.write_text("a-web-identity")
    return {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/a-role",
        "AWS_ENDPOINT_URL_STS": url,
        "AWS_REGION": "us-east-1",
    }


SCRIPTS = {"container": container, "instance": instance, "web-identity": sts, "profile": container}
PROVIDERS = 'providers: {bedrock: {dialect: bedrock, region: us-east-1, base_url: "http://upstream"}}'


@pytest.mark.parametrize("kind", list(SCRIPTS))
async def test_the_router_finds_credentials_where_aws_gives_them(kind, monkeypatch, tmp_path):
    pytest.importorskip("botocore")
    async with listening(SCRIPTS[kind]) as url:
        for name, value in _environment(kind, url, tmp_path).items():
            monkeypatch.setenv(name, value)
        async with real_stack("", PROVIDERS) as stack:
            stack.upstream.script = FakeBedrock(keys={KEY: Keys(SECRET, TOKEN)})
            response = await stack.client.post("/v1/chat/completions", json=chat(f"bedrock/{NOVA}"))
            assert response.status_code == 200, response.text


async def test_a_metadata_server_that_never_answers_costs_a_request_its_limit(monkeypatch):
    pytest.importorskip("botocore")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
    hanging = Answer(200, [], [], head_delay=20)
    async with listening(lambda request: hanging) as url:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"{url}/")
        monkeypatch.setenv("AWS_METADATA_SERVICE_TIMEOUT", "3")
        settings = "timeouts: {connect: 0.5}"
        async with memory_stack(settings, PROVIDERS) as stack:
            before = trio.current_time()
            response = await stack.ask(chat(f"bedrock/{NOVA}"))
            assert trio.current_time() - before < 2
            assert (await stack.client.get("/healthz")).status_code == 200
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "provider_auth_error"
    assert "did not come within 0.5 s" in response.json()["error"]["message"]

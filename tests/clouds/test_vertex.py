"""Vertex AI in the running router: Gemini and Claude, with tokens that Google's own library fetches."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest
import trio

from tests.clouds.google import FakeGoogle
from tests.stack import chat, config, events, memory_stack, text_of
from trio_router.config.file import ConfigError
from trio_router.demo import DemoUpstream
from trio_router.routing.table import RouteTable

PROVIDERS = """
providers:
  gemini:
    {dialect: gemini, vertex: {project: my-project, location: us-east5}, base_url: "http://upstream/v1"}
  claude: {dialect: anthropic, vertex: {project: my-project}, base_url: "http://upstream/v1"}
"""
CLAUDE = "claude-sonnet-4@20250514"
PLACE = "/v1/projects/my-project/locations"


@asynccontextmanager
async def vertex(fake: FakeGoogle, monkeypatch, environment):
    """`environment` gives the variables for the URL where tokens are given."""
    async with trio.open_nursery() as nursery:
        tokens = DemoUpstream()
        tokens.script = fake
        port = await nursery.start(tokens.serve)
        for name, value in environment(f"http://127.0.0.1:{port}").items():
            monkeypatch.setenv(name, value)
        async with memory_stack("", PROVIDERS) as stack:
            stack.upstream.script = fake
            stack.fake = fake
            yield stack
        nursery.cancel_scope.cancel()


@pytest.fixture(scope="module")
def account():
    """A service account's key, and what verifies its signatures."""
    pytest.importorskip("google.auth")
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding

    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()

    def verify(signature: bytes, signed: bytes) -> None:
        key.public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())

    return pem, verify


@pytest.fixture
def given(account, tmp_path):
    """Variables of an environment with a service account's key."""

    def environment(url: str) -> dict[str, str]:
        path = tmp_path / "account.json"
        told = {
            "type": "service_account",
            "project_id": "my-project",
            "private_key_id": "1",
            "private_key": account[0],
            "client_email": "router@my-project.iam.gserviceaccount.com",
            "token_uri": f"{url}/token",
        }
        path.write_text(json.dumps(told))
        return {"GOOGLE_APPLICATION_CREDENTIALS": str(path)}

    return environment


@pytest.fixture
def fake(account):
    return FakeGoogle(verify=account[1])


async def messages(stack, **fields):
    body = {"max_tokens": 64, "messages": [{"role": "user", "content": "Hello, world!"}], **fields}
    return await stack.client.post("/v1/messages", json={"model": f"claude/{CLAUDE}", **body})


async def test_gemini_answers_chats_whole_and_streaming(fake, monkeypatch, given):
    async with vertex(fake, monkeypatch, given) as stack:
        whole = await stack.ask(chat("gemini/gemini-2.5-flash"))
        async with stack.stream(chat("gemini/gemini-2.5-flash")) as response:
            items = events(await response.aread())
    assert whole.json()["choices"][0]["message"]["content"] == "Hello, world!"
    assert text_of(items) == "Hello, world!"
    model = f"{PLACE}/us-east5/publishers/google/models/gemini-2.5-flash"
    assert [seen.path for seen in fake.seen] == [
        f"{model}:generateContent",
        f"{model}:streamGenerateContent",
    ]
    assert fake.asked == ["/token"]  # one for both


async def test_geminis_own_clients_pass_through(fake, monkeypatch, given):
    asked = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    async with vertex(fake, monkeypatch, given) as stack:
        path = "/v1beta/models/gemini/gemini-2.5-flash:generateContent"
        answer = await stack.client.post(path, json=asked)
    assert answer.json()["candidates"][0]["content"]["parts"] == [{"text": "Hi"}]


async def test_texts_are_embedded_by_predict(fake, monkeypatch, given):
    async with vertex(fake, monkeypatch, given) as stack:
        asked = {"model": "gemini/text-embedding-005", "input": ["a", "b"], "dimensions": 2}
        answer = await stack.client.post("/v1/embeddings", json=asked)
    assert [one["embedding"] for one in answer.json()["data"]] == [[0.5, 1.0]] * 2
    assert answer.json()["usage"]["prompt_tokens"] == 6
    assert fake.seen[0].json == {
        "instances": [{"content": "a"}, {"content": "b"}],
        "parameters": {"outputDimensionality": 2},
    }


async def test_claude_answers_its_own_clients_with_its_own_events(fake, monkeypatch, given):
    async with vertex(fake, monkeypatch, given) as stack:
        whole = await messages(stack, some_new_field=1)
        stream = await messages(stack, stream=True)
    assert whole.json()["content"] == [{"type": "text", "text": "Hello, world!"}]
    assert stream.text.startswith("event: message_start\ndata: {")
    first, second = fake.seen
    model = f"{PLACE}/global/publishers/anthropic/models/{CLAUDE}"
    assert (first.path, second.path) == (f"{model}:rawPredict", f"{model}:streamRawPredict")
    assert first.json["anthropic_version"] == "vertex-2023-10-16"
    assert "model" not in first.json
    assert first.json["some_new_field"] == 1
    assert second.json["stream"] is True


async def test_claude_answers_chats(fake, monkeypatch, given):
    async with vertex(fake, monkeypatch, given) as stack:
        answer = await stack.ask(chat(f"claude/{CLAUDE}"))
    assert answer.json()["choices"][0]["message"]["content"] == "Hello, world!"


async def test_betas_are_those_that_vertex_takes(fake, monkeypatch, given):
    async with vertex(fake, monkeypatch, given) as stack:
        headers = {"anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14"}
        body = {"model": f"claude/{CLAUDE}", "max_tokens": 9, "context_management": {"edits": []}}
        asked = {**body, "messages": [{"role": "user", "content": "Hi"}]}
        await stack.client.post("/v1/messages", json=asked, headers=headers)
    assert fake.seen[0].headers["anthropic-beta"] == "interleaved-thinking-2025-05-14"
    assert "context_management" not in fake.seen[0].json


async def test_tokens_are_counted_by_vertex(fake, monkeypatch, given):
    async with vertex(fake, monkeypatch, given) as stack:
        asked = {"model": f"claude/{CLAUDE}", "messages": [{"role": "user", "content": "Hi"}]}
        answer = await stack.client.post("/v1/messages/count_tokens", json=asked)
    assert answer.json() == {"input_tokens": 42}
    assert fake.seen[0].json["model"] == CLAUDE


async def test_a_token_that_ends_is_not_used(fake, monkeypatch, given):
    fake.seconds = 1
    async with vertex(fake, monkeypatch, given) as stack:
        for _ in range(4):
            assert (await stack.ask(chat("gemini/g"))).status_code == 200
            await trio.sleep(0.4)
    assert 2 <= len(fake.asked) <= 4


async def test_a_refused_token_is_the_providers_error_and_is_not_told(fake, monkeypatch, given):
    async with vertex(fake, monkeypatch, given) as stack:
        await stack.ask(chat("gemini/g"))
        (token,) = fake.tokens
        fake.tokens[token] = 0
        response = await stack.ask(chat("gemini/g"))
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "provider_auth_error"
    assert token not in response.text


def _federation(tmp_path):
    def environment(url: str) -> dict[str, str]:
        token, path = tmp_path / "token", tmp_path / "federation.json"
        token.write_text("a-token-of-the-workload")
        pool = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q"
        told = {
            "type": "external_account",
            "audience": pool,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{url}/sts",
            "credential_source": {"file": str(token)},
        }
        path.write_text(json.dumps(told))
        return {"GOOGLE_APPLICATION_CREDENTIALS": str(path)}

    return environment


def _metadata(tmp_path):
    def environment(url: str) -> dict[str, str]:
        host = url.removeprefix("http://")
        told = {"GCE_METADATA_HOST": host, "GCE_METADATA_IP": host, "GCE_METADATA_ROOT": host}
        return {**told, "CLOUDSDK_CONFIG": str(tmp_path)}

    return environment


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "path"), [(_federation, "/sts"), (_metadata, "metadata")])
async def test_the_router_finds_tokens_where_google_gives_them(kind, path, fake, monkeypatch, tmp_path):
    async with vertex(fake, monkeypatch, kind(tmp_path)) as stack:
        response = await stack.ask(chat("gemini/g"))
    assert response.status_code == 200, response.text
    assert fake.asked == [path]


@pytest.mark.slow
async def test_without_any_credentials_it_is_said_what_is_missing(fake, monkeypatch, tmp_path):
    def nothing(url: str) -> dict[str, str]:
        return {"CLOUDSDK_CONFIG": str(tmp_path), "NO_GCE_CHECK": "true"}

    async with vertex(fake, monkeypatch, nothing) as stack:
        response = await stack.ask(chat("gemini/g"))
    assert response.status_code == 502
    assert "no Google credentials were found" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("global", "aiplatform.googleapis.com"),
        ("us-east5", "us-east5-aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
    ],
)
@pytest.mark.parametrize(("dialect", "publisher"), [("gemini", "google"), ("anthropic", "anthropic")])
def test_the_base_url_follows_from_project_and_location(location, host, dialect, publisher):
    text = f"{{dialect: {dialect}, vertex: {{project: p-1, location: {location}}}}}"
    settings = config("", f"providers: {{v: {text}}}")
    target = RouteTable(settings).target("v/m")
    assert target.base_url == (
        f"https://{host}/v1/projects/p-1/locations/{location}/publishers/{publisher}"
    )
    assert settings.providers["v"].kind.name == "vertex"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{dialect: openai, vertex: {project: p}}", "vertex is for the dialects gemini and anthropic"),
        ("{dialect: gemini, vertex: {}}", "project is missing"),
        ("{dialect: gemini, vertex: {project: ../p}}", "no id of a project"),
        ("{dialect: gemini, vertex: {project: p, location: a/b}}", "no name of a region"),
        ("{dialect: gemini, vertex: {project: p}, aws: {}}", "cannot be used together"),
        ("{dialect: bedrock}", "give a region"),
        ("{dialect: bedrock, region: us east}", "no name of a region"),
        ("{dialect: bedrock, region: r, aws: {}, api_key: k}", "aws is of no use with an api_key"),
        ("{dialect: openai, base_url: http://x, region: r}", "region is of no use without"),
        ("{dialect: gemini, base_url: http://x, entra: {}}", "entra is for the dialects"),
        ("{dialect: bedrock, region: r, aws: {profil: x}}", "did you mean profile"),
    ],
)
def test_what_cannot_be_is_a_complaint(text, complaint):
    with pytest.raises(ConfigError) as raised:
        config("", f"providers: {{p: {text}}}")
    assert complaint in str(raised.value.complaints)

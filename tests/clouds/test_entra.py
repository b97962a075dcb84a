"""Azure with tokens of Entra ID: the documented calls, each end and each refusal, in virtual time."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs

import pytest
import trio

from tests.stack import chat, memory_stack
from trio_router.demo import Answer, Send

SECRET = "the-client-secret-of-the-test"
ANSWER = {"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}


def _json(value, status: int = 200) -> Answer:
    head = [("content-type", "application/json")]
    return Answer(status, head, [Send(json.dumps(value).encode())], "length")


@dataclass
class FakeAzure:
    """Gives tokens, and answers who has one that has not ended.  `seconds` is their life."""

    seconds: float = 3600
    delay: float = 0
    refuses: bool = False
    asked: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    tokens: dict[str, float] = field(default_factory=dict)
    answered: int = 0

    def __call__(self, request) -> Answer:
        if "oauth2" in request.path or request.path == "/msi":
            return self._token(request)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.tokens.get(token, -1) <= trio.current_time():
            return _json({"error": {"code": "401", "message": "Access token has expired"}}, 401)
        self.answered += 1
        assert "api-key" not in request.headers
        return _json(ANSWER)

    def _token(self, request) -> Answer:
        text = request.query if request.method == "GET" else request.body.decode()
        fields = {name: values[0] for name, values in parse_qs(text).items()}
        self.asked.append((f"{request.method} {request.path}", fields, request.headers))
        if self.refuses:
            told = f"AADSTS7000215: Invalid client secret {SECRET} provided."
            return _json({"error": "invalid_client", "error_description": told}, 401)
        token = f"eyJ0.token-{len(self.tokens)}.sig"
        self.tokens[token] = trio.current_time() + self.seconds
        answer = _json({"access_token": token, "expires_in": str(int(self.seconds))})
        return replace(answer, head_delay=self.delay)


def providers(entra: str) -> str:
    return f"""
providers:
  azure: {{dialect: azure, base_url: "http://upstream", query: {{api-version: v1}}, entra: {entra}}}
  v1: {{dialect: openai, base_url: "http://upstream/openai/v1", entra: {entra}}}
"""


BY_SECRET = (
    f"{{tenant_id: a-tenant, client_id: a-client, client_secret: {SECRET}, "
    'authority: "http://upstream"}'
)


@asynccontextmanager
async def azure(fake: FakeAzure, entra: str = BY_SECRET, settings: str = ""):
    async with memory_stack(settings, providers(entra)) as stack:
        stack.upstream.script = fake
        yield stack


@pytest.mark.parametrize("model", ["azure/gpt-5", "v1/gpt-5"])
async def test_a_clients_secret_gives_a_token(autojump_clock, model):
    fake = FakeAzure()
    async with azure(fake) as stack:
        for _ in range(5):
            assert (await stack.ask(chat(model))).status_code == 200
    ((where, fields, _),) = fake.asked
    assert where == "POST /a-tenant/oauth2/v2.0/token"
    assert fields == {
        "grant_type": "client_credentials",
        "client_id": "a-client",
        "client_secret": SECRET,
        "scope": "https://cognitiveservices.azure.com/.default",
    }


async def test_a_workloads_token_is_read_anew_from_its_file(autojump_clock, monkeypatch, tmp_path):
    file = tmp_path / "token"
    for name, value in {
        "AZURE_TENANT_ID": "a-tenant",
        "AZURE_CLIENT_ID": "a-client",
        "AZURE_FEDERATED_TOKEN_FILE": str(file),
        "AZURE_AUTHORITY_HOST": "http://upstream/",
    }.items():
        monkeypatch.setenv(name, value)

    class Now:
        """A thread's read, which a clock that jumps does not wait for."""

        def __init__(self, name):
            self._name = name

        async def read_text(self):
            await trio.lowlevel.checkpoint()
            return file.read_text()

    monkeypatch.setattr("trio_router.transport.entra.trio.Path", Now)
    fake = FakeAzure(seconds=1000)
    async with azure(fake, "{}") as stack:
        for text in ("first", "second"):
            file.write_text(f"{text}\n")
            assert (await stack.ask(chat("azure/gpt-5"))).status_code == 200
            await trio.sleep(1001)
    assert [fields["client_assertion"] for _, fields, _ in fake.asked] == ["first", "second"]
    assert "client_secret" not in fake.asked[0][1]


@pytest.mark.parametrize("kind", ["app-service", "machine"])
async def test_a_managed_identity_gives_a_token(autojump_clock, monkeypatch, kind):
    if kind == "machine":
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://upstream")
        path = "GET /metadata/identity/oauth2/token"
    else:
        monkeypatch.setenv("IDENTITY_ENDPOINT", "http://upstream/msi")
        monkeypatch.setenv("IDENTITY_HEADER", "an-identity-header")
        path = "GET /msi"
    fake = FakeAzure()
    async with azure(fake, "{client_id: assigned}") as stack:
        assert (await stack.ask(chat("azure/gpt-5"))).status_code == 200
    ((where, fields, headers),) = fake.asked
    assert where == path
    assert fields["resource"] == "https://cognitiveservices.azure.com"
    assert fields["client_id"] == "assigned"
    key = "metadata" if kind == "machine" else "x-identity-header"
    assert headers[key] in ("true", "an-identity-header")


async def test_requests_across_many_ends_never_have_an_expired_token(autojump_clock):
    fake = FakeAzure(seconds=1000, delay=2)
    async with azure(fake) as stack:

        async def client(number: int) -> None:
            await trio.sleep(number * 7)
            for _ in range(20):
                assert (await stack.ask(chat("azure/gpt-5"))).status_code == 200
                await trio.sleep(70)

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(client, number)
    # A request every 7 s for 1,400 s: the first token, and one 250 s before each end.
    assert fake.answered == 200
    assert len(fake.asked) == 2


async def test_a_refusal_is_the_providers_error_and_quotes_no_secret(autojump_clock):
    async with azure(FakeAzure(refuses=True)) as stack:
        response = await stack.ask(chat("azure/gpt-5"))
    assert response.status_code == 502
    error = response.json()["error"]
    assert error["code"] == "provider_auth_error"
    told = "azure: Entra ID gave no token (401, invalid_client, AADSTS7000215)"
    assert error["message"] == told


async def test_where_nobody_gives_a_token_it_is_said(autojump_clock, monkeypatch):
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://nobody")
    async with azure(FakeAzure(), "{}") as stack:
        response = await stack.ask(chat("azure/gpt-5"))
    assert response.status_code == 502
    assert "nobody gives managed identities here" in response.json()["error"]["message"]


async def test_a_slow_entra_costs_a_request_its_limit(autojump_clock):
    async with azure(FakeAzure(delay=25), settings="timeouts: {connect: 3}") as stack:
        before = trio.current_time()
        response = await stack.ask(chat("azure/gpt-5"))
        assert trio.current_time() - before == pytest.approx(3, abs=0.1)
    assert response.json()["error"]["code"] == "provider_auth_error"

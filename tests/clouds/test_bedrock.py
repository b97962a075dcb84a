"""The running router and a Bedrock that verifies signatures, token ends and clocks."""

from __future__ import annotations

import json
import logging
import time
from contextlib import asynccontextmanager

import pytest

from tests.clouds.aws import EVENTS, KEY, SECRET, FakeBedrock, Keys, broken, claude_events
from tests.clouds.events import chunk
from tests.stack import chat, events, memory_stack, text_of
from trio_router.demo import Answer, Send

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-lite-v1:0"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLETOKENOFASESSION=="
BEDROCK = """
providers:
  bedrock: {dialect: bedrock, region: us-east-1, base_url: "http://upstream"}
  keyed: {dialect: bedrock, base_url: "http://upstream", api_key: bedrock-api-key-1234567890}
  openai: {dialect: openai, base_url: "http://upstream/openai/v1", region: us-east-1, aws: {}}
routes:
  fast: {targets: [{model: "bedrock/amazon.nova-lite-v1:0"}], retry: {attempts: 2, base: 0.01}}
"""


@asynccontextmanager
async def bedrock(fake: FakeBedrock | None = None, providers: str = BEDROCK):
    async with memory_stack("", providers) as stack:
        stack.fake = fake or FakeBedrock()
        stack.upstream.script = stack.fake
        yield stack


async def messages(stack, model: str, text: str = "Hello, world!", headers=None, **fields):
    body = {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": text}], **fields}
    return await stack.client.post("/v1/messages", json=body, headers=headers or {})


@pytest.mark.usefixtures("aws_keys")
class TestSignedRequests:
    async def test_a_chat_is_streamed_from_converse(self):
        async with bedrock() as stack:
            async with stack.stream(chat(f"bedrock/{NOVA}")) as response:
                assert response.status_code == 200
                items = events(await response.aread())
        assert text_of(items) == "Hello, world!"
        assert items[-1] == "[DONE]"
        (seen,) = stack.fake.seen
        assert seen.path == "/model/amazon.nova-lite-v1%3A0/converse-stream"
        assert seen.json == {"messages": [{"role": "user", "content": [{"text": "Hello, world!"}]}]}

    async def test_a_chat_without_streaming_is_one_answer(self):
        async with bedrock() as stack:
            response = await stack.ask(chat(f"bedrock/{NOVA}"))
        assert response.json()["choices"][0]["message"]["content"] == "Hello, world!"
        usage = response.json()["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (7, 5)

    @pytest.mark.parametrize("size", [1, 300_000])
    async def test_a_body_of_any_length_is_signed(self, size):
        async with bedrock() as stack:
            response = await stack.ask(chat(f"bedrock/{NOVA}", "{" * size))
        assert response.status_code == 200
        assert stack.fake.refused == []

    async def test_an_arn_is_a_models_name(self):
        arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/ab1"
        async with bedrock() as stack:
            response = await stack.ask(chat(f"bedrock/{arn}"))
        assert response.status_code == 200
        assert stack.fake.seen[0].path == (
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012"
            "%3Aapplication-inference-profile%2Fab1/converse"
        )

    async def test_the_openai_compatible_endpoint_is_signed_too(self):
        answer = {"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}
        body = Answer(200, [("content-type", "application/json")], [Send(json.dumps(answer).encode())])
        async with bedrock(FakeBedrock(answers=[body])) as stack:
            response = await stack.ask(chat("openai/openai.gpt-oss-120b-1:0"))
        assert response.status_code == 200
        assert stack.fake.seen[0].path == "/openai/v1/chat/completions"

    async def test_its_models_and_profiles_are_listed(self):
        async with bedrock() as stack:
            listed = (await stack.client.get("/v1/models")).json()["data"]
        names = {model["id"] for model in listed}
        assert {f"bedrock/{NOVA}", f"bedrock/{CLAUDE}"} <= names

    @pytest.mark.parametrize("model", [CLAUDE, NOVA])
    async def test_tokens_are_counted_by_bedrock(self, model):
        asked = {"model": f"bedrock/{model}", "messages": [{"role": "user", "content": "Hi"}]}
        async with bedrock() as stack:
            response = await stack.client.post("/v1/messages/count_tokens", json=asked)
        assert response.json() == {"input_tokens": 42}
        assert list(stack.fake.seen[0].json["input"]) == ["converse"]

    async def test_a_session_token_is_sent_and_signed(self, monkeypatch):
        monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
        async with bedrock(FakeBedrock(keys={KEY: Keys(SECRET, TOKEN)})) as stack:
            assert (await stack.ask(chat(f"bedrock/{NOVA}"))).status_code == 200

    @pytest.mark.parametrize("hours", [-7, 5])
    async def test_a_clock_that_is_wrong_costs_one_refusal(self, hours):
        fake = FakeBedrock(wall=lambda: time.time() + hours * 3600)
        async with bedrock(fake) as stack:
            for _ in range(3):
                assert (await stack.ask(chat(f"bedrock/{NOVA}"))).status_code == 200
        assert fake.refused == ["InvalidSignatureException"]

    @pytest.mark.parametrize(
        "keys",
        [
            {},
            {KEY: Keys("another secret", TOKEN)},
            {KEY: Keys(SECRET, "another token")},
            {KEY: Keys(SECRET, TOKEN, end=0)},
        ],
        ids=["unknown", "wrong-secret", "wrong-token", "expired"],
    )
    async def test_refused_credentials_are_the_providers_error_and_tell_no_secret(
        self, keys, monkeypatch, caplog
    ):
        monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
        async with bedrock(FakeBedrock(keys=keys)) as stack:
            with caplog.at_level(logging.DEBUG):
                response = await stack.ask(chat(f"bedrock/{NOVA}"))
            metrics = (await stack.client.get("/metrics")).text
        assert response.status_code == 502
        assert response.json()["error"]["code"] == "provider_auth_error"
        logged = caplog.text + str([record.__dict__ for record in caplog.records])
        for secret in (TOKEN, SECRET, TOKEN[:12]):
            assert secret not in response.text + logged + metrics

    async def test_throttling_is_retried_and_else_told_as_it_is(self):
        async with bedrock(FakeBedrock(throttled=1)) as stack:
            assert (await stack.ask(chat("fast"))).status_code == 200
            stack.fake.throttled = 1
            response = await stack.ask(chat(f"bedrock/{NOVA}"))
        assert response.status_code == 429
        assert response.json()["error"]["message"].startswith("Too many requests")

    async def test_an_exception_in_the_stream_moves_a_route_on_before_any_word(self):
        failing = broken("throttlingException", "Too many tokens")
        async with bedrock(FakeBedrock(answers=[failing])) as stack:
            async with stack.stream(chat("fast")) as response:
                items = events(await response.aread())
        assert text_of(items) == "Hello, world!"
        assert len(stack.fake.seen) == 2

    async def test_a_wrong_model_is_bedrocks_own_error(self):
        async with bedrock() as stack:
            response = await stack.ask(chat("bedrock/unknown-model"))
        assert response.status_code == 400
        assert response.json()["error"]["message"] == "The provided model identifier is invalid."

    async def test_fetches_of_credentials_are_counted(self):
        async with bedrock() as stack:
            for _ in range(3):
                await stack.ask(chat(f"bedrock/{NOVA}"))
            metrics = (await stack.client.get("/metrics")).text
        counted = 'trio_router_credential_renewals_total{provider="bedrock",result="renewed"} 1.0'
        assert counted in metrics


class TestBearerKeys:
    async def test_a_key_of_the_configuration_needs_no_signature(self):
        async with bedrock(FakeBedrock(bearers={"bedrock-api-key-1234567890"})) as stack:
            assert (await stack.ask(chat(f"keyed/{NOVA}"))).status_code == 200

    async def test_the_key_in_the_environment_is_used_without_botocore(self, monkeypatch):
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-key-of-the-environment")
        monkeypatch.setattr("trio_router.transport.aws.import_module", None)
        async with bedrock(FakeBedrock(bearers={"bedrock-key-of-the-environment"})) as stack:
            assert (await stack.ask(chat(f"bedrock/{NOVA}"))).status_code == 200

    async def test_without_any_credentials_it_is_said_what_is_missing(self):
        pytest.importorskip("botocore")
        async with bedrock() as stack:
            response = await stack.ask(chat(f"bedrock/{NOVA}"))
        assert response.status_code == 502
        error = response.json()["error"]
        assert error["code"] == "provider_auth_error"
        assert "no AWS credentials were found" in error["message"]


@pytest.mark.usefixtures("aws_keys")
class TestMessages:
    """Claude is invoked in its own API, so that nothing of it is lost on the way."""

    async def test_a_stream_of_claudes_passes_event_by_event(self):
        inner = [
            json.dumps(event, separators=(", ", ":  ")).encode() for event in claude_events("Hé, du!")
        ]
        body = Answer(200, [("content-type", EVENTS)], [Send(b"".join(map(chunk, inner)))])
        async with bedrock(FakeBedrock(answers=[body])) as stack:
            response = await messages(stack, f"bedrock/{CLAUDE}", stream=True)
        kinds = [event["type"] for event in claude_events("Hé, du!")]
        expected = b"".join(
            b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
            for kind, data in zip(kinds, inner, strict=True)
        )
        assert response.content == expected
        assert stack.fake.seen[0].path.endswith("/invoke-with-response-stream")

    async def test_the_request_is_the_clients_own_but_for_what_the_path_says(self):
        asked = {
            "system": [{"type": "text", "text": "Be kind", "cache_control": {"type": "ephemeral"}}],
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "metadata": {"user_id": "u"},
            "some_new_field": {"a": [1]},
        }
        async with bedrock() as stack:
            response = await messages(stack, f"bedrock/{CLAUDE}", max_tokens=2048, **asked)
        assert response.json()["content"] == [{"type": "text", "text": "Hello, world!"}]
        (seen,) = stack.fake.seen
        assert seen.path == "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke"
        assert seen.json == {
            "max_tokens": 2048,
            "messages": [{"role": "user", "content": "Hello, world!"}],
            "anthropic_version": "bedrock-2023-05-31",
            **asked,
        }

    async def test_betas_are_in_the_body_without_those_that_bedrock_refuses(self):
        betas = "claude-code-20250219,interleaved-thinking-2025-05-14,oauth-2025-04-20"
        async with bedrock() as stack:
            headers = {"anthropic-beta": betas, "anthropic-version": "2023-06-01"}
            await messages(stack, f"bedrock/{CLAUDE}", headers=headers)
        (seen,) = stack.fake.seen
        assert seen.json["anthropic_beta"] == ["interleaved-thinking-2025-05-14"]
        assert "anthropic-beta" not in seen.headers

    async def test_a_field_goes_with_its_beta(self):
        edits = {"edits": [{"type": "clear_tool_uses_20250919"}]}
        async with bedrock() as stack:
            for betas in ("context-management-2025-06-27", "claude-code-20250219"):
                headers = {"anthropic-beta": betas}
                await messages(stack, f"bedrock/{CLAUDE}", headers=headers, context_management=edits)
        told = ["context_management" in seen.json for seen in stack.fake.seen]
        assert told == [True, False]

    @pytest.mark.parametrize("model", [CLAUDE, NOVA])
    async def test_what_keeps_prompts_from_being_cached_is_left_out(self, model):
        mark = {"cache_control": {"type": "ephemeral", "scope": "global"}}
        system = [
            {"type": "text", "text": "x-anthropic-billing-header: cch=1;"},
            {"type": "text", "text": "Be kind", **mark},
        ]
        tools = [{"name": "look", "input_schema": {"type": "object"}, **mark}]
        async with bedrock() as stack:
            response = await messages(stack, f"bedrock/{model}", system=system, tools=tools)
        assert response.status_code == 200
        told = json.dumps(stack.fake.seen[0].json)
        assert "billing" not in told
        assert "scope" not in told
        assert ("cache_control" in told) == (model == CLAUDE)

    @pytest.mark.parametrize("stream", [True, False])
    async def test_other_models_are_reached_by_converse(self, stream):
        async with bedrock() as stack:
            response = await messages(stack, f"bedrock/{NOVA}", stream=stream)
        assert response.status_code == 200
        assert stack.fake.seen[0].path.endswith("/converse-stream" if stream else "/converse")
        assert "Hell" in response.text

    async def test_claudes_marks_for_the_cache_reach_converse(self):
        marked = {"type": "text", "text": "Long", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
        async with bedrock() as stack:
            await messages(stack, f"bedrock/{NOVA}", system=[marked])
        system = stack.fake.seen[0].json["system"]
        assert system == [{"text": "Long"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]

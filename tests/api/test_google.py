"""Gemini's API for its clients, through the running router: paths, keys, errors, streams, sides."""

from __future__ import annotations

import json
import logging

import pytest
import trio

from tests.booked import Booked
from tests.chunks import SSE, STOP, delta
from tests.connections import framed, leave, raw_client, until
from tests.stack import memory_stack, real_stack
from trio_router.demo import Answer, Hang, Send, Sleep, cut, sse
from trio_router.demo.answers import error_answer, json_answer
from trio_router.observe.record import Outcome

PROVIDERS = """
providers:
  any: {base_url: "http://upstream/v1", tokenize: false}
  named:
    dialect: gemini
    base_url: http://upstream/v1beta
    api_key: g-secret
    models:
      flash:
        upstream_model: gemini-2.5-flash
        defaults: {temperature: 0.5, seed: 7}
        options: {max_tokens: 100}
  google: {dialect: gemini, base_url: "http://upstream/v1beta", api_key: g-secret}
  claude: {dialect: anthropic, base_url: "http://upstream/v1", api_key: sk-ant}
  openai: {base_url: "http://api.openai.com/v1"}
routes:
  gemini-2.5-flash: {targets: [{model: any/echo}]}
"""
KEYED = "auth: {keys: [sk-good]}"
ASK = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
RECORD = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]}, "index": 0}]}
LAST = {
    "candidates": [{"finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
}
WHOLE = {**LAST, "candidates": [{**RECORD["candidates"][0], "finishReason": "STOP"}]}
BLOCKED = {"promptFeedback": {"blockReason": "SAFETY"}}


def events(*values) -> Answer:
    return Answer(headers=SSE, steps=sse(*values, done=False))


def google(settings: str = ""):
    return memory_stack(settings, PROVIDERS)


async def ask(stack, path: str, body=ASK, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return await stack.client.post(path, json=body, headers=headers)


def data_of(content: bytes) -> list:
    frames = map(bytes.strip, content.split(b"\n\n"))
    return [json.loads(one.removeprefix(b"data: ")) for one in frames if one]


class TestPaths:
    @pytest.mark.parametrize("version", ["v1beta", "v1", "v1alpha"])
    @pytest.mark.parametrize(
        "name",
        ["any/echo", "any%2Fecho", "models/any/echo", "models%2Fany%2Fecho", "gemini-2.5-flash"],
    )
    async def test_a_models_name_may_hold_slashes_encoded_or_not(self, version, name, autojump_clock):
        async with google() as stack:
            response = await ask(stack, f"/{version}/models/{name}:generateContent")
            assert response.status_code == 200
            assert response.json()["candidates"][0]["content"]["parts"] == [{"text": "Hello"}]
            assert stack.upstream.requests[0].json["model"] == "echo"
            assert response.headers["x-trio-router-target"] == "any/echo"

    async def test_a_models_name_may_hold_colons(self, autojump_clock):
        async with google() as stack:
            stack.upstream.script = lambda _: events(delta("Hi"), STOP)
            await ask(stack, "/v1beta/models/any/llama3.2:1b:streamGenerateContent?alt=sse")
            assert stack.upstream.requests[0].json["model"] == "llama3.2:1b"

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("POST", "/v1beta/models/any/echo:explain", 405),
            ("POST", "/v1beta/models/any/echo", 405),
            ("GET", "/v1beta/models/any/echo:generateContent", 405),
            ("POST", "/v1beta/models", 405),
            ("GET", "/v1beta/files", 404),
            ("POST", "/v1beta/models/nowhere/x:generateContent", 404),
            ("GET", "/v1beta/models/nowhere", 404),
            ("POST", "/v1/models/nowhere/x:generateContent", 404),
        ],
    )
    async def test_what_is_not_there_is_told_in_googles_shape(
        self, method, path, status, autojump_clock
    ):
        async with google() as stack:
            response = await stack.client.request(method, path, json=ASK if method == "POST" else None)
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (status, status)
            assert error["status"] == {404: "NOT_FOUND", 405: "UNIMPLEMENTED"}[status]

    @pytest.mark.parametrize("body", [b"{", b"[]", b'{"contents": 1}', b"{}"])
    async def test_bad_bodies_are_400_in_googles_shape(self, body, autojump_clock):
        async with google() as stack:
            response = await stack.client.post(
                "/v1beta/models/google/m:generateContent",
                content=body,
                headers={"content-type": "application/json"},
            )
            error = response.json()["error"]
            assert (response.status_code, error["status"]) == (400, "INVALID_ARGUMENT")
            assert not stack.upstream.requests


class TestKeys:
    PATH = "/v1beta/models/google/m:generateContent"

    @pytest.mark.parametrize(
        ("query", "headers"),
        [
            ("", {"x_goog_api_key": "sk-good"}),
            ("?key=sk-good", {}),
            ("?alt=json&key=sk-good", {}),
            ("", {"authorization": "Bearer sk-good"}),
        ],
    )
    async def test_a_key_is_in_a_header_or_in_the_url(self, query, headers, autojump_clock):
        async with google(KEYED) as stack:
            stack.upstream.script = lambda _: json_answer(WHOLE)
            assert (await ask(stack, self.PATH + query, **headers)).status_code == 200
            (seen,) = stack.upstream.requests
            assert seen.headers["x-goog-api-key"] == "g-secret"
            assert "sk-good" not in f"{seen.path}{seen.query}{seen.headers}{seen.body}"

    @pytest.mark.parametrize(
        ("query", "headers"), [("", {}), ("?key=no", {}), ("", {"x_goog_api_key": "no"})]
    )
    async def test_a_wrong_key_is_401_in_googles_shape(self, query, headers, autojump_clock):
        async with google(KEYED) as stack:
            for path in (self.PATH, "/v1beta/models/any/echo:countTokens"):
                response = await ask(stack, path + query, **headers)
                error = response.json()["error"]
                assert (response.status_code, error["status"]) == (401, "UNAUTHENTICATED")
            assert not stack.upstream.requests

    async def test_a_key_in_the_url_of_another_api_is_none(self, autojump_clock):
        async with google(KEYED) as stack:
            response = await ask(stack, "/v1/chat/completions?key=sk-good", {"model": "any/echo"})
            assert response.status_code == 401

    async def test_a_key_in_the_url_reaches_no_log(self, autojump_clock, caplog):
        caplog.set_level(logging.DEBUG)
        async with google(KEYED) as stack:
            stack.upstream.script = lambda _: error_answer(500, "no", "no")
            await ask(stack, self.PATH + "?key=sk-good")
            await ask(stack, "/v1beta/nothing?key=sk-good")
            await ask(stack, self.PATH + "?key=sk-wrong")
        ours = [record for record in caplog.records if record.name.startswith("trio_router")]
        assert len(ours) >= 3
        for record in ours:
            assert "sk-good" not in str(vars(record))
            assert "sk-wrong" not in str(vars(record))


class TestNative:
    async def test_the_configuration_meets_the_clients_settings(self, autojump_clock):
        async with google() as stack:
            stack.upstream.script = lambda _: json_answer(WHOLE)
            config = {"temperature": 0.9, "max_output_tokens": 5, "topK": 3}
            response = await ask(
                stack,
                "/v1beta/models/named/flash:generateContent",
                {**ASK, "generation_config": config, "new_field": [1]},
            )
            (seen,) = stack.upstream.requests
        assert response.json() == WHOLE
        assert seen.path == "/v1beta/models/gemini-2.5-flash:generateContent"
        config = {"temperature": 0.9, "maxOutputTokens": 100, "topK": 3, "seed": 7}
        assert seen.json == {**ASK, "generation_config": config, "new_field": [1]}

    @pytest.mark.parametrize(
        ("query", "framing"), [("?alt=sse", "alt=sse"), ("", ""), ("?alt=json", ""), ("?key=x", "")]
    )
    async def test_the_upstream_is_asked_for_the_same_framing(self, query, framing, autojump_clock):
        async with google() as stack:
            stack.upstream.script = lambda _: events(RECORD, LAST)
            response = await ask(stack, f"/v1beta/models/google/m:streamGenerateContent{query}")
            (seen,) = stack.upstream.requests
        assert (seen.path, seen.query) == ("/v1beta/models/m:streamGenerateContent", framing)
        told = data_of(response.content) if framing else response.json()
        assert told == [RECORD, LAST]

    async def test_usage_is_booked(self, autojump_clock):
        async with google() as stack:
            booked = Booked(stack.router)
            stack.upstream.script = lambda _: events(RECORD, LAST)
            await ask(stack, "/v1beta/models/google/m:streamGenerateContent?alt=sse")
            record = await booked.next()
            assert (record.outcome, record.prompt_tokens, record.completion_tokens) == (
                Outcome.COMPLETED,
                3,
                2,
            )
            stack.upstream.script = lambda _: json_answer(WHOLE)
            await ask(stack, "/v1beta/models/google/m:generateContent")
            record = await booked.next()
            assert (record.prompt_tokens, record.completion_tokens) == (3, 2)

    @pytest.mark.parametrize("verb", ["generateContent", "streamGenerateContent?alt=sse"])
    async def test_a_prompt_that_was_refused_is_an_answer(self, verb, autojump_clock):
        async with google() as stack:
            stack.upstream.script = lambda _: events(BLOCKED) if "alt" in verb else json_answer(BLOCKED)
            response = await ask(stack, f"/v1beta/models/google/m:{verb}")
        assert response.status_code == 200
        assert (data_of(response.content) if "alt" in verb else [response.json()]) == [BLOCKED]

    @pytest.mark.parametrize("query", ["?alt=sse", ""])
    @pytest.mark.parametrize("model", ["google/m", "any/m"])
    @pytest.mark.parametrize("fault", ["cut", "error", "broken"])
    async def test_a_fault_after_the_beginning_ends_in_an_error_and_no_reason(
        self, query, model, fault, autojump_clock
    ):
        ends = {
            "cut": b"",
            "error": b'data: {"error": {"code": 503, "message": "gone", "status": "UNAVAILABLE"}}\n\n',
            "broken": b"data: {nonsense}\n\n",
        }
        first = RECORD if model == "google/m" else delta("Hi")
        data = b"data: " + json.dumps(first).encode() + b"\n\n" + ends[fault]
        async with google() as stack:
            stack.upstream.script = lambda _: Answer(headers=SSE, steps=cut(data, len(data)))
            response = await ask(stack, f"/v1beta/models/{model}:streamGenerateContent{query}")
        assert response.status_code == 200
        told = data_of(response.content) if query else response.json()
        assert told[0]["candidates"][0]["content"]["parts"] == [{"text": "Hi"}]
        error = told[-1]["error"]
        assert len(told) == 2
        assert (error["code"], error["status"]) == (502, "UNAVAILABLE")
        assert ("gone" in error["message"]) == (fault == "error")
        assert b"finishReason" not in response.content

    @pytest.mark.parametrize("model", ["google/m", "any/m"])
    async def test_a_fault_before_the_beginning_has_its_status(self, model, autojump_clock):
        opening = {"candidates": [], "usageMetadata": {"promptTokenCount": 3}}
        async with google() as stack:
            stack.upstream.script = lambda _: events(opening if model == "google/m" else delta(""))
            response = await ask(stack, f"/v1beta/models/{model}:streamGenerateContent?alt=sse")
        assert response.status_code == 502
        assert response.json()["error"]["status"] == "UNAVAILABLE"

    async def test_an_upstreams_error_keeps_its_status_and_its_delay(self, autojump_clock):
        delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"}
        told = {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED", "details": [delay]}
        async with google() as stack:
            stack.upstream.script = lambda _: json_answer({"error": told}, 429)
            response = await ask(stack, "/v1beta/models/google/m:generateContent")
        error = response.json()["error"]
        assert (response.status_code, error["message"]) == (429, "slow down")
        assert error["status"] == "RESOURCE_EXHAUSTED"
        assert delay in error["details"]
        assert response.headers["retry-after"] == "37"

    async def test_an_upstream_that_answers_as_openai_does_is_translated(self, autojump_clock):
        async with google() as stack:
            stack.upstream.script = lambda _: events(delta("Hi"), STOP)
            response = await ask(stack, "/v1beta/models/google/m:streamGenerateContent")
        told = response.json()
        assert told[0]["candidates"][0]["content"]["parts"] == [{"text": "Hi"}]
        assert told[-1]["candidates"][0]["finishReason"] == "STOP"


class TestHints:
    """Gemini CLI sends `topP` and `topK` with every request."""

    ASKED = {**ASK, "generationConfig": {"temperature": 1, "topP": 0.95, "topK": 64}}

    async def test_they_reach_who_may_take_them(self, autojump_clock):
        async with google() as stack:
            await ask(stack, "/v1beta/models/any/echo:generateContent", self.ASKED)
            assert stack.upstream.requests[0].json["top_k"] == 64

    async def test_they_are_left_out_where_the_dialect_refuses_them(self, autojump_clock):
        thinking = {"thinkingConfig": {"thinkingBudget": 8192}}
        asked = {**ASK, "generationConfig": {**self.ASKED["generationConfig"], **thinking}}
        async with google() as stack:
            stack.upstream.script = lambda _: error_answer(500, "no", "no")
            await ask(stack, "/v1beta/models/claude/claude-sonnet-4-0:generateContent", asked)
            (seen,) = stack.upstream.requests
        assert "top_k" not in seen.json
        assert seen.json["thinking"]["type"] == "enabled"

    async def test_they_are_left_out_where_the_provider_is_known_to_refuse_them(self, autojump_clock):
        async with google() as stack:
            seen = []
            stack.upstream.script = seen.append  # and it answers as it would without
            to_upstream = stack._to_upstream
            stack._to_upstream = lambda host, port: to_upstream("upstream", port)
            response = await ask(stack, "/v1beta/models/openai/echo:generateContent", self.ASKED)
        assert response.headers["x-trio-router-dropped"] == "top_k"
        assert "top_k" not in seen[0].json
        assert seen[0].json["top_p"] == 0.95

    async def test_another_field_is_still_refused(self, autojump_clock):
        asked = {**ASK, "generationConfig": {"topK": 64, "seed": 1}}
        async with google() as stack:
            response = await ask(stack, "/v1beta/models/claude/c:generateContent", asked)
        assert response.status_code == 400
        assert "seed" in response.json()["error"]["message"]


class TestLists:
    @pytest.mark.parametrize(
        ("path", "headers"),
        [
            ("/v1beta/models", {}),
            ("/v1beta/models?pageSize=5", {}),
            ("/v1/models", {"x-goog-api-key": "x"}),
            ("/v1/models?key=x", {}),
        ],
    )
    async def test_models_are_told_in_googles_shape(self, path, headers, autojump_clock):
        async with google() as stack:
            told = (await stack.client.get(path, headers=headers)).json()
        names = [model["name"] for model in told["models"]]
        assert {"models/gemini-2.5-flash", "models/named/flash"} <= set(names)
        assert "generateContent" in told["models"][0]["supportedGenerationMethods"]

    async def test_everybody_else_is_told_as_before(self, autojump_clock):
        async with google() as stack:
            assert (await stack.client.get("/v1/models")).json()["object"] == "list"
            headers = {"anthropic-version": "2023-06-01"}
            assert "first_id" in (await stack.client.get("/v1/models", headers=headers)).json()

    @pytest.mark.parametrize("name", ["named/flash", "named%2Fflash", "gemini-2.5-flash"])
    @pytest.mark.parametrize("version", ["v1beta", "v1"])
    async def test_one_model_is_told(self, version, name, autojump_clock):
        async with google() as stack:
            path = f"/{version}/models/{name}"
            one = (await stack.client.get(path, headers={"x-goog-api-key": "x"})).json()
        assert one["name"] == f"models/{name.replace('%2F', '/')}"

    @pytest.mark.parametrize("name", ["nowhere", "nowhere/llama:latest"])
    @pytest.mark.parametrize("headers", [{"x-goog-api-key": "x"}, {"anthropic-version": "1"}, {}])
    async def test_an_error_of_a_list_has_its_askers_shape(self, headers, name, autojump_clock):
        async with google() as stack:
            told = (await stack.client.get(f"/v1/models/{name}", headers=headers)).json()
        expected = {"x-goog-api-key": "status", "anthropic-version": "type"}
        assert expected.get(next(iter(headers), ""), "param") in told["error"]
        assert ("type" in told) == ("anthropic-version" in headers)


class TestCounts:
    async def test_a_gemini_upstream_counts_itself(self, autojump_clock):
        asked = {"generateContentRequest": {**ASK, "model": "models/named/flash"}}
        async with google() as stack:
            stack.upstream.script = lambda _: json_answer({"totalTokens": 31})
            response = await ask(stack, "/v1beta/models/named/flash:countTokens", asked)
            (seen,) = stack.upstream.requests
        assert response.json() == {"totalTokens": 31}
        assert "x-trio-router-estimated" not in response.headers
        assert seen.path == "/v1beta/models/gemini-2.5-flash:countTokens"
        assert seen.json["generateContentRequest"]["model"] == "models/gemini-2.5-flash"

    async def test_another_provider_that_counts_is_asked(self, autojump_clock):
        asked = {"generateContentRequest": {**ASK, "systemInstruction": {"parts": [{"text": "S"}]}}}
        async with google() as stack:
            stack.upstream.script = lambda _: json_answer({"input_tokens": 9})
            response = await ask(stack, "/v1beta/models/claude/c:countTokens", asked)
            (seen,) = stack.upstream.requests
        assert response.json() == {"totalTokens": 9}
        assert seen.path == "/v1/messages/count_tokens"
        assert (seen.json["model"], seen.json["system"]) == ("c", "S")

    @pytest.mark.parametrize("model", ["any/echo", "gemini-2.5-flash"])
    async def test_others_are_estimated_and_marked(self, model, autojump_clock):
        picture = {"inlineData": {"mimeType": "image/png", "data": "A" * 100_000}}
        asked = {"contents": [{"parts": [{"text": "x" * 400}, picture]}]}
        async with google() as stack:
            response = await ask(stack, f"/v1beta/models/{model}:countTokens", asked)
            assert not stack.upstream.requests
        assert response.json() == {"totalTokens": 100 + 258}
        assert response.headers["x-trio-router-estimated"] == "true"

    @pytest.mark.parametrize("body", [{}, {"contents": "x"}, {"generateContentRequest": 1}])
    async def test_what_has_no_contents_is_refused(self, body, autojump_clock):
        async with google() as stack:
            response = await ask(stack, "/v1beta/models/any/echo:countTokens", body)
        assert response.status_code == 400


ONE = {"content": {"parts": [{"text": "a"}, {"text": "b"}]}, "taskType": "RETRIEVAL_QUERY"}
MANY = {"requests": [{**ONE, "model": "models/x"}, {"content": {"parts": [{"text": "c"}]}}]}
OPENAI = {
    "object": "list",
    "data": [{"index": 1, "embedding": [0.5]}, {"index": 0, "embedding": [0.25]}],
    "usage": {"prompt_tokens": 4, "total_tokens": 4},
}


class TestEmbeddings:
    async def test_a_gemini_upstream_is_asked_as_the_client_asks(self, autojump_clock):
        told = {"embeddings": [{"values": [1]}, {"values": [2]}]}
        async with google() as stack:
            stack.upstream.script = lambda _: json_answer(told)
            response = await ask(stack, "/v1beta/models/google/emb:batchEmbedContents", MANY)
            (seen,) = stack.upstream.requests
        assert response.json() == told
        assert seen.path == "/v1beta/models/emb:batchEmbedContents"
        assert {one["model"] for one in seen.json["requests"]} == {"models/emb"}
        assert seen.json["requests"][0]["taskType"] == "RETRIEVAL_QUERY"

    async def test_others_are_asked_for_all_texts_at_once(self, autojump_clock):
        async with google() as stack:
            booked = Booked(stack.router)
            stack.upstream.script = lambda _: json_answer(OPENAI)
            response = await ask(stack, "/v1/models/any/emb:batchEmbedContents", MANY)
            (seen,) = stack.upstream.requests
            assert (await booked.next()).prompt_tokens == 4
        assert seen.json == {"input": ["a\nb", "c"], "model": "emb"}
        assert response.json() == {
            "embeddings": [{"values": [0.25]}, {"values": [0.5]}],
            "usageMetadata": {"promptTokenCount": 4},
        }

    async def test_one_text_gives_one_embedding(self, autojump_clock):
        one = {**OPENAI, "data": OPENAI["data"][:1]}
        async with google() as stack:
            stack.upstream.script = lambda _: json_answer(one)
            body = {**ONE, "outputDimensionality": 8}
            response = await ask(stack, "/v1beta/models/any/emb:embedContent", body)
            assert stack.upstream.requests[0].json["dimensions"] == 8
        assert response.json()["embedding"] == {"values": [0.5]}

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "requests"),
            ({"requests": []}, "requests"),
            ({"requests": [1]}, "requests[0].content"),
            (
                {"requests": [{"content": {"parts": [{"inlineData": {}}]}}]},
                "requests[0].content.parts[0].text",
            ),
            ({"requests": [{**ONE, "outputDimensionality": 0}]}, "requests[0].outputDimensionality"),
            (
                {"requests": [{**ONE, "outputDimensionality": 8}, ONE]},
                "requests[1].outputDimensionality",
            ),
        ],
    )
    async def test_what_cannot_be_embedded_is_named(self, body, field, autojump_clock):
        async with google() as stack:
            response = await ask(stack, "/v1beta/models/any/emb:batchEmbedContents", body)
        assert response.status_code == 400
        violations = [d for d in response.json()["error"]["details"] if "fieldViolations" in d]
        assert violations[0]["fieldViolations"][0]["field"] == field

    @pytest.mark.parametrize("told", [{"data": 1}, {"data": [{"embedding": "x"}]}, {"data": []}, []])
    async def test_what_are_no_embeddings_is_the_upstreams_fault(self, told, autojump_clock):
        async with google() as stack:
            stack.upstream.script = lambda _: json_answer(told)
            response = await ask(stack, "/v1beta/models/any/emb:embedContent", ONE)
        assert response.status_code == 502


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("model", ["google/m", "any/m"])
@pytest.mark.parametrize("query", ["?alt=sse", ""])
async def test_leaving_in_the_middle_releases_the_upstream(how, model, query):
    first = RECORD if model == "google/m" else delta("Hi")
    async with real_stack(providers=PROVIDERS) as stack:
        stack.upstream.script = lambda _: Answer(
            headers=SSE, steps=[Send(b"data: " + json.dumps(first).encode() + b"\n\n"), Hang()]
        )
        booked = Booked(stack.router)
        connection = await raw_client(stack)
        path = f"/v1beta/models/{model}:streamGenerateContent{query}"
        await connection.send_all(framed(path, ASK))
        await until(connection, b"Hi")
        leave(connection, how)
        with trio.fail_after(5):
            await stack.upstream.wait_closed_early()
        assert (await booked.next()).outcome is Outcome.CLIENT_GONE


@pytest.mark.parametrize("query", ["?alt=sse", ""])
async def test_silence_is_bridged_by_blank_lines_alone(query, autojump_clock):
    """Google's SDKs take any other line for JSON that is broken."""
    first, second, last = sse(delta("Hi"), delta("."), STOP, done=False)
    slow = Answer(headers=SSE, steps=[first, Sleep(5), second, last])
    async with google("timeouts: {keepalive: 1}") as stack:
        stack.upstream.script = lambda _: slow
        response = await ask(stack, f"/v1beta/models/any/m:streamGenerateContent{query}")
    told = data_of(response.content) if query else response.json()
    assert "".join(one["candidates"][0]["content"]["parts"][0]["text"] for one in told) == "Hi."
    lines = response.content.split(b"\n")
    assert lines.count(b"") >= 4
    assert all(line.startswith((b"data: {", b"[{", b"{", b",", b"]")) for line in lines if line.strip())

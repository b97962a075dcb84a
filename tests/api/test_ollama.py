"""Ollama's API at the router: its endpoints, its names of models, its errors."""

from __future__ import annotations

import json

import pytest
import trio

from tests.booked import Booked
from tests.chunks import NDJSON, SSE, delta
from tests.connections import framed, leave, raw_client
from tests.stack import memory_stack, real_stack
from trio_router.demo import Answer, Hang, Send, Sleep, json_answer, ndjson, sse
from trio_router.observe.record import Outcome

PROVIDERS = """
providers:
  deepseek:
    base_url: http://upstream/v1
    models: {chat: {upstream_model: echo}, embed: {}}
  claude: {dialect: anthropic, base_url: "http://upstream/v1", api_key: sk-ant, models: {sonnet: {}}}
  any: {base_url: "http://upstream/v1"}
  ollama: {dialect: ollama, base_url: "http://upstream"}
  named: {dialect: ollama, base_url: "http://upstream", models: {llama: {upstream_model: "llama:7b"}}}
routes:
  fast: {targets: [{model: deepseek/chat}]}
  local: {targets: [{model: ollama/llama3.2}]}
"""
USER = {"role": "user", "content": "hi"}
KEYS = "auth: {keys: [secret]}"
LAST = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "done": True, "done_reason": "stop"}


def asked(model: str, **fields) -> dict:
    return {"model": model, "messages": [USER], **fields}


def records(body: bytes) -> list[dict]:
    return [json.loads(line) for line in body.splitlines()]


def text_of(found: list[dict]) -> str:
    return "".join(record["message"]["content"] for record in found)


async def post(stack, path: str, body: dict, **headers: str):
    return await stack.client.post(f"/api/{path}", json=body, headers=headers)


async def test_a_chat_is_streamed_as_lines_without_being_asked_to(autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        response = await post(stack, "chat", asked("deepseek/chat"))
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.headers["x-trio-router-target"] == "deepseek/chat"
    found = records(response.content)
    assert text_of(found) == "hi"
    assert [record["done"] for record in found] == [False] * (len(found) - 1) + [True]
    assert found[-1]["done_reason"] == "stop"
    assert found[-1]["eval_count"] > 0
    assert isinstance(found[-1]["total_duration"], int)


async def test_a_whole_answer_is_one_record(autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        response = await post(stack, "chat", asked("fast", stream=False))
    assert response.headers["content-type"] == "application/json"
    assert response.json()["message"] == {"role": "assistant", "content": "hi"}
    assert response.json()["done"] is True


async def test_a_prompt_is_answered(autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        response = await post(stack, "generate", {"model": "fast", "prompt": "hi", "stream": False})
    assert response.json()["response"] == "hi"


@pytest.mark.parametrize("path", ["chat", "generate"])
async def test_an_ollama_is_asked_what_the_client_asks(path, autojump_clock):
    lines = [b'{"model": "m",  "message":{"content":"a"}, "response":"a","done":false}']
    lines.append(json.dumps({**LAST, "message": {"content": ""}, "response": ""}).encode())
    fields = {"options": {"num_ctx": 9, "mirostat": 2}, "keep_alive": "1m", "new": {"field": [1]}}
    fields |= {"prompt": "?", "raw": True, "suffix": "}", "messages": [USER]}
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda _: Answer(
            headers=NDJSON, steps=[Send(line + b"\n") for line in lines]
        )
        response = await post(stack, path, {"model": "ollama/llama3.2:3b", **fields})
        [request] = stack.upstream.requests
    assert request.path == f"/api/{path}"
    assert request.json == {"model": "llama3.2:3b", "stream": True, **fields}
    assert response.content == b"".join(line + b"\n" for line in lines)


CONFIGURED = """
providers:
  ollama:
    dialect: ollama
    base_url: http://upstream
    models:
      m:
        defaults: {temperature: 0.2, max_tokens: 5, top_p: 0.9, reasoning_effort: low, keep_alive: 1h}
        options: {seed: 7, options: {num_ctx: 4096}}
"""


@pytest.mark.parametrize("path", ["chat", "generate"])
async def test_an_ollamas_configured_defaults_are_among_the_clients_options(path, autojump_clock):
    given = {"temperature": 0.9, "num_ctx": 9, "seed": 1, "mirostat": 2, "top_k": None}
    async with memory_stack("", CONFIGURED) as stack:
        stack.upstream.script = lambda _: json_answer({**LAST, "message": {}, "response": "a"})
        await post(stack, path, asked("ollama/m", prompt="?", options=given, stop="x"))
        await post(stack, path, asked("ollama/m", prompt="?", think=True, keep_alive=0))
        first, second = [request.json for request in stack.upstream.requests]
    assert first["options"] == {
        "temperature": 0.9,
        "num_predict": 5,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["x"],
        "num_ctx": 4096,
        "mirostat": 2,
        "top_k": None,
    }
    assert (first["think"], first["keep_alive"]) == ("low", "1h")
    assert second["options"] == {
        "temperature": 0.2,
        "num_predict": 5,
        "top_p": 0.9,
        "seed": 7,
        "num_ctx": 4096,
    }
    assert (second["think"], second["keep_alive"]) == (True, 0)
    for body in (first, second):
        assert not body.keys() & {"temperature", "max_tokens", "seed", "reasoning_effort", "stop"}


@pytest.mark.parametrize(
    ("name", "upstream"),
    [
        ("deepseek/chat:latest", "echo"),
        ("fast:latest", "echo"),
        ("any/gpt:latest", "gpt"),
        ("any/gpt:free", "gpt:free"),
        ("ollama/llama3.2", "llama3.2"),
        ("ollama/llama3.2:latest", "llama3.2:latest"),
        ("local:latest", "llama3.2"),
        ("named/llama:latest", "llama:7b"),
    ],
)
async def test_latest_is_forgiven_where_models_have_no_tags(name, upstream, autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        await post(stack, "chat", asked(name, stream=False))
        assert stack.upstream.requests[0].json["model"] == upstream


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("chat", asked("nobody/m"), 404, "does not exist"),
        ("chat", asked("fasd:latest"), 404, "fast"),
        ("chat", asked("fast", options=1), 400, "options must be an object"),
        ("generate", {"model": "fast", "prompt": "x", "suffix": "y"}, 400, "suffix"),
        ("chat", [], 400, "must be a JSON object"),
        ("embed", {"model": "fast", "input": 1}, 400, "input must be"),
        ("embed", {"model": "claude/sonnet", "input": "x"}, 400, "no embeddings"),
        ("embeddings", {"model": "fast", "prompt": []}, 400, "prompt must be"),
        ("show", {}, 400, "model must be"),
        ("show", {"model": "nobody/m"}, 404, "does not exist"),
        ("pull", {"model": "llama3.2"}, 501, "pull is not available"),
        ("push", {"model": "llama3.2"}, 501, "push is not available"),
        ("create", {"model": "x", "from": "y"}, 501, "create is not available"),
        ("copy", {"source": "x", "destination": "y"}, 501, "copy is not available"),
        ("web_search", {"query": "x"}, 404, "nothing here"),
        ("tags", {}, 405, "not allowed"),
    ],
)
async def test_errors_are_in_the_apis_shape(path, body, status, words, autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        response = await stack.client.post(f"/api/{path}", json=body)
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert words in response.json()["error"]


async def test_a_model_cannot_be_deleted(autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        response = await stack.client.request("DELETE", "/api/delete", json={"model": "m"})
    assert (response.status_code, list(response.json())) == (501, ["error"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("POST", path) for path in ("chat", "generate", "embed", "embeddings", "show", "pull")),
        *(("GET", path) for path in ("tags", "ps")),
    ],
)
async def test_a_key_is_asked_for(method, path, autojump_clock):
    async with memory_stack(KEYS, PROVIDERS) as stack:
        response = await stack.client.request(method, f"/api/{path}", json=asked("fast"))
        assert response.status_code == 401
        assert list(response.json()) == ["error"]
        good = await stack.client.request(
            method, f"/api/{path}", json=asked("fast"), headers={"authorization": "Bearer secret"}
        )
        assert good.status_code != 401


async def test_an_upstreams_error_before_the_stream_is_one_with_its_status(autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer({"error": {"message": "too fast"}}, 429)
        response = await post(stack, "chat", asked("any/m"))
    assert (response.status_code, response.json()) == (429, {"error": "too fast"})


@pytest.mark.parametrize("model", ["any/m", "ollama/m"])
async def test_an_error_in_the_stream_is_its_last_line(model, autojump_clock):
    said = {"message": {"content": "a"}, "done": False}
    told = {
        "any/m": Answer(headers=SSE, steps=sse(delta("a"), {"error": {"message": "gone"}}, done=False)),
        "ollama/m": Answer(headers=NDJSON, steps=ndjson(said, {"error": "gone"})),
    }
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda _: told[model]
        response = await post(stack, "chat", asked(model))
    assert response.status_code == 200
    first, last = records(response.content)
    assert first["message"]["content"] == "a"
    assert last == {"error": "gone"}


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "application/json", "text/plain"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_record_that_is_not_the_last_is_no_answer(content_type, stream, autojump_clock):
    said = {"message": {"content": "a"}, "done": False}
    headers = [("content-type", content_type)]
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda _: Answer(headers=headers, steps=ndjson(said))
        response = await post(stack, "chat", asked("ollama/m", stream=stream))
    if response.status_code == 200:  # its text went out before the body ended
        assert stream
        assert records(response.content)[0] == said
    else:
        assert response.status_code == 502
    assert list(records(response.content)[-1]) == ["error"]


@pytest.mark.parametrize("model", ["any/m", "ollama/m"])
async def test_silence_is_bridged_by_what_no_reader_of_lines_sees(model, autojump_clock):
    said, last = (
        {"message": {"content": "a"}, "done": False},
        {"message": {"content": ""}, "done": True},
    )

    def script(_):
        if model == "any/m":
            first, end = sse(delta("a"), done=False), sse(delta("", "stop"))
            return Answer(headers=SSE, steps=[*first, Sleep(17), *end])
        return Answer(headers=NDJSON, steps=[*ndjson(said), Sleep(17), *ndjson(last)])

    async with memory_stack("timeouts: {keepalive: 5, read: 60}", PROVIDERS) as stack:
        stack.upstream.script = script
        response = await post(stack, "chat", asked(model))
    lines = response.content.splitlines()
    assert all(line.strip() for line in lines)
    assert b" " in response.content[: response.content.rindex(b'{"')]
    assert [json.loads(line)["done"] for line in lines] == [False] * (len(lines) - 1) + [True]


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("model", ["any/m", "ollama/m"])
async def test_leaving_in_the_middle_releases_the_upstream(model, how):
    said = ndjson({"message": {"content": "a"}, "done": False})
    steps = {"any/m": sse(delta("a"), done=False), "ollama/m": said}[model]
    headers = {"any/m": SSE, "ollama/m": NDJSON}[model]
    async with real_stack("", PROVIDERS) as stack:
        booked = Booked(stack.router)
        stack.upstream.script = lambda _: Answer(headers=headers, steps=[*steps, Hang()])
        connection = await raw_client(stack)
        await connection.send_all(framed("/api/chat", asked(model)))
        while b'"a"' not in await connection.receive_some(65536):
            pass
        leave(connection, how)
        with trio.fail_after(5):
            await stack.upstream.wait_closed_early()
        assert (await booked.next()).outcome == Outcome.CLIENT_GONE


@pytest.mark.parametrize(("path", "said"), [("chat", "message"), ("generate", "response")])
@pytest.mark.parametrize(("keep_alive", "reason"), [("5m", "load"), (0, "unload")])
async def test_loading_a_model_that_no_ollama_has_asks_nobody(
    path, said, keep_alive, reason, autojump_clock
):
    async with memory_stack("", PROVIDERS) as stack:
        response = await post(stack, path, {"model": "fast", "keep_alive": keep_alive})
        assert stack.upstream.requests == []
    told = response.json()
    assert (told["model"], told["done"], told["done_reason"]) == ("fast", True, reason)
    assert said in told


async def test_an_ollama_is_asked_to_load_a_model(autojump_clock):
    loaded = {**LAST, "response": "", "done_reason": "load"}
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer(loaded)
        response = await post(stack, "generate", {"model": "ollama/llama3.2", "keep_alive": "1h"})
        assert stack.upstream.requests[0].json["keep_alive"] == "1h"
    assert records(response.content) == [loaded]


# -- embeddings


OPENAI_VECTORS = {
    "data": [{"index": 0, "embedding": [1.0, 2.0]}, {"index": 1, "embedding": [3.0, 4.0]}],
    "model": "e",
    "usage": {"prompt_tokens": 5, "total_tokens": 5},
}


async def test_embeddings_of_others_are_told_in_the_apis_shape(autojump_clock):
    body = {"model": "deepseek/embed", "input": ["a", "b"], "truncate": True, "keep_alive": "5m"}
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer(OPENAI_VECTORS)
        response = await post(stack, "embed", body | {"options": {"num_ctx": 1}, "dimensions": 2})
        [request] = stack.upstream.requests
    assert request.json == {"model": "embed", "input": ["a", "b"], "dimensions": 2}
    assert response.json() == {
        "model": "e",
        "embeddings": [[1.0, 2.0], [3.0, 4.0]],
        "prompt_eval_count": 5,
    }


async def test_the_older_endpoint_gives_one_vector(autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer(
            {**OPENAI_VECTORS, "data": OPENAI_VECTORS["data"][:1]}
        )
        response = await post(stack, "embeddings", {"model": "deepseek/embed", "prompt": "a"})
    assert response.json() == {"embedding": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("embed", {"input": ["a"], "truncate": False}, {"model": "e", "embeddings": [[1]], "x": 1}),
        ("embeddings", {"prompt": "a", "options": {"seed": 1}}, {"embedding": [1], "x": 1}),
    ],
)
async def test_an_ollamas_embeddings_pass_as_they_are(path, body, told, autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer(told)
        response = await post(stack, path, {"model": "ollama/e", **body})
        [request] = stack.upstream.requests
    assert (request.path, request.json) == (f"/api/{path}", {"model": "e", **body})
    assert response.json() == told


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("embed", {"input": []}, {"model": "fast", "embeddings": []}),
        ("embed", {"input": ""}, {"model": "fast", "embeddings": []}),
        ("embeddings", {"prompt": ""}, {"embedding": []}),
    ],
)
async def test_nothing_to_embed_is_no_vector(path, body, told, autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        response = await post(stack, path, {"model": "fast", **body})
        assert stack.upstream.requests == []
    assert response.json() == told


# -- models


async def test_tags_list_models_and_routes(autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer({"models": [{"name": "llama3.2:3b"}]})
        models = (await stack.client.get("/api/tags")).json()["models"]
    names = [model["name"] for model in models]
    assert {"fast", "local", "deepseek/chat", "claude/sonnet", "named/llama"} <= set(names)
    assert "ollama/llama3.2:3b" in names
    assert names == [model["model"] for model in models]
    assert len({model["digest"] for model in models}) == len(models)
    assert all(len(model["digest"]) == 64 for model in models)
    assert {"family", "families", "format", "parameter_size"} <= models[0]["details"].keys()


@pytest.mark.parametrize("name", ["deepseek/chat", "deepseek/chat:latest", "fast"])
@pytest.mark.parametrize("field", ["model", "name"])
async def test_show_tells_what_a_model_can_be_asked_for(name, field, autojump_clock):
    async with memory_stack("", PROVIDERS) as stack:
        told = (await post(stack, "show", {field: name})).json()
        assert stack.upstream.requests == []
    assert {"completion", "tools"} <= set(told["capabilities"])
    assert told["model_info"]["general.architecture"]
    assert {"template", "modelfile", "parameters", "details"} <= told.keys()


async def test_show_tells_what_a_provider_lists_of_its_model(autojump_clock):
    listed = {"id": "m", "context_length": 8192, "capabilities": {"vision": True}}
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer({"data": [listed]})
        await stack.client.get("/api/tags")
        told = (await post(stack, "show", {"model": "any/m"})).json()
    assert told["capabilities"] == ["completion", "vision"]
    architecture = told["model_info"]["general.architecture"]
    assert told["model_info"][f"{architecture}.context_length"] == 8192


async def test_an_ollama_is_asked_what_it_knows_of_a_model(autojump_clock):
    known = {"capabilities": ["completion"], "model_info": {"llama.context_length": 8192}}
    async with memory_stack("", PROVIDERS) as stack:
        stack.upstream.script = lambda _: json_answer(known)
        response = await post(stack, "show", {"name": "ollama/llama3.2:3b", "verbose": True})
        [request] = stack.upstream.requests
    assert (request.path, request.json) == ("/api/show", {"model": "llama3.2:3b", "verbose": True})
    assert response.json() == known


async def test_nothing_is_running_here_and_the_version_is_one_that_clients_take(autojump_clock):
    async with memory_stack(KEYS, PROVIDERS) as stack:
        running = await stack.client.get("/api/ps", headers={"authorization": "Bearer secret"})
        version = await stack.client.get("/api/version")
        head = await stack.client.head("/api/version")
    assert running.json() == {"models": []}
    assert tuple(map(int, version.json()["version"].split("."))) >= (0, 6, 4)  # what VS Code asks for
    assert head.status_code == 200

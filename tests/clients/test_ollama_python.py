"""The `ollama` package, sync and async, as it comes, through the router's command."""

from __future__ import annotations

import asyncio
import base64

import pytest

from tests.clients.command import running_router
from tests.clients.ollama_answers import DIALECTS, SAID, THOUGHT, VECTOR, script
from tests.clients.weather import CALLS, QUESTION, TEXT, TOOL

ollama = pytest.importorskip("ollama")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.client("pypi:ollama", name="ollama (Python)", api="Ollama"),
]
EACH = pytest.mark.parametrize("dialect", DIALECTS)
WITH_VECTORS = pytest.mark.parametrize("dialect", ["ollama", "openai"])
LISTED = """
routes:
  fast: {targets: [{model: openai/listed}]}
"""
ASK = [{"role": "user", "content": QUESTION}]
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)


def calls_of(message) -> list[tuple[str, dict]]:
    return [(call.function.name, dict(call.function.arguments)) for call in message.tool_calls or ()]


@pytest.fixture(scope="module")
def router(tmp_path_factory):
    with running_router(tmp_path_factory.mktemp("router"), script, LISTED) as running:
        yield running


@pytest.fixture
def client(router):
    with ollama.Client(host=router.url) as client:
        yield client


@EACH
@pytest.mark.client(shows="streaming")
def test_text_and_thinking_are_streamed(dialect, client):
    parts = list(client.chat(f"{dialect}/thinking", ASK, stream=True, think=True))
    assert "".join(part.message.content or "" for part in parts) == SAID
    assert "".join(part.message.thinking or "" for part in parts) == THOUGHT
    assert [bool(part.done) for part in parts] == [False] * (len(parts) - 1) + [True]
    assert (parts[-1].done_reason, parts[-1].eval_count) == ("stop", 7)


@EACH
@pytest.mark.client(shows="text")
def test_a_whole_answer(dialect, client, router):
    answer = client.chat(f"{dialect}/m", ASK, options={"temperature": 0.5, "num_ctx": 4096})
    assert (answer.message.content, answer.done, answer.eval_count) == (SAID, True, 7)
    body = router.asked[-1].json
    assert body.get("options", body)["temperature"] == 0.5


@EACH
@pytest.mark.client(shows="tools")
def test_a_tool_is_called_and_its_results_are_answered(dialect, client, router):
    parts = list(client.chat(f"{dialect}/weather", ASK, tools=[TOOL], stream=True))
    text = "".join(part.message.content or "" for part in parts)
    calls = [call for part in parts for call in part.message.tool_calls or ()]
    asked = ollama.Message(role="assistant", content=text, tool_calls=calls)
    assert (text, calls_of(asked)) == (TEXT, CALLS)
    results = [
        {"role": "tool", "tool_name": call.function.name, "content": f"result {i}"}
        for i, call in enumerate(calls)
    ]
    last = client.chat(f"{dialect}/weather", [*ASK, asked, *results], tools=[TOOL])
    assert last.message.content == SAID
    body = router.asked[-1].json
    assert body["tools"]
    told = str(body["messages"])
    assert told.index("result 0") < told.index("result 1")


@EACH
@pytest.mark.client(shows="text")
def test_a_prompt_is_continued(dialect, client, router):
    whole = client.generate(f"{dialect}/m", QUESTION, system="Be short.")
    assert whole.response == SAID
    assert "Be short." in str(router.asked[-1].json)
    parts = list(client.generate(f"{dialect}/m", QUESTION, stream=True))
    assert "".join(part.response for part in parts) == SAID
    assert parts[-1].done_reason == "stop"


@EACH
@pytest.mark.client(shows="images")
def test_an_image_reaches_the_upstream(dialect, client, router):
    message = {"role": "user", "content": "?", "images": [PIXEL]}
    assert client.chat(f"{dialect}/m", [message]).message.content == SAID
    assert base64.b64encode(PIXEL).decode() in str(router.asked[-1].json)


@EACH
@pytest.mark.client(shows="structured output")
def test_a_schema_reaches_the_upstream(dialect, client, router):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    client.chat(f"{dialect}/m", ASK, format=schema)
    assert "'city': {'type': 'string'}" in str(router.asked[-1].json)


@WITH_VECTORS
@pytest.mark.client(shows="embeddings")
def test_texts_are_embedded(dialect, client):
    many = client.embed(f"{dialect}/m", ["a", "b"], truncate=True, keep_alive="5m")
    assert list(map(list, many.embeddings)) == [VECTOR, VECTOR]
    assert many.prompt_eval_count == 3
    assert list(map(list, client.embed(f"{dialect}/m", "a").embeddings)) == [VECTOR]


@pytest.mark.client(shows="embeddings")
def test_the_older_call_embeds_one_text(client):
    assert list(client.embeddings("openai/m", "a").embedding) == VECTOR


@pytest.mark.client(shows="models")
def test_models_are_listed_and_shown(client):
    assert {"fast", "openai/listed"} <= {model.model for model in client.list().models}
    assert {"completion", "tools"} <= set(client.show("fast:latest").capabilities)
    assert {"completion", "tools"} <= set(client.show("ollama/m").capabilities)
    assert list(client.ps().models) == []


@EACH
@pytest.mark.client(shows="errors")
@pytest.mark.parametrize("stream", [True, False])
def test_an_error_before_the_answer_has_its_status(dialect, stream, client):
    with pytest.raises(ollama.ResponseError) as fault:
        list(client.chat(f"{dialect}/full", ASK, stream=stream))
    assert (fault.value.status_code, fault.value.error) == (429, "the model is busy")


@EACH
@pytest.mark.client(shows="errors in the stream")
def test_an_error_in_the_stream_is_raised(dialect, client):
    text = ""
    with pytest.raises(ollama.ResponseError, match="out of memory"):
        for part in client.chat(f"{dialect}/broken", ASK, stream=True):
            assert not part.done
            text += part.message.content
    assert text == SAID


@pytest.mark.client(shows="errors")
def test_what_the_router_cannot_do_is_said(client):
    with pytest.raises(ollama.ResponseError, match="does not exist") as fault:
        client.chat("nobody/m", ASK)
    assert fault.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="pull is not available") as fault:
        client.pull("llama3.2")
    assert fault.value.status_code == 501


@EACH
@pytest.mark.client(shows="leaving")
def test_leaving_in_the_middle_releases_the_upstream(dialect, client, router):
    stream = client.chat(f"{dialect}/endless", ASK, stream=True)
    assert next(stream).message.content == SAID
    stream.close()
    router.wait_released()


@EACH
@pytest.mark.client(shows="streaming")
def test_the_async_client_streams_on_asyncio(dialect, router):
    async def work():
        async with ollama.AsyncClient(host=router.url) as client:
            stream = await client.chat(f"{dialect}/weather", ASK, tools=[TOOL], stream=True)
            return [part async for part in stream]

    parts = asyncio.run(work())
    assert "".join(part.message.content or "" for part in parts) == TEXT
    assert [call for part in parts for call in calls_of(part.message)] == CALLS


@EACH
@pytest.mark.client(shows="long conversations")
def test_a_conversation_of_fifty_turns(dialect, client, router):
    said = []
    for turn in range(50):
        said.append({"role": "user", "content": f"{turn}?"})
        said.append(client.chat(f"{dialect}/m", said).message)
    assert [message.content for message in said[1::2]] == [SAID] * 50
    assert len(router.asked[-1].json["messages"]) == 99


@pytest.mark.client(shows="keys")
def test_a_key_is_sent_in_a_header(tmp_path):
    with running_router(tmp_path, script, "auth: {keys: [secret]}") as router:
        with ollama.Client(host=router.url, headers={"Authorization": "Bearer secret"}) as client:
            assert client.chat("openai/m", ASK).message.content == SAID
        with ollama.Client(host=router.url) as client:
            with pytest.raises(ollama.ResponseError) as fault:
                client.chat("openai/m", ASK)
    assert fault.value.status_code == 401

"""Python's `google-genai`, sync and async, against the running router."""

from __future__ import annotations

import json

import pytest
import trio
from pydantic import BaseModel

from tests.chunks import SSE
from tests.clients.agents import agents
from tests.clients.google import DIALECTS, LEFT, client, genai, in_thread, stack, under_asyncio
from tests.clients.speech import Call, Fail, Stay, dialect_of, script, spoken
from trio_router.demo import Answer, Send, Sleep, sse

types = genai.types
PYTHON = pytest.mark.client("pypi:google-genai", name="google-genai (Python)", api="Gemini")
pytestmark = [pytest.mark.slow, PYTHON, *LEFT]
TEXT = "Grüße aus 東京 👋🏽, in Stücken."
PNG = b"\x89PNG\r\n\x1a\n\xff\xfe\xfb\xef"


def says(text):
    return lambda request: spoken(dialect_of(request.path), text, request.json)


@pytest.mark.client(shows="streaming")
@DIALECTS
@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_it_streams(tmp_path, dialect, version):
    async with agents(tmp_path) as run:
        run.upstream.script = says(TEXT)

        def ask():
            with client(run.url, api_version=version) as google:
                chunks = google.models.generate_content_stream(model=f"{dialect}/m", contents="Hi")
                return list(chunks)

        chunks = await in_thread(ask)
    assert "".join(chunk.text or "" for chunk in chunks) == TEXT
    assert len(chunks) > 2
    last = chunks[-1]
    assert last.candidates[0].finish_reason == types.FinishReason.STOP
    usage = last.usage_metadata
    assert (usage.prompt_token_count, usage.candidates_token_count) == (11, 7)
    assert usage.total_token_count == 18


@pytest.mark.client(shows="streaming")
@DIALECTS
async def test_it_streams_under_asyncio(dialect):
    async with stack() as run:
        run.upstream.script = says(TEXT)

        async def ask():
            async with client(run.url).aio as google:
                stream = await google.models.generate_content_stream(
                    model=f"models/{dialect}/m", contents="Hi"
                )
                return [chunk async for chunk in stream]

        chunks = await under_asyncio(ask)
    assert "".join(chunk.text or "" for chunk in chunks) == TEXT
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP


@pytest.mark.client(shows="long conversations")
@DIALECTS
async def test_a_chat_goes_on_for_fifty_turns(dialect):
    """The SDK keeps what it was given as history only if each piece of a stream says something."""
    asked = []

    def answer(request):
        body = request.json
        asked.append(
            len(body.get("contents") or [m for m in body["messages"] if m["role"] != "system"])
        )
        return spoken(dialect_of(request.path), f"Answer {len(asked)}.", body)

    async with stack() as run:
        run.upstream.script = answer

        def talk():
            with client(run.url) as google:
                chat = google.chats.create(model=f"{dialect}/m")
                said = []
                for turn in range(50):
                    pieces = chat.send_message_stream(f"Question {turn}")
                    said.append("".join(piece.text or "" for piece in pieces))
                return said, chat.get_history(curated=True)

        said, history = await in_thread(talk)
    assert said == [f"Answer {n}." for n in range(1, 51)]
    assert sum(content.role == "user" for content in history) == 50
    if dialect != "gemini":  # which gets each piece of a stream as a content of its own
        assert asked == list(range(1, 100, 2))


def weather(city: str) -> str:
    """The weather of a city."""
    return f"It rains in {city}."


@pytest.mark.client(shows="tools")
@DIALECTS
async def test_it_calls_a_function_by_itself_and_goes_on(dialect):
    seen = []
    inner = script([Call("weather", {"city": "Zürich"}), "Take an umbrella."])

    def answer(request):
        seen.append(request)
        return inner(request)

    async with stack() as run:
        run.upstream.script = answer

        def ask():
            with client(run.url) as google:
                chat = google.chats.create(
                    model=f"{dialect}/m", config=types.GenerateContentConfig(tools=[weather])
                )
                return list(chat.send_message_stream("And the weather?")), chat.get_history()

        chunks, history = await in_thread(ask)
    assert "".join(chunk.text or "" for chunk in chunks if chunk.text) == "Take an umbrella."
    assert "It rains in Z" in json.dumps(seen[-1].json)
    assert len(seen) == 2
    assert history[-1].role == "model"


class City(BaseModel):
    name: str
    people: int


@pytest.mark.client(shows="structured output")
@DIALECTS
async def test_it_parses_a_structured_answer(dialect):
    seen = []

    def answer(request):
        seen.append(request.json)
        said = '{"name": "Zürich", "people": 440000}'
        return whole(dialect_of(request.path), said)

    async with stack() as run:
        run.upstream.script = answer

        def ask():
            with client(run.url) as google:
                config = {"response_mime_type": "application/json", "response_schema": City}
                return google.models.generate_content(
                    model=f"{dialect}/m", contents="Which city?", config=config
                )

        response = await in_thread(ask)
    assert response.parsed == City(name="Zürich", people=440000)
    assert '"people"' in json.dumps(seen[0])


def whole(dialect: str, text: str) -> Answer:
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}
    counts = {"input_tokens": 11, "output_tokens": 7}
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    told = {
        "openai": {"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage},
        "anthropic": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "usage": counts,
        },
        "gemini": {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 11}},
        "ollama": {"model": "m", "message": message, "done": True, "done_reason": "stop"},
    }[dialect]
    return Answer(
        headers=[("content-type", "application/json")], steps=[Send(json.dumps(told).encode())]
    )


@pytest.mark.client(shows="images")
@DIALECTS
async def test_a_picture_and_a_system_instruction_reach_the_upstream(dialect):
    seen = []

    def answer(request):
        seen.append(json.dumps(request.json))
        return whole(dialect_of(request.path), "A picture.")

    async with stack() as run:
        run.upstream.script = answer

        def ask():
            with client(run.url) as google:
                picture = types.Part.from_bytes(data=PNG, mime_type="image/png")
                config = types.GenerateContentConfig(
                    system_instruction="Be brief.", temperature=0.5, max_output_tokens=99
                )
                return google.models.generate_content(
                    model=f"{dialect}/m", contents=["What is it?", picture], config=config
                )

        response = await in_thread(ask)
    assert response.text == "A picture."
    assert "Be brief." in seen[0]
    assert ("iVBORw0KGgr__vvv" if dialect == "gemini" else "iVBORw0KGgr//vvv") in seen[0]


@pytest.mark.client(shows="thinking", dialect="anthropic")
async def test_thoughts_are_told_apart_and_a_signature_comes_back():
    """Anthropic wants its signed thinking back with the result of a call."""
    seen = []

    def answer(request):
        seen.append(request.json)
        is_second = len(seen) == 2
        return thinking(["The umbrella."]) if is_second else thinking([])

    async with stack() as run:
        run.upstream.script = answer

        def ask():
            with client(run.url) as google:
                config = types.GenerateContentConfig(
                    tools=[weather],
                    thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=9000),
                )
                chat = google.chats.create(model="anthropic/claude-sonnet-4-0", config=config)
                return list(chat.send_message_stream("And the weather?"))

        chunks = await in_thread(ask)
    parts = [p for c in chunks for p in (c.candidates[0].content.parts or ()) if p.thought]
    assert "".join(part.text for part in parts) == "Let me look."
    blocks = [b for m in seen[1]["messages"] if m["role"] == "assistant" for b in m["content"]]
    assert blocks[0] == {"type": "thinking", "thinking": "Let me look.", "signature": "c2lnbmVk+/=="}


def thinking(texts) -> Answer:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    usage = {"input_tokens": 11, "output_tokens": 1}
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
    deltas = [
        (
            {"type": "thinking", "thinking": "", "signature": ""},
            "thinking_delta",
            "thinking",
            "Let me ",
        ),
        (None, "thinking_delta", "thinking", "look."),
        (None, "signature_delta", "signature", "c2lnbmVk+/=="),
        (call, "input_json_delta", "partial_json", '{"city": "Zürich"}'),
    ]
    if texts:
        deltas = [({"type": "text", "text": ""}, "text_delta", "text", text) for text in texts]
    events = [{"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage}}]
    index = -1
    for block, kind, field, value in deltas:
        if block is not None:
            index += 1
            events.append({"type": "content_block_start", "index": index, "content_block": block})
        delta = {"type": kind, field: value}
        events.append({"type": "content_block_delta", "index": index, "delta": delta})
    events += [{"type": "content_block_stop", "index": place} for place in range(index + 1)]
    reason = {"stop_reason": "end_turn" if texts else "tool_use", "stop_sequence": None}
    events.append({"type": "message_delta", "delta": reason, "usage": {"output_tokens": 7}})
    events.append({"type": "message_stop"})
    text = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events)
    return Answer(headers=SSE, steps=[Send(text.encode())])


@pytest.mark.client(shows="errors")
@DIALECTS
@pytest.mark.parametrize(
    ("status", "kind"), [(400, "ClientError"), (429, "ClientError"), (500, "ServerError")]
)
async def test_an_upstreams_error_is_the_sdks_own_exception(dialect, status, kind):
    async with stack() as run:
        run.upstream.script = lambda request: spoken(dialect_of(request.path), Fail(status), {})

        def ask():
            with client(run.url) as google:
                with pytest.raises(getattr(genai.errors, kind)) as caught:
                    google.models.generate_content(model=f"{dialect}/m", contents="Hi")
                return caught.value

        error = await in_thread(ask)
    assert error.code == status
    assert "no more of it" in error.message
    assert error.status == {400: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}[status]


@pytest.mark.client(shows="errors in the stream")
@DIALECTS
async def test_an_error_in_the_middle_is_raised_after_what_was_said(dialect):
    def answer(request):
        begun = spoken(dialect_of(request.path), Stay("Let me think about "), request.json)
        return Answer(headers=begun.headers, steps=begun.steps[:-1])  # and then it just ends

    async with stack() as run:
        run.upstream.script = answer

        def ask():
            said = []
            with client(run.url) as google:
                with pytest.raises(genai.errors.ServerError) as caught:
                    for chunk in google.models.generate_content_stream(
                        model=f"{dialect}/m", contents="Hi"
                    ):
                        said.append(chunk.text)
                        assert not chunk.candidates[0].finish_reason
                return said, caught.value

        said, error = await in_thread(ask)
    assert "".join(filter(None, said)).startswith("Let me")
    assert (error.code, error.status) == (502, "UNAVAILABLE")


@pytest.mark.client(shows="streaming")
async def test_silence_is_bridged_with_what_the_sdk_reads_over():
    """A comment would be taken for JSON that is broken."""
    frame = {"id": "c", "object": "chat.completion.chunk", "choices": []}
    words = [{**frame, "choices": [{"index": 0, "delta": {"content": word}}]} for word in ("Well", ".")]
    end = {**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    first, second, last, done = sse(*words, end)
    slow = Answer(headers=SSE, steps=[first, Sleep(0.7), second, last, done])
    async with stack("timeouts: {keepalive: 0.1}") as run:
        run.upstream.script = lambda request: slow

        def ask():
            with client(run.url) as google:
                return list(google.models.generate_content_stream(model="openai/m", contents="Hi"))

        chunks = await in_thread(ask)
    assert "".join(chunk.text or "" for chunk in chunks) == "Well."


@pytest.mark.client(shows="leaving")
@DIALECTS
async def test_leaving_in_the_middle_releases_the_upstream(dialect):
    async with stack() as run:
        run.upstream.script = says(Stay())

        def ask():
            with client(run.url) as google:
                stream = google.models.generate_content_stream(model=f"{dialect}/m", contents="Hi")
                next(iter(stream))
                stream.close()

        await in_thread(ask)
        with trio.fail_after(5):
            await run.upstream.wait_closed_early()


@pytest.mark.client(shows="models")
async def test_models_are_listed_and_told_of():
    routes = "routes: {fast: {targets: [{model: openai/m}]}}"
    async with stack(routes) as run:

        def ask(version):
            with client(run.url, api_version=version) as google:
                names = [model.name for model in google.models.list()]
                return names, google.models.get(model="fast"), google.models.get(model="openai/m").name

        for version in ("v1", "v1beta"):
            names, one, other = await in_thread(lambda version=version: ask(version))
            assert "models/fast" in names
            assert one.name == "models/fast"
            assert "generateContent" in one.supported_actions
            assert other == "models/openai/m"


@pytest.mark.client(shows="counting tokens")
@DIALECTS
async def test_tokens_are_counted_or_estimated(dialect):
    async with stack() as run:
        said = b'{"totalTokens": 31, "input_tokens": 31}'
        counted = Answer(headers=[("content-type", "application/json")], steps=[Send(said)])
        run.upstream.script = lambda request: counted

        def ask():
            with client(run.url) as google:
                return google.models.count_tokens(model=f"{dialect}/m", contents="A question of words.")

        told = await in_thread(ask)
    assert told.total_tokens == (31 if dialect in ("gemini", "anthropic") else 5)


VECTORS = {
    "openai": {"object": "list", "data": [{"index": 0, "embedding": [0.5, 1]}]},
    "gemini": {"embeddings": [{"values": [0.5, 1.0]}]},
    "ollama": {"embeddings": [[0.5, 1]]},
}


@pytest.mark.client(shows="embeddings")
@pytest.mark.parametrize("dialect", sorted(VECTORS))
async def test_texts_are_embedded(dialect):
    async with stack() as run:
        vectors = json.dumps(VECTORS[dialect]).encode()
        told = Answer(headers=[("content-type", "application/json")], steps=[Send(vectors)])
        run.upstream.script = lambda request: told

        def ask():
            with client(run.url) as google:
                return google.models.embed_content(model=f"{dialect}/m", contents="Hi")

        response = await in_thread(ask)
    assert [embedding.values for embedding in response.embeddings] == [[0.5, 1.0]]

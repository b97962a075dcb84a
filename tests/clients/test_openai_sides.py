"""The `openai` SDK beside chat: embeddings, audio, images, moderations, files, models."""

from __future__ import annotations

import base64
import json
import struct

import openai
import pytest

from tests.api.uploads import answer, json_answer, upload_stack
from tests.clients.sdk import LEFT_GENERATORS

pytestmark = [
    *LEFT_GENERATORS,
    pytest.mark.client("pypi:openai", name="openai (Python)", api="others of OpenAI"),
]

PROVIDERS = """
providers:
  open: {base_url: "http://upstream/v1", api_key: sk-upstream-secret}
  ollama: {dialect: ollama, base_url: "http://upstream"}
"""
SOUND = bytes(range(256)) * 4000
FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 3,
    "created_at": 1,
    "filename": "a.jsonl",
    "purpose": "batch",
    "status": "processed",
}


def client_of(stack) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{stack.url}/v1", api_key="dummy", max_retries=0)


def vector(values: list[float], encoding: str | None):
    packed = struct.pack(f"<{len(values)}f", *values)
    return base64.b64encode(packed).decode() if encoding == "base64" else values


@pytest.mark.client(api="Embeddings", shows="embeddings")
@pytest.mark.parametrize("encoding", [openai.NOT_GIVEN, "float", "base64"])
@pytest.mark.parametrize("model", ["open/small", "ollama/nomic"])
async def test_embeddings(model, encoding):
    async with upload_stack(providers=PROVIDERS) as stack, client_of(stack) as client:

        async def upstream(seen):
            await seen.read_all()
            asked = json.loads(seen.body)
            if seen.path == "/api/embed":
                says = {"model": "nomic", "embeddings": [[0.5, -2.0]] * 2, "prompt_eval_count": 4}
            else:
                found = vector([0.5, -2.0], asked.get("encoding_format"))
                data = [{"object": "embedding", "index": i, "embedding": found} for i in (0, 1)]
                usage = {"prompt_tokens": 4, "total_tokens": 4}
                says = {"object": "list", "data": data, "model": "small", "usage": usage}
            await seen.stream.send_all(json_answer(says))

        stack.peer.answer = upstream
        got = await client.embeddings.create(model=model, input=["a", "b"], encoding_format=encoding)
        expected = [0.5, -2.0] if encoding != "base64" else vector([0.5, -2.0], "base64")
        assert [one.embedding for one in got.data] == [expected] * 2
        assert got.usage.prompt_tokens == 4


@pytest.mark.client(shows="audio")
async def test_a_transcription():
    async with upload_stack(providers=PROVIDERS) as stack, client_of(stack) as client:
        got = await client.audio.transcriptions.create(
            model="open/whisper-1", file=("a.wav", SOUND, "audio/wav"), language="de"
        )
        assert got.text == "hello"
        body = bytes(stack.peer.seen[0].body)
        assert b'name="model"\r\n\r\nwhisper-1\r\n' in body
        assert SOUND[:900_000] in body


@pytest.mark.client(shows="audio")
async def test_speech_as_it_comes():
    async with upload_stack(providers=PROVIDERS) as stack, client_of(stack) as client:
        stack.peer.says = answer(SOUND, 200, "audio/mpeg")
        asking = client.audio.speech.with_streaming_response.create(
            model="open/tts-1", voice="alloy", input="hello"
        )
        async with asking as response:
            assert b"".join([piece async for piece in response.iter_bytes()]) == SOUND
            assert response.headers["content-type"] == "audio/mpeg"


@pytest.mark.client(shows="images")
async def test_an_image_made_and_an_image_edited():
    image = {"created": 1, "data": [{"b64_json": "aGVsbG8="}]}
    async with upload_stack(providers=PROVIDERS) as stack, client_of(stack) as client:
        stack.peer.says = json_answer(image)
        made = await client.images.generate(model="open/gpt-image-1", prompt="a sea")
        edited = await client.images.edit(model="open/gpt-image-1", prompt="a sea", image=b"png")
        assert made.data[0].b64_json == edited.data[0].b64_json == "aGVsbG8="
        assert json.loads(stack.peer.seen[0].body)["model"] == "gpt-image-1"
        assert b"\r\n\r\ngpt-image-1\r\n" in stack.peer.seen[1].body


@pytest.mark.client(shows="moderations")
@pytest.mark.parametrize("model", ["open/omni", openai.NOT_GIVEN])
async def test_a_moderation_with_a_model_and_without(model):
    async with upload_stack(providers=PROVIDERS) as stack, client_of(stack) as client:
        stack.peer.says = json_answer({"id": "m", "model": "omni", "results": []})
        assert (await client.moderations.create(model=model, input="a")).model == "omni"


@pytest.mark.client(shows="files")
async def test_files_are_stored_listed_fetched_and_deleted():
    async with upload_stack(providers=PROVIDERS) as stack, client_of(stack) as client:
        stack.peer.says = json_answer(FILE)
        made = await client.files.create(file=("a.jsonl", b"{}\n"), purpose="batch")
        assert (made.id, (await client.files.retrieve("file-1")).id) == ("file-1", "file-1")
        stack.peer.says = json_answer({"object": "list", "data": [FILE], "has_more": False})
        listed = await client.files.list(extra_headers={"x-trio-router-provider": "open"})
        assert [file.id for file in listed.data] == ["file-1"]
        stack.peer.says = answer(b"{}\n", 200, "application/octet-stream")
        content = await client.files.content("file-1", extra_query={"provider": "open"})
        assert content.content == b"{}\n"
        stack.peer.says = json_answer({"id": "file-1", "object": "file", "deleted": True})
        assert (await client.files.delete("file-1")).deleted


@pytest.mark.client(shows="models")
async def test_models_of_all_providers():
    async def upstream(seen):
        tags = {"models": [{"name": "llama3.2:latest"}]}
        listed = {"object": "list", "data": [{"id": "gpt-5", "created": 7}]}
        await seen.stream.send_all(json_answer(tags if seen.path == "/api/tags" else listed))

    async with upload_stack(providers=PROVIDERS) as stack, client_of(stack) as client:
        stack.peer.answer = upstream
        found = [(m.id, m.created, m.owned_by) async for m in client.models.list()]
        assert found == [("open/gpt-5", 7, "open"), ("ollama/llama3.2:latest", 0, "ollama")]
        assert (await client.models.retrieve("open/gpt-5")).created == 7


@pytest.mark.client(shows="errors")
async def test_errors_are_the_sdks_own():
    async with upload_stack(providers=PROVIDERS) as stack, client_of(stack) as client:
        stack.peer.says = json_answer({"error": {"message": "slow down", "code": "limit"}}, 429)
        with pytest.raises(openai.RateLimitError):
            await client.audio.transcriptions.create(model="open/w", file=("a", SOUND))
        with pytest.raises(openai.NotFoundError):
            await client.embeddings.create(model="nowhere/x", input="a")
        with pytest.raises(openai.BadRequestError):
            await client.embeddings.create(model="ollama/x", input=[1, 2])

"""`AzureOpenAI` of the openai SDK, Python (sync and async) and Node, as it comes."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import openai
import pytest

from tests.clients.command import running_router
from tests.clients.ollama_answers import SAID, VECTOR, script as chat_script
from tests.clients.sdk import LEFT_GENERATORS
from tests.clients.weather import CALLS, QUESTION, TEXT, TOOL
from trio_router.demo import Answer, SeenRequest, json_answer

pytestmark = [
    pytest.mark.slow,
    *LEFT_GENERATORS,
    pytest.mark.client("pypi:openai", name="AzureOpenAI (Python)", api="Azure"),
]
EACH = pytest.mark.parametrize("dialect", ["anthropic", "ollama", "openai"])
NODE = Path(__file__).parent / "node"
VERSION, KEY = "2024-10-21", "router-key"
ASK = [{"role": "user", "content": QUESTION}]
SETTINGS = f"""
auth: {{keys: [{KEY}]}}
routes:
  fast: {{targets: [{{model: openai/m}}]}}
"""
PROVIDERS = """
providers:
  openai: {base_url: "http://upstream/v1", responses: true}
  anthropic: {base_url: "http://upstream/v1", dialect: anthropic, api_key: sk-ant}
  ollama: {base_url: "http://upstream", dialect: ollama}
"""
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "m",
    "status": "completed",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": SAID, "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}


def script(request: SeenRequest) -> Answer:
    if "api-version" in request.query or KEY in str(request.headers):
        return json_answer({"error": {"message": "that is the router's affair"}}, 500)
    if request.path.endswith("/responses"):
        return json_answer(RESPONSE)
    if request.path.endswith("/transcriptions"):
        assert b'name="model"\r\n\r\nwhisper\r\n' in request.body
        return json_answer({"text": SAID})
    if request.path.endswith("/images/generations"):
        return json_answer({"created": 1, "data": [{"b64_json": "AAAA"}]})
    if request.path.endswith("/completions") and "prompt" in request.json:
        choice = {"text": SAID, "index": 0, "finish_reason": "stop", "logprobs": None}
        frame = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}
        return json_answer({**frame, "choices": [choice]})
    return chat_script(request)


@pytest.fixture(scope="module")
def router(tmp_path_factory):
    folder = tmp_path_factory.mktemp("router")
    with running_router(folder, script, SETTINGS, PROVIDERS) as running:
        yield running


@pytest.fixture
def client(router):
    with openai.AzureOpenAI(
        azure_endpoint=router.url, api_key=KEY, api_version=VERSION, max_retries=0
    ) as client:
        yield client


def gathered(chunks) -> tuple[str, list]:
    """The text and the calls of a stream."""
    text, calls = "", {}
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            for piece in choice.delta.tool_calls or ():
                held = calls.setdefault(piece.index, ["", ""])
                held[0] += piece.function.name or ""
                held[1] += piece.function.arguments or ""
    return text, [(name, json.loads(arguments)) for name, arguments in calls.values()]


@EACH
@pytest.mark.client(shows="text")
def test_a_whole_answer_of_a_model_with_a_slash_in_its_name(dialect, client):
    answer = client.chat.completions.create(model=f"{dialect}/m", messages=ASK)
    assert answer.choices[0].message.content == SAID


@EACH
@pytest.mark.client(shows="tools")
def test_text_and_tool_calls_are_streamed(dialect, client):
    stream = client.chat.completions.create(
        model=f"{dialect}/weather", messages=ASK, tools=[TOOL], stream=True
    )
    assert gathered(stream) == (TEXT, CALLS)


@EACH
@pytest.mark.client(shows="streaming")
def test_the_async_client_streams_on_asyncio(dialect, router):
    async def work():
        async with openai.AsyncAzureOpenAI(
            azure_endpoint=router.url, api_key=KEY, api_version=VERSION, max_retries=0
        ) as client:
            stream = await client.chat.completions.create(
                model=f"{dialect}/weather", messages=ASK, tools=[TOOL], stream=True
            )
            return [chunk async for chunk in stream]

    assert gathered(asyncio.run(work())) == (TEXT, CALLS)


@pytest.mark.client(shows="text")
@pytest.mark.parametrize("deployment", ["fast", "openai/m"])
def test_a_deployment_given_once_is_asked_whatever_the_call_names(deployment, router):
    with openai.AzureOpenAI(
        azure_endpoint=router.url,
        azure_deployment=deployment,
        api_key=KEY,
        api_version=VERSION,
        max_retries=0,
    ) as client:
        answer = client.chat.completions.create(model="gpt-4o", messages=ASK)
        assert answer.choices[0].message.content == SAID
        assert client.responses.create(model="openai/m", input="?").output_text == SAID


@pytest.mark.client(shows="responses")
def test_responses_have_no_deployment_in_their_path(client):
    assert client.responses.create(model="openai/m", input="?").output_text == SAID


@pytest.mark.client(shows="responses")
def test_the_newer_path_is_openais_own_client(router):
    with openai.OpenAI(base_url=f"{router.url}/openai/v1/", api_key=KEY, max_retries=0) as client:
        answer = client.chat.completions.create(model="fast", messages=ASK)
        assert answer.choices[0].message.content == SAID
        assert client.responses.create(model="openai/m", input="?").output_text == SAID
        assert "fast" in {model.id for model in client.models.list()}


@pytest.mark.client(shows="embeddings")
@pytest.mark.parametrize("dialect", ["ollama", "openai"])
def test_texts_are_embedded(dialect, client):
    found = client.embeddings.create(model=f"{dialect}/m", input=["a", "b"], encoding_format="float")
    assert [item.embedding for item in found.data] == [VECTOR, VECTOR]


@pytest.mark.client(shows="text completions")
@pytest.mark.parametrize("model", ["fast", "openai/m"])
def test_a_prompt_is_continued(model, client):
    assert client.completions.create(model=model, prompt="?").choices[0].text == SAID


@pytest.mark.client(shows="audio, images")
def test_audio_goes_up_and_images_come_down(client):
    told = client.audio.transcriptions.create(model="openai/whisper", file=("a.wav", b"RIFF"))
    assert told.text == SAID
    image = client.images.generate(model="openai/m", prompt="?")
    assert image.data[0].b64_json == "AAAA"


@pytest.mark.client(shows="models")
def test_models_are_listed(client):
    assert "fast" in {model.id for model in client.models.list()}


@EACH
@pytest.mark.client(shows="errors")
def test_errors_are_the_sdks_own_exceptions(dialect, client, router):
    with pytest.raises(openai.RateLimitError, match="the model is busy"):
        client.chat.completions.create(model=f"{dialect}/full", messages=ASK)
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.chat.completions.create(model="nobody/m", messages=ASK)
    wrong = client.with_options(api_key="wrong")
    with wrong, pytest.raises(openai.AuthenticationError):
        wrong.chat.completions.create(model=f"{dialect}/m", messages=ASK)


@EACH
@pytest.mark.client(shows="errors in the stream")
def test_an_error_in_the_stream_is_raised(dialect, client):
    stream = client.chat.completions.create(model=f"{dialect}/broken", messages=ASK, stream=True)
    with pytest.raises(openai.APIError, match="out of memory"):
        list(stream)


@EACH
@pytest.mark.client(shows="leaving")
def test_leaving_in_the_middle_releases_the_upstream(dialect, client, router):
    stream = client.chat.completions.create(model=f"{dialect}/endless", messages=ASK, stream=True)
    assert next(iter(stream)).choices
    stream.close()
    router.wait_released()


@EACH
@pytest.mark.client("npm:openai", name="AzureOpenAI (Node)", shows="tools")
def test_nodes_client_gathers_text_and_tool_calls(dialect, router):
    if not (NODE / "node_modules" / "openai").is_dir() or shutil.which("node") is None:
        pytest.skip("`npm install --prefix tests/clients/node` has not been run")
    words = ["node", NODE / "azure.mjs", router.url, KEY, dialect, json.dumps(TOOL)]
    told = json.loads(router.program(*words))
    choice = told["final"]["choices"][0]
    calls = [call["function"] for call in choice["message"]["tool_calls"]]
    assert told["text"] == TEXT
    assert [(call["name"], json.loads(call["arguments"])) for call in calls] == CALLS
    assert told["whole"] == told["deployed"] == SAID
    assert told["status"] == 429

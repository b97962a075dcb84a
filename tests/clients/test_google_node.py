"""`@google/genai` of Node, and Gemini CLI, against a router that really runs."""

from __future__ import annotations

import json

import pytest
import trio

from tests.clients.agents import NODE, agents, program
from tests.clients.google import DIALECTS
from tests.clients.speech import Break, Call, Fail, Stay, dialect_of, has_tools, script, spoken
from trio_router.demo import Answer, error_answer

pytestmark = pytest.mark.slow
NODE_SDK = pytest.mark.client("npm:@google/genai", name="@google/genai (Node)", api="Gemini")
CLI = pytest.mark.client("npm:@google/gemini-cli", name="Gemini CLI", api="Gemini")
SCRIPT = NODE.parent.parent / "google.mjs"
TEXT = "Grüße aus 東京 👋🏽, in Stücken."
TURNS = 50
CALL = Call("weather", {"city": "Zürich", "days": 2})


async def asked(run, model: str, version: str = "v1beta", way: str = "") -> dict:
    if not (NODE.parent / "@google" / "genai").is_dir():
        pytest.skip("`npm install --prefix tests/clients/node` has not been run")
    done = await run.run(program("node"), str(SCRIPT), run.url, model, version, way)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout or "{}")


@NODE_SDK
@pytest.mark.client(shows="streaming")
@DIALECTS
async def test_the_sdk_of_node_streams_text_and_calls_and_lists_models(tmp_path, dialect):
    speak = script([TEXT])

    def answer(request):
        return error_answer(404, "no list", "no_list") if request.method == "GET" else speak(request)

    async with agents(tmp_path) as run:
        run.upstream.script = answer
        said = await asked(run, f"{dialect}/m", way="models" if dialect == "openai" else "")
        run.upstream.script = script([CALL])
        called = await asked(run, f"models/{dialect}/m", "v1")
    assert (said["text"], said["finish"], said["error"]) == (TEXT, "STOP", None)
    assert said["records"] > 2
    assert said["history"] > 1  # the SDK found each record fit for its history
    assert (said["usage"]["promptTokenCount"], said["usage"]["candidatesTokenCount"]) == (11, 7)
    if dialect == "openai":
        assert "models/demo/echo" in said["models"]
        assert said["tokens"] == 2
    assert [(one["name"], one["args"]) for one in called["calls"]] == [(CALL.name, CALL.arguments)]


@NODE_SDK
@pytest.mark.client(shows="errors")
@DIALECTS
async def test_errors_are_the_sdk_of_nodes_own(tmp_path, dialect):
    def cut_off(request):
        begun = spoken(dialect_of(request.path), Stay("Let me think about "), request.json)
        return Answer(headers=begun.headers, steps=begun.steps[:-1])

    async with agents(tmp_path) as run:
        run.upstream.script = script([Fail(429)])
        early = (await asked(run, f"{dialect}/m"))["error"]
        run.upstream.script = cut_off
        late = await asked(run, f"{dialect}/m")
    assert (early["name"], early["status"]) == ("ApiError", 429)
    assert "RESOURCE_EXHAUSTED" in early["message"]
    assert late["text"].startswith("Let me")
    assert late["finish"] is None
    assert (late["error"]["name"], late["error"]["status"]) == ("ApiError", 502)


@NODE_SDK
@pytest.mark.client(shows="leaving")
@DIALECTS
async def test_when_the_sdk_of_node_leaves_the_upstream_is_released(tmp_path, dialect):
    async with agents(tmp_path) as run:
        run.upstream.script = script([Stay("Let me think about ")])
        await asked(run, f"{dialect}/m", way="leave")
        with trio.fail_after(5):
            await run.upstream.wait_closed_early()


async def gemini_cli(run, model: str, prompt: str):
    words, own = cli_words(run, model, prompt)
    return await run.run(*words, **own)


def cli_words(run, model: str, prompt: str):
    """Its non-interactive mode, whose sign-in has to be chosen in its settings."""
    settings = run.home / ".gemini" / "settings.json"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text('{"security": {"auth": {"selectedType": "gemini-api-key"}}}')
    words = ["--prompt", prompt, "--model", model, "--approval-mode", "yolo", "--skip-trust"]
    own = {"GEMINI_API_KEY": "sk-client", "GOOGLE_GEMINI_BASE_URL": run.url}
    return [program("gemini"), *words], own


@CLI
@pytest.mark.client(shows="streaming, text, tools")
@pytest.mark.parametrize(
    ("dialect", "model"),
    [(name, f"{name}/m") for name in ("openai", "anthropic", "gemini", "ollama")]
    + [("anthropic", "gemini-2.5-pro")],
)
async def test_gemini_cli_edits_a_file(tmp_path, dialect, model):
    """`gemini-2.5-pro` is a route to another provider, and one that is told to think."""
    routes = "routes: {gemini-2.5-pro: {targets: [{model: anthropic/claude-sonnet-4-0}]}}"
    async with agents(tmp_path, routes=routes) as run:
        file = run.work / "notes.txt"
        file.write_text("The sea is grey.\n")
        edit = {"file_path": str(file), "old_string": "grey", "new_string": "blue"}
        turns = [
            Call("read_file", {"file_path": str(file)}),
            Call("replace", {**edit, "instruction": "Make the sea blue."}),
            "The sea is blue now.",
        ]
        run.upstream.script = script(turns, "{}")
        done = await gemini_cli(run, model, "Make the sea in notes.txt blue.")
        text = file.read_text()
        seen = run.upstream.requests
    assert done.returncode == 0, done.stderr.decode()
    assert text == "The sea is blue.\n"
    assert done.stdout.decode().strip().endswith("The sea is blue now.")
    assert not any("sk-client" in json.dumps(dict(request.headers)) for request in seen)


@CLI
@pytest.mark.client(shows="errors in the stream")
@DIALECTS
async def test_gemini_cli_asks_again_after_an_error_in_the_stream(tmp_path, dialect):
    async with agents(tmp_path) as run:
        run.upstream.script = script([Break()])
        done = await gemini_cli(run, f"{dialect}/m", "Hello?")
        count = len([r for r in run.upstream.requests if r.method == "POST" and has_tools(r.json)])
    assert done.stdout.decode().count("Let me th") == count  # which it has told by then
    assert count > 1
    assert "ERROR" in done.stderr.decode()


@CLI
@pytest.mark.client(shows="leaving")
@DIALECTS
async def test_when_gemini_cli_leaves_the_upstream_is_released(tmp_path, dialect):
    async with agents(tmp_path) as run:
        run.upstream.script = script([Stay()], otherwise=Stay())
        words, own = cli_words(run, f"{dialect}/m", "Hello?")
        await run.leave(*words, **own)


@CLI
@pytest.mark.client(shows="long conversations")
@DIALECTS
async def test_gemini_cli_keeps_a_conversation_of_many_turns_whole(tmp_path, dialect):
    async with agents(tmp_path) as run:
        for number in range(TURNS - 1):
            (run.work / f"{number}.txt").write_text("a line\n")
        files = [str(run.work / f"{number}.txt") for number in range(TURNS - 1)]
        reads = [Call("read_file", {"file_path": file}) for file in files]
        run.upstream.script = script([*reads, "Enough."], "{}")
        done = await gemini_cli(run, f"{dialect}/m", "Read all files.")
        count = len([r for r in run.upstream.requests if r.method == "POST" and has_tools(r.json)])
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip().endswith("Enough.")
    assert count == TURNS


@CLI
@pytest.mark.client(shows="errors")
@DIALECTS
async def test_gemini_cli_tells_of_an_upstreams_error(tmp_path, dialect):
    async with agents(tmp_path) as run:
        run.upstream.script = script([Fail(400)])
        done = await gemini_cli(run, f"{dialect}/m", "Hello?")
    assert done.returncode != 0
    assert "the upstream has no more of it" in done.stderr.decode() + done.stdout.decode()

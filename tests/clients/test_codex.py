"""Codex (`@openai/codex`), unmodified, with nothing but a `model_provider` entry."""

from __future__ import annotations

import base64
import json
import signal

import pytest
import trio

from tests.clients.agents import agents, program
from tests.clients.speech import DIALECTS, PICTURE, Break, Call, Fail, Stay, has_tools, script

pytestmark = [
    pytest.mark.slow,
    pytest.mark.client("npm:@openai/codex", name="Codex", api="Responses, over HTTP and WebSocket"),
]

TURNS = 50
PATCH = """*** Begin Patch
*** Add File: notes.txt
+Grüße, 世界 "quoted" \\back
*** End Patch
"""
EDIT = Call("apply_patch", text=PATCH)
CONFIG = """
model = "{model}"
model_provider = "router"
check_for_update_on_startup = false
[model_providers.router]
name = "router"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "ROUTER_KEY"
request_max_retries = 0
stream_max_retries = 0
supports_websockets = {websockets}
[analytics]
enabled = false
"""
ALL_DIALECTS = pytest.mark.parametrize("dialect", DIALECTS)
TRANSPORTS = pytest.mark.parametrize("websockets", ["false", "true"])


@pytest.fixture(autouse=True)
def _is_installed():
    program("codex")


def route(dialect):
    """A name that Codex knows, so that it sends the tools that belong to it."""
    return f"routes: {{gpt-5.5: {{targets: [{{model: {dialect}/m}}]}}}}"


def words(there, *more, websockets="false", model="gpt-5.5"):
    home = there.home / "codex"
    home.mkdir()
    config = CONFIG.format(url=there.url, model=model, websockets=websockets)
    (home / "config.toml").write_text(config)
    flags = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    asked = [program("codex"), "exec", *flags, *more, "--", "Please write the notes."]
    return asked, {"CODEX_HOME": str(home), "ROUTER_KEY": "sk-x"}


@pytest.mark.client(shows="text, streaming")
@TRANSPORTS
@ALL_DIALECTS
async def test_it_says_a_text(tmp_path, dialect, websockets):
    async with agents(tmp_path, routes=route(dialect)) as there:
        there.upstream.script = script(["Fine: 世界 👋🏽."])
        asked, env = words(there, websockets=websockets)
        done = await there.run(*asked, **env, RUST_LOG="info")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().strip() == "Fine: 世界 👋🏽."
    assert (b"stream_responses_websocket" in done.stderr) is (websockets == "true")


@pytest.mark.client(shows="tools")
@TRANSPORTS
@ALL_DIALECTS
async def test_it_edits_a_file(tmp_path, dialect, websockets):
    turns = [EDIT, Call("exec_command", {"cmd": "cp notes.txt copy.txt"}), "All is done."]
    async with agents(tmp_path, routes=route(dialect)) as there:
        there.upstream.script = script(turns)
        asked, env = words(there, websockets=websockets)
        done = await there.run(*asked, **env)
        asked_for = [r.json for r in there.upstream.requests if r.method == "POST"]
        notes = there.work / "notes.txt"
        assert notes.is_file(), done.stderr
        text = notes.read_text()
        assert (there.work / "copy.txt").read_text() == text
    assert text == 'Grüße, 世界 "quoted" \\back\n'
    assert done.stdout.decode().strip() == "All is done."
    assert len(asked_for) == 3
    sent = "web_search" in str(asked_for[0])
    assert sent is (dialect == "responses")  # others have no such tool


@pytest.mark.client(shows="errors")
@TRANSPORTS
@ALL_DIALECTS
async def test_an_error_is_told(tmp_path, dialect, websockets):
    async with agents(tmp_path, routes=route(dialect)) as there:
        there.upstream.script = script([Fail(400)])
        asked, env = words(there, websockets=websockets)
        done = await there.run(*asked, **env)
    assert done.returncode != 0
    assert b"the upstream has no more of it" in done.stderr


@pytest.mark.client(shows="errors in the stream")
@TRANSPORTS
@ALL_DIALECTS
async def test_an_error_in_the_stream_is_told(tmp_path, dialect, websockets):
    async with agents(tmp_path, routes=route(dialect)) as there:
        there.upstream.script = script([Break()])
        asked, env = words(there, websockets=websockets)
        done = await there.run(*asked, **env)
    assert done.returncode != 0
    # Codex passes over the bare `error` event of a native stream, and tells that the stream was cut.
    told = b"stream closed before" if dialect == "responses" else b"the upstream broke in the middle"
    assert told in done.stderr


@pytest.mark.client(shows="long conversations")
@TRANSPORTS
@ALL_DIALECTS
async def test_a_conversation_of_many_turns_stays_whole(tmp_path, dialect, websockets):
    turns = [Call("exec_command", {"cmd": f"echo {number}"}) for number in range(TURNS - 1)]
    async with agents(tmp_path, routes=route(dialect)) as there:
        there.upstream.script = script([*turns, "Enough."])
        asked, env = words(there, websockets=websockets)
        done = await there.run(*asked, **env)
        count = len([r for r in there.upstream.requests if r.method == "POST" and has_tools(r.json)])
    assert done.stdout.decode().strip() == "Enough."
    assert count == TURNS


@pytest.mark.client(shows="images")
@ALL_DIALECTS
async def test_a_picture_reaches_the_upstream(tmp_path, dialect):
    async with agents(tmp_path, routes=route(dialect)) as there:
        there.upstream.script = script(["A dot."])
        (there.work / "p.png").write_bytes(base64.b64decode(PICTURE))
        asked, env = words(there, "--image", "p.png")
        done = await there.run(*asked, **env)
        body = there.upstream.requests[-1].body.decode()
    assert done.returncode == 0, done.stderr
    assert "iVBORw0KGgo" in body  # Codex encodes it anew


@pytest.mark.client(shows="structured output")
@ALL_DIALECTS
async def test_an_answer_with_a_schema(tmp_path, dialect):
    fields = {"name": {"type": "string"}}
    schema = {
        "type": "object",
        "properties": fields,
        "required": ["name"],
        "additionalProperties": False,
    }
    said = '{"name": "Größe"}'
    async with agents(tmp_path, routes=route(dialect)) as there:
        there.upstream.script = script([said])
        (there.work / "schema.json").write_text(json.dumps(schema))
        asked, env = words(there, "--output-schema", "schema.json")
        done = await there.run(*asked, **env)
        body = there.upstream.requests[-1].json
    assert json.loads(done.stdout) == json.loads(said)
    assert '"additionalProperties"' in json.dumps(body) or dialect == "gemini"


@pytest.mark.client(shows="leaving")
@TRANSPORTS
@ALL_DIALECTS
async def test_leaving_in_the_middle_releases_the_upstream(tmp_path, dialect, websockets):
    async with agents(tmp_path, routes=route(dialect)) as there:
        there.upstream.script = script([Stay()])
        asked, env = words(there, websockets=websockets)
        with trio.fail_after(60):
            process = await trio.lowlevel.open_process(
                asked, env=there.env(**env), cwd=there.work, stdin=-3, stdout=-3, stderr=-3
            )
            await there.upstream.wait_open(1)
            process.send_signal(signal.SIGINT)
            await there.upstream.wait_closed_early()
            process.kill()
            await process.wait()
        assert there.upstream.open_streams == 0


@pytest.mark.client(shows="426")
async def test_it_goes_on_over_http_where_websockets_are_off(tmp_path):
    async with agents(tmp_path, "websocket: false", routes=route("openai")) as there:
        there.upstream.script = script(["Fine."])
        asked, env = words(there, websockets="true")
        done = await there.run(*asked, **env)
    assert done.returncode == 0
    assert done.stdout.decode().strip() == "Fine."

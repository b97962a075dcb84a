"""Claude Code from npm, unmodified, through a router that really runs, to upstreams of each dialect.

It is given ANTHROPIC_BASE_URL and a token, and nothing else about models; its home is a scratch folder,
and what it would tell others beside is switched off.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.clients.saying import DIALECTS, SIGNATURE, Say, said
from tests.clients.serving import serving
from trio_router.demo.answers import error_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.clients.serving import Serving
    from trio_router.demo import Answer, SeenRequest

NODE = Path(__file__).parent / "node"
CLAUDE = NODE / "node_modules" / ".bin" / "claude"
TEXT = "Schauen wir nach: 東京 👋🏽, and then some."
THINKING = "Let me think about that for a while."
TURNS = 50

pytestmark = [
    pytest.mark.slow,
    pytest.mark.client("npm:@anthropic-ai/claude-code", name="Claude Code", api="Messages"),
    pytest.mark.parametrize("dialect", DIALECTS),
    pytest.mark.skipif(
        not CLAUDE.exists() or shutil.which("node") is None,
        reason="`npm install --prefix tests/clients/node` has not been run",
    ),
]


class Desk:
    """A router, its upstream, and a folder to work in."""

    def __init__(self, folder: Path, router: Serving, dialect: str) -> None:
        self.folder = folder
        self.router = router
        self.upstream = router.upstream
        self.dialect = dialect

    def says(self, *answers: Say) -> None:
        """What the upstream says, one after another; the last one again and again."""
        waiting = list(answers)

        def script(request: SeenRequest) -> Answer | None:
            if request.method != "POST":
                return None
            say = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            return said(self.dialect, replace(say, model=request.json.get("model", "gemini-3-pro")))

        self.upstream.script = script

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The bodies that the upstream got."""
        return [request.json for request in self.upstream.requests if request.method == "POST"]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "ANTHROPIC_BASE_URL": self.router.url,
            "ANTHROPIC_AUTH_TOKEN": "sk-client",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
            "CLAUDE_CODE_MAX_RETRIES": "0",
        }

    async def claude(self, prompt: str, *words: str) -> list[dict[str, Any]]:
        """What Claude Code printed, as JSON; its last record is the result."""
        with trio.fail_after(120):
            done = await trio.run_process(
                [CLAUDE, "-p", prompt, "--output-format", *words],
                env=self.environment,
                cwd=self.folder / "work",
                stdin=b"",
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        assert done.stdout, done.stderr.decode()
        return [json.loads(line) for line in done.stdout.splitlines()]


@asynccontextmanager
async def desk(folder: Path, dialect: str) -> AsyncIterator[Desk]:
    for name in ("home", "work"):
        (folder / name).mkdir()
    model = "anthropic/claude-*" if dialect == "anthropic" else f"{dialect}/big"
    settings = (
        f'auth: {{keys: [sk-client]}}\nroutes: {{"claude-*": {{targets: [{{model: "{model}"}}]}}}}'
    )
    async with serving(folder, settings) as router:
        yield Desk(folder, router, dialect)


@pytest.mark.client(shows="text")
async def test_it_gets_an_answer(dialect, tmp_path):
    async with desk(tmp_path, dialect) as work:
        work.says(Say(TEXT))
        (result,) = await work.claude("hello", "json")
        request = work.upstream.requests[-1]
    assert (result["result"], result["is_error"]) == (TEXT, False)
    assert (result["usage"]["input_tokens"], result["usage"]["output_tokens"]) == (11, 7)
    if dialect == "anthropic":
        assert request.json["model"].startswith("claude-")
        assert "claude-code" in request.headers["anthropic-beta"]
        assert request.json["system"][0]["text"].startswith("x-anthropic-billing-header:")
    else:
        assert b"x-anthropic-billing-header" not in request.body
        assert b"claude-" not in json.dumps(request.json.get("model", "")).encode()


@pytest.mark.client(shows="streaming, thinking")
async def test_text_and_thoughts_come_piece_by_piece(dialect, tmp_path):
    async with desk(tmp_path, dialect) as work:
        work.says(Say(TEXT, THINKING))
        told = await work.claude("hello", "stream-json", "--verbose", "--include-partial-messages")
    deltas = [
        record["event"]["delta"]
        for record in told
        if record["type"] == "stream_event" and record["event"]["type"] == "content_block_delta"
    ]
    texts = [delta["text"] for delta in deltas if delta["type"] == "text_delta"]
    thoughts = [delta["thinking"] for delta in deltas if delta["type"] == "thinking_delta"]
    assert ("".join(texts), "".join(thoughts)) == (TEXT, THINKING)
    assert len(texts) > 3
    assert len(thoughts) > 3
    assert told[-1]["result"] == TEXT


@pytest.mark.client(shows="tools")
async def test_it_edits_a_file(dialect, tmp_path):
    file = tmp_path / "work" / "notes.txt"
    edit = {"file_path": str(file), "old_string": "teh", "new_string": "the"}
    async with desk(tmp_path, dialect) as work:
        file.write_text("This is teh end.\n")
        work.says(
            Say("I read it.", THINKING, (("Read", {"file_path": str(file)}),)),
            Say("", THINKING, (("Edit", edit),)),
            Say("Mended."),
        )
        (result,) = await work.claude("mend the typo", "json", "--permission-mode", "acceptEdits")
        last = json.dumps(work.asked[-1])
    assert file.read_text() == "This is the end.\n"
    assert (result["result"], result["num_turns"]) == ("Mended.", 3)
    assert len(work.asked) == 3
    assert "This is teh end." in last  # what the tool read
    if dialect == "anthropic":
        thoughts = [
            block
            for message in work.asked[-1]["messages"]
            if isinstance(message["content"], list)
            for block in message["content"]
            if block["type"] == "thinking"
        ]
        assert thoughts == [{"type": "thinking", "thinking": THINKING, "signature": SIGNATURE}] * 2
    if dialect == "gemini":
        parts = [part for turn in work.asked[-1]["contents"] for part in turn["parts"]]
        calls = [part for part in parts if "functionCall" in part]
        assert [part["thoughtSignature"] for part in calls] == [SIGNATURE] * 2


@pytest.mark.client(shows="errors")
async def test_an_error_is_told(dialect, tmp_path):
    async with desk(tmp_path, dialect) as work:
        work.upstream.script = lambda _: error_answer(400, "there is no such thing", "invalid_request")
        (result,) = await work.claude("hello", "json")
    assert result["is_error"]
    assert result["api_error_status"] == 400
    assert "there is no such thing" in result["result"]


@pytest.mark.client(shows="errors in the stream")
async def test_an_error_in_the_stream_is_told(dialect, tmp_path):
    async with desk(tmp_path, dialect) as work:
        work.says(Say(TEXT, then="error"))
        (result,) = await work.claude("hello", "json")
    assert result["is_error"]
    assert "the upstream broke" in result["result"]


@pytest.mark.client(shows="leaving")
async def test_the_upstream_is_released_when_it_is_ended(dialect, tmp_path):
    async with desk(tmp_path, dialect) as work:
        work.says(Say(TEXT, then="hang"))
        process = subprocess.Popen(  # noqa: ASYNC220 - it is ended from outside
            [CLAUDE, "-p", "hello", "--output-format", "stream-json", "--verbose"],
            env=work.environment,
            cwd=tmp_path / "work",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            with trio.fail_after(60):
                await work.upstream.wait_open(1)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        with trio.fail_after(5):
            await work.upstream.wait_closed_early()


@pytest.mark.client(shows="long conversations")
async def test_a_conversation_of_many_turns_stays_whole(dialect, tmp_path):
    file = tmp_path / "work" / "notes.txt"
    read = Say("Once more.", "", (("Read", {"file_path": str(file)}),))
    async with desk(tmp_path, dialect) as work:
        file.write_text("a line\n")
        work.says(*[read] * (TURNS - 1), Say("Enough."))
        (result,) = await work.claude("read it again and again", "json")
        counts = [len(body.get("messages") or body.get("contents")) for body in work.asked]
    assert (result["result"], result["num_turns"]) == ("Enough.", TURNS)
    assert counts == sorted(counts)
    assert len(counts) == TURNS

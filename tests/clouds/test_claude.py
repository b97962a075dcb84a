"""Claude Code and Anthropic's SDK, unmodified, through the router to the fakes of Bedrock and Vertex.

Bedrock is reached by InvokeModel, where the model's name says that it is Claude, and by Converse, where
it does not (an application's inference profile).
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.clouds.aws import EVENTS, FakeBedrock, claude_message
from tests.clouds.events import chunk, event
from tests.clouds.google import FakeGoogle
from tests.stack import real_stack
from trio_router.demo import Answer, Send

pytestmark = pytest.mark.slow
CLAUDE = Path(__file__).parents[1] / "clients" / "node" / "node_modules" / ".bin" / "claude"
SIGNATURE = "c2lnbmVkIGJ5IHRoZSB1cHN0cmVhbQ=="
THINKING = "Let me think."
TARGETS = {
    "invoke": "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "converse": "bedrock/arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
    "vertex": "vertex/claude-sonnet-4-5@20250929",
}
PROVIDERS = """
providers:
  bedrock: {{dialect: bedrock, region: us-east-1, base_url: "http://upstream", drop_unsupported: true}}
  vertex: {{dialect: anthropic, vertex: {{project: p}}, base_url: "http://upstream/v1"}}
routes:
  "claude-*": {{targets: [{{model: "{target}"}}]}}
"""
KINDS = pytest.mark.parametrize("kind", list(TARGETS))


def blocks(text: str, *calls: tuple[str, dict]) -> list[dict]:
    made = [{"type": "thinking", "thinking": THINKING, "signature": SIGNATURE}]
    made += [{"type": "text", "text": text}] if text else []
    return made + [
        {"type": "tool_use", "id": f"toolu_{i}_{name}", "name": name, "input": given}
        for i, (name, given) in enumerate(calls)
    ]


def messages_events(made: list[dict]) -> list[dict]:
    """The events of a Messages stream."""
    told = [{"type": "message_start", "message": claude_message("", content=[], stop_reason=None)}]
    for index, block in enumerate(made):
        place = {"index": index}
        match block["type"]:
            case "thinking":
                begin = {"type": "thinking", "thinking": "", "signature": ""}
                deltas = [
                    {"type": "thinking_delta", "thinking": block["thinking"]},
                    {"type": "signature_delta", "signature": block["signature"]},
                ]
            case "text":
                begin = {"type": "text", "text": ""}
                deltas = [{"type": "text_delta", "text": block["text"]}]
            case _:
                begin = {**block, "input": {}}
                deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        told.append({"type": "content_block_start", **place, "content_block": begin})
        told += [{"type": "content_block_delta", **place, "delta": delta} for delta in deltas]
        told.append({"type": "content_block_stop", **place})
    reason = "tool_use" if made[-1]["type"] == "tool_use" else "end_turn"
    delta = {"stop_reason": reason, "stop_sequence": None}
    told.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5}})
    return [*told, {"type": "message_stop"}]


def converse(made: list[dict]) -> bytes:
    """The same of ConverseStream."""
    told = [event("messageStart", {"role": "assistant"})]
    for index, block in enumerate(made):
        place = {"contentBlockIndex": index}
        match block["type"]:
            case "thinking":
                deltas = [
                    {"reasoningContent": {"text": block["thinking"]}},
                    {"reasoningContent": {"signature": block["signature"]}},
                ]
            case "text":
                deltas = [{"text": block["text"]}]
            case _:
                use = {"toolUseId": block["id"], "name": block["name"]}
                told.append(event("contentBlockStart", {**place, "start": {"toolUse": use}}))
                deltas = [{"toolUse": {"input": json.dumps(block["input"])}}]
        told += [event("contentBlockDelta", {**place, "delta": delta}) for delta in deltas]
        told.append(event("contentBlockStop", place))
    reason = "tool_use" if made[-1]["type"] == "tool_use" else "end_turn"
    usage = {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12}
    end = [event("messageStop", {"stopReason": reason}), event("metadata", {"usage": usage})]
    return b"".join([*told, *end])


def answer(kind: str, made: list[dict]) -> Answer:
    if kind == "converse":
        return Answer(200, [("content-type", EVENTS)], [Send(converse(made))])
    events = messages_events(made)
    if kind == "invoke":
        return Answer(200, [("content-type", EVENTS)], [Send(b"".join(map(chunk, events)))])
    text = "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events)
    return Answer(200, [("content-type", "text/event-stream")], [Send(text.encode())])


class Cloud:
    """The fake of one cloud, that says what it was told to say."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.fake = FakeGoogle() if kind == "vertex" else FakeBedrock()
        self.waiting: list[list[dict]] = []
        self.asked: list[dict] = []

    def __call__(self, request) -> Answer:
        usual = self.fake(request)
        is_stream = request.path.endswith(("-stream", ":streamRawPredict"))
        if usual.status != 200 or not is_stream or not self.waiting:
            return usual
        self.asked.append(request.json)
        return answer(self.kind, self.waiting.pop(0) if len(self.waiting) > 1 else self.waiting[0])


@asynccontextmanager
async def cloud(kind: str, monkeypatch):
    made = Cloud(kind)
    if kind == "vertex":
        made.fake.tokens["ya29.a-token-of-the-test"] = float("inf")

        async def source():
            from trio_router.transport.credentials import BearerToken, Lease

            return Lease(BearerToken("ya29.a-token-of-the-test"), 3600)

        monkeypatch.setattr("trio_router.runtime.credentials.google_source", lambda wall: source)
    providers = PROVIDERS.format(target=TARGETS[kind])
    async with real_stack("auth: {keys: [sk-client]}", providers) as stack:
        stack.upstream.script = made
        made.url = stack.url
        yield made


async def claude(made: Cloud, folder: Path, prompt: str, *words: str) -> dict:
    for name in ("home", "work"):
        (folder / name).mkdir(exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "home"),
        "ANTHROPIC_BASE_URL": made.url,
        "ANTHROPIC_AUTH_TOKEN": "sk-client",
        # As the clouds name it in their answers: signed thinking is sent back to the same name alone.
        "ANTHROPIC_MODEL": "claude-sonnet-4-5-20250929",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
        "CLAUDE_CODE_MAX_RETRIES": "0",
    }
    with trio.fail_after(120):
        done = await trio.run_process(
            [CLAUDE, "-p", prompt, "--output-format", "json", *words],
            env=environment,
            cwd=folder / "work",
            stdin=b"",
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert done.stdout, done.stderr.decode()
    return json.loads(done.stdout)


def thoughts(kind: str, body: dict) -> list[tuple[str, str]]:
    """The signed thoughts that a request gives back."""
    found = []
    for turn in body["messages"]:
        for block in turn["content"] if isinstance(turn["content"], list) else ():
            if kind == "converse" and "reasoningContent" in block:
                text = block["reasoningContent"]["reasoningText"]
                found.append((text["text"], text["signature"]))
            elif block.get("type") == "thinking":
                found.append((block["thinking"], block["signature"]))
    return found


@KINDS
@pytest.mark.usefixtures("aws_keys")
@pytest.mark.skipif(
    not CLAUDE.exists() or shutil.which("node") is None,
    reason="`npm install --prefix tests/clients/node` has not been run",
)
async def test_claude_code_edits_a_file(kind, monkeypatch, tmp_path):
    file = tmp_path / "work" / "notes.txt"
    edit = {"file_path": str(file), "old_string": "teh", "new_string": "the"}
    async with cloud(kind, monkeypatch) as made:
        made.waiting = [
            blocks("I read it.", ("Read", {"file_path": str(file)})),
            blocks("", ("Edit", edit)),
            blocks("Mended."),
        ]
        (tmp_path / "work").mkdir()
        file.write_text("This is teh end.\n")
        result = await claude(made, tmp_path, "mend the typo", "--permission-mode", "acceptEdits")
    assert made.fake.seen
    assert (result["result"], result["num_turns"]) == ("Mended.", 3), result
    assert file.read_text() == "This is the end.\n"
    assert "This is teh end." in json.dumps(made.asked[-1])  # what the tool read
    assert "x-anthropic-billing-header" not in json.dumps(made.asked)
    assert thoughts(kind, made.asked[-1]) == [(THINKING, SIGNATURE)] * 2
    if kind == "converse":
        assert "cachePoint" in json.dumps(made.asked[-1])


@KINDS
@pytest.mark.usefixtures("aws_keys")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_the_sdk_streams_and_asks_whole(kind, monkeypatch):
    anthropic = pytest.importorskip("anthropic")
    async with cloud(kind, monkeypatch) as made:
        made.waiting = [blocks("Hello, 東京", ("look", {"a": 1}))]
        tools = [{"name": "look", "input_schema": {"type": "object"}}]
        async with anthropic.AsyncAnthropic(base_url=made.url, auth_token="sk-client") as client:
            asked = {
                "model": "claude-opus-9",
                "max_tokens": 2048,
                "messages": [{"role": "user", "content": "Hi"}],
            }
            async with client.messages.stream(**asked, tools=tools) as stream:
                streamed = await stream.get_final_message()
            whole = await client.messages.create(**asked)
            counted = await client.messages.count_tokens(
                model=asked["model"], messages=asked["messages"]
            )
    assert [block.type for block in streamed.content] == ["thinking", "text", "tool_use"]
    assert streamed.content[0].signature == SIGNATURE
    assert streamed.content[1].text == "Hello, 東京"
    assert streamed.content[2].input == {"a": 1}
    assert streamed.stop_reason == "tool_use"
    assert (streamed.usage.input_tokens, streamed.usage.output_tokens) == (7, 5)
    assert whole.content[0].text == "Hi"
    assert counted.input_tokens == 42

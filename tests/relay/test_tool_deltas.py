"""The arguments of tool calls reach a Messages client as they come, whatever the cuts."""

from __future__ import annotations

import json

import pytest
import trio

from tests.stack import memory_stack
from trio_router.demo import Answer, Send, Sleep
from trio_router.wire.sse import SSEDecoder

PROVIDERS = """
providers:
  openai: {base_url: "http://upstream/v1"}
  anthropic: {base_url: "http://upstream/v1", dialect: anthropic, api_key: sk-up}
routes:
  route: {targets: [{model: openai/m}]}
"""
PIECES = ['{"pa', 'th": "', "東京", '/notes.txt", ', '"text": "a', " ", '\\n"', "}"]
PAUSE = 1.0  # s between two pieces


def openai_events():
    def chunk(delta, finish=None):
        return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    call = {"index": 0, "id": "call_1", "type": "function"}
    yield chunk({"tool_calls": [{**call, "function": {"name": "write", "arguments": ""}}]})
    for piece in PIECES:
        yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    yield chunk({}, "tool_calls")


def anthropic_events():
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    yield {"type": "message_start", "message": {**message, "usage": {"input_tokens": 1}}}
    block = {"type": "tool_use", "id": "toolu_1", "name": "write", "input": {}}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    for piece in PIECES:
        delta = {"type": "input_json_delta", "partial_json": piece}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    yield {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}}
    yield {"type": "message_stop"}


def framed(dialect: str) -> list[bytes]:
    if dialect == "anthropic":
        return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in anthropic_events()]
    frames = [b"data: " + json.dumps(e, ensure_ascii=False).encode() + b"\n\n" for e in openai_events()]
    return [*frames, b"data: [DONE]\n\n"]


def slowly(frames: list[bytes], cut: int, shift: int) -> list[Send | Sleep]:
    """Each frame in writes of `cut` bytes; with `shift` its first bytes come with the frame before."""
    text = b"".join(frames)
    ends, end = [], 0
    for frame in frames:
        end += len(frame)
        ends.append(min(end + shift, len(text)))
    steps: list[Send | Sleep] = []
    begin = 0
    for end in ends:
        steps += [Send(text[at : min(at + cut, end)]) for at in range(begin, end, cut)]
        steps.append(Sleep(PAUSE))
        begin = end
    return steps


@pytest.mark.parametrize("shift", [0, 11])
@pytest.mark.parametrize("cut", [1, 7, 4096])
@pytest.mark.parametrize(
    ("model", "dialect"), [("openai/m", "openai"), ("route", "openai"), ("anthropic/m", "anthropic")]
)
async def test_each_piece_arrives_before_the_next_is_sent(model, dialect, cut, shift, autojump_clock):
    frames = framed(dialect)
    arrived: list[tuple[str, float]] = []
    async with memory_stack(providers=PROVIDERS) as stack:
        kind = [("content-type", "text/event-stream")]
        stack.upstream.script = lambda _: Answer(headers=kind, steps=slowly(frames, cut, shift))
        body = {"model": model, "max_tokens": 9, "stream": True}
        body |= {"messages": [{"role": "user", "content": "?"}]}
        decoder = SSEDecoder(1 << 20)
        began = trio.current_time()
        async with stack.client.stream("POST", "/v1/messages", json=body) as response:
            async for data in response.aiter_raw():
                for event in decoder.receive_data(data):
                    delta = json.loads(event.data).get("delta", {})
                    if delta.get("type") == "input_json_delta" and delta["partial_json"]:
                        arrived.append((delta["partial_json"], trio.current_time() - began))
    assert [piece for piece, _ in arrived] == PIECES
    first = 1 if dialect == "openai" else 2  # the frames before the first piece
    times = [PAUSE * (first + number) for number in range(len(PIECES))]
    assert [time for _, time in arrived] == pytest.approx(times, abs=0.01)

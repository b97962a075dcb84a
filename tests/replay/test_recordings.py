"""Recorded streams of real providers, replayed by a real upstream socket through the running router.

What is expected is read off the recording by an own, simple reading here, not by the router's code.
"""

from __future__ import annotations

import base64
import json
import random
import re

import pytest
import trio

from tests.helpers import at_offsets, corpus
from tests.stack import chat, events, real_stack
from trio_router.demo import Answer, Send

pytestmark = pytest.mark.corpus
DIALECTS = ("openai", "ollama")
PROVIDERS = """
providers:
  openai: {base_url: "http://upstream/v1"}
  ollama: {base_url: "http://upstream", dialect: ollama}
"""


def recordings(kind: str) -> list[dict]:
    return [r for r in corpus("streams.jsonl") if r["dialect"] in DIALECTS and r["kind"] == kind]


def body_of(record: dict) -> bytes:
    return base64.b64decode(record["response"]["body_b64"])


def answer_for(record: dict, pieces: list[bytes]) -> Answer:
    response = record["response"]
    kind = (response.get("headers") or {}).get("content-type", "")
    headers = [("content-type", kind)] if kind else []
    return Answer(response["status"], headers, [Send(p) for p in pieces if p])


def cuts_of(body: bytes, seed: int) -> list[list[bytes]]:
    """Whole, in small pieces, and at random places."""
    rng = random.Random(seed)
    size = 1 if len(body) < 3000 else 7 if len(body) < 30_000 else 61
    offsets = [rng.randrange(len(body)) for _ in range(40)] if body else []
    small = [body[i : i + size] for i in range(0, len(body), size)]
    return [[body], small, at_offsets(body, offsets)]


class Reading:
    """What a stream says: text, reasoning, tool calls and finish per choice, and usage."""

    def __init__(self, items: list) -> None:
        self.text: dict[int, str] = {}
        self.reasoning: dict[int, str] = {}
        self.calls: dict[tuple, list] = {}
        self.finish: dict[int, str] = {}
        self.usage = None
        for item in items:
            if item.get("usage"):
                self.usage = item["usage"]
            for choice in item.get("choices") or ():
                self._choice(choice)

    def _choice(self, choice: dict) -> None:
        index = choice.get("index", 0)
        delta = choice.get("delta") or {}
        content = delta.get("content")
        if isinstance(content, str):
            self.text[index] = self.text.get(index, "") + content
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(thought, str):
            self.reasoning[index] = self.reasoning.get(index, "") + thought
        for place, call in enumerate(delta.get("tool_calls") or ()):
            held = self.calls.setdefault((index, call.get("index", place)), ["", "", ""])
            function = call.get("function") or {}
            held[0] = held[0] or call.get("id") or ""
            held[1] += function.get("name") or ""
            held[2] += function.get("arguments") or ""
        if choice.get("finish_reason"):
            self.finish[index] = choice["finish_reason"]


def read_openai(body: bytes) -> tuple[list[bytes], bool]:
    """The JSON texts of a recorded stream, and whether it ended in an error."""
    datas, failed, name = [], False, b""
    for line in re.split(rb"\r\n|\n|\r", body):
        if line.startswith(b"event:"):
            name = line[6:].strip()
        elif line.startswith(b"data:"):
            data = line[5:].strip()
            if data == b"[DONE]":
                break
            try:
                failed = name == b"error" or bool(json.loads(data).get("error"))
            except ValueError:
                failed = True
            if failed:
                break
            datas.append(data)
    return datas, failed


def check_openai(record: dict, got: bytes) -> None:
    datas, failed = read_openai(body_of(record))
    items = events(got)
    frames = [f.removeprefix(b"data: ") for f in re.findall(rb"^data: .*$", got, re.MULTILINE)]
    if failed:
        assert "error" in items[-1]
        assert "[DONE]" not in items
    else:
        assert items[-1] == "[DONE]"
        assert items.count("[DONE]") == 1
    assert frames[:-1] == datas  # byte for byte, each of them


def check_ollama(record: dict, got: bytes) -> None:
    records = [json.loads(line) for line in body_of(record).splitlines() if line.strip()]
    items = events(got)
    assert items.pop() == "[DONE]"
    reading = Reading(items)
    messages = [r.get("message") or {"content": r.get("response")} for r in records]
    assert reading.text.get(0, "") == "".join(m.get("content") or "" for m in messages)
    assert reading.reasoning.get(0, "") == "".join(m.get("thinking") or "" for m in messages)
    calls = [c["function"] for m in messages for c in m.get("tool_calls") or ()]
    got_calls = [(name, json.loads(arguments)) for _, name, arguments in reading.calls.values()]
    assert got_calls == [(c["name"], c["arguments"]) for c in calls]
    assert len({i for i, _, _ in reading.calls.values()}) == len(calls)
    last = records[-1]
    assert reading.usage["prompt_tokens"] == last.get("prompt_eval_count", 0)
    assert reading.usage["completion_tokens"] == last.get("eval_count", 0)
    expected = "tool_calls" if calls else last.get("done_reason") or "stop"
    assert reading.finish == {0: expected}
    assert items[0]["choices"][0]["delta"]["role"] == "assistant"


async def replay(records: list[dict], *, stream: bool, check, jobs: int = 4) -> int:
    """Replays each record in each cut; the number of replays."""
    async with real_stack("", PROVIDERS) as stack:
        answers: dict[str, Answer] = {}
        stack.upstream.script = lambda request: answers[request.json["model"]]
        limiter = trio.CapacityLimiter(jobs)
        done = 0

        async def one(record: dict, number: int, pieces: list[bytes]) -> None:
            nonlocal done
            name = f"{record['id']}-{number}"
            answers[name] = answer_for(record, pieces)
            body = chat(
                f"{record['dialect']}/{name}", stream=stream, stream_options={"include_usage": True}
            )
            async with limiter:
                response = await stack.client.post("/v1/chat/completions", json=body)
            try:
                check(record, response)
            except (AssertionError, KeyError, TypeError) as fault:
                raise AssertionError(f"{name}: {fault!r}\n{response.content[-600:]!r}") from fault
            done += 1

        async with trio.open_nursery() as nursery:
            for seed, record in enumerate(records):
                for number, pieces in enumerate(cuts_of(body_of(record), seed)):
                    nursery.start_soon(one, record, number, pieces)
    return done


async def test_every_recorded_stream_says_the_same_behind_the_router():
    records = recordings("stream")

    def check(record: dict, response) -> None:
        if response.status_code != 200:  # the very first event was an error
            assert read_openai(body_of(record)) == ([], True)
            return
        (check_openai if record["dialect"] == "openai" else check_ollama)(record, response.content)

    assert await replay(records, stream=True, check=check) == 3 * len(records)


async def test_every_recorded_whole_answer_passes():
    records = recordings("json")

    def check(record: dict, response) -> None:
        assert response.status_code == 200
        body = body_of(record)
        if record["dialect"] == "openai":
            assert response.content == body.lstrip()
            return
        told, got = json.loads(body), response.json()
        message = got["choices"][0]["message"]
        said = told.get("message") or {"content": told["response"]}
        assert (message["content"] or "") == (said.get("content") or "")
        calls = [c["function"] for c in said.get("tool_calls") or ()]
        assert [json.loads(c["function"]["arguments"]) for c in message.get("tool_calls", ())] == [
            c["arguments"] for c in calls
        ]
        assert got["usage"]["completion_tokens"] == told.get("eval_count", 0)

    assert await replay(records, stream=False, check=check) == 3 * len(records)


@pytest.mark.parametrize("stream", [True, False])
async def test_every_recorded_error_is_an_error_with_its_message(stream):
    records = recordings("error")

    def check(record: dict, response) -> None:
        status = record["response"]["status"]
        error = response.json()["error"]
        assert set(error) == {"message", "type", "code", "param"}
        if status in (401, 403):
            assert (response.status_code, error["code"]) == (502, "provider_auth_error")
            return
        assert response.status_code == status
        text = body_of(record).decode()
        if text.strip():
            assert (
                json.dumps(error["message"], ensure_ascii=False)[1:-1] in text
                or error["message"] in text
            )

    assert await replay(records, stream=stream, check=check) == 3 * len(records)

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from tests.stack import memory_stack
from trio_router.demo import Answer, json_answer, sse
from trio_router.dialects.base import AnswerIdentity
from trio_router.dialects.completions import CompletionsClient
from trio_router.dialects.fold import Fold
from trio_router.errors import InvalidRequest, StreamError

WHO = AnswerIdentity("chatcmpl-7", 1700000000, "ollama/m")
TEXTS = CompletionsClient()
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
SSE = [("content-type", "text/event-stream")]


def hub(drop=False, **fields):
    return TEXTS.chat_request({"model": "m", "prompt": "?", **fields}, drop_unsupported=drop)


def read(data: bytes) -> list:
    assert data.endswith(b"\n\n")
    texts = [frame.removeprefix("data: ") for frame in data.decode().split("\n\n")[:-1]]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


class TestRequest:
    @pytest.mark.parametrize("prompt", ["?", ["?"]])
    def test_the_prompt_is_the_users_message(self, prompt):
        assert hub(prompt=prompt) == {"model": "m", "messages": [{"role": "user", "content": "?"}]}

    def test_fields_that_a_chat_has_are_kept(self):
        same = {"max_tokens": 5, "temperature": 0.5, "stop": ["."], "n": 2, "seed": 1, "user": "u"}
        assert hub(**same, echo=False, suffix=None, best_of=1) == hub() | same

    def test_usage_is_always_asked_for(self):
        assert hub(stream=True)["stream_options"] == {"include_usage": True}

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"prompt": ["a", "b"]}, "prompt"),
            ({"prompt": [1, 2]}, "prompt"),
            ({"prompt": [[1, 2]]}, "prompt"),
            ({"prompt": None}, "prompt"),
            ({"prompt": []}, "prompt"),
            ({"suffix": "x"}, "suffix"),
            ({"echo": True}, "echo"),
            ({"best_of": 2}, "best_of"),
            ({"logprobs": 0}, "logprobs"),
            ({"logprobs": True}, "logprobs"),
            ({"max_tokens": "many"}, "max_tokens"),
            ({"stream": 1}, "stream"),
            ({"model": ""}, "model"),
        ],
    )
    def test_what_cannot_be_kept_is_refused_by_name(self, fields, param):
        with pytest.raises(InvalidRequest) as caught:
            hub(**fields)
        assert caught.value.param == param

    def test_the_providers_wish_drops_it(self):
        assert hub(drop=True, suffix="x", logprobs=1) == hub()


@given(st.lists(st.tuples(st.integers(0, 1), st.text(max_size=4)), max_size=8), st.booleans())
def test_a_stream_says_what_the_whole_answer_says(pieces, with_usage):
    chunks = [{"choices": [{"index": i, "delta": {"content": t}}]} for i, t in pieces]
    chunks += [{"choices": [{"index": i, "delta": {}, "finish_reason": "stop"}]} for i in (0, 1)]
    chunks.append({"choices": [], "usage": USAGE})
    body = {"stream_options": {"include_usage": with_usage}}
    encoder, fold = TEXTS.encoder(WHO, body), Fold(WHO)
    for chunk in chunks:
        fold.add(chunk)
    *events, done = read(b"".join(encoder.encode(c) for c in chunks) + encoder.finish())
    whole = TEXTS.answer(fold.completion(), WHO, body)
    assert done == "[DONE]"
    assert all(e["object"] == "text_completion" and e["id"] == "cmpl-7" for e in events)
    if with_usage:
        last = events.pop()
        assert (last["choices"], last["usage"]) == ([], whole["usage"])
        assert all(event["usage"] is None for event in events)
    for choice in whole["choices"]:
        own = [c for e in events for c in e["choices"] if c["index"] == choice["index"]]
        assert "".join(c["text"] for c in own) == choice["text"]
        assert [c["finish_reason"] for c in own if c["finish_reason"]] == ["stop"]


def test_a_stream_fails_with_one_error_and_no_end():
    (event,) = read(TEXTS.encoder(WHO, {}).fail(StreamError("it broke")))
    assert event["error"]["message"] == "it broke"


class TestPassedThrough:
    """An upstream that completes text itself."""

    @staticmethod
    def event(text, finish=None):
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        return {"id": "cmpl-x", "object": "text_completion", "choices": [choice], "new": 1}

    async def ask(self, answer, **fields):
        async with memory_stack() as stack:
            stack.upstream.script = lambda _: answer
            body = {"model": "any/m", "prompt": ["a", "b"], "suffix": "z", **fields}
            response = await stack.client.post("/v1/completions", json=body)
            (request,) = stack.upstream.requests
        assert request.path == "/v1/completions"
        return response, request.json

    @pytest.mark.parametrize("wants_usage", [True, False])
    async def test_usage_is_asked_for_and_told_to_who_asked(self, wants_usage):
        usage = {"object": "text_completion", "choices": [], "usage": USAGE}
        events = [self.event("a"), self.event("", "stop"), usage]
        answer = Answer(headers=SSE, steps=sse(*events))
        options = {"stream_options": {"include_usage": True}} if wants_usage else {}
        response, asked = await self.ask(answer, stream=True, **options)
        assert asked["stream_options"] == {"include_usage": True}
        assert asked["suffix"] == "z"
        assert asked["prompt"] == ["a", "b"]
        assert read(response.content) == [*(events if wants_usage else events[:2]), "[DONE]"]

    async def test_a_stream_that_was_cut_off_ends_in_an_error(self):
        answer = Answer(headers=SSE, steps=sse(self.event("a"), done=False))
        response, _ = await self.ask(answer, stream=True)
        first, last = read(response.content)
        assert (first, last["error"]["code"]) == (self.event("a"), "upstream_truncated")

    async def test_a_whole_answer_is_a_stream_for_who_asked_for_one(self):
        answer = json_answer(self.event("ab", "length") | {"usage": USAGE})
        response, _ = await self.ask(answer, stream=True)
        *events, done = read(response.content)
        choices = [c for e in events for c in e["choices"]]
        assert [(c["text"], c["finish_reason"]) for c in choices] == [("ab", "length")]
        assert done == "[DONE]"

    async def test_a_chat_that_comes_instead_is_told_as_text(self):
        message = {"role": "assistant", "content": "hi"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        response, _ = await self.ask(json_answer({"object": "chat.completion", "choices": [choice]}))
        assert response.json()["choices"][0]["text"] == "hi"

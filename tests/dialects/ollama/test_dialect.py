from __future__ import annotations

import json

import pytest

from trio_router.dialects.base import AnswerIdentity
from trio_router.dialects.fold import Fold
from trio_router.dialects.ollama.dialect import OllamaDialect
from trio_router.errors import InvalidRequest

OLLAMA = OllamaDialect()
WHO = AnswerIdentity("chatcmpl-7", 1700000000, "ollama/m")


def built(**fields):
    request = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return json.loads(OLLAMA.build_request(request, ask_usage=True).body)


def refused(**fields) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        built(**fields)
    return caught.value.param


class TestRequest:
    def test_goes_to_the_chat_endpoint(self):
        assert OLLAMA.build_request({"messages": []}, ask_usage=True).path == "/api/chat"

    def test_says_whether_to_stream_for_ollama_streams_unless_told(self):
        assert built()["stream"] is False
        assert built(stream=True)["stream"] is True

    def test_sampling_fields_become_options(self):
        fields = {"temperature": 0, "top_p": 0.5, "seed": 3, "stop": "END", "max_tokens": 9}
        assert built(**fields)["options"] == {
            "temperature": 0,
            "top_p": 0.5,
            "seed": 3,
            "stop": ["END"],
            "num_predict": 9,
        }

    def test_own_options_and_fields_pass(self):
        body = built(options={"num_ctx": 8192}, keep_alive="5m", temperature=1)
        assert body["options"] == {"temperature": 1, "num_ctx": 8192}
        assert body["keep_alive"] == "5m"

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ({"type": "json_object"}, "json"),
            (
                {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
                {"type": "object"},
            ),
        ],
    )
    def test_a_response_format_becomes_the_format(self, given, told):
        assert built(response_format=given)["format"] == told

    def test_plain_text_needs_no_format(self):
        assert "format" not in built(response_format={"type": "text"})

    @pytest.mark.parametrize(
        ("effort", "think"), [("none", False), ("low", "low"), ("high", "high"), ("xhigh", True)]
    )
    def test_reasoning_effort_becomes_think(self, effort, think):
        assert built(reasoning_effort=effort)["think"] == think

    def test_images_become_base64_beside_the_text(self):
        parts = [
            {"type": "text", "text": "what"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
            {"type": "text", "text": "is it?"},
        ]
        (message,) = built(messages=[{"role": "user", "content": parts}])["messages"]
        assert message == {"role": "user", "content": "what\nis it?", "images": ["QUJD"]}

    def test_tool_calls_and_their_results_find_each_other(self):
        call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
        messages = [
            {"role": "developer", "content": "be brief"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "2"},
        ]
        told = built(messages=messages, tools=[{"type": "function", "function": {"name": "add"}}])
        assert told["tools"] == [{"type": "function", "function": {"name": "add"}}]
        assert told["messages"] == [
            {"role": "system", "content": "be brief"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "c1", "function": {"name": "add", "arguments": {"a": 1}}}],
            },
            {"role": "tool", "content": "2", "tool_name": "add", "tool_call_id": "c1"},
        ]

    def test_what_ollama_cannot_do_is_refused_by_name(self):
        assert refused(n=2) == "n"
        assert refused(logit_bias={"1": 2}) == "logit_bias"
        assert refused(tool_choice="required") == "tool_choice"
        url = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
        assert refused(messages=[{"role": "user", "content": [url]}]) == "messages[0].content[0]"
        assert refused(messages=[{"role": "king", "content": "x"}]) == "messages[0].role"
        bad = {"id": "c", "function": {"name": "f", "arguments": "{"}}
        assert (
            refused(messages=[{"role": "assistant", "tool_calls": [bad]}]) == "messages[0].tool_calls"
        )

    def test_the_request_itself_is_left_alone(self):
        request = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stop": "x"}
        before = json.dumps(request)
        OLLAMA.build_request(request, ask_usage=True)
        assert json.dumps(request) == before


RECORDS = [
    {"model": "m", "message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False},
    {"model": "m", "message": {"role": "assistant", "content": "He"}, "done": False},
    {"model": "m", "message": {"role": "assistant", "content": "llo"}, "done": False},
    {
        "model": "m",
        "message": {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"function": {"name": "a", "arguments": {"x": 1}}},
                {"id": "own", "function": {"name": "b", "arguments": {}}},
            ],
        },
        "done": False,
    },
    {
        "model": "m",
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 5,
        "eval_count": 7,
    },
]


class TestStream:
    def chunks(self, records=RECORDS):
        decoder = OLLAMA.decoder(WHO)
        chunks = [c for r in records for c in decoder.decode(r)]
        assert decoder.is_done
        return chunks

    def test_the_role_comes_first_and_once(self):
        deltas = [c["choices"][0]["delta"] for c in self.chunks() if c["choices"]]
        assert deltas[0]["role"] == "assistant"
        assert not any("role" in d for d in deltas[1:])

    def test_every_chunk_has_openais_frame(self):
        for chunk in self.chunks():
            assert chunk["object"] == "chat.completion.chunk"
            assert (chunk["id"], chunk["created"], chunk["model"]) == ("chatcmpl-7", 1700000000, "m")

    def test_thinking_text_and_calls_come_in_their_fields(self):
        fold = Fold(WHO)
        for chunk in self.chunks():
            fold.add(chunk)
        (choice,) = fold.completion()["choices"]
        assert choice["message"]["reasoning_content"] == "hm"
        assert choice["message"]["content"] == "Hello"
        assert choice["message"]["tool_calls"] == [
            {"id": "call_7_0", "type": "function", "function": {"name": "a", "arguments": '{"x":1}'}},
            {"id": "own", "type": "function", "function": {"name": "b", "arguments": "{}"}},
        ]
        assert choice["finish_reason"] == "tool_calls"

    def test_usage_comes_last_in_a_chunk_of_its_own(self):
        last = self.chunks()[-1]
        assert last["choices"] == []
        assert last["usage"] == {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}

    @pytest.mark.parametrize(
        ("reason", "finish"), [("stop", "stop"), ("length", "length"), (None, "stop")]
    )
    def test_the_done_reason_is_the_finish_reason(self, reason, finish):
        record = {**RECORDS[-1], "done_reason": reason}
        chunks = self.chunks([record])
        assert chunks[-2]["choices"][0]["finish_reason"] == finish


class TestGenerate:
    """`/api/generate` and servers like it say the same in other fields: no text may be lost."""

    RECORDS = [
        {"model": "m", "response": "He", "done": False},
        {"model": "m", "response": "llo", "done": False},
        {"model": "m", "response": "", "done": True, "done_reason": "stop", "eval_count": 2},
    ]

    def test_a_stream_is_read(self):
        decoder = OLLAMA.decoder(WHO)
        fold = Fold(WHO)
        for record in self.RECORDS:
            for chunk in decoder.decode(record):
                fold.add(chunk)
        assert fold.completion()["choices"][0]["message"]["content"] == "Hello"

    def test_a_whole_answer_is_read(self):
        whole = OLLAMA.completion({**self.RECORDS[-1], "response": "Hello"}, WHO)
        assert whole["choices"][0]["message"]["content"] == "Hello"


class TestWhole:
    def test_an_answer_streamed_and_folded_is_the_answer_not_streamed(self):
        record = {
            **RECORDS[-1],
            "message": {
                "role": "assistant",
                "content": "Hello",
                "thinking": "hm",
                "tool_calls": RECORDS[3]["message"]["tool_calls"],
            },
        }
        whole = OLLAMA.completion(record, WHO)
        fold = Fold(WHO)
        decoder = OLLAMA.decoder(WHO)
        for item in RECORDS:
            for chunk in decoder.decode(item):
                fold.add(chunk)
        folded = fold.completion()
        assert folded["usage"] == whole["usage"]
        assert folded["choices"][0]["message"] == whole["choices"][0]["message"]
        assert folded["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]

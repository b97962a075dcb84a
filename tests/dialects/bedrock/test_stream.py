"""What Converse says, streaming or whole, in the hub's words; and models' own APIs where invoked."""

from __future__ import annotations

import base64

import pytest

from trio_router.dialects import DIALECTS
from trio_router.dialects.base import AnswerIdentity
from trio_router.dialects.fold import Fold

BEDROCK = DIALECTS["bedrock"]
IDENTITY = AnswerIdentity("chatcmpl-1", 1, "m")


def read(*records):
    decoder, fold = BEDROCK.decoder(IDENTITY), Fold(IDENTITY)
    for record in records:
        for chunk in decoder.decode(record):
            fold.add(chunk)
    for chunk in decoder.end(is_whole=False):
        fold.add(chunk)
    return fold.completion()


def delta(index, **what):
    return {"contentBlockDelta": {"contentBlockIndex": index, "delta": what, "p": "abc"}}


def stop(reason="end_turn", **more):
    return {"messageStop": {"stopReason": reason, **more}}


def metadata(**more):
    usage = {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12}
    return {"metadata": {"usage": {**usage, **more.pop("usage", {})}, "metrics": {}, **more}}


START = {"messageStart": {"role": "assistant"}}


def test_text_and_thinking_with_its_signature():
    told = read(
        START,
        delta(0, reasoningContent={"text": "Hm, "}),
        delta(0, reasoningContent={"text": "yes"}),
        delta(0, reasoningContent={"signature": "sig"}),
        {"contentBlockStop": {"contentBlockIndex": 0}},
        delta(1, text="Hel"),
        delta(1, text="lo"),
        stop(),
        metadata(),
    )
    message = told["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Hello", "Hm, yes")
    (detail,) = message["reasoning_details"]
    assert (detail["text"], detail["signature"]) == ("Hm, yes", "sig")
    assert detail["format"] == "anthropic-claude-v1"
    assert told["choices"][0]["finish_reason"] == "stop"


def test_calls_come_in_pieces_and_one_without_input_has_an_empty_object():
    def begun(index, name):
        use = {"toolUse": {"toolUseId": f"t{index}", "name": name}}
        return {"contentBlockStart": {"contentBlockIndex": index, "start": use}}

    told = read(
        START,
        begun(0, "look"),
        delta(0, toolUse={"input": ""}),
        delta(0, toolUse={"input": '{"a":'}),
        delta(0, toolUse={"input": " 1}"}),
        {"contentBlockStop": {"contentBlockIndex": 0}},
        begun(1, "rest"),
        stop("tool_use"),
        metadata(),
    )
    calls = [(c["id"], c["function"]) for c in told["choices"][0]["message"]["tool_calls"]]
    assert calls == [
        ("t0", {"name": "look", "arguments": '{"a": 1}'}),
        ("t1", {"name": "rest", "arguments": "{}"}),
    ]
    assert told["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("native", "finish"),
    [
        ("max_tokens", "length"),
        ("stop_sequence", "stop"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("model_context_window_exceeded", "length"),
        ("something_new", "stop"),
    ],
)
def test_the_reason_to_stop(native, finish):
    choice = read(START, delta(0, text="a"), stop(native), metadata())["choices"][0]
    assert choice["finish_reason"] == finish
    assert choice.get("native_finish_reason", native) == native


def test_what_a_guardrail_did_stands_beside_the_reason():
    trace = {"guardrail": {"inputAssessment": {"g": {"topicPolicy": {}}}}}
    told = read(START, delta(0, text="No."), stop("guardrail_intervened"), metadata(trace=trace))
    assert told["choices"][0]["extra_content"] == {"bedrock": {"trace": trace}}


def test_a_stop_sequence_is_told():
    more = {"additionalModelResponseFields": {"stop_sequence": "END"}}
    told = read(START, delta(0, text="a"), stop("stop_sequence", **more), metadata())
    assert told["choices"][0]["stop_sequence"] == "END"


def test_usage_counts_what_the_cache_gave_and_took():
    usage = {
        "totalTokens": 162,
        "cacheReadInputTokens": 100,
        "cacheWriteInputTokens": 50,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 50}],
    }
    told = read(START, delta(0, text="a"), stop(), metadata(usage=usage))["usage"]
    assert told["prompt_tokens"] == 157
    assert told["total_tokens"] == 162
    assert told["prompt_tokens_details"] == {"cached_tokens": 100, "cache_creation_tokens": 50}
    assert told["cache_creation"] == {"ephemeral_1h_input_tokens": 50}


def test_usage_whose_input_has_the_cache_in_it_is_not_counted_twice():
    usage = {"inputTokens": 107, "totalTokens": 112, "cacheReadInputTokens": 100}
    told = read(START, delta(0, text="a"), stop(), metadata(usage=usage))["usage"]
    assert (told["prompt_tokens"], told["total_tokens"]) == (107, 112)


def test_an_answer_without_metadata_ends_all_the_same():
    told = read(START, delta(0, text="a"), stop())
    assert told["choices"][0]["finish_reason"] == "stop"


def test_a_picture_comes_in_pieces():
    pieces = [base64.b64encode(piece).decode() for piece in (b"\x89PN", b"G and")]
    told = read(
        START,
        {"contentBlockStart": {"contentBlockIndex": 0, "start": {"image": {"format": "png"}}}},
        *(delta(0, image={"source": {"bytes": piece}}) for piece in pieces),
        {"contentBlockStop": {"contentBlockIndex": 0}},
        stop(),
        metadata(),
    )
    url = told["choices"][0]["message"]["images"][0]["image_url"]["url"]
    assert url == "data:image/png;base64," + base64.b64encode(b"\x89PNG and").decode()


def test_what_has_no_counterpart_is_kept():
    citation = {"title": "t", "location": {"web": {"url": "https://x"}}}
    told = read(START, delta(0, text="a"), delta(0, citation=citation), stop(), metadata())
    parts = told["choices"][0]["message"]["extra_content"]["bedrock"]["parts"]
    assert [one["part"] for one in parts] == [{"citation": citation}]


def test_a_whole_answer_says_what_its_stream_would_have_said():
    content = [
        {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "AAAA"}},
        {"text": "Hello"},
        {"toolUse": {"toolUseId": "t", "name": "look", "input": {"a": 1}}},
        {"citationsContent": {"content": [{"text": " there"}], "citations": [{"title": "t"}]}},
    ]
    record = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": "tool_use",
        "usage": {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12},
    }
    assert BEDROCK.recognises(record)
    told = BEDROCK.completion(record, IDENTITY)
    message = told["choices"][0]["message"]
    assert message["content"] == "Hello there"
    assert message["reasoning_content"] == "Hm"
    kinds = [detail["type"] for detail in message["reasoning_details"]]
    assert kinds == ["reasoning.text", "reasoning.encrypted"]
    assert message["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"a":1}'}
    assert told["choices"][0]["finish_reason"] == "tool_calls"
    assert told["usage"]["total_tokens"] == 12


METRICS = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 2}}


@pytest.mark.parametrize(
    "records",
    [
        [
            {"outputText": "Hel", "index": 0},
            {"outputText": "lo", "completionReason": "FINISH", **METRICS},
        ],
        [{"results": [{"outputText": "Hello", "tokenCount": 2, "completionReason": "FINISH"}]}],
        [
            {"completion": "Hel", "stop_reason": None},
            {"completion": "lo", "stop_reason": "stop_sequence"},
        ],
        [{"generation": "Hel"}, {"generation": "lo", "stop_reason": "stop", **METRICS}],
        [{"outputs": [{"text": "Hello", "stop_reason": "stop"}]}],
    ],
    ids=["titan", "titan-whole", "claude-2", "llama", "mistral"],
)
def test_models_that_are_invoked_speak_in_their_own_ways(records):
    assert all(BEDROCK.recognises(record) for record in records)
    told = read(*records)
    assert told["choices"][0]["message"]["content"] == "Hello"
    assert told["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "record",
    [
        {"choices": [{"index": 0, "delta": {"content": "a"}}]},
        {"type": "completion", "completion": "a"},
        {"type": "message_start", "message": {}},
        {"candidates": []},
        {"text": "a"},
        {"output": [], "object": "response"},
        {"metadata": {}, "id": "x"},
    ],
)
def test_other_apis_are_not_taken_for_it(record):
    assert not BEDROCK.recognises(record)

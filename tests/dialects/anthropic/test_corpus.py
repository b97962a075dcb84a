"""Recorded answers, read naively here, must be what the dialect makes of them."""

from __future__ import annotations

import base64
import json

import pytest

from tests.dialects.anthropic import naive
from tests.dialects.anthropic.naive import WHO
from tests.helpers import corpus
from trio_router.dialects.anthropic import AnthropicDialect, MessagesClient
from trio_router.dialects.anthropic.client_request import chat_request
from trio_router.dialects.fold import Fold
from trio_router.dialects.translate import status_error

pytestmark = pytest.mark.corpus
ANTHROPIC, MESSAGES = AnthropicDialect(), MessagesClient()
FINISH = {
    "end_turn": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def records(kind: str, dialect: str = "anthropic") -> list[tuple[str, bytes]]:
    found = [
        (r["id"], base64.b64decode(r["response"]["body_b64"]))
        for r in corpus("streams.jsonl")
        if r["dialect"] == dialect and r["kind"] == kind
    ]
    assert found
    return found


def decoded(stream: list[dict]) -> list[dict]:
    decoder = ANTHROPIC.decoder(WHO)
    assert all(ANTHROPIC.recognises(event) for event in stream)
    chunks = [chunk for event in stream for chunk in decoder.decode(event)]
    assert decoder.is_done
    return chunks


def folded(chunks: list[dict]) -> dict:
    fold = Fold(WHO)
    for chunk in json.loads(json.dumps(chunks)):
        fold.add(chunk)
    return fold.completion()


def encoded(chunks: list[dict]) -> dict:
    encoder = MESSAGES.encoder(WHO, {})
    out = b"".join(encoder.encode(chunk) for chunk in chunks) + encoder.finish()
    read = naive.frames(out)
    naive.check_grammar(read)
    return naive.message([event for _, event in read])


def check_hub(whole: dict, completion: dict, name: str) -> None:
    (choice,) = completion["choices"]
    said = choice["message"]
    assert said["content"] == naive.text(whole), name
    assert said.get("reasoning_content", "") == naive.thinking(whole), name
    hub_calls = [
        (c["id"], c["function"]["name"], json.loads(c["function"]["arguments"]))
        for c in said.get("tool_calls", ())
    ]
    assert hub_calls == naive.calls(whole), name
    assert choice["finish_reason"] == FINISH[whole["stop_reason"]], name
    signatures = [d["signature"] for d in said.get("reasoning_details", ()) if "signature" in d]
    assert signatures == [b["signature"] for b in whole["content"] if b.get("signature")], name
    data = [d["data"] for d in said.get("reasoning_details", ()) if "data" in d]
    assert data == [b["data"] for b in whole["content"] if b["type"] == "redacted_thinking"], name
    assert (completion["id"], completion["model"]) == (whole["id"], whole["model"])
    usage = whole["usage"]
    prompt = sum(
        usage.get(f) or 0
        for f in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    )
    assert completion["usage"]["prompt_tokens"] == prompt, name
    assert completion["usage"]["completion_tokens"] == usage["output_tokens"], name


def check_same(whole: dict, again: dict, name: str) -> None:
    """Blocks, their order, stop reason and usage, down to what only the API has a word for."""
    # An empty text block says nothing, and the hub has no place for it.
    content = [block for block in whole["content"] if block.get("text") != ""]
    assert again["content"] == content, name
    assert again["stop_reason"] == whole["stop_reason"], name
    assert again["stop_sequence"] == whole["stop_sequence"], name
    assert (again["id"], again["model"]) == (whole["id"], whole["model"]), name
    for field in ("input_tokens", "output_tokens", "output_tokens_details", "server_tool_use"):
        assert again["usage"].get(field) == whole["usage"].get(field), name
    assert again.get("container") == whole.get("container"), name
    assert again.get("stop_details") == whole.get("stop_details"), name


def test_every_recorded_stream_is_decoded_whole():
    for name, body in records("stream"):
        stream = naive.events(body)
        check_hub(naive.message(stream), folded(decoded(stream)), name)


def test_every_recorded_stream_comes_back_as_it_was():
    for name, body in records("stream"):
        stream = naive.events(body)
        check_same(naive.message(stream), encoded(decoded(stream)), name)


def test_every_recorded_stream_is_the_same_not_streamed():
    for name, body in records("stream"):
        stream = naive.events(body)
        answer = MESSAGES.answer(folded(decoded(stream)), WHO, {})
        check_same(naive.message(stream), answer, name)


def test_every_recorded_answer_is_read_whole_and_comes_back_as_it_was():
    for name, body in records("json"):
        whole = json.loads(body)
        assert ANTHROPIC.recognises(whole)
        completion = ANTHROPIC.completion(whole, WHO)
        check_hub(whole, completion, name)
        check_same(whole, MESSAGES.answer(completion, WHO, {}), name)
        check_same(whole, encoded(decoded([whole])), name)


def test_every_recorded_error_keeps_its_type_and_message():
    for name, body in records("error"):
        said = json.loads(body)["error"]
        status = {"authentication_error": 401, "not_found_error": 404}.get(said["type"], 400)
        error = MESSAGES.error_body(status_error("p", status, body, None))
        assert error == {"type": "error", "error": said}, name


def test_every_recorded_conversation_goes_through_the_hub_and_back():
    """Requests of Anthropic's own clients: what the upstream gets says what they said."""
    count = 0
    for record in corpus("streams.jsonl"):
        request = record["request"]["body"]
        if record["dialect"] != "anthropic" or record["kind"] == "error" or not request:
            continue
        if "model" not in request:  # Vertex names it in the path
            request = {**request, "model": "claude"}
        count += 1
        hub = chat_request(request)
        again = json.loads(ANTHROPIC.build_request(hub, ask_usage=True).body)
        for field in request.keys() - {"messages", "system", "anthropic_version"}:
            if field == "stream" and not request["stream"]:
                continue
            given = request[field]
            if field == "tool_choice":
                given = {k: v for k, v in given.items() if v is not False}
            assert again.get(field) == given, (record["id"], field)
        assert len(again["messages"]) == len(request["messages"]), record["id"]
        for ours, theirs in zip(again["messages"], request["messages"], strict=True):
            content = theirs["content"]
            if isinstance(content, str):
                content = [{"type": "text", "text": content}]
            assert ours["role"] == theirs["role"]
            assert ours["content"] == content, record["id"]
    assert count


def naive_openai(chunks: list[dict]) -> tuple[str, str, list]:
    """Text, reasoning and the calls' inputs of an OpenAI stream's first choice."""
    text = reasoning = ""
    arguments: dict = {}
    for chunk in chunks:
        for choice in chunk.get("choices") or ():
            if choice.get("index", 0) != 0:
                continue
            delta = choice.get("delta") or {}
            content = delta.get("content") or ""
            for part in content if isinstance(content, list) else [{"text": content}]:
                text += part.get("text", "")
                reasoning += "".join(thought["text"] for thought in part.get("thinking", ()))
            text += delta.get("refusal") or ""
            reasoning += delta.get("reasoning_content") or delta.get("reasoning") or ""
            for call in delta.get("tool_calls") or ():
                key = call["index"] if call.get("index") is not None else call["id"]
                arguments[key] = arguments.get(key, "") + (call["function"].get("arguments") or "")
    return text, reasoning, [naive_input(a) for a in arguments.values()]


def naive_input(arguments: str) -> dict:
    if "{" not in arguments:
        return {"INVALID_JSON": arguments} if arguments else {}
    return json.loads(arguments)


def chunks_of(body: bytes) -> list[dict]:
    """The chunks up to an error or a broken event, where the router ends the stream badly."""
    found = []
    for line in body.decode().replace("\r", "\n").split("\n"):
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data != "[DONE]":
            try:
                chunk = json.loads(data)
            except ValueError:
                break
            if chunk.get("error"):
                break
            found.append(chunk)
    return found


def test_every_recorded_openai_stream_reaches_a_messages_client():
    for name, body in records("stream", "openai"):
        chunks = chunks_of(body)
        text, reasoning, inputs = naive_openai(chunks)
        whole = encoded(chunks)
        assert naive.text(whole) == text, name
        assert naive.thinking(whole) == reasoning, name
        assert [given for _, _, given in naive.calls(whole)] == inputs, name
        if inputs:
            assert whole["stop_reason"] in ("tool_use", "max_tokens"), name
        usage = [c["usage"] for c in chunks if c.get("usage")]
        if usage:
            assert whole["usage"]["output_tokens"] == usage[-1].get("completion_tokens", 0), name


def test_every_recorded_openai_answer_reaches_a_messages_client():
    for name, body in records("json", "openai"):
        completion = json.loads(body)
        said = completion["choices"][0]["message"]
        whole = MESSAGES.answer(completion, WHO, {})
        content = said.get("content") or ""
        if isinstance(content, dict):
            assert json.loads(naive.text(whole)) == content, name
        else:
            assert naive.text(whole) == content + (said.get("refusal") or ""), name
        details = "".join(d.get("text", "") for d in said.get("reasoning_details") or ())
        reasoning = said.get("reasoning_content") or said.get("reasoning") or details
        assert naive.thinking(whole) == reasoning, name
        functions = [call["function"] for call in said.get("tool_calls") or ()]
        if (said.get("function_call") or {}).get("name"):  # of the old kind
            functions.append(said["function_call"])
        inputs = [function["arguments"] for function in functions]
        assert [given for _, _, given in naive.calls(whole)] == [naive_input(i) for i in inputs], name
        usage = completion.get("usage") or {}
        assert whole["usage"]["output_tokens"] == usage.get("completion_tokens", 0), name

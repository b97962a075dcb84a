"""Generated conversations and answers: what the API can carry comes back."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, strategies as st

from tests.dialects.anthropic import naive
from tests.dialects.anthropic.naive import WHO
from trio_router.dialects.anthropic import AnthropicDialect, MessagesClient
from trio_router.dialects.chat_request import parse_chat_request
from trio_router.dialects.fold import Fold
from trio_router.errors import InvalidRequest

ANTHROPIC, MESSAGES = AnthropicDialect(), MessagesClient()
FORMAT = {"format": "anthropic-claude-v1"}

WORDS = st.text(min_size=1, max_size=8).filter(str.strip)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.text(max_size=4), JSON, max_size=3)
BASE64 = st.sampled_from(["QUJD", "iVBORw==", "AA=="])
URLS = st.sampled_from(["https://x/y.png", "http://x/y"])
IDS = st.text("abcXYZ09_-", min_size=3, max_size=6)


def through_messages(hub: dict) -> dict:
    told = json.loads(ANTHROPIC.build_request(hub, ask_usage=True).body)
    return MESSAGES.chat_request(told)


# Conversations of the hub: OpenAI -> Anthropic -> OpenAI.

TEXTS = st.builds(lambda t: {"type": "text", "text": t}, WORDS)
IMAGES = st.builds(
    lambda url: {"type": "image_url", "image_url": {"url": url}},
    URLS | BASE64.map("data:image/png;base64,{}".format),
)
FILES = BASE64.map(
    lambda data: {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{data}"}}
)
CONTENTS = WORDS | st.lists(TEXTS | IMAGES | FILES, min_size=1, max_size=3)
THOUGHTS = st.builds(
    lambda t, s: {"type": "reasoning.text", "text": t, "signature": s, **FORMAT}, WORDS, BASE64
) | BASE64.map(lambda data: {"type": "reasoning.encrypted", "data": data, **FORMAT})


@st.composite
def exchanges(draw):
    """A user's words, an assistant's, and the results of its calls."""
    ids = draw(st.lists(IDS, max_size=3, unique=True))
    said = {"role": "assistant", "content": draw(WORDS | st.lists(TEXTS, min_size=1, max_size=2))}
    if thoughts := draw(st.lists(THOUGHTS, max_size=2)):
        said["reasoning_details"] = thoughts
    if ids:
        said["tool_calls"] = [
            {
                "id": id_,
                "type": "function",
                "function": {"name": draw(IDS), "arguments": json.dumps(draw(OBJECTS))},
            }
            for id_ in ids
        ]
        if draw(st.booleans()):
            said["content"] = None
    results = [
        {"role": "tool", "tool_call_id": id_, "content": draw(CONTENTS)}
        for id_ in draw(st.permutations(ids))
    ]
    return [{"role": "user", "content": draw(CONTENTS)}, said, *results]


@st.composite
def conversations(draw):
    system = draw(st.lists(st.builds(lambda t: {"role": "system", "content": t}, WORDS), max_size=2))
    turns = draw(st.lists(exchanges(), max_size=3))
    return [*system, *itertools.chain(*turns), {"role": "user", "content": draw(CONTENTS)}]


def parts(content) -> list[dict]:
    if content is None:
        return []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def meaning(messages: list[dict]) -> list:
    """What a conversation says, however it is divided into messages."""
    told: list = []
    for message in messages:
        role, content = message["role"], parts(message["content"])
        items = [("thought", d.get("text"), d.get("signature") or d["data"])
                 for d in message.get("reasoning_details", ())]  # fmt: skip
        if role == "tool":
            items.append(("result", message["tool_call_id"], content))
        else:
            items += [("part", part) for part in content]
        for call in message.get("tool_calls", ()):
            function = call["function"]
            items.append(("call", call["id"], function["name"], json.loads(function["arguments"])))
        role = "user" if role == "tool" else role
        if told and told[-1][0] == role:
            told[-1][1].extend(items)
        else:
            told.append((role, items))
    return told


@given(conversations())
def test_a_conversation_of_the_hub_means_the_same_after_the_messages_api(messages):
    again = through_messages({"model": "claude", "messages": messages})
    assert meaning(again["messages"]) == meaning(messages)


@given(
    st.lists(
        st.builds(
            lambda name, schema, strict: {
                "type": "function",
                "function": {
                    "name": name,
                    "description": "d",
                    "parameters": {"type": "object", **schema},
                    "strict": strict,
                },
            },
            IDS,
            OBJECTS.map(lambda o: {"properties": o}),
            st.booleans(),
        ),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from(["auto", "none", "required", {"type": "function", "function": {"name": "f"}}]),
    st.booleans(),
    st.fixed_dictionaries(
        {},
        optional={
            "max_tokens": st.integers(1, 9999),
            "temperature": st.sampled_from([0, 0.5, 1]),
            "top_p": st.sampled_from([0.1, 1]),
            "top_k": st.integers(1, 9),
            "stop": st.lists(WORDS, min_size=1, max_size=3),
            "user": WORDS,
            "service_tier": st.sampled_from(["auto", "default"]),
        },
    ),
)
def test_the_fields_of_a_request_come_back(tools, choice, parallel, fields):
    hub = {"model": "claude", "messages": [{"role": "user", "content": "x"}], "tools": tools}
    hub |= {"tool_choice": choice, **fields}
    if not parallel and choice != "none":
        hub["parallel_tool_calls"] = False
    again = through_messages(hub)
    assert {"max_tokens": 4096, **hub} == again


# Requests of the API's own clients: Anthropic -> OpenAI -> Anthropic, to the letter.

MARKS = st.sampled_from([{}, {}, {"cache_control": {"type": "ephemeral"}}])
TEXT_BLOCKS = st.builds(lambda t, m: {"type": "text", "text": t, **m}, WORDS, MARKS)
IMAGE_BLOCKS = st.builds(
    lambda source, m: {"type": "image", "source": source, **m},
    BASE64.map(lambda d: {"type": "base64", "media_type": "image/png", "data": d})
    | URLS.map(lambda u: {"type": "url", "url": u})
    | IDS.map(lambda i: {"type": "file", "file_id": i}),
    MARKS,
)
DOCUMENTS = st.builds(
    lambda source, extra: {"type": "document", "source": source, **extra},
    BASE64.map(lambda d: {"type": "base64", "media_type": "application/pdf", "data": d})
    | WORDS.map(lambda t: {"type": "text", "media_type": "text/plain", "data": t})
    | URLS.map(lambda u: {"type": "url", "url": u})
    | WORDS.map(lambda t: {"type": "content", "content": t}),
    st.sampled_from([{}, {"title": "t"}, {"citations": {"enabled": True}, "context": "c"}]),
)
SAID = TEXT_BLOCKS | IMAGE_BLOCKS | DOCUMENTS
THINKING_BLOCKS = st.builds(
    lambda t, s: {"type": "thinking", "thinking": t, "signature": s}, st.text(max_size=4), BASE64
) | BASE64.map(lambda d: {"type": "redacted_thinking", "data": d})
SERVED = st.sampled_from(
    [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"url": "u"}]},
    ]
)


@st.composite
def spoken(draw):
    """An assistant's turn in any order of blocks, and the results of its calls."""
    ids = iter(draw(st.lists(IDS, min_size=4, max_size=4, unique=True)))
    uses = st.builds(
        lambda name, given, m: {"type": "tool_use", "id": "", "name": name, "input": given, **m},
        IDS,
        OBJECTS,
        MARKS,
    )
    blocks = draw(st.lists(TEXT_BLOCKS | THINKING_BLOCKS | SERVED | uses, min_size=1, max_size=4))
    blocks = [{**b, "id": next(ids)} if b["type"] == "tool_use" else b for b in blocks]
    results = [
        {
            "type": "tool_result",
            "tool_use_id": block["id"],
            "content": draw(WORDS | st.lists(TEXT_BLOCKS | IMAGE_BLOCKS, min_size=2, max_size=3)),
            **draw(st.sampled_from([{}, {"is_error": True}])),
        }
        for block in blocks
        if block["type"] == "tool_use"
    ]
    return blocks, results


@given(st.lists(spoken(), max_size=3), st.lists(SAID, min_size=1, max_size=3), st.data())
def test_a_conversation_of_the_messages_api_comes_back_to_the_letter(turns, first, data):
    messages = [{"role": "user", "content": first}]
    for blocks, results in turns:
        said = data.draw(st.lists(SAID, min_size=1, max_size=2))
        messages += [
            {"role": "assistant", "content": blocks},
            {"role": "user", "content": results + said},
        ]
    request = {"model": "claude", "max_tokens": 9, "messages": messages}
    again = json.loads(ANTHROPIC.build_request(MESSAGES.chat_request(request), ask_usage=True).body)
    assert again == request


@given(
    st.fixed_dictionaries(
        {"max_tokens": st.integers(1, 9999)},
        optional={
            "system": WORDS | st.lists(TEXT_BLOCKS, min_size=2, max_size=3),
            "stream": st.just(True),
            "stop_sequences": st.lists(WORDS, min_size=1, max_size=2),
            "metadata": WORDS.map(lambda user: {"user_id": user}),
            "service_tier": st.sampled_from(["auto", "standard_only"]),
            "temperature": st.just(1),
            "top_p": st.just(0.95),
            "thinking": st.sampled_from(
                [
                    {"type": "enabled", "budget_tokens": 1024},
                    {"type": "adaptive"},
                    {"type": "adaptive", "display": "omitted"},
                    {"type": "disabled"},
                ]
            ),
            "output_config": st.fixed_dictionaries(
                {"effort": st.sampled_from(["low", "medium", "high", "xhigh", "max"])},
                optional={"format": OBJECTS.map(lambda o: {"type": "json_schema", "schema": o})},
            ),
            "tools": st.lists(
                st.builds(
                    lambda name, extra: {"name": name, "input_schema": {"type": "object"}, **extra},
                    IDS,
                    st.sampled_from(
                        [
                            {},
                            {"description": "d", "strict": True},
                            {"cache_control": {"type": "ephemeral"}, "defer_loading": True},
                        ]
                    ),
                )
                | st.just({"type": "web_search_20250305", "name": "web_search", "max_uses": 3}),
                min_size=1,
                max_size=3,
            ),
            "container": st.just("c"),
            "context_management": st.just({"edits": []}),
            "cache_control": st.just({"type": "ephemeral"}),
        },
    ),
    st.sampled_from(["claude-haiku-4-5", "claude-opus-4-6", "claude-opus-5-5", "other"]),
)
def test_the_fields_of_a_messages_request_come_back_to_the_letter(fields, model):
    said = [{"role": "user", "content": [{"type": "text", "text": "x"}]}]
    request = {"model": model, "messages": said, **fields}
    again = json.loads(ANTHROPIC.build_request(MESSAGES.chat_request(request), ask_usage=True).body)
    assert again == request


# Answers: events -> chunks -> events.


@st.composite
def answers(draw):
    """A whole message of the API."""
    uses = st.builds(
        lambda name, given: {"type": "tool_use", "id": "", "name": name, "input": given}, IDS, OBJECTS
    )
    texts = st.builds(
        lambda t, c: {"type": "text", "text": t} | ({"citations": c} if c else {}),
        WORDS,
        st.lists(st.just({"type": "char_location", "cited_text": "x"}), max_size=2),
    )
    blocks = draw(st.lists(texts | THINKING_BLOCKS | SERVED | uses, max_size=5))
    for number, block in enumerate(blocks):
        if block["type"] == "tool_use":
            blocks[number] = {**block, "id": f"toolu_{number}"}
    has_calls = any(block["type"] == "tool_use" for block in blocks)
    counts = st.integers(0, 9)
    return {
        "id": "msg_x",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": blocks,
        "stop_reason": draw(
            st.sampled_from(["tool_use", "max_tokens"] if has_calls else ["end_turn", "pause_turn"])
        ),
        "stop_sequence": None,
        "usage": {
            "input_tokens": draw(counts),
            "cache_creation_input_tokens": draw(counts),
            "cache_read_input_tokens": draw(counts),
            "output_tokens": draw(counts),
        },
    }


def cut(draw, text: str) -> list[str]:
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=2)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@st.composite
def streams(draw, whole):
    """The events that a message could have come in."""
    start = {
        **whole,
        "content": [],
        "stop_reason": None,
        "usage": {**whole["usage"], "output_tokens": 1},
    }
    events = [{"type": "message_start", "message": start}]
    for index, block in enumerate(whole["content"]):
        empty, deltas = dict(block), []
        match block["type"]:
            case "text":
                empty = {"type": "text", "text": ""}
                deltas = [{"type": "text_delta", "text": t} for t in cut(draw, block["text"])]
                deltas += [
                    {"type": "citations_delta", "citation": c} for c in block.get("citations", ())
                ]
            case "thinking":
                empty = {"type": "thinking", "thinking": "", "signature": ""}
                deltas = [
                    {"type": "thinking_delta", "thinking": t} for t in cut(draw, block["thinking"])
                ]
                deltas.append({"type": "signature_delta", "signature": block["signature"]})
            case "tool_use" | "server_tool_use":
                empty["input"] = {}
                deltas = [
                    {"type": "input_json_delta", "partial_json": t}
                    for t in cut(draw, json.dumps(block["input"]))
                ]
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    return [
        *events,
        {"type": "message_delta", "delta": delta, "usage": whole["usage"]},
        {"type": "message_stop"},
    ]


def chunks_of(events: list[dict]) -> list[dict]:
    decoder = ANTHROPIC.decoder(WHO)
    return [chunk for event in events for chunk in decoder.decode(event)]


def folded(chunks: list[dict]) -> dict:
    fold = Fold(WHO)
    for chunk in json.loads(json.dumps(chunks)):
        fold.add(chunk)
    return fold.completion()


def encoded(chunks: list[dict]) -> dict:
    encoder = MESSAGES.encoder(WHO, {})
    frames = naive.frames(b"".join(map(encoder.encode, chunks)) + encoder.finish())
    naive.check_grammar(frames)
    return naive.message([event for _, event in frames])


@given(st.data())
def test_an_answer_of_the_messages_api_comes_back_to_the_letter(data):
    whole = data.draw(answers())
    chunks = chunks_of(data.draw(streams(whole)))
    assert encoded(chunks) == whole
    assert MESSAGES.answer(folded(chunks), WHO, {}) == whole


@given(st.data())
def test_an_answer_streamed_and_folded_is_the_answer_not_streamed(data):
    whole = data.draw(answers())
    streamed, at_once = folded(chunks_of(data.draw(streams(whole)))), ANTHROPIC.completion(whole, WHO)
    for completion in (streamed, at_once):
        # Arguments are the model's own text in a stream and an object otherwise.
        for call in completion["choices"][0]["message"].get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    assert streamed == at_once


# Answers of others: chunks -> events.


@st.composite
def hub_streams(draw):
    """Chunks in which text, reasoning and the pieces of several calls interleave."""
    inputs = draw(st.lists(OBJECTS, max_size=3))
    queues = [
        [{"content": t} for t in draw(st.lists(WORDS, max_size=3))],
        [{"reasoning_content": t} for t in draw(st.lists(WORDS, max_size=3))],
    ]
    for index, given_input in enumerate(inputs):
        first, *rest = cut(draw, json.dumps(given_input))
        function = {"name": f"f{index}", "arguments": first}
        call = {"index": index, "id": f"c{index}", "type": "function", "function": function}
        later = [{"index": index, "function": {"arguments": t}} for t in rest]
        queues.append([{"tool_calls": [piece]} for piece in (call, *later)])
    deltas: list[dict] = [{"role": "assistant", "content": ""}]
    while any(queues):
        queue = draw(st.sampled_from([q for q in queues if q]))
        deltas.append(queue.pop(0))
    chunks = [{"choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
    finish = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    chunks.insert(draw(st.integers(1, len(chunks))), finish)
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}
    chunks.insert(draw(st.integers(1, len(chunks))), usage)
    return chunks, inputs


@given(hub_streams())
def test_any_stream_of_the_hub_obeys_the_apis_grammar_and_loses_nothing(stream):
    chunks, inputs = stream
    whole = encoded(chunks)
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert naive.text(whole) == "".join(d.get("content", "") for d in deltas)
    assert naive.thinking(whole) == "".join(d.get("reasoning_content", "") for d in deltas)
    wanted = [(f"c{i}", f"f{i}", value) for i, value in enumerate(inputs)]
    assert sorted(naive.calls(whole), key=lambda c: c[0]) == wanted
    assert whole["stop_reason"] == ("tool_use" if inputs else "end_turn")
    assert (whole["usage"]["input_tokens"], whole["usage"]["output_tokens"]) == (3, 5)


@given(hub_streams())
def test_a_stream_for_a_messages_client_is_the_answer_not_streamed(stream):
    chunks, _ = stream
    streamed, whole = encoded(chunks), MESSAGES.answer(folded(chunks), WHO, {})
    assert naive.text(streamed) == naive.text(whole)
    assert naive.thinking(streamed) == naive.thinking(whole)
    assert sorted(map(repr, naive.calls(streamed))) == sorted(map(repr, naive.calls(whole)))
    for field in ("id", "model", "stop_reason", "usage"):
        assert streamed[field] == whole[field]


# Nonsense.

NAMES = st.sampled_from(
    [
        "type",
        "index",
        "delta",
        "message",
        "content",
        "content_block",
        "text",
        "thinking",
        "signature",
        "data",
        "partial_json",
        "citation",
        "citations",
        "input",
        "id",
        "name",
        "usage",
        "stop_reason",
        "role",
        "model",
        "max_tokens",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "source",
        "media_type",
        "url",
        "tool_use_id",
        "is_error",
        "input_schema",
        "output_config",
        "format",
        "schema",
        "stop_details",
        "explanation",
        "choices",
        "finish_reason",
        "tool_calls",
        "function",
        "arguments",
        "reasoning_details",
        "anthropic_content",
        "extra_content",
        "refusal",
        "tool_call_id",
        "image_url",
        "file",
        "file_data",
        "length",
        "reasoning_content",
        "reasoning_effort",
        "response_format",
        "stop",
        "metadata",
    ]
)
KINDS = st.sampled_from(
    [
        "message",
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "text",
        "thinking",
        "redacted_thinking",
        "tool_use",
        "tool_result",
        "image",
        "document",
        "server_tool_use",
        "text_delta",
        "input_json_delta",
        "thinking_delta",
        "signature_delta",
        "citations_delta",
        "base64",
        "url",
        "user",
        "assistant",
        "system",
        "tool",
        "function",
        "enabled",
        "json_schema",
        "any",
        "auto",
        "image_url",
        "file",
    ]
)
NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | KINDS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=15,
)
EVENTS = st.dictionaries(NAMES, NONSENSE, max_size=4).flatmap(
    lambda d: KINDS.map(lambda kind: {**d, "type": kind})
)


@given(st.lists(EVENTS, max_size=4))
def test_events_of_any_shape_are_read_or_refused_as_the_caller_expects(events):
    decoder = ANTHROPIC.decoder(WHO)
    for event in events:
        try:
            decoder.decode(event)
        except (TypeError, KeyError, AttributeError, ValueError):
            return


@given(st.lists(st.dictionaries(NAMES, NONSENSE, max_size=3), max_size=3))
def test_chunks_of_any_shape_do_not_break_a_clients_stream(deltas):
    chunks = [{"choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
    encoder = MESSAGES.encoder(WHO, {})
    naive.check_grammar(naive.frames(b"".join(map(encoder.encode, chunks)) + encoder.finish()))


MESSAGE_LISTS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "tool"]), "content": NONSENSE},
        optional={
            "tool_calls": NONSENSE,
            "tool_call_id": NONSENSE,
            "reasoning_details": NONSENSE,
            "anthropic_content": NONSENSE,
            "refusal": NONSENSE,
        },
    ),
    min_size=1,
    max_size=3,
)
FIELDS = st.dictionaries(NAMES, NONSENSE, max_size=3)


@given(MESSAGE_LISTS, FIELDS)
def test_a_clients_request_of_any_shape_is_read_or_refused_by_a_fields_name(messages, fields):
    body = {**fields, "model": "m", "max_tokens": 9, "messages": messages}
    try:
        MESSAGES.chat_request(body)
    except InvalidRequest as error:
        named = error.param
    else:
        named = "nothing to name"
    assert named


@given(MESSAGE_LISTS, FIELDS, st.booleans())
def test_a_request_of_any_shape_is_built_or_refused_by_a_fields_name(messages, fields, drop):
    body = json.dumps({**fields, "model": "m", "messages": messages}).encode()
    try:
        request = parse_chat_request(body)
    except InvalidRequest:
        return
    try:
        ANTHROPIC.build_request(request, ask_usage=True, drop_unsupported=drop)
    except InvalidRequest as error:
        named = error.param
    else:
        named = "nothing to name"
    assert named


def test_the_strategies_reach_what_they_are_for():
    """A stream in which calls truly interleave is among the generated ones."""
    from hypothesis import find

    def interleaves(stream):
        order = [
            call["index"]
            for chunk in stream[0]
            for choice in chunk["choices"]
            for call in choice["delta"].get("tool_calls", ())
        ]
        return order != sorted(order)

    assert find(hub_streams(), interleaves)
    with pytest.raises(InvalidRequest):
        MESSAGES.chat_request({})

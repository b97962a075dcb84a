"""What clients of Ollama's API ask, as every other upstream is asked it."""

from __future__ import annotations

import json

import pytest

from trio_router.dialects import OLLAMA_CLIENTS
from trio_router.errors import InvalidRequest

CHAT, GENERATE = OLLAMA_CLIENTS["/api/chat"], OLLAMA_CLIENTS["/api/generate"]
USER = {"role": "user", "content": "?"}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "?", "parameters": {"type": "object"}},
}


def chat(*, drop: bool = False, **fields) -> dict:
    """The hub's request for a chat that asks `fields`, without what every chat here has."""
    body = {"model": "m", "messages": [USER], "stream": False, **fields}
    CHAT.check(body)
    made = CHAT.chat_request(body, drop_unsupported=drop)
    assert made.pop("model") == "m"
    if made["messages"] == [USER]:
        del made["messages"]
    return made


def generate(**fields) -> dict:
    body = {"model": "m", "prompt": "?", "stream": False, **fields}
    GENERATE.check(body)
    return GENERATE.chat_request(body)


def messages(*given) -> list[dict]:
    return chat(messages=list(given)).get("messages", [USER])


@pytest.mark.parametrize("client", [CHAT, GENERATE])
@pytest.mark.parametrize(
    ("given", "is_stream"), [({}, True), ({"stream": None}, True), ({"stream": False}, False)]
)
def test_an_answer_is_streamed_unless_it_must_not_be(client, given, is_stream):
    body = {"model": "m", "messages": [USER], "prompt": "?", **given}
    client.check(body)
    assert body["stream"] is is_stream
    assert bool(client.chat_request(body).get("stream")) is is_stream


def test_a_stream_is_asked_for_its_usage():
    assert chat(stream=True) == {"stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"options": {"num_predict": 7}}, {"max_tokens": 7}),
        ({"options": {"num_predict": -1}}, {}),
        ({"options": {"num_predict": -2}}, {}),
        ({"options": {"stop": ["a", "b"]}}, {"stop": ["a", "b"]}),
        ({"options": {"stop": "a"}}, {"stop": ["a"]}),
        ({"options": {"stop": []}}, {}),
        (
            {"options": {"temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "seed": 3}},
            {"temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "seed": 3},
        ),
        ({"options": {"temperature": 0}}, {"temperature": 0}),
        ({"options": {"seed": None}}, {}),
        (
            {"options": {"frequency_penalty": 1, "presence_penalty": 2, "repeat_penalty": 1.1}},
            {"frequency_penalty": 1, "presence_penalty": 2, "repeat_penalty": 1.1},
        ),
        ({"options": {"num_ctx": 8192, "num_gpu": 1, "num_thread": 4, "use_mmap": True}}, {}),
        ({"options": {"mirostat": 0, "mirostat_tau": 5.0, "penalize_newline": True}}, {}),
        ({"options": {"typical_p": 1.0, "tfs_z": 1, "repeat_last_n": 64}}, {}),
        ({"options": {}}, {}),
        ({"keep_alive": "5m", "truncate": True, "shift": True}, {}),
        ({"format": ""}, {}),
        ({"format": "json"}, {"response_format": {"type": "json_object"}}),
        (
            {"format": {"type": "object"}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "object"}},
                }
            },
        ),
        ({"think": True}, {"reasoning_effort": "medium"}),
        ({"think": False}, {"reasoning_effort": "none"}),
        ({"think": "high"}, {"reasoning_effort": "high"}),
        ({"think": None}, {}),
        ({"tools": [TOOL]}, {"tools": [TOOL]}),
        ({"tools": []}, {}),
        ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"user": "u"}, {"user": "u"}),
        ({"template": "", "context": []}, {}),
    ],
)
def test_fields_and_options_have_the_hubs_names(fields, told):
    assert chat(**fields) == told


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"role": "system", "content": "s"}, {"role": "system", "content": "s"}),
        ({"role": "user"}, {"role": "user", "content": ""}),
        (
            {"role": "user", "content": "?", "images": [PNG]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                ],
            },
        ),
        (
            {"role": "assistant", "content": "a", "thinking": "t"},
            {"role": "assistant", "content": "a", "reasoning_content": "t"},
        ),
        ({"role": "user", "content": "?", "images": None}, {"role": "user", "content": "?"}),
    ],
)
def test_messages_are_told_in_the_hubs_shape(message, told):
    assert messages(message) == [told]


@pytest.mark.parametrize(
    ("start", "kind"),
    [("/9j/4AAQ", "jpeg"), ("R0lGODlh", "gif"), ("UklGRiQA", "webp"), (PNG[:16], "png")],
)
def test_an_images_kind_is_seen_in_its_first_bytes(start, kind):
    [told] = messages({"role": "user", "images": [start]})
    assert told["content"] == [
        {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{start}"}}
    ]


def test_an_image_that_says_its_kind_stays_as_it_is():
    url = f"data:image/png;base64,{PNG}"
    [told] = messages({"role": "user", "images": [url]})
    assert told["content"] == [{"type": "image_url", "image_url": {"url": url}}]


def call(name: str, own: str = "", **arguments) -> dict:
    told = {"function": {"name": name, "arguments": arguments}}
    return {"id": own, **told} if own else told


def turn(*calls) -> dict:
    return {"role": "assistant", "content": "", "tool_calls": list(calls)}


def result(content: str, **fields) -> dict:
    return {"role": "tool", "content": content, **fields}


def pairs(*given) -> list[tuple[str, str]]:
    """The tool and the result of each result, as the ids say."""
    made = messages(USER, *given)
    names = {c["id"]: c["function"]["name"] for m in made for c in m.get("tool_calls") or ()}
    return [(names[m["tool_call_id"]], m["content"]) for m in made if m["role"] == "tool"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([turn(call("a")), result("1", tool_name="a")], [("a", "1")]),
        ([turn(call("a")), result("1")], [("a", "1")]),
        ([turn(call("a")), result("1", name="a")], [("a", "1")]),
        (
            [turn(call("a"), call("b")), result("2", tool_name="b"), result("1", tool_name="a")],
            [("b", "2"), ("a", "1")],
        ),
        ([turn(call("a", "x"), call("b", "y")), result("2", tool_call_id="y")], [("b", "2")]),
        ([turn(call("a"), call("b")), result("1"), result("2")], [("a", "1"), ("b", "2")]),
        (
            [turn(call("a")), result("1", tool_name="a"), turn(call("a")), result("2", tool_name="a")],
            [("a", "1"), ("a", "2")],
        ),
    ],
)
def test_results_find_their_calls_by_id_by_name_and_by_order(given, told):
    assert pairs(*given) == told


def test_two_results_of_one_tool_belong_to_two_calls():
    made = messages(USER, turn(call("a", n=1), call("a", n=2)), result("1"), result("2"))
    ids = [c["id"] for c in made[1]["tool_calls"]]
    assert [m["tool_call_id"] for m in made[2:]] == ids
    assert len(set(ids)) == 2
    told = [json.loads(c["function"]["arguments"]) for c in made[1]["tool_calls"]]
    assert told == [{"n": 1}, {"n": 2}]
    assert made[1]["content"] is None


def test_a_prompt_is_a_users_message_behind_the_system_prompt():
    assert generate(system="s", images=[PNG], options={"seed": 1}, keep_alive=0, raw=False) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "s"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                ],
            },
        ],
        "seed": 1,
    }


@pytest.mark.parametrize(
    ("client", "fields", "param"),
    [
        (CHAT, {"model": ""}, "model"),
        (CHAT, {"model": 1}, "model"),
        (CHAT, {"stream": "yes"}, "stream"),
        (CHAT, {"messages": "hi"}, "messages"),
        (CHAT, {"messages": ["hi"]}, "messages[0]"),
        (CHAT, {"messages": [{"role": "robot"}]}, "messages[0].role"),
        (CHAT, {"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        (CHAT, {"messages": [{"role": "user", "images": "x"}]}, "messages[0].images"),
        (CHAT, {"messages": [{"role": "user", "images": [1]}]}, "messages[0].images[0]"),
        (CHAT, {"messages": [{"role": "user", "images": ["AAAA"]}]}, "messages[0].images[0]"),
        (CHAT, {"messages": [{"role": "user", "images": ["/9j/!"]}]}, "messages[0].images[0]"),
        (CHAT, {"messages": [{"role": "assistant", "thinking": 1}]}, "messages[0].thinking"),
        (CHAT, {"messages": [{"role": "assistant", "tool_calls": 1}]}, "messages[0].tool_calls"),
        (
            CHAT,
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": ""}}]}]},
            "messages[0].tool_calls[0].function.name",
        ),
        (
            CHAT,
            {"messages": [turn({"function": {"name": "a", "arguments": 1}})]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        (CHAT, {"messages": [turn({})]}, "messages[0].tool_calls[0]"),
        (CHAT, {"messages": [result("1")]}, "messages[0]"),
        (CHAT, {"messages": [turn(call("a")), result("1", tool_name="b")]}, "messages[1]"),
        (
            CHAT,
            {"messages": [turn(call("a", "x")), result("1", tool_call_id="y")]},
            "messages[1].tool_call_id",
        ),
        (CHAT, {"options": []}, "options"),
        (CHAT, {"options": {"num_predict": "7"}}, "options.num_predict"),
        (CHAT, {"options": {"temperature": True}}, "options.temperature"),
        (CHAT, {"options": {"stop": [1]}}, "options.stop"),
        (CHAT, {"options": {"mirostat": 2}}, "options.mirostat"),
        (CHAT, {"options": {"typical_p": 0.7}}, "options.typical_p"),
        (CHAT, {"options": {"new": 0}}, "options.new"),
        (CHAT, {"format": "xml"}, "format"),
        (CHAT, {"format": 1}, "format"),
        (CHAT, {"think": "deeply"}, "think"),
        (CHAT, {"tools": {}}, "tools"),
        (GENERATE, {"prompt": 1}, "prompt"),
        (GENERATE, {"prompt": ""}, "prompt"),
        (GENERATE, {"suffix": "}"}, "suffix"),
        (GENERATE, {"raw": True}, "raw"),
        (GENERATE, {"template": "{{ .Prompt }}"}, "template"),
        (GENERATE, {"context": [1, 2]}, "context"),
        (GENERATE, {"images": ["AAAA"]}, "images[0]"),
    ],
)
def test_what_is_wrong_or_cannot_be_kept_is_refused_by_its_name(client, fields, param):
    body = {"model": "m", "messages": [USER], "prompt": "?", **fields}
    with pytest.raises(InvalidRequest) as fault:
        client.check(body)
        client.chat_request(body)
    assert fault.value.param == param


@pytest.mark.parametrize(
    "fields", [{"suffix": "}"}, {"raw": True}, {"context": [1]}, {"options": {"mirostat": 2}}]
)
def test_what_cannot_be_kept_is_left_out_where_the_provider_says_so(fields):
    body = {"model": "m", "prompt": "?", **fields}
    made = GENERATE.chat_request(body, drop_unsupported=True)
    assert made == {"model": "m", "messages": [USER]}


@pytest.mark.parametrize(
    ("client", "fields", "is_idle"),
    [
        (CHAT, {}, True),
        (CHAT, {"messages": []}, True),
        (CHAT, {"messages": [USER]}, False),
        (GENERATE, {}, True),
        (GENERATE, {"prompt": ""}, True),
        (GENERATE, {"prompt": "?"}, False),
    ],
)
def test_a_request_without_a_question_only_loads_a_model(client, fields, is_idle):
    assert client.is_idle({"model": "m", **fields}) is is_idle

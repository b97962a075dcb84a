from __future__ import annotations

import base64
import json

import pytest

from trio_router.dialects.gemini import GeminiDialect
from trio_router.errors import InvalidRequest

GEMINI = GeminiDialect()
PNG = base64.b64encode(b"\x89PNG").decode()
HI = [{"role": "user", "content": "hi"}]


def request(**fields):
    return {"model": "gemini-2.5-flash", "messages": HI, **fields}


def built(drop=False, **fields):
    given = request(**fields)
    before = json.dumps(given)
    made = GEMINI.build_request(given, ask_usage=True, drop_unsupported=drop)
    assert json.dumps(given) == before, "the request itself is left alone"
    return json.loads(made.body)


def config(**fields):
    return built(**fields).get("generationConfig", {})


def talk(*messages, **fields):
    return built(messages=list(messages), **fields)["contents"]


def refused(**fields) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        built(**fields)
    return caught.value.param


def user(content):
    return {"role": "user", "content": content}


def call(id_, name="add", arguments="{}", **extra):
    function = {"name": name, "arguments": arguments}
    return {"id": id_, "type": "function", "function": function, **extra}


def calling(*calls, **extra):
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **extra}


def result(id_, content="2"):
    return {"role": "tool", "tool_call_id": id_, "content": content}


def turn(role, *parts):
    return {"role": role, "parts": list(parts)}


def signed(signature):
    return {"extra_content": {"google": {"thought_signature": signature}}}


class TestTransport:
    def test_the_model_and_whether_to_stream_are_in_the_path(self):
        def path(**fields):
            return GEMINI.build_request(request(**fields), ask_usage=True).path

        assert path() == "/models/gemini-2.5-flash:generateContent"
        assert path(stream=True) == "/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
        assert path(model="models/gemini-x") == "/models/gemini-x:generateContent"
        assert path(model="tunedModels/t1") == "/tunedModels/t1:generateContent"

    def test_no_name_leads_out_of_the_models(self):
        def path(model):
            return GEMINI.build_request(request(model=model), ask_usage=True).path

        assert path("../../x?y#z") == "/models/..%2F..%2Fx%3Fy%23z:generateContent"
        assert path("models/../files") == "/models/..%2Ffiles:generateContent"
        assert path("google/gemma") == "/models/google%2Fgemma:generateContent"

    def test_the_key_has_a_header_of_its_own(self):
        assert GEMINI.auth_headers("k") == {"x-goog-api-key": "k"}

    def test_recognises_its_records_and_no_others(self):
        assert GEMINI.recognises({"candidates": []})
        assert GEMINI.recognises({"promptFeedback": {}})
        assert GEMINI.recognises({"usageMetadata": {}, "responseId": "x"})
        for other in ({"choices": [], "usageMetadata": {}}, {"message": {}, "done": False}, {}):
            assert not GEMINI.recognises(other)


class TestMessages:
    def test_leading_system_messages_are_the_system_instruction(self):
        system = [{"role": "system", "content": "a"}, {"role": "developer", "content": "b"}]
        body = built(messages=[*system, *HI])
        assert body["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
        assert body["contents"] == [turn("user", {"text": "hi"})]

    def test_a_later_system_message_keeps_its_place_in_the_users_turn(self):
        told = talk(user("a"), {"role": "system", "content": "be brief"})
        assert told == [turn("user", {"text": "a"}, {"text": "<system>\nbe brief\n</system>"})]

    def test_a_system_message_alone_is_what_is_asked(self):
        body = built(messages=[{"role": "system", "content": "say hi"}])
        assert body == {"contents": [turn("user", {"text": "say hi"})]}

    def test_messages_of_one_role_are_one_turn(self):
        told = talk(user("a"), user("b"), {"role": "assistant", "content": "c"}, user("d"))
        assert told == [
            turn("user", {"text": "a"}, {"text": "b"}),
            turn("model", {"text": "c"}),
            turn("user", {"text": "d"}),
        ]

    @pytest.mark.parametrize(
        ("part", "told"),
        [
            ({"type": "text", "text": "x"}, {"text": "x"}),
            (
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                {"inlineData": {"mimeType": "image/png", "data": PNG}},
            ),
            (
                {"type": "image_url", "image_url": f"data:image/jpg;base64,{PNG}"},
                {"inlineData": {"mimeType": "image/jpeg", "data": PNG}},
            ),
            (
                {"type": "image_url", "image_url": {"url": "https://x/y.PNG?z=1"}},
                {"fileData": {"mimeType": "image/png", "fileUri": "https://x/y.PNG?z=1"}},
            ),
            (
                {"type": "image_url", "image_url": {"url": "https://x/y"}},
                {"fileData": {"fileUri": "https://x/y"}},
            ),
            (
                {"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}},
                {"inlineData": {"mimeType": "audio/wav", "data": PNG}},
            ),
            (
                {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PNG}"}},
                {"inlineData": {"mimeType": "application/pdf", "data": PNG}},
            ),
            (
                {"type": "file", "file": {"file_data": PNG, "filename": "a.csv"}},
                {"inlineData": {"mimeType": "text/csv", "data": PNG}},
            ),
            (
                {"type": "file", "file": {"file_id": "gs://b/c.pdf"}},
                {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://b/c.pdf"}},
            ),
        ],
    )
    def test_parts(self, part, told):
        assert talk(user([part])) == [turn("user", told)]

    @pytest.mark.parametrize(
        ("part", "param"),
        [
            ({"type": "image_url", "image_url": {"url": "data:text/plain;base64,QQ=="}}, ".image_url"),
            ({"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}, ".image_url"),
            ({"type": "image_url", "image_url": {"url": "data:image/png,QQ=="}}, ".image_url"),
            ({"type": "image_url", "image_url": {"url": "ftp://x/y"}}, ".image_url"),
            ({"type": "image_url"}, ".image_url"),
            (
                {"type": "input_audio", "input_audio": {"data": "?", "format": "wav"}},
                ".input_audio.data",
            ),
            ({"type": "input_audio", "input_audio": {"data": PNG}}, ".input_audio"),
            ({"type": "file", "file": {"file_id": "file-1"}}, ".file.file_id"),
            ({"type": "file", "file": {}}, ".file"),
            ({"type": "file", "file": {"file_data": "?"}}, ".file.file_data"),
            ({"type": "text", "text": 1}, ".text"),
            ({"type": "video"}, ".type"),
            ("x", ""),
        ],
    )
    def test_a_part_that_is_none_is_named(self, part, param):
        assert refused(messages=[user([part])]) == f"messages[0].content[0]{param}"

    def test_bad_messages_are_named(self):
        assert refused(messages="x") == "messages"
        assert refused(messages=["x"]) == "messages[0]"
        assert refused(messages=[{"role": "king", "content": "x"}]) == "messages[0].role"
        assert refused(messages=[{**user("x"), "name": "bob"}]) == "messages[0].name"
        picture = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
        system = {"role": "system", "content": [picture]}
        assert refused(messages=[system, *HI]) == "messages[0].content"


class TestTools:
    def test_calls_and_their_results_find_each_other(self):
        told = talk(
            *HI,
            calling(call("c1", "add", '{"a":1}'), call("c2", "sub")),
            result("c2"),
            result("c1", '{"n":3}'),
        )
        assert told[1:] == [
            turn(
                "model",
                {"functionCall": {"name": "add", "args": {"a": 1}, "id": "c1"}},
                {"functionCall": {"name": "sub", "args": {}, "id": "c2"}},
            ),
            turn(
                "user",
                {"functionResponse": {"name": "sub", "response": {"output": "2"}, "id": "c2"}},
                {"functionResponse": {"name": "add", "response": {"n": 3}, "id": "c1"}},
            ),
        ]

    def test_a_result_without_its_call_is_named(self):
        assert refused(messages=[*HI, result("c1")]) == "messages[1].tool_call_id"
        once = [*HI, calling(call("c1")), result("c1")]
        assert refused(messages=[*once, result("c1")]) == "messages[3].tool_call_id"
        stale = [*once, {"role": "assistant", "content": "x"}, *HI, calling(call("c2")), result("c1")]
        assert refused(messages=stale) == "messages[6].tool_call_id"

    def test_signatures_go_back_to_where_they_were(self):
        said = calling(call("c1", **signed("S1")), call("c2"), content="so", **signed("S0"))
        parts = talk(*HI, said, model="gemini-3-pro-preview")[1]["parts"]
        assert [part.get("thoughtSignature") for part in parts] == ["S0", "S1", None]

    def test_a_call_of_another_model_says_that_it_has_no_signature_where_one_is_asked_for(self):
        def signatures(model):
            parts = talk(*HI, calling(call("c1"), call("c2")), model=model)[1]["parts"]
            return [part.get("thoughtSignature") for part in parts]

        assert signatures("gemini-3-flash") == ["skip_thought_signature_validator", None]
        assert signatures("gemini-2.5-pro") == [None, None]

    def test_images_and_code_of_an_answer_go_back(self):
        ran = {"executableCode": {"code": "1", "language": "PYTHON"}, "thoughtSignature": "S"}
        image = {"image_url": {"url": f"data:image/png;base64,{PNG}"}, **signed("T")}
        extra = {"extra_content": {"google": {"parts": [{"index": 0, "part": ran}]}}}
        said = {"role": "assistant", "content": "x", "images": [image], **extra}
        told = {"inlineData": {"mimeType": "image/png", "data": PNG}, "thoughtSignature": "T"}
        assert talk(*HI, said)[1] == turn("model", ran, {"text": "x"}, told)

    def test_images_in_a_result_stand_in_it_or_beside_it(self):
        content = [
            {"type": "text", "text": "see"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        ]
        image = {"inlineData": {"mimeType": "image/png", "data": PNG}}
        response = {"name": "add", "response": {"output": "see"}, "id": "c"}
        messages = [*HI, calling(call("c")), result("c", content)]
        assert talk(*messages)[2] == turn("user", {"functionResponse": response}, image)
        told = talk(*messages, model="gemini-3-flash")[2]
        assert told == turn("user", {"functionResponse": {**response, "parts": [image]}})

    def test_functions_are_declared_with_their_json_schema(self):
        schema = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "$defs": {}}
        functions = [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}},
            {"type": "function", "function": {"name": "g"}},
        ]
        body = built(tools=[*functions, {"googleSearch": {}}])
        assert body["tools"] == [
            {
                "functionDeclarations": [
                    {"name": "f", "description": "d", "parametersJsonSchema": schema},
                    {"name": "g"},
                ]
            },
            {"googleSearch": {}},
        ]
        assert "toolConfig" not in body

    @pytest.mark.parametrize(
        ("choice", "told"),
        [
            ("auto", {"mode": "AUTO"}),
            ("none", {"mode": "NONE"}),
            ("required", {"mode": "ANY"}),
            (
                {"type": "function", "function": {"name": "f"}},
                {"mode": "ANY", "allowedFunctionNames": ["f"]},
            ),
            (
                {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "auto",
                        "tools": [{"type": "function", "function": {"name": "f"}}],
                    },
                },
                {"mode": "VALIDATED", "allowedFunctionNames": ["f"]},
            ),
        ],
    )
    def test_tool_choice(self, choice, told):
        tools = [{"type": "function", "function": {"name": "f"}}]
        body = built(tools=tools, tool_choice=choice)
        assert body["toolConfig"] == {"functionCallingConfig": told}

    def test_strict_functions_are_called_by_their_schema(self):
        tools = [{"type": "function", "function": {"name": "f", "strict": True}}]
        assert built(tools=tools)["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}

    def test_bad_tools_are_named(self):
        assert refused(tools="x") == "tools"
        assert refused(tools=["x"]) == "tools[0]"
        assert refused(tools=[{"type": "function"}]) == "tools[0].function"
        assert refused(tools=[{"type": "web_search"}]) == "tools[0]"
        assert refused(tools=[{}]) == "tools[0].type"
        bad = {"type": "function", "function": {"name": "f", "parameters": "x"}}
        assert refused(tools=[bad]) == "tools[0].function.parameters"
        good = [{"type": "function", "function": {"name": "f"}}]
        assert refused(tools=good, tool_choice="sometimes") == "tool_choice"
        assert refused(tools=good, parallel_tool_calls=False) == "parallel_tool_calls"
        assert refused(messages=[calling("x")]) == "messages[0].tool_calls[0].function"
        where = "messages[0].tool_calls[0].function.arguments"
        assert refused(messages=[calling(call("c", arguments="{"))]) == where
        assert refused(messages=[calling(call("c", arguments="[1]"))]) == where


class TestConfig:
    def test_sampling_fields(self):
        assert config(
            temperature=0,
            top_p=0.5,
            top_k=3,
            seed=7,
            n=2,
            stop="END",
            max_tokens=9,
            presence_penalty=0.1,
            frequency_penalty=0.2,
            logprobs=True,
            top_logprobs=4,
        ) == {
            "temperature": 0,
            "topP": 0.5,
            "topK": 3,
            "seed": 7,
            "candidateCount": 2,
            "stopSequences": ["END"],
            "maxOutputTokens": 9,
            "presencePenalty": 0.1,
            "frequencyPenalty": 0.2,
            "responseLogprobs": True,
            "logprobs": 4,
        }
        assert config(n=1, logprobs=False) == {}
        assert config(max_tokens=1, max_completion_tokens=2.0) == {"maxOutputTokens": 2}
        assert config(modalities=["text", "image"]) == {"responseModalities": ["TEXT", "IMAGE"]}

    def test_response_formats(self):
        schema = {"type": "object", "properties": {}, "additionalProperties": False}
        json_schema = {"name": "x", "strict": True, "schema": schema}
        kind = {"responseMimeType": "application/json"}
        assert config(response_format={"type": "json_object"}) == kind
        told = config(response_format={"type": "json_schema", "json_schema": json_schema})
        assert told == {**kind, "responseJsonSchema": schema}
        assert config(response_format={"type": "text"}) == {}

    @pytest.mark.parametrize(
        ("model", "effort", "told"),
        [
            ("gemini-2.5-flash", "low", {"thinkingBudget": 1024, "includeThoughts": True}),
            ("gemini-2.5-pro", "high", {"thinkingBudget": 24576, "includeThoughts": True}),
            ("gemini-flash-latest", "medium", {"thinkingBudget": 8192, "includeThoughts": True}),
            ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
            ("gemini-2.0-flash", "none", None),
            (
                "gemini-3-flash-preview",
                "minimal",
                {"thinkingLevel": "minimal", "includeThoughts": True},
            ),
            ("gemini-3.1-pro", "minimal", {"thinkingLevel": "low", "includeThoughts": True}),
            ("gemini-3.5-flash", "xhigh", {"thinkingLevel": "high", "includeThoughts": True}),
        ],
    )
    def test_reasoning_effort(self, model, effort, told):
        assert config(model=model, reasoning_effort=effort).get("thinkingConfig") == told

    def test_thinking_that_a_model_cannot_do_is_refused_or_dropped(self):
        for model, effort in (
            ("gemini-2.5-pro", "none"),
            ("gemini-3-pro", "none"),
            ("gemini-2.0-x", "low"),
        ):
            assert refused(model=model, reasoning_effort=effort) == "reasoning_effort"
            assert "generationConfig" not in built(drop=True, model=model, reasoning_effort=effort)
        assert refused(reasoning_effort="hard") == "reasoning_effort"

    def test_own_fields_pass(self):
        safety = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}]
        google = {"thinking_config": {"include_thoughts": True}, "cached_content": "cachedContents/1"}
        body = built(
            safety_settings=safety,
            generationConfig={"mediaResolution": "LOW"},
            extra_body={"google": google},
        )
        assert body["safetySettings"] == safety
        assert body["cachedContent"] == "cachedContents/1"
        assert body["generationConfig"] == {
            "thinkingConfig": {"include_thoughts": True},
            "mediaResolution": "LOW",
        }

    @pytest.mark.parametrize(
        "fields",
        [
            {"logit_bias": {"1": 2}},
            {"functions": [{"name": "f"}]},
            {"verbosity": "low"},
            {"audio": {"voice": "x"}},
            {"service_tier": "flex"},
            {"what_nobody_knows": 1},
            {"modalities": ["audio"]},
            {"modalities": [{}]},
        ],
    )
    def test_what_it_has_no_word_for_is_refused_by_name_or_dropped(self, fields):
        (name,) = fields
        assert refused(**fields) == name
        assert built(drop=True, **fields) == built()

    def test_what_changes_no_answer_is_left_out(self):
        fields = {"user": "u", "metadata": {"a": "b"}, "store": False, "logit_bias": {}, "audio": None}
        assert built(**fields, stream_options={"include_usage": True}) == built()

    def test_bad_fields_are_named(self):
        assert refused(response_format={"type": "xml"}) == "response_format"
        assert refused(response_format={"type": "json_schema"}) == "response_format"
        assert refused(stop=[1]) == "stop"
        assert refused(top_k="x") == "top_k"

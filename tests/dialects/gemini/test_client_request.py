"""A client's `generateContent` request, as other targets are asked it."""

from __future__ import annotations

import base64
import json

import pytest

from trio_router.dialects import DIALECTS, GEMINI
from trio_router.dialects.gemini.seals import sealed
from trio_router.errors import InvalidRequest

ASK = [{"role": "user", "parts": [{"text": "?"}]}]
DETAILS = [
    {"type": "reasoning.text", "text": "Hm??>>~~ÿÿþ", "signature": "s+/=", "format": "f", "index": 0}
]


def chat(contents=ASK, *, drop=False, **fields) -> dict:
    body = {"model": "p/m", "stream": False, "contents": contents, **fields}
    before = json.dumps(body)
    made = GEMINI.chat_request(body, drop_unsupported=drop)
    assert json.dumps(body) == before  # it is not changed
    return GEMINI.for_others(made)


def messages(*contents, **fields) -> list[dict]:
    return chat(list(contents), **fields)["messages"]


def user(*parts) -> dict:
    return {"role": "user", "parts": list(parts)}


def model(*parts) -> dict:
    return {"role": "model", "parts": list(parts)}


def call(name, args=None, **more) -> dict:
    return {"functionCall": {"name": name, **({} if args is None else {"args": args}), **more}}


def response(name, told, **more) -> dict:
    return {"functionResponse": {"name": name, "response": told, **more}}


def refused(param, contents=ASK, **fields) -> str:
    with pytest.raises(InvalidRequest) as caught:
        chat(contents, **fields)
    assert caught.value.param == param
    return caught.value.message


class TestContents:
    def test_turns_and_the_system_instruction_are_messages(self):
        made = messages(
            user({"text": "Hi"}),
            model({"text": "Hello"}),
            {"parts": [{"text": "And"}, {"text": "now?"}]},
            systemInstruction={"parts": [{"text": "Be brief."}]},
        )
        assert made == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "And"}, {"type": "text", "text": "now?"}],
            },
        ]

    def test_names_with_underscores_mean_the_same(self):
        blob = {"mime_type": "image/png", "data": "aGk="}
        snake = chat(
            [user({"inline_data": blob})],
            system_instruction={"parts": {"text": "S"}},
            generation_config={"max_output_tokens": 5, "stop_sequences": ["X"]},
            tools=[{"function_declarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}],
            tool_config={"function_calling_config": {"mode": "ANY"}},
        )
        camel = chat(
            [user({"inlineData": {"mimeType": "image/png", "data": "aGk="}})],
            systemInstruction={"parts": [{"text": "S"}]},
            generationConfig={"maxOutputTokens": 5, "stopSequences": ["X"]},
            tools=[{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}],
            toolConfig={"functionCallingConfig": {"mode": "ANY"}},
        )
        assert snake == camel

    def test_arguments_and_schemas_keep_their_own_names(self):
        made = messages(user({"text": "?"}), model(call("f", {"my_arg": {"sub_arg": 1}})))
        assert json.loads(made[1]["tool_calls"][0]["function"]["arguments"]) == {
            "my_arg": {"sub_arg": 1}
        }

    def test_contents_of_the_model_that_follow_one_another_are_one_message(self):
        """Clients keep each piece of a stream as a content of its own."""
        made = messages(
            user({"text": "?"}), model({"text": "Hel"}), model({"text": "lo"}), model(call("f"))
        )
        assert made[1]["content"] == "Hello"
        assert [one["function"]["name"] for one in made[1]["tool_calls"]] == ["f"]
        assert len(made) == 2

    @pytest.mark.parametrize(
        ("part", "hub"),
        [
            (
                {"inlineData": {"mimeType": "image/png", "data": "_-8"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,/+8="}},
            ),
            (
                {"inlineData": {"mimeType": "audio/mpeg", "data": "aGk="}},
                {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
            ),
            (
                {"inlineData": {"mimeType": "application/pdf", "data": "aGk="}},
                {
                    "type": "file",
                    "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "file.pdf"},
                },
            ),
            (
                {"inlineData": {"mimeType": "text/plain", "data": "aGk=", "displayName": "a.txt"}},
                {
                    "type": "file",
                    "file": {"file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"},
                },
            ),
            (
                {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://h/a.jpg"}},
                {"type": "image_url", "image_url": {"url": "https://h/a.jpg"}},
            ),
            (
                {"fileData": {"mimeType": "application/pdf", "fileUri": "https://h/a.pdf"}},
                {"type": "file", "file": {"file_url": "https://h/a.pdf"}},
            ),
        ],
    )
    def test_data_of_every_kind_has_its_part(self, part, hub):
        assert messages(user(part, {"text": "?"}))[0]["content"][0] == hub


class TestCalls:
    def test_calls_and_responses_without_ids_find_each_other_by_their_names(self):
        made = messages(
            user({"text": "?"}),
            model(call("a", {"n": 1}), call("b"), call("a", {"n": 2})),
            user(response("b", {"output": "B"}), response("a", {"n": 1}), response("a", {"n": 2})),
        )
        first, second, third = (one["id"] for one in made[1]["tool_calls"])
        assert len({first, second, third}) == 3
        told = [(m["tool_call_id"], m["content"]) for m in made[2:]]
        assert told == [(second, "B"), (first, '{"n":1}'), (third, '{"n":2}')]

    def test_ids_count_before_names(self):
        made = messages(
            user({"text": "?"}),
            model(call("a", id="call_x"), call("a", id="call_y")),
            user(
                response("a", {"output": "Y"}, id="call_y"), response("a", {"output": "X"}, id="call_x")
            ),
        )
        assert [(m["tool_call_id"], m["content"]) for m in made[2:]] == [
            ("call_y", "Y"),
            ("call_x", "X"),
        ]

    def test_an_id_that_the_client_has_made_up_is_no_matter(self):
        made = messages(user({"text": "?"}), model(call("a")), user(response("a", {}, id="mine")))
        assert made[2]["tool_call_id"] == made[1]["tool_calls"][0]["id"]

    def test_ids_that_not_every_provider_takes_are_others_the_same_each_time(self):
        given = "run_shell_command__call_abcdefghijklmnopqrstuvwx"
        talk = (user({"text": "?"}), model(call("a", id=given)), user(response("a", {}, id=given)))
        made = messages(*talk)
        own = made[1]["tool_calls"][0]["id"]
        assert own == made[2]["tool_call_id"]
        assert len(own) <= 40
        assert messages(*talk) == made

    def test_the_same_id_twice_is_two_calls(self):
        made = messages(
            user({"text": "?"}),
            model(call("a", id="c"), call("a", id="c")),
            user(response("a", {"output": "1"}, id="c"), response("a", {"output": "2"}, id="c")),
        )
        ids = [one["id"] for one in made[1]["tool_calls"]]
        assert len(set(ids)) == 2
        assert [m["tool_call_id"] for m in made[2:]] == ids

    def test_text_beside_responses_follows_them(self):
        made = messages(
            user({"text": "?"}),
            model(call("a")),
            user({"text": "Now?"}, response("a", {"output": "1"})),
        )
        assert [m["role"] for m in made[2:]] == ["tool", "user"]

    def test_a_response_may_show_something(self):
        shown = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
        made = messages(
            user({"text": "?"}), model(call("a")), user(response("a", {"output": "1"}, parts=[shown]))
        )
        assert [part["type"] for part in made[2]["content"]] == ["text", "image_url"]

    def test_the_legacy_role_of_functions_is_the_users(self):
        told = {"role": "function", "parts": [response("a", {"output": "1"})]}
        assert messages(user({"text": "?"}), model(call("a")), told)[2]["role"] == "tool"


class TestThoughts:
    def test_thoughts_are_reasoning(self):
        made = messages(user({"text": "?"}), model({"text": "Hm.", "thought": True}, {"text": "Yes"}))
        assert made[1] == {"role": "assistant", "content": "Yes", "reasoning_content": "Hm."}

    def test_what_was_sealed_comes_back_in_either_alphabet(self):
        assert set(sealed(DETAILS)) & {"-", "_"}  # which the plain alphabet writes otherwise
        for seal in (sealed(DETAILS), sealed(DETAILS).replace("_", "/").replace("-", "+").rstrip("=")):
            made = messages(user({"text": "?"}), model({**call("a"), "thoughtSignature": seal}))
            assert made[1]["reasoning_details"] == DETAILS
            assert "extra_content" not in made[1]["tool_calls"][0]

    def test_googles_own_signatures_stay_with_their_parts(self):
        made = messages(
            user({"text": "?"}),
            model({"text": "A", "thoughtSignature": "R28="}, {**call("a"), "thoughtSignature": "T2s="}),
        )
        assert made[1]["extra_content"] == {"google": {"thought_signature": "R28="}}
        assert made[1]["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "T2s="}}

    @pytest.mark.parametrize("encoded", [False, True])
    def test_a_word_for_no_signature_is_none(self, encoded):
        word = "skip_thought_signature_validator"
        word = base64.b64encode(word.encode()).decode() if encoded else word
        made = messages(user({"text": "?"}), model({**call("a"), "thoughtSignature": word}))
        assert "extra_content" not in made[1]["tool_calls"][0]

    def test_a_seal_that_was_changed_is_refused(self):
        seal = sealed(DETAILS)[:-8]
        refused(
            "contents[1].parts[0].thoughtSignature",
            [user({"text": "?"}), model({**call("a"), "thoughtSignature": seal})],
        )

    def test_code_that_the_model_ran_goes_back_to_who_knows_it(self):
        ran = {"executableCode": {"language": "PYTHON", "code": "1"}}
        made = messages(user({"text": "?"}), model(ran, {"text": "1"}))
        assert made[1]["extra_content"]["google"]["parts"] == [{"index": 0, "part": ran}]


class TestSettings:
    @pytest.mark.parametrize(
        ("config", "hub"),
        [
            ({"temperature": 0.5}, {"temperature": 0.5}),
            ({"topP": 0.9, "topK": 4}, {"top_p": 0.9, "top_k": 4}),
            ({"maxOutputTokens": 9.0}, {"max_tokens": 9}),
            ({"stopSequences": ["a", "b"]}, {"stop": ["a", "b"]}),
            ({"candidateCount": 2, "seed": 7}, {"n": 2, "seed": 7}),
            (
                {"presencePenalty": 1, "frequencyPenalty": -1},
                {"presence_penalty": 1, "frequency_penalty": -1},
            ),
            ({"responseLogprobs": True, "logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
            ({"responseMimeType": "text/plain"}, {}),
            ({"responseMimeType": "application/json"}, {"response_format": {"type": "json_object"}}),
            ({"responseModalities": ["TEXT"]}, {}),
            ({"responseModalities": ["TEXT", "IMAGE"]}, {"modalities": ["text", "image"]}),
            ({"thinkingConfig": {"includeThoughts": True}}, {}),
            ({"thinkingConfig": {"thinkingBudget": -1}}, {}),
            ({"thinkingConfig": {"thinkingBudget": 0}}, {"reasoning_effort": "none"}),
            ({"thinkingConfig": {"thinkingBudget": 1024}}, {"reasoning_effort": "low"}),
            ({"thinkingConfig": {"thinkingBudget": 8192}}, {"reasoning_effort": "medium"}),
            ({"thinkingConfig": {"thinkingBudget": 32768}}, {"reasoning_effort": "high"}),
            ({"thinkingConfig": {"thinkingLevel": "LOW"}}, {"reasoning_effort": "low"}),
            ({"thinkingConfig": {"thinkingLevel": "high"}}, {"reasoning_effort": "high"}),
            ({"temperature": None}, {}),
        ],
    )
    def test_each_setting_has_its_field(self, config, hub):
        made = chat(generationConfig=config)
        assert {k: v for k, v in made.items() if k not in ("model", "messages")} == hub

    def test_a_stream_is_asked_for_with_its_usage(self):
        made = chat(stream=True)
        assert made["stream"] is True
        assert made["stream_options"] == {"include_usage": True}

    @pytest.mark.parametrize("name", ["responseSchema", "responseJsonSchema"])
    def test_a_schema_of_either_kind_is_json_schema(self, name):
        own = {"type": "OBJECT", "properties": {"a_b": {"type": "STRING", "nullable": True}}}
        plain = {"type": "object", "properties": {"a_b": {"type": ["string", "null"]}}}
        given = own if name == "responseSchema" else plain
        made = chat(generationConfig={"responseMimeType": "application/json", name: given})
        assert made["response_format"]["json_schema"]["schema"] == plain

    def test_the_apis_schemas_become_json_schema(self):
        given = {
            "type": "OBJECT",
            "propertyOrdering": ["kind"],
            "required": ["kind"],
            "properties": {
                "kind": {"type": "STRING", "format": "enum", "enum": ["a"], "nullable": True},
                "items": {"type": "ARRAY", "minItems": "1", "items": {"type": "INTEGER"}},
                "any": {"anyOf": [{"type": "NUMBER"}, {"ref": "#/defs/x"}], "example": 3},
                "free": {"type": "TYPE_UNSPECIFIED"},
            },
            "defs": {"x": {"type": "BOOLEAN"}},
        }
        tools = [{"functionDeclarations": [{"name": "f", "parameters": given}]}]
        assert chat(tools=tools)["tools"][0]["function"]["parameters"] == {
            "type": "object",
            "required": ["kind"],
            "properties": {
                "kind": {"type": ["string", "null"], "enum": ["a", None]},
                "items": {"type": "array", "minItems": 1, "items": {"type": "integer"}},
                "any": {"anyOf": [{"type": "number"}, {"$ref": "#/$defs/x"}], "examples": [3]},
                "free": {},
            },
            "$defs": {"x": {"type": "boolean"}},
        }


def functions(*names) -> list[dict]:
    return [{"functionDeclarations": [{"name": name, "description": "D"} for name in names]}]


class TestTools:
    def test_functions_of_several_tools_are_one_list(self):
        made = chat(tools=[*functions("a"), *functions("b")])["tools"]
        empty = {"type": "object", "properties": {}}
        assert made == [
            {"type": "function", "function": {"name": n, "description": "D", "parameters": empty}}
            for n in "ab"
        ]

    @pytest.mark.parametrize(
        ("calling", "names", "choice"),
        [
            ({}, ["a", "b"], None),
            ({"mode": "AUTO"}, ["a", "b"], None),
            ({"mode": "VALIDATED"}, ["a", "b"], None),
            ({"mode": "ANY"}, ["a", "b"], "required"),
            ({"mode": "NONE"}, ["a", "b"], "none"),
            (
                {"mode": "ANY", "allowedFunctionNames": ["b"]},
                ["b"],
                {"type": "function", "function": {"name": "b"}},
            ),
            ({"mode": "ANY", "allowedFunctionNames": ["a", "b"]}, ["a", "b"], "required"),
        ],
    )
    def test_how_functions_are_to_be_called(self, calling, names, choice):
        made = chat(tools=functions("a", "b"), toolConfig={"functionCallingConfig": calling})
        assert [one["function"]["name"] for one in made["tools"]] == names
        assert made.get("tool_choice") == choice

    def test_tools_that_google_runs_itself_are_refused_or_left_out(self):
        given = [{"googleSearch": {}}, *functions("a")]
        assert "googleSearch" in refused("tools[0].googleSearch", tools=given)
        assert len(chat(tools=given, drop=True)["tools"]) == 1


class TestRefusals:
    @pytest.mark.parametrize(
        ("param", "contents"),
        [
            ("contents", "?"),
            ("contents", []),
            ("contents[0]", ["?"]),
            ("contents[0].role", [{"role": "system", "parts": []}]),
            ("contents[0].role", [{"role": [], "parts": []}]),
            ("contents[0].parts", [{"parts": "?"}]),
            ("contents[0].parts[0]", [{"parts": ["?"]}]),
            ("contents[0].parts[0]", [user({"videoMetadata": {}})]),
            ("contents[0].parts[0].text", [user({"text": 1})]),
            ("contents[0].parts[0].inlineData.mimeType", [user({"inlineData": {"data": "aGk="}})]),
            (
                "contents[0].parts[0].inlineData.data",
                [user({"inlineData": {"mimeType": "image/png", "data": "***"}})],
            ),
            ("contents[0].parts[0].fileData.fileUri", [user({"fileData": {"mimeType": "image/png"}})]),
            ("contents[0].parts[0].functionCall.name", [model({"functionCall": {}})]),
            ("contents[0].parts[0].functionCall.args", [model(call("a", [1]))]),
            ("contents[0].parts[0].functionCall.id", [model(call("a", id=1))]),
            ("contents[0].parts[0].functionResponse", [user(response("a", {}))]),
            ("contents[0].parts[0].functionResponse", [model(response("a", {}))]),
            (
                "contents[1].parts[0].functionResponse.response",
                [model(call("a")), user(response("a", "x"))],
            ),
            ("contents[0].parts[0].thoughtSignature", [model({"text": "a", "thoughtSignature": 1})]),
        ],
    )
    def test_what_is_wrong_is_named(self, param, contents):
        refused(param, contents)

    @pytest.mark.parametrize(
        ("param", "fields"),
        [
            ("systemInstruction", {"systemInstruction": ["x"]}),
            ("systemInstruction.parts[0].text", {"systemInstruction": {"parts": [{"inlineData": {}}]}}),
            ("generationConfig", {"generationConfig": []}),
            ("generationConfig.temperature", {"generationConfig": {"temperature": "hot"}}),
            ("generationConfig.topK", {"generationConfig": {"topK": True}}),
            ("generationConfig.maxOutputTokens", {"generationConfig": {"maxOutputTokens": 1.5}}),
            ("generationConfig.stopSequences", {"generationConfig": {"stopSequences": [1]}}),
            (
                "generationConfig.responseMimeType",
                {"generationConfig": {"responseMimeType": "text/x.enum"}},
            ),
            ("generationConfig.responseMimeType", {"generationConfig": {"responseSchema": {}}}),
            (
                "generationConfig.responseJsonSchema",
                {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": 1}},
            ),
            (
                "generationConfig.responseModalities",
                {"generationConfig": {"responseModalities": ["AUDIO"]}},
            ),
            ("generationConfig.speechConfig", {"generationConfig": {"speechConfig": {}}}),
            ("generationConfig.thinkingConfig", {"generationConfig": {"thinkingConfig": 1}}),
            (
                "generationConfig.thinkingConfig.thinkingLevel",
                {"generationConfig": {"thinkingConfig": {"thinkingLevel": "VAST"}}},
            ),
            ("tools", {"tools": "x"}),
            ("tools[0]", {"tools": ["x"]}),
            ("tools[0].functionDeclarations[0].name", {"tools": [{"functionDeclarations": [{}]}]}),
            (
                "tools[0].functionDeclarations[0].parameters.properties",
                {"tools": [{"functionDeclarations": [{"name": "f", "parameters": {"properties": 1}}]}]},
            ),
            (
                "toolConfig.functionCallingConfig.mode",
                {"tools": functions("a"), "toolConfig": {"functionCallingConfig": {"mode": "MAYBE"}}},
            ),
            (
                "toolConfig.functionCallingConfig.allowedFunctionNames",
                {
                    "tools": functions("a"),
                    "toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["b"]}},
                },
            ),
            ("safetySettings[0]", {"safetySettings": [{"threshold": "BLOCK_LOW_AND_ABOVE"}]}),
            ("cachedContent", {"cachedContent": "cachedContents/1"}),
            ("labels", {"labels": {"a": "b"}}),
        ],
    )
    def test_what_cannot_be_kept_is_named(self, param, fields):
        refused(param, **fields)

    def test_what_can_be_left_out_is_where_the_provider_wants_it_so(self):
        made = chat(
            drop=True,
            cachedContent="cachedContents/1",
            labels={"a": "b"},
            safetySettings=[{"threshold": "BLOCK_LOW_AND_ABOVE"}],
            generationConfig={"speechConfig": {}, "seed": 1},
        )
        assert made.keys() == {"model", "messages", "seed"}

    @pytest.mark.parametrize("threshold", ["OFF", "BLOCK_NONE"])
    def test_no_filter_is_what_every_target_has(self, threshold):
        settings = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": threshold}]
        assert chat(safetySettings=settings).keys() == {"model", "messages"}


def test_a_request_comes_back_as_it_was_from_the_hub():
    """What a target of the same dialect is asked by way of the hub."""
    contents = [
        user({"text": "Look"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}),
        model({"text": "A."}, call("f", {"a": [1]}, id="call_1")),
        user(response("f", {"output": "ok"}, id="call_1")),
    ]
    fields = {
        "systemInstruction": {"parts": [{"text": "S"}]},
        "generationConfig": {
            "temperature": 0.5,
            "topK": 3,
            "maxOutputTokens": 9,
            "stopSequences": ["X"],
        },
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
    }
    parameters = {"type": "object", "properties": {"a": {"type": "array"}}}
    tools = [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": parameters}]}]
    made = chat(contents, tools=tools, **fields)
    request = DIALECTS["gemini"].build_request({**made, "model": "gemini-2.5-pro"}, ask_usage=True)
    assert json.loads(request.body) == {"contents": contents, "tools": tools, **fields}

"""The hub's chunks and completions, as Gemini's clients get them."""

from __future__ import annotations

import json

import pytest

from trio_router.dialects import GEMINI, GEMINI_ARRAY
from trio_router.dialects.base import AnswerIdentity
from trio_router.dialects.fold import Fold
from trio_router.dialects.gemini.seals import unsealed
from trio_router.errors import InvalidRequest, Overloaded, Truncated, Unauthorized
from trio_router.wire.sse import ServerSentEvent

IDENTITY = AnswerIdentity("chatcmpl-1", 1, "m")
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def chunk(delta=None, finish=None, index=0, **more) -> dict:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return {"id": "c1", "model": "real", "choices": [{**choice, **more}]}


def call(index, name=None, arguments=None, **more) -> dict:
    function = {k: v for k, v in (("name", name), ("arguments", arguments)) if v is not None}
    return {"tool_calls": [{"index": index, "function": function, **more}]}


def records(*chunks, usage=None) -> list[dict]:
    encoder = GEMINI.encoder(IDENTITY, {})
    frames = b"".join(encoder.encode(one) for one in chunks)
    if usage is not None:
        frames += encoder.encode({"choices": [], "usage": usage})
    frames += encoder.finish()
    lines = frames.decode().split("\n\n")
    assert lines.pop() == ""
    assert all(line.startswith("data: {") and "\n" not in line for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def parts(*chunks, index=0) -> list[dict]:
    found = [c for r in records(*chunks) for c in r.get("candidates", ()) if c["index"] == index]
    return [part for c in found for part in c["content"]["parts"] if part != {"text": ""}]


def last(*chunks, **more) -> dict:
    return records(*chunks, **more)[-1]


class TestStreams:
    def test_each_piece_goes_out_as_it_comes_and_the_end_has_reason_and_usage(self):
        made = records(
            chunk({"role": "assistant"}), chunk({"content": "Hel"}), chunk({"content": "lo"})
        )
        assert len(made) == 3
        frame = {"modelVersion": "real", "responseId": "c1"}
        content = {"parts": [{"text": "Hel"}], "role": "model"}
        assert made[0] == {"candidates": [{"content": content, "index": 0}], **frame}
        made = records(chunk({"content": "Hi"}), chunk({}, "stop"), usage=USAGE)
        content = {"parts": [{"text": ""}], "role": "model"}
        assert made[-1] == {
            "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18},
            **frame,
        }

    @pytest.mark.parametrize(
        "said", [{"content": "Hi"}, {"reasoning_content": "Hm"}, call(0, "f", "{}", id="a")]
    )
    def test_every_record_has_a_part_with_something_in_it(self, said):
        """The SDKs' chats leave an answer out of their history otherwise."""
        made = records(chunk({"role": "assistant", "content": ""}), chunk(said), chunk({}, "stop"))
        assert all(one["candidates"][0]["content"]["parts"][0] for one in made)

    def test_thoughts_are_marked(self):
        for delta in ({"reasoning_content": "Hm"}, {"reasoning": "Hm"}):
            assert parts(chunk(delta)) == [{"text": "Hm", "thought": True}]
        detail = {"type": "reasoning.text", "text": "Hm", "index": 0}
        assert parts(chunk({"reasoning": "Hm", "reasoning_details": [detail]})) == [
            {"text": "Hm", "thought": True}
        ]

    def test_a_call_comes_whole(self):
        made = records(
            chunk(call(0, "f", "", id="a")), chunk(call(0, None, '{"x":')), chunk(call(0, None, " 1}"))
        )
        told = {"functionCall": {"name": "f", "args": {"x": 1}, "id": "a"}}
        assert [c["content"]["parts"] for r in made for c in r["candidates"]] == [[told]]

    def test_a_call_goes_out_as_soon_as_the_next_has_begun(self):
        encoder = GEMINI.encoder(IDENTITY, {})
        assert encoder.encode(chunk(call(0, "f", "{}", id="a"))) == b""
        assert b'"id":"a"' in encoder.encode(chunk(call(1, "g", "", id="b")))
        assert encoder.encode(chunk(call(1, None, "{}"))) == b""
        assert b'"id":"b"' in encoder.finish()

    def test_interleaved_calls_stay_in_order_and_whole(self):
        made = parts(
            chunk(call(0, "f", '{"x"', id="a")),
            chunk(call(1, "g", '{"y"', id="b")),
            chunk(call(1, None, ":2}")),
            chunk(call(0, None, ":1}")),
        )
        assert [part["functionCall"] for part in made] == [
            {"name": "f", "args": {"x": 1}, "id": "a"},
            {"name": "g", "args": {"y": 2}, "id": "b"},
        ]

    def test_calls_without_ids_get_different_ones(self):
        made = parts(chunk(call(0, "f", "{}")), chunk(call(1, "f", "{}")))
        assert len({part["functionCall"]["id"] for part in made}) == 2

    @pytest.mark.parametrize(
        ("arguments", "args"),
        [
            ("", {}),
            ("null", {}),
            ("[1]", {"INVALID_JSON": "[1]"}),
            ('{"x": ', {"INVALID_JSON": '{"x": '}),
            ('{"n": 12345678901234567890123}', {"n": 12345678901234567890123}),
            ({"x": 1}, {"x": 1}),
        ],
    )
    def test_arguments_are_an_object(self, arguments, args):
        (part,) = parts(chunk(call(0, "f", arguments)))
        assert part["functionCall"]["args"] == args

    def test_several_candidates_stay_apart(self):
        made = (chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, "length", index=1))
        assert parts(*made) == [{"text": "a"}]
        assert parts(*made, index=1) == [{"text": "b"}]
        ends = last(*made, chunk({}, "stop"))["candidates"]
        assert [(one["index"], one["finishReason"]) for one in ends] == [(0, "STOP"), (1, "MAX_TOKENS")]

    def test_pictures_are_inline_data(self):
        url = "data:image/png;base64,aGk="
        (part,) = parts(chunk({"images": [{"type": "image_url", "image_url": {"url": url}}]}))
        assert part == {"inlineData": {"mimeType": "image/png", "data": "aGk="}}

    def test_a_refusal_is_text(self):
        assert parts(chunk({"refusal": "No."})) == [{"text": "No."}]


class TestSignatures:
    DETAIL = {"type": "reasoning.text", "format": "x", "index": 0}

    def thinking(self):
        yield chunk({"reasoning_details": [{**self.DETAIL, "text": "Let "}]})
        yield chunk({"reasoning_details": [{**self.DETAIL, "text": "me."}]})
        yield chunk({"reasoning_details": [{**self.DETAIL, "signature": "s+/="}]})

    def test_what_another_provider_signed_is_sealed_in_the_call_after_it(self):
        made = parts(
            *self.thinking(), chunk(call(0, "f", "{}", id="a")), chunk(call(1, "g", "{}", id="b"))
        )
        assert [part.get("text") for part in made[:2]] == ["Let ", "me."]
        whole = {**self.DETAIL, "text": "Let me.", "signature": "s+/="}
        assert unsealed(made[2]["thoughtSignature"], "") == [whole]
        assert "thoughtSignature" not in made[3]

    def test_without_a_call_it_stands_at_the_end(self):
        made = parts(*self.thinking(), chunk({"content": "Hi"}), chunk({}, "stop"))
        assert made[2] == {"text": "Hi"}
        assert unsealed(made[3]["thoughtSignature"], "")[0]["signature"] == "s+/="

    def test_thoughts_without_a_signature_need_no_seal(self):
        made = parts(chunk({"reasoning_details": [{**self.DETAIL, "text": "Hm"}]}), chunk({}, "stop"))
        assert made == [{"text": "Hm", "thought": True}]

    def test_googles_own_stay_where_they_were(self):
        signed = {"extra_content": {"google": {"thought_signature": "R28="}}}
        (part,) = parts(chunk(call(0, "f", "{}", id="a", **signed)))
        assert part["thoughtSignature"] == "R28="
        made = parts(chunk({"content": "Hi"}), chunk(signed, "stop"))
        assert made[1] == {"text": "", "thoughtSignature": "R28="}


class TestEnds:
    @pytest.mark.parametrize(
        ("choice", "reason"),
        [
            ({"finish_reason": "stop"}, "STOP"),
            ({"finish_reason": "length"}, "MAX_TOKENS"),
            ({"finish_reason": "content_filter"}, "SAFETY"),
            ({"finish_reason": "tool_calls"}, "STOP"),
            ({"finish_reason": "eos"}, "STOP"),
            ({"finish_reason": "content_filter", "native_finish_reason": "RECITATION"}, "RECITATION"),
            ({"finish_reason": "stop", "native_finish_reason": "OTHER"}, "OTHER"),
            ({"finish_reason": "stop", "native_finish_reason": "end_turn"}, "STOP"),
            ({"finish_reason": "length", "native_finish_reason": "STOP"}, "MAX_TOKENS"),
        ],
    )
    def test_reasons_have_the_apis_words(self, choice, reason):
        made = last(chunk({"content": "a"}), {"choices": [{"index": 0, "delta": {}, **choice}]})
        assert made["candidates"][0]["finishReason"] == reason

    def test_no_reason_is_made_up(self):
        assert "finishReason" not in last(chunk({"content": "a"}))["candidates"][0]

    def test_a_whole_call_tells_why_the_answer_ended(self):
        assert last(chunk(call(0, "f", "{}")))["candidates"][0]["finishReason"] == "STOP"

    def test_a_prompt_that_was_refused_has_no_candidate(self):
        feedback = {"blockReason": "SAFETY"}
        made = last(chunk({}, "content_filter", promptFeedback=feedback))
        assert made["promptFeedback"] == feedback
        assert "candidates" not in made

    def test_what_google_adds_to_a_candidate_is_kept(self):
        grounding = {"webSearchQueries": ["q"]}
        made = last(chunk({"content": "a"}), chunk({}, "stop", groundingMetadata=grounding))
        assert made["candidates"][0]["groundingMetadata"] == grounding

    def test_citations_and_logprobs_are_told(self):
        cited = {"type": "url_citation", "url_citation": {"url": "https://h", "title": "T"}}
        token = {"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "b", "logprob": -1.0}]}
        made = last(
            chunk({"content": "a", "annotations": [cited]}, logprobs={"content": [token]}),
            chunk({}, "stop"),
        )["candidates"][0]
        assert made["citationMetadata"] == {"citationSources": [{"uri": "https://h", "title": "T"}]}
        assert made["logprobsResult"] == {
            "chosenCandidates": [{"token": "a", "logProbability": -0.5}],
            "topCandidates": [{"candidates": [{"token": "b", "logProbability": -1.0}]}],
        }


class TestUsage:
    @pytest.mark.parametrize(
        ("usage", "told"),
        [
            (
                {
                    **USAGE,
                    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 2},
                    "completion_tokens_details": {"reasoning_tokens": 5},
                },
                {
                    "promptTokenCount": 11,
                    "candidatesTokenCount": 2,
                    "thoughtsTokenCount": 5,
                    "cachedContentTokenCount": 4,
                    "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 2}],
                    "totalTokenCount": 18,
                },
            ),
            (  # counted beside the answer
                {
                    "prompt_tokens": 10,
                    "completion_tokens": 5,
                    "total_tokens": 22,
                    "completion_tokens_details": {"reasoning_tokens": 7},
                },
                {
                    "promptTokenCount": 10,
                    "candidatesTokenCount": 5,
                    "thoughtsTokenCount": 7,
                    "totalTokenCount": 22,
                },
            ),
            (  # more of it than of the answer that it is part of
                {
                    "prompt_tokens": 10,
                    "completion_tokens": 5,
                    "total_tokens": 15,
                    "completion_tokens_details": {"reasoning_tokens": 7},
                },
                {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
            ),
            (
                {**USAGE, "prompt_tokens_details": {"tool_use_tokens": 3}},
                {
                    "promptTokenCount": 8,
                    "toolUsePromptTokenCount": 3,
                    "candidatesTokenCount": 7,
                    "totalTokenCount": 18,
                },
            ),
        ],
    )
    def test_counts_have_the_apis_names(self, usage, told):
        assert last(chunk({"content": "a"}, "stop"), usage=usage)["usageMetadata"] == told

    def test_none_is_made_up(self):
        assert "usageMetadata" not in last(chunk({"content": "a"}, "stop"))


def test_a_whole_answer_is_its_stream_joined():
    chunks = [
        chunk({"role": "assistant", "reasoning_content": "Hm"}),
        chunk({"content": "Hi"}),
        chunk(call(0, "f", "{}", id="a", type="function")),
        chunk({}, "tool_calls"),
        {"choices": [], "usage": USAGE},
    ]
    fold = Fold(IDENTITY)
    for one in chunks:
        fold.add(one)
    record = GEMINI.answer(fold.completion(), IDENTITY, {})
    (candidate,) = record["candidates"]
    assert candidate["content"]["parts"] == parts(*chunks)
    assert candidate["finishReason"] == "STOP"
    assert record["usageMetadata"]["totalTokenCount"] == 18
    assert (record["modelVersion"], record["responseId"]) == ("real", "c1")


class TestFraming:
    def array(self, *frames) -> list:
        return json.loads(b"".join(frames))

    def test_an_array_is_one_json_value_whatever_stands_between(self):
        encoder = GEMINI_ARRAY.encoder(IDENTITY, {})
        silence = GEMINI_ARRAY.keepalive
        made = self.array(silence, encoder.encode(chunk({"content": "a"})), silence, encoder.finish())
        assert len(made) == 2

    def test_a_fault_ends_an_array_too(self):
        encoder = GEMINI_ARRAY.encoder(IDENTITY, {})
        made = self.array(encoder.encode(chunk({"content": "a"})), encoder.fail(Truncated("cut")))
        assert made[1]["error"]["message"] == "cut"
        assert self.array(GEMINI_ARRAY.encoder(IDENTITY, {}).fail(Truncated("cut"))) == [made[1]]

    def test_a_fault_in_events_is_an_event(self):
        frame = GEMINI.encoder(IDENTITY, {}).fail(Truncated("cut"))
        told = json.loads(frame.removeprefix(b"data: "))
        assert told["error"]["code"] == 502
        assert frame.startswith(b'data: {"error":{"code":')  # as Python's SDK looks for it

    def test_events_that_pass_stay_in_one_line(self):
        """Node's SDK reads no event of several lines."""
        event = ServerSentEvent(b'{\r\n  "a": "\xc3\xa9\\n"\n}')
        assert GEMINI.encoder(IDENTITY, {}).framed(event) == b'data: {   "a": "\xc3\xa9\\n" }\n\n'
        assert GEMINI_ARRAY.encoder(IDENTITY, {}).framed(event) == b"[" + event.data


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "code", "status"),
        [
            (InvalidRequest("no"), 400, "INVALID_ARGUMENT"),
            (Unauthorized("no"), 401, "UNAUTHENTICATED"),
            (InvalidRequest("no", status=422), 422, "INVALID_ARGUMENT"),
            (InvalidRequest("no", status=429), 429, "RESOURCE_EXHAUSTED"),
            (Truncated("no"), 502, "UNAVAILABLE"),
            (Overloaded("no"), 503, "UNAVAILABLE"),
            (Truncated("no", status=529), 529, "UNAVAILABLE"),
            (Truncated("no", status=599), 599, "INTERNAL"),
        ],
    )
    def test_statuses_have_googles_words(self, error, code, status):
        told = GEMINI.error_body(error)["error"]
        assert (told["code"], told["status"], told["message"]) == (code, status, "no")

    def test_the_routers_code_the_field_and_the_delay_are_details(self):
        error = InvalidRequest("no", param="contents", retry_after="1.5")
        types = "type.googleapis.com/google.rpc."
        assert GEMINI.error_body(error)["error"]["details"] == [
            {"@type": f"{types}ErrorInfo", "reason": "invalid_request", "domain": "trio-router"},
            {
                "@type": f"{types}BadRequest",
                "fieldViolations": [{"field": "contents", "description": "no"}],
            },
            {"@type": f"{types}RetryInfo", "retryDelay": "2s"},
        ]

    @pytest.mark.parametrize("patience", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "nan", "inf", "1e999"])
    def test_a_delay_that_is_no_number_of_seconds_is_not_told(self, patience):
        error = Overloaded("no", retry_after=patience)
        assert len(GEMINI.error_body(error)["error"]["details"]) == 1

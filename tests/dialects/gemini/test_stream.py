from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, strategies as st

from tests.helpers import at_offsets, cuts
from trio_router.dialects.answer import AnswerReader, ReadingRules
from trio_router.dialects.base import AnswerIdentity
from trio_router.dialects.fold import Fold
from trio_router.dialects.gemini import GeminiDialect
from trio_router.dialects.translate import WholeAnswer, status_error
from trio_router.errors import ProviderAuthError, RouterError

GEMINI = GeminiDialect()
WHO = AnswerIdentity("chatcmpl-7", 1700000000, "gemini/m")
RULES = ReadingRules(max_event=1 << 20)
USAGE = {"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12}


def candidate(*parts, finish=None, index=None, **extra):
    told = {"content": {"role": "model", "parts": list(parts)}, **extra}
    told |= {"finishReason": finish} if finish else {}
    return told | ({"index": index} if index is not None else {})


def record(*candidates, **extra):
    return {"candidates": list(candidates), **extra}


def text(said, **extra):
    return {"text": said, **extra}


def function(name, args=None, **extra):
    return {"functionCall": {"name": name, **({} if args is None else {"args": args}), **extra}}


def sse(records) -> bytes:
    return b"".join(b"data: " + json.dumps(r).encode() + b"\r\n\r\n" for r in records)


def array(records) -> bytes:
    return b"[" + b",\r\n".join(json.dumps(r, indent=1).encode() for r in records) + b"\n]\n"


def read(body: bytes, offsets=(), clean=True) -> AnswerReader:
    """A reader that has read it all; `chunks` is what it gave."""
    reader = AnswerReader(GEMINI, WHO, "", RULES)
    reader.chunks = []  # type: ignore[attr-defined]

    def take(items):
        reader.chunks += [item.chunk for item in items]

    for piece in at_offsets(body, offsets):
        take(reader.receive_data(piece))
    take(reader.receive_eof(clean=clean))
    return reader


def chunks(*records):
    reader = AnswerReader(GEMINI, WHO, "", RULES)
    items = reader.receive_data(sse(records)) + reader.receive_eof()
    assert reader.failure is None
    return [item.chunk for item in items]


def folded(told):
    fold = Fold(WHO)
    for chunk in json.loads(json.dumps(told)):
        fold.add(chunk)
    return fold.completion()


def message(*records):
    (choice,) = folded(chunks(*records))["choices"]
    return choice["message"]


def finish(*records):
    (choice,) = folded(chunks(*records))["choices"]
    return choice["finish_reason"]


CALLS = [
    record(candidate(text("hm", thought=True)), responseId="r", modelVersion="gemini-x"),
    record(candidate(text("Let me see."))),
    record(candidate(function("a", {"x": 1}), function("b"))),
    record(candidate(function("a", id="own"), finish="STOP"), usageMetadata=USAGE),
]


class TestChunks:
    def test_text_thoughts_and_calls_come_in_their_fields(self):
        said = message(*CALLS)
        assert said["reasoning_content"] == "hm"
        assert said["content"] == "Let me see."
        assert [call["id"] for call in said["tool_calls"]] == ["call_7_0", "call_7_1", "own"]
        assert [call["function"] for call in said["tool_calls"]] == [
            {"name": "a", "arguments": '{"x":1}'},
            {"name": "b", "arguments": "{}"},
            {"name": "a", "arguments": "{}"},
        ]
        assert finish(*CALLS) == "tool_calls"

    def test_calls_have_indices_that_go_on_over_the_stream(self):
        deltas = [c["choices"][0]["delta"] for c in chunks(*CALLS) if c["choices"]]
        indices = [call["index"] for delta in deltas for call in delta.get("tool_calls", ())]
        assert indices == [0, 1, 2]

    def test_every_chunk_has_openais_frame_and_the_answers_own_names(self):
        told = chunks(*CALLS, record(candidate(text("x")), responseId="other", modelVersion="other"))
        assert {c["object"] for c in told} == {"chat.completion.chunk"}
        assert {(c["id"], c["created"], c["model"]) for c in told} == {("r", 1700000000, "gemini-x")}
        roles = [c["choices"][0]["delta"].get("role") for c in told if c["choices"]]
        assert roles == ["assistant", *[None] * (len(roles) - 1)]

    def test_the_finish_reason_comes_once_after_all_text_and_then_the_usage(self):
        told = chunks(
            *[record(candidate(text(t), finish="STOP"), usageMetadata=USAGE) for t in ("a", "b", "c")]
        )
        assert [c["choices"][0]["finish_reason"] for c in told[:-1]] == [None, None, None, "stop"]
        assert told[-1]["choices"] == []
        assert told[-1]["usage"]["completion_tokens"] == 7

    def test_candidates_are_choices(self):
        told = folded(
            chunks(
                record(candidate(text("a")), candidate(text("x"), index=1)),
                record(candidate(text("y"), index=1, finish="MAX_TOKENS")),
                record(candidate(text("b"), function("f"), index=0, finish="STOP")),
            )
        )
        said = [(c["message"]["content"], c["finish_reason"]) for c in told["choices"]]
        assert said == [("ab", "tool_calls"), ("xy", "length")]

    def test_signatures_are_kept_where_googles_own_endpoint_has_them(self):
        said = message(
            record(candidate({**function("f"), "thoughtSignature": "S1"}, text("x"))),
            record(candidate(text("", thoughtSignature="S2"), text("y"), finish="STOP")),
        )
        assert said["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "S1"}}
        assert said["extra_content"] == {"google": {"thought_signature": "S2"}}

    def test_images_and_code_that_it_ran_are_kept(self):
        image = {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}
        code = {"executableCode": {"language": "PYTHON", "code": "1"}}
        ran = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}
        said = message(
            record(candidate(image, {}, code), promptFeedback=None),
            record(candidate(ran, image, finish="STOP")),
        )
        url = {"url": "data:image/png;base64,QUJD"}
        assert said["images"] == [
            {"index": 0, "type": "image_url", "image_url": url},
            {"index": 1, "type": "image_url", "image_url": url},
        ]
        assert [item["part"] for item in said["extra_content"]["google"]["parts"]] == [code, ran]

    def test_text_of_an_unknown_kind_is_text(self):
        assert message(record(candidate(text("x", partMetadata={}), finish="STOP")))["content"] == "x"

    def test_grounding_is_kept_and_told_as_annotations(self):
        grounding = {
            "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}, {"maps": {}}],
            "groundingSupports": [
                {"segment": {"startIndex": 4, "endIndex": 8}, "groundingChunkIndices": [0, 1, 9]}
            ],
        }
        (choice,) = folded(
            chunks(
                record(candidate(text("é 👋 x"), groundingMetadata={"webSearchQueries": ["q"]})),
                record(candidate(finish="STOP", groundingMetadata=grounding)),
                record(candidate(groundingMetadata={}, citationMetadata={"citations": [1]})),
            )
        )["choices"]
        assert choice["groundingMetadata"] == {"webSearchQueries": ["q"], **grounding}
        assert choice["citationMetadata"] == {"citations": [1]}
        assert [c["url_citation"]["url"] for c in choice["message"]["annotations"]] == ["https://a"]
        grounding["groundingSupports"][0]["segment"] = {"startIndex": 3, "endIndex": 7, "text": "👋"}
        said = message(record(candidate(text("é 👋 x"), finish="STOP", groundingMetadata=grounding)))
        citation = {"start_index": 2, "end_index": 3, "url": "https://a", "title": "A"}
        assert said["annotations"] == [{"type": "url_citation", "url_citation": citation}]

    def test_logprobs(self):
        result = {
            "chosenCandidates": [{"token": "é", "tokenId": 1, "logProbability": -0.5}],
            "topCandidates": [{"candidates": [{"token": "é", "logProbability": -0.5}]}],
        }
        (choice,) = folded(chunks(record(candidate(text("é"), finish="STOP", logprobsResult=result))))[
            "choices"
        ]
        entry = {"token": "é", "logprob": -0.5, "bytes": [195, 169]}
        assert choice["logprobs"]["content"] == [{**entry, "top_logprobs": [entry]}]

    def test_usage_counts_thoughts_as_the_answers_and_tools_as_the_prompts(self):
        usage = {
            "promptTokenCount": 210,
            "candidatesTokenCount": 192,
            "totalTokenCount": 965,
            "cachedContentTokenCount": 100,
            "thoughtsTokenCount": 192,
            "toolUsePromptTokenCount": 371,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 9},
                {"modality": "AUDIO", "tokenCount": 201},
            ],
            "trafficType": "ON_DEMAND",
        }
        told = chunks(
            record(candidate(text("a")), usageMetadata={"trafficType": "ON_DEMAND"}),
            record(candidate(finish="STOP"), usageMetadata=usage),
        )[-1]["usage"]
        assert told == {
            "prompt_tokens": 581,
            "completion_tokens": 384,
            "total_tokens": 965,
            "prompt_tokens_details": {
                "cached_tokens": 100,
                "audio_tokens": 201,
                "tool_use_tokens": 371,
            },
            "completion_tokens_details": {"reasoning_tokens": 192},
            "trafficType": "ON_DEMAND",
        }


class TestEnd:
    @pytest.mark.parametrize(
        ("native", "told"),
        [
            ("STOP", "stop"),
            ("MAX_TOKENS", "length"),
            *[
                (name, "content_filter")
                for name in (
                    "SAFETY",
                    "RECITATION",
                    "BLOCKLIST",
                    "PROHIBITED_CONTENT",
                    "SPII",
                    "LANGUAGE",
                )
            ],
            ("MALFORMED_FUNCTION_CALL", "stop"),
            ("OTHER", "stop"),
            ("WHATEVER_COMES", "stop"),
        ],
    )
    def test_the_finish_reason(self, native, told):
        (choice,) = folded(
            chunks(record(candidate(text("x")), {"finishReason": native}, finishMessage=1))
        )["choices"]
        assert choice["finish_reason"] == told
        plain = native in ("STOP", "MAX_TOKENS")
        assert choice.get("native_finish_reason") == (None if plain else native)

    def test_an_answer_cut_by_its_limit_is_no_call(self):
        assert finish(record(candidate(function("f"), finish="MAX_TOKENS"))) == "length"

    def test_a_prompt_that_was_blocked_is_filtered_content(self):
        feedback = {"blockReason": "SAFETY", "blockReasonMessage": "No."}
        told = chunks({"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 3}})
        (choice,) = folded(told)["choices"]
        assert choice["finish_reason"] == "content_filter"
        assert choice["native_finish_reason"] == "SAFETY"
        assert choice["promptFeedback"] == feedback
        assert choice["message"] == {"role": "assistant", "content": None, "refusal": "No."}
        assert told[-1]["usage"]["prompt_tokens"] == 3

    def test_a_candidate_that_says_why_it_ended_is_not_overruled_by_the_prompts_feedback(self):
        answer = record(candidate(text("x"), finish="STOP"), promptFeedback={"safetyRatings": []})
        assert finish(answer) == "stop"

    def test_an_answer_that_says_nothing_has_empty_content(self):
        assert message(record(candidate(finish="STOP")))["content"] == ""
        assert message(record({"finishReason": "OTHER", "content": None}))["content"] == ""

    def test_a_stream_without_a_finish_reason_was_cut_off(self):
        for body in (sse([record(candidate(text("x")))]), array([record({"content": {}})]), sse([{}])):
            assert read(body).failure.code == "upstream_truncated"

    def test_a_stream_whose_connection_broke_after_its_finish_reasons_is_whole(self):
        answer = [record(candidate(text("x"), finish="STOP"), usageMetadata=USAGE)]
        assert read(sse(answer), clean=False).failure is None
        begun = [*answer, record(candidate(text("y"), index=1))]
        assert read(sse(begun), clean=False).failure.code == "upstream_truncated"

    def test_an_error_in_the_stream_keeps_its_message_and_ends_it_without_a_finish(self):
        error = {"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}
        answer = [record(candidate(text("x"), finish="STOP")), error]
        for body in (sse(answer), array(answer)):
            reader = read(body)
            assert (reader.failure.code, reader.failure.message) == (
                "provider_stream_error",
                "Overloaded.",
            )
            assert reader.failure.reason == "503"
            assert not any(c["choices"][0]["finish_reason"] for c in reader.chunks)

    def test_a_bare_error_after_finish_reasons_is_an_error_all_the_same(self):
        """Early models said STOP in every record; what a broken stream says last has no `data:`."""
        error = {"error": {"code": 499, "message": "Cancelled.", "status": "CANCELLED"}}
        answer = sse([record(candidate(text(t), finish="STOP")) for t in ("a", "b")])
        reader = read(answer + json.dumps(error, indent=2).encode())
        assert (reader.failure.code, reader.failure.message) == ("provider_stream_error", "Cancelled.")
        assert not any(c["choices"][0]["finish_reason"] for c in reader.chunks)


class TestWhole:
    def test_an_answer_streamed_and_folded_is_the_answer_not_streamed(self):
        parts = [part for r in CALLS for part in r["candidates"][0]["content"]["parts"]]
        answer = record(candidate(*parts, finish="STOP"), usageMetadata=USAGE)
        answer |= {"responseId": "r", "modelVersion": "gemini-x"}
        assert GEMINI.completion(answer, WHO) == folded(chunks(*CALLS))

    def test_one_json_body_is_whole_even_if_it_says_no_reason(self):
        answer = record(candidate(text("x")))
        assert GEMINI.completion(answer, WHO)["choices"][0]["finish_reason"] == "stop"
        reader = read(json.dumps(answer).encode())
        assert (reader.failure, reader.format) == (None, "json")

    @pytest.mark.parametrize("answer", [{"candidates": []}, record({"content": {}, "index": 0})])
    def test_an_answer_that_says_nothing_and_not_why_is_none(self, answer):
        with pytest.raises(RouterError) as caught:
            WholeAnswer(GEMINI, WHO, "", RULES).translate(json.dumps(answer).encode())
        assert caught.value.status == 502

    def test_an_array_is_one_answer_for_who_does_not_stream(self):
        whole = WholeAnswer(GEMINI, WHO, "application/json", RULES)
        told = json.loads(whole.translate(b"\xef\xbb\xbf" + array(CALLS)))
        assert told == folded(chunks(*CALLS))
        assert whole.reader.format == "json-array"


class TestErrors:
    def told(self, status, error, retry_after=None):
        return status_error("gemini", status, json.dumps(error).encode(), retry_after)

    def test_the_code_is_googles_own_word(self):
        error = {"error": {"code": 404, "message": "No such model.", "status": "NOT_FOUND"}}
        for body in (error, [error]):
            told = self.told(404, body)
            assert (told.status, told.code, told.message) == (404, "NOT_FOUND", "No such model.")

    def test_a_quota_says_when_to_come_again(self):
        details = [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure"},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37.2s"},
        ]
        error = {
            "error": {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED", "details": details}
        }
        assert self.told(429, error).retry_after == "38"
        assert self.told(429, error, "5").retry_after == "5"
        details[1]["retryDelay"] = {"seconds": 3}
        assert self.told(429, error).retry_after is None

    def test_a_key_that_is_not_valid_is_the_routers_fault(self):
        details = [{"reason": "API_KEY_INVALID", "domain": "googleapis.com"}, "x"]
        error = {"error": {"code": 400, "message": "key1234", "details": details}}
        told = self.told(400, error)
        assert isinstance(told, ProviderAuthError)
        assert "key1234" not in told.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "candidates",
                        "content",
                        "parts",
                        "text",
                        "thought",
                        "functionCall",
                        "name",
                        "args",
                    ),
                    *("inlineData", "finishReason", "index", "usageMetadata", "promptFeedback"),
                    *("blockReason", "groundingMetadata", "groundingSupports", "groundingChunks"),
                    *("segment", "groundingChunkIndices", "logprobsResult", "chosenCandidates"),
                    *("thoughtSignature", "promptTokenCount", "delta", "finish_reason"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
RECORDS = st.builds(
    lambda parts, extra: record({"content": {"parts": parts}, **extra}),
    st.lists(st.builds(text, st.text(max_size=4), thought=st.booleans()) | JSON, max_size=3),
    st.dictionaries(st.sampled_from(["finishReason", "index", "groundingMetadata"]), JSON, max_size=2),
)


def test_numbers_beyond_all_bounds_are_no_fault_of_ours():
    answer = b'{"candidates": [{"index": 1e999, "finishReason": "STOP"}], "usageMetadata": '
    answer += b'{"promptTokenCount": 1e999}}'
    told = json.loads(WholeAnswer(GEMINI, WHO, "", RULES).translate(answer))
    assert told["choices"][0]["index"] == 0


@given(st.lists(RECORDS | JSON, max_size=4))
def test_json_of_any_shape_raises_nothing_but_our_own_errors(records):
    for body in (sse(records), array(records)):
        read(body)
        with contextlib.suppress(RouterError):
            WholeAnswer(GEMINI, WHO, "", RULES).translate(body)
    for one in records:
        with contextlib.suppress(RouterError):
            WholeAnswer(GEMINI, WHO, "", RULES).translate(json.dumps(one).encode())


@given(st.lists(RECORDS, min_size=1, max_size=4), st.sampled_from([sse, array]), cuts(500))
def test_no_cut_changes_what_a_stream_says(records, form, offsets):
    body = form([*CALLS, *records])
    got, whole = read(body, offsets), read(body)
    assert got.chunks == whole.chunks
    assert repr(got.failure) == repr(whole.failure)

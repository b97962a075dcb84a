"""Embedding requests and answers, in each dialect that has them."""

from __future__ import annotations

import base64
import json
import math
import struct

import pytest
from hypothesis import given, strategies as st

from trio_router.dialects import DIALECTS
from trio_router.dialects.answer import AnswerReader, ReadingRules
from trio_router.dialects.base import AnswerIdentity
from trio_router.dialects.embedding import parse_embedding_request
from trio_router.dialects.embedding_answer import EmbeddingAnswer
from trio_router.dialects.openai.dialect import OpenAIDialect
from trio_router.errors import InvalidRequest, MalformedJSON, StreamError

OTHERS = ["ollama", "gemini", "cohere"]


def asked(name, drop=False, **body):
    request = DIALECTS[name].embeddings.request({"model": "m", **body}, drop_unsupported=drop)
    return request.path, json.loads(request.body)


def answer(name, record, **body):
    reader = AnswerReader(OpenAIDialect(), AnswerIdentity("", 0, ""), "", ReadingRules(1 << 20))
    told = EmbeddingAnswer(DIALECTS[name].embeddings, {"model": "m", "input": "a", **body}, "m", reader)
    raw = record if isinstance(record, bytes) else json.dumps(record).encode()
    return told.translate(raw), reader


def upstream_answer(name, vectors):
    match name:
        case "ollama":
            return {"model": "m", "embeddings": vectors, "prompt_eval_count": 7}
        case "gemini":
            usage = {"promptTokenCount": 7}
            return {"embeddings": [{"values": v} for v in vectors], "usageMetadata": usage}
        case "cohere":
            billed = {"billed_units": {"input_tokens": 7}}
            return {"id": "x", "embeddings": {"float": vectors}, "texts": [], "meta": billed}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "a"}, "model"),
        ({"model": 3, "input": "a"}, "model"),
        ({"model": "p/m"}, "input"),
        ({"model": "p/m", "input": ""}, "input"),
        ({"model": "p/m", "input": []}, "input"),
        ({"model": "p/m", "input": 3}, "input"),
        ({"model": "p/m", "input": ["a", 1]}, "input"),
        ({"model": "p/m", "input": [[1], []]}, "input"),
        ({"model": "p/m", "input": [[1], "a"]}, "input"),
        ({"model": "p/m", "input": [True]}, "input"),
        ({"model": "p/m", "input": {"text": "a"}}, "input"),
        ({"model": "p/m", "input": "a", "dimensions": 0}, "dimensions"),
        ({"model": "p/m", "input": "a", "dimensions": "8"}, "dimensions"),
        ({"model": "p/m", "input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"model": "p/m", "input": "a", "user": 1}, "user"),
    ],
)
def test_a_wrong_field_is_refused_by_name(body, param):
    with pytest.raises(InvalidRequest) as caught:
        parse_embedding_request(json.dumps(body).encode())
    assert caught.value.param == param


@pytest.mark.parametrize("value", ["a", ["a", "b"], [1, 2], [[1, 2], [3]]])
def test_every_kind_of_input_is_taken(value):
    assert parse_embedding_request(json.dumps({"model": "p/m", "input": value}).encode())


def test_openai_is_asked_as_the_client_asked():
    path, body = asked("openai", input=[1, 2], dimensions=8, encoding_format="base64", extra=1)
    assert path == "/embeddings"
    assert body == {
        "model": "m",
        "input": [1, 2],
        "dimensions": 8,
        "encoding_format": "base64",
        "extra": 1,
    }


def test_azure_is_asked_below_its_deployment():
    assert asked("azure", input="a")[0] == "/openai/deployments/m/embeddings"


def test_ollama_is_asked_with_its_own_fields():
    path, body = asked("ollama", input="a", dimensions=8, encoding_format="base64", user="u")
    assert path == "/api/embed"
    assert body == {"model": "m", "input": ["a"], "dimensions": 8}


def test_gemini_is_asked_for_one_text_or_for_a_batch():
    content = {"parts": [{"text": "a"}]}
    one = {"model": "models/m", "content": content, "outputDimensionality": 8}
    assert asked("gemini", input="a", dimensions=8) == ("/models/m:embedContent", one)
    path, body = asked("gemini", input=["a", "b"])
    assert path == "/models/m:batchEmbedContents"
    assert [r["content"]["parts"][0]["text"] for r in body["requests"]] == ["a", "b"]


def test_cohere_is_asked_with_its_own_fields():
    path, body = asked("cohere", input=["a"], dimensions=256, input_type="search_query")
    assert path == "/embed"
    assert body == {
        "model": "m",
        "texts": ["a"],
        "input_type": "search_query",
        "embedding_types": ["float"],
        "output_dimension": 256,
    }


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("tokens", [[1, 2], [[1], [2]]])
def test_tokens_are_refused_where_only_text_is_taken(name, tokens):
    with pytest.raises(InvalidRequest) as caught:
        asked(name, input=tokens)
    assert caught.value.param == "input"


@pytest.mark.parametrize("name", OTHERS)
def test_a_field_without_a_word_for_it_is_refused_or_dropped_where_configured(name):
    with pytest.raises(InvalidRequest) as caught:
        asked(name, input="a", something=1)
    assert caught.value.param == "something"
    assert "something" not in asked(name, drop=True, input="a", something=1)[1]


@pytest.mark.parametrize("name", OTHERS)
def test_vectors_come_in_openais_shape_with_their_tokens_counted(name):
    told, reader = answer(name, upstream_answer(name, [[0.5, -1], [2, 3]]), input=["a", "b"])
    assert json.loads(told) == {
        "object": "list",
        "model": "m",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, -1]},
            {"object": "embedding", "index": 1, "embedding": [2, 3]},
        ],
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }
    assert reader.usage["prompt_tokens"] == 7
    assert reader.format == "json"


def test_geminis_single_vector_is_a_list_of_one():
    told, _ = answer("gemini", {"embedding": {"values": [1.5]}})
    assert [e["embedding"] for e in json.loads(told)["data"]] == [[1.5]]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_base64_is_little_endian_float32(vector):
    told, _ = answer("ollama", upstream_answer("ollama", [vector]), encoding_format="base64")
    packed = base64.b64decode(json.loads(told)["data"][0]["embedding"])
    assert struct.unpack(f"<{len(vector)}f", packed) == tuple(vector)


def test_openais_own_answer_passes_byte_for_byte_and_is_counted():
    raw = b'{ "object":"list", "data":[{"embedding":[1.0e0]}], "usage":{"prompt_tokens":3},"x":1}\n'
    told, reader = answer("openai", raw)
    assert told == raw
    assert reader.usage == {"prompt_tokens": 3}


@pytest.mark.parametrize("name", ["openai", *OTHERS])
@pytest.mark.parametrize("raw", [b"", b"nonsense", b"[1]", b'{"embeddings"', b"\xff"])
def test_what_is_no_json_object_is_a_malformed_answer(name, raw):
    with pytest.raises(MalformedJSON):
        answer(name, raw)


@pytest.mark.parametrize("name", ["openai", *OTHERS])
def test_an_error_inside_a_good_status_is_an_error(name):
    with pytest.raises(StreamError, match="no such model"):
        answer(name, {"error": {"message": "no such model"}})


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("vectors", [[], [[1], [2]], ["x"], [["x"]], [None], [[1e300]], 3])
def test_vectors_that_are_none_are_a_malformed_answer(name, vectors):
    record = {
        "ollama": {"embeddings": vectors},
        "gemini": {"embeddings": [{"values": v} for v in vectors] if vectors != 3 else 3},
        "cohere": {"embeddings": {"float": vectors}},
    }
    with pytest.raises(MalformedJSON):
        answer(name, record[name])


def test_a_vector_is_told_as_it_came():
    told, _ = answer("ollama", b'{"embeddings":[[0.1]]}')
    assert math.isclose(json.loads(told)["data"][0]["embedding"][0], 0.1, rel_tol=0)

"""The providers' own lists of models."""

from __future__ import annotations

import base64
import json

import pytest

from tests.helpers import corpus
from trio_router.dialects import DIALECTS, MODELS, MODELS_BY_HEADER
from trio_router.dialects.base import ListedModel

_DIALECTS = {"anthropic": "anthropic", "gemini": "gemini"}  # the others are OpenAI's
LISTINGS = {name: d.listing for name, d in DIALECTS.items() if d.listing is not None}
TELLERS = [MODELS, *MODELS_BY_HEADER.values()]


def ids(name, page):
    models, mark = LISTINGS[name].read(page)
    return [model.id for model in models], mark


@pytest.mark.corpus
def test_recorded_lists_are_read():
    records = [r for r in corpus("streams.jsonl") if r["dialect"] == "models-list"]
    assert records
    for record in records:
        page = json.loads(base64.b64decode(record["response"]["body_b64"]))
        models, _ = LISTINGS[_DIALECTS.get(record["provider"], "openai")].read(page)
        assert len(models) == len(page.get("data") or page["models"]), record["id"]
        assert all(model.id and not model.id.startswith("models/") for model in models)


def test_pages_are_followed_where_there_are_some():
    page = {"data": [{"id": "a", "created_at": "2026-01-01T00:00:00Z"}], "has_more": True}
    assert ids("anthropic", {**page, "last_id": "a b"}) == (["a"], "a b")
    assert ids("anthropic", {**page, "has_more": False, "last_id": "a"}) == (["a"], None)
    assert LISTINGS["anthropic"].path("a b") == "/models?limit=1000&after_id=a%20b"
    assert ids("gemini", {"models": [{"name": "models/g"}], "nextPageToken": "t="}) == (["g"], "t=")
    assert LISTINGS["gemini"].path("t=") == "/models?pageSize=1000&pageToken=t%3D"
    assert ids("cohere", {"models": [{"name": "c"}], "next_page_token": "t"}) == (["c"], "t")
    assert LISTINGS["cohere"].path("t") == "/models?page_size=1000&page_token=t"


def test_ollamas_tags_and_a_bare_array_are_lists_too():
    assert ids("ollama", {"models": [{"name": "llama3.2:latest"}, {"model": "b"}]})[0] == [
        "llama3.2:latest",
        "b",
    ]
    assert ids("openai", [{"id": "a", "created": 1.5}]) == (["a"], None)


@pytest.mark.parametrize("name", LISTINGS)
@pytest.mark.parametrize(
    "page",
    [
        None,
        3,
        [],
        ["a"],
        {},
        {"data": 3, "models": "x"},
        {"data": [None, {}, {"id": 3}, {"id": ""}], "models": [None, {}, {"name": 3}]},
        {"data": [], "models": [], "has_more": True, "last_id": 3, "nextPageToken": 3},
    ],
)
def test_a_page_of_another_shape_has_no_models(name, page):
    assert ids(name, page) == ([], None)


@pytest.mark.parametrize("teller", TELLERS)
def test_every_time_of_creation_can_be_told(teller):
    for created in (0, -1, 1700000000, 1700000000000, 10**30):
        (one,) = listed(teller.models([ListedModel("p/m", created)]))
        assert one.get("id", one.get("name", "").removeprefix("models/")) == "p/m"
    assert listed(teller.models([])) == []


def listed(told):
    return told["models"] if "models" in told else told["data"]


@pytest.mark.parametrize(
    ("name", "item", "told"),
    [
        ("openai", {"context_window": 131072, "max_completion_tokens": 8192}, (131072, 8192, ())),
        ("openai", {"max_model_len": 32768}, (32768, 0, ())),
        ("openai", {"meta": {"n_ctx_train": 8192}}, (8192, 0, ())),
        (
            "openai",
            {
                "max_context_length": 40960,
                "capabilities": {"function_calling": True, "vision": False, "reasoning": True},
            },
            (40960, 0, ("tools", "thinking")),
        ),
        ("openai", {"context_length": True, "top_provider": 3, "architecture": "x"}, (0, 0, ())),
        ("openai", {"context_length": -1, "capabilities": ["x"]}, (0, 0, ())),
        ("openai", {"name": 3, "created": "2025"}, (0, 0, ())),
        ("anthropic", {"max_input_tokens": 200000, "max_tokens": "x"}, (200000, 0, ())),
        ("gemini", {"inputTokenLimit": 1048576, "outputTokenLimit": 65536, "thinking": True},
         (1048576, 65536, ("thinking",))),
        ("cohere", {"context_length": 256000}, (256000, 0, ())),
    ],
)  # fmt: skip
def test_what_is_known_of_a_model_is_read(name, item, told):
    named = {"id": "m"} if name in ("openai", "anthropic") else {"name": "m"}
    page = {"data": [named | item], "models": [item | named]}
    (model,) = LISTINGS[name].read(page)[0]
    assert (model.context, model.output, model.abilities) == told


@pytest.mark.parametrize(
    ("date", "created"),
    [("2025-05-04T17:37:44.706015396-07:00", 1746405464), ("x", 0), (None, 0), (7, 0)],
)
def test_ollamas_tags_tell_when_a_model_was_pulled(date, created):
    page = {"models": [{"name": "m", "modified_at": date}]}
    assert LISTINGS["ollama"].read(page)[0] == [ListedModel("m", created)]

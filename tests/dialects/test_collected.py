"""What is known of a dialect is the dialect's own to say; here it is collected."""

from __future__ import annotations

import pytest

from trio_router.config.schema import ProviderConfig
from trio_router.dialects import APIS, CLIENTS, DIALECTS, GEMINI, MODELS, MODELS_BY_HEADER
from trio_router.dialects.base import Dialect

HAVE = {
    "openai": {"embeddings", "listing", "passing"},
    "azure": {"embeddings", "passing"},
    "anthropic": {"listing"},
    "gemini": {"embeddings", "listing"},
    "cohere": {"embeddings", "listing"},
    "ollama": {"embeddings", "listing"},
}


class Plain(Dialect):
    """One that says no more than it must."""

    name = "plain"


@pytest.mark.parametrize("name", DIALECTS)
def test_each_dialect_says_what_its_providers_have(name):
    parts = ("embeddings", "listing", "passing")
    assert {part for part in parts if getattr(DIALECTS[name], part) is not None} == HAVE[name]


def test_a_dialect_that_says_nothing_of_it_has_only_chat():
    plain = Plain()
    assert plain.embeddings is plain.listing is plain.passing is None
    assert plain.native_paths("m", {}) == {}
    assert plain.base_url_complaint("http://h/v1") == ""


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.name)
def test_native_paths_are_those_of_clients_that_there_are(dialect):
    assert dialect.native_paths("m", {}).keys() <= {client.name for client in APIS}


def test_a_request_without_a_model_has_no_path_that_would_hold_one():
    assert DIALECTS["azure"].native_paths("", {}) == {}
    assert DIALECTS["gemini"].native_paths("", {}) == {}


@pytest.mark.parametrize("end", ["/v1", "/api", "/api/chat"])
def test_only_ollama_wants_its_root(end):
    for name in set(DIALECTS) - {"ollama"}:
        assert ProviderConfig(dialect=name, base_url=f"http://h{end}").base_url == f"http://h{end}"
    with pytest.raises(ValueError, match="its root"):
        ProviderConfig(dialect="ollama", base_url=f"http://h{end}")


def test_clients_are_found_by_the_path_that_they_ask():
    assert {path: client.name for path, client in CLIENTS.items()} == {
        "/v1/messages": "messages",
        "/v1/completions": "completions",
        "/v1/responses": "responses",
        "/api/chat": "ollama.chat",
        "/api/generate": "ollama.generate",
    }


def test_clients_with_a_header_of_their_own_are_told_of_models_in_their_own_way():
    messages = CLIENTS["/v1/messages"]
    told = {b"anthropic-version": messages.models, b"x-goog-api-key": GEMINI.models}
    assert told == MODELS_BY_HEADER
    assert all(client.models is not MODELS for client in APIS)

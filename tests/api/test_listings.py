"""`GET /v1/models`: what is known of each model, and pages for Anthropic's clients."""

from __future__ import annotations

import pytest

from tests.stack import memory_stack
from trio_router.demo.answers import json_answer

PROVIDERS = """
providers:
  open: {base_url: "http://upstream/v1"}
  claude: {dialect: anthropic, base_url: "http://upstream/anthropic"}
  named: {base_url: "http://upstream/other", models: {chat: {upstream_model: big}}}
routes:
  agent: {targets: [{model: claude/claude-x}, {model: open/big}]}
  declared: {targets: [{model: open/big, context: 500000}, {model: named/chat}]}
"""
OPEN = {
    "data": [
        {
            "id": "big",
            "created": 1700000001,
            "name": "The big one",
            "context_length": 128000,
            "architecture": {"input_modalities": ["text", "image"]},
            "supported_parameters": ["tools", "reasoning", "stop"],
            "top_provider": {"max_completion_tokens": 9000},
        },
        {"id": "small", "created": 1700000002},
    ]
}
CLAUDE = {
    "data": [
        {
            "type": "model",
            "id": "claude-x",
            "display_name": "Claude X",
            "created_at": "2025-02-19T00:00:00Z",
            "max_input_tokens": 200000,
            "max_tokens": 64000,
        }
    ],
    "has_more": False,
}
IDS = ["agent", "declared", "named/chat", "open/big", "open/small", "claude/claude-x"]
VERSION = {"anthropic-version": "2023-06-01"}


def lists(request):
    return json_answer(CLAUDE if request.path.startswith("/anthropic") else OPEN)


async def told(stack, path: str = "/v1/models", headers=()) -> dict:
    stack.upstream.script = lists
    response = await stack.client.get(path, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


async def test_openais_shape_tells_what_the_provider_tells(autojump_clock):
    async with memory_stack(providers=PROVIDERS) as stack:
        models = {model["id"]: model for model in (await told(stack))["data"]}
        one = await told(stack, "/v1/models/open/big")
    assert list(models) == IDS
    assert models["open/big"] == one == {
        "id": "open/big",
        "object": "model",
        "created": 1700000001,
        "owned_by": "open",
        "name": "The big one",
        "context_length": 128000,
        "max_output_tokens": 9000,
        "capabilities": ["tools", "thinking", "vision"],
    }  # fmt: skip
    assert models["open/small"] == {
        "id": "open/small",
        "object": "model",
        "created": 1700000002,
        "owned_by": "open",
    }
    assert models["claude/claude-x"]["created"] == 1739923200


async def test_a_route_is_told_as_its_first_target_with_the_longest_context(autojump_clock):
    async with memory_stack(providers=PROVIDERS) as stack:
        models = {model["id"]: model for model in (await told(stack))["data"]}
        agent = await told(stack, "/v1/models/agent")
    assert models["agent"] == agent
    assert (agent["owned_by"], agent["created"], agent["context_length"]) == (
        "trio-router",
        1739923200,
        200000,
    )
    assert models["declared"]["context_length"] == 500000
    assert not any("/" in name for name in list(models)[:2])  # for clients that refuse a slash


async def test_anthropics_shape_tells_it_too(autojump_clock):
    async with memory_stack(providers=PROVIDERS) as stack:
        page = await told(stack, headers=VERSION)
    assert page["data"][-1] == {
        "type": "model",
        "id": "claude/claude-x",
        "display_name": "Claude X",
        "created_at": "2025-02-19T00:00:00Z",
        "max_input_tokens": 200000,
        "max_tokens": 64000,
    }
    assert [model["id"] for model in page["data"]] == IDS
    assert (page["has_more"], page["first_id"], page["last_id"]) == (False, IDS[0], IDS[-1])


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ("limit=2", IDS[:2], True),
        ("limit=6", IDS, False),
        ("limit=1000", IDS, False),
        ("limit=2&after_id=declared", IDS[2:4], True),
        ("limit=2&after_id=named/chat", IDS[3:5], True),
        ("limit=4&after_id=declared", IDS[2:], False),
        ("after_id=open%2Fsmall", IDS[5:], False),
        ("after_id=claude/claude-x", [], False),
        ("limit=2&before_id=open/big", IDS[1:3], True),
        ("limit=9&before_id=open/big", IDS[:3], False),
        ("before_id=agent", [], False),
    ],
)
async def test_anthropics_clients_get_pages(query, ids, more, autojump_clock):
    async with memory_stack(providers=PROVIDERS) as stack:
        page = await told(stack, f"/v1/models?{query}", VERSION)
    assert ([model["id"] for model in page["data"]], page["has_more"]) == (ids, more)
    assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=²", "after_id=gone", "before_id="]
)
async def test_a_page_that_there_is_not_is_refused(query, autojump_clock):
    async with memory_stack(providers=PROVIDERS) as stack:
        response = await stack.client.get(f"/v1/models?{query}", headers=VERSION)
        if query != "before_id=":  # an empty field is none
            assert response.status_code == 400
        elsewhere = await stack.client.get(f"/v1/models?{query}")
        assert elsewhere.status_code == 200

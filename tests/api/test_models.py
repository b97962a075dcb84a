"""`GET /v1/models`: the configuration's names and the providers' own lists."""

from __future__ import annotations

import pytest
import trio

from tests.stack import chat, memory_stack
from trio_router.demo import Answer, Hang, Send
from trio_router.demo.answers import error_answer, json_answer

KEYED = "auth: {keys: [sk-good]}"
NAMES = ["deepseek/chat", "any/echo", "any/echo-ndjson", "ollama/echo", "ollama/echo-ndjson"]


async def names(stack, **headers) -> list[str]:
    response = await stack.client.get("/v1/models", headers=headers)
    assert response.status_code == 200
    return [model["id"] for model in response.json()["data"]]


def lists(stack) -> list[str]:
    return [r.path for r in stack.upstream.requests if r.method == "GET"]


async def test_the_configurations_names_and_the_providers_lists_are_told(autojump_clock):
    async with memory_stack() as stack:
        assert await names(stack) == NAMES
        assert sorted(lists(stack)) == ["/api/tags", "/v1/models"]


async def test_lists_are_kept_for_a_while_and_then_asked_for_anew(autojump_clock):
    async with memory_stack() as stack:
        await names(stack)
        await names(stack)
        assert len(lists(stack)) == 2
        await trio.sleep(301)
        await names(stack)
        assert len(lists(stack)) == 4


async def test_many_who_ask_at_once_ask_the_provider_once(autojump_clock):
    async with memory_stack() as stack:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(names, stack)
        assert len(lists(stack)) == 2


async def test_a_provider_that_hangs_holds_up_the_answer_for_a_moment_alone(autojump_clock):
    async with memory_stack() as stack:
        stack.upstream.script = lambda request: (
            Answer(steps=[Hang()]) if request.path == "/api/tags" else None
        )
        began = trio.current_time()
        assert await names(stack) == NAMES[:3]
        assert trio.current_time() - began < 4
        began = trio.current_time()
        assert await names(stack) == NAMES[:3]
        assert trio.current_time() == began  # the failure is remembered


@pytest.mark.parametrize(
    "answer",
    [
        error_answer(500, "no", "no"),
        error_answer(404, "no", "no"),
        Answer(steps=[Send(b"nonsense")]),
        json_answer({"object": "list"}),
    ],
)
async def test_a_provider_without_a_list_is_left_out(autojump_clock, answer):
    async with memory_stack() as stack:
        stack.upstream.script = lambda request: answer if request.path == "/v1/models" else None
        assert await names(stack) == [NAMES[0], *NAMES[3:]]


async def test_what_was_last_known_is_told_where_a_provider_has_died(autojump_clock):
    async with memory_stack() as stack:
        assert await names(stack) == NAMES
        stack.upstream.script = lambda request: error_answer(500, "no", "no")
        await trio.sleep(301)
        assert await names(stack) == NAMES
        stack.upstream.script = None
        before = len(lists(stack))
        await trio.sleep(29)
        await names(stack)
        assert len(lists(stack)) == before
        await trio.sleep(2)
        await names(stack)
        assert len(lists(stack)) == before + 2


async def test_one_who_leaves_while_waiting_takes_the_list_from_nobody(autojump_clock):
    async with memory_stack() as stack:
        slow = trio.Event()
        asked = 0

        async def connect(host, port, original=stack._to_upstream):
            nonlocal asked
            asked += 1
            await slow.wait()
            return await original(host, port)

        stack._to_upstream = connect
        leaving = await stack.connect()
        await leaving.send_all(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await trio.sleep(0.1)
        got = []

        async def stay():
            got.extend(await names(stack))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stay)
            await trio.sleep(0.1)
            await leaving.aclose()
            await trio.sleep(0.1)
            slow.set()
        assert got == NAMES
        assert asked == 2


async def test_a_chat_waits_for_no_list(autojump_clock):
    async with memory_stack("timeouts: {pool: 1}") as stack:
        stack.upstream.script = lambda request: (
            Answer(steps=[Hang()]) if request.method == "GET" else None
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(names, stack)
            await trio.sleep(0.1)
            began = trio.current_time()
            assert (await stack.ask(chat("any/echo"))).status_code == 200
            assert trio.current_time() == began


async def test_anthropics_clients_are_told_in_their_own_shape(autojump_clock):
    async with memory_stack() as stack:
        headers = {"anthropic-version": "2023-06-01"}
        page = (await stack.client.get("/v1/models", headers=headers)).json()
        assert page["data"][0] == {
            "type": "model",
            "id": NAMES[0],
            "display_name": NAMES[0],
            "created_at": "1970-01-01T00:00:00Z",
        }
        assert (page["has_more"], page["first_id"], page["last_id"]) == (False, NAMES[0], NAMES[-1])
        one = (await stack.client.get("/v1/models/any/echo", headers=headers)).json()
        assert one["type"] == "model"


async def test_one_model_is_told_with_what_is_known_of_it(autojump_clock):
    async with memory_stack() as stack:
        assert (await stack.client.get("/v1/models/any/echo")).json()["created"] == 0
        await names(stack)
        one = (await stack.client.get("/v1/models/any/echo")).json()
        assert one == {
            "id": "any/echo",
            "object": "model",
            "created": one["created"],
            "owned_by": "any",
        }
        assert one["created"] > 0
        missing = await stack.client.get("/v1/models/nowhere/x")
        assert missing.status_code == 404
        assert missing.json()["error"]["code"] == "model_not_found"


async def test_a_wrong_name_is_held_against_the_lists_once_they_are_there(autojump_clock):
    async with memory_stack() as stack:
        before = (await stack.ask(chat("echo-ndjson"))).json()["error"]["message"]
        assert "any/echo-ndjson" not in before
        assert lists(stack) == []  # a chat asks for no list
        await names(stack)
        after = (await stack.ask(chat("echo-ndjson"))).json()["error"]["message"]
        assert "any/echo-ndjson" in after


async def test_the_list_wants_a_key_where_keys_are_wanted(autojump_clock):
    async with memory_stack(KEYED) as stack:
        assert (await stack.client.get("/v1/models")).status_code == 401
        assert await names(stack, authorization="Bearer sk-good") == NAMES


async def test_a_list_is_fetched_with_the_providers_key(autojump_clock):
    providers = """
providers:
  keyed: {base_url: "http://upstream/v1", api_key: sk-upstream-secret}
"""
    async with memory_stack(providers=providers) as stack:
        await names(stack)
        assert stack.upstream.requests[0].headers["authorization"] == "Bearer sk-upstream-secret"


async def test_pages_are_joined(autojump_clock):
    def script(request):
        if "after_id=b" in request.query:
            return json_answer({"data": [{"id": "c"}], "has_more": False, "last_id": "c"})
        data = [{"id": "a"}, {"id": "b"}]
        return json_answer({"data": data, "has_more": True, "last_id": "b"})

    providers = """
providers:
  claude: {dialect: anthropic, base_url: "http://upstream/v1", api_key: sk-upstream-secret}
"""
    async with memory_stack(providers=providers) as stack:
        stack.upstream.script = script
        assert await names(stack) == ["claude/a", "claude/b", "claude/c"]


async def test_a_list_without_end_is_cut_off(autojump_clock):
    def script(request):
        more = {"has_more": True, "last_id": "x"}
        return json_answer({"data": [{"id": "a"}], **more})

    providers = 'providers: {claude: {dialect: anthropic, base_url: "http://upstream/v1"}}'
    async with memory_stack(providers=providers) as stack:
        stack.upstream.script = script
        assert await names(stack) == ["claude/a"]
        assert len(stack.upstream.requests) <= 20

"""`/dashboard` over HTTP."""

from __future__ import annotations

import json
import logging

import pytest
import trio

from tests.dashboard.admins import ADMIN, KEYS, OURS
from tests.stack import chat, events, memory_stack
from trio_router.observe.record import Outcome
from trio_router.testing import Answer, Hang, Send

BEARER = {"authorization": f"Bearer {ADMIN}"}
SSE = [(b"content-type", b"text/event-stream")]
CHUNK = b'data: {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": null}]}\n\n'


@pytest.fixture
async def stack(autojump_clock):
    async with memory_stack() as stack:
        stack.client.headers["host"] = "localhost"
        yield stack


@pytest.fixture
async def guarded(autojump_clock):
    async with memory_stack(KEYS) as stack:
        yield stack


class Watching:
    """Reads the messages of an event stream."""

    def __init__(self, response) -> None:
        self._data = response.stream._stream  # no generator, which would have to be closed
        self._text = b""

    async def next(self) -> dict:
        while b"\n\n" not in self._text:
            self._text += await anext(self._data)
        line, _, self._text = self._text.partition(b"\n\n")
        return json.loads(line.removeprefix(b"data: "))


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/money"])
async def test_the_page_may_ask_nobody_else_and_runs_no_inline_script(path, stack):
    answer = await stack.client.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<style" not in answer.text
    assert ' style="' not in answer.text
    assert all("src=" in part for part in answer.text.split("<script")[1:])
    assert "http" not in answer.text.replace("http-equiv", "")


async def test_every_file_that_the_page_asks_for_is_there(stack):
    seen: set[str] = set()
    wanted = {"app.js", "style.css", "icon.svg", "money.js", "money.css"}
    while wanted - seen:
        name = (wanted - seen).pop()
        seen.add(name)
        answer = await stack.client.get(f"/dashboard/{name}")
        assert answer.status_code == 200, name
        for line in answer.text.splitlines():
            if line.startswith("import "):
                wanted.add(line.rpartition('"./')[2].rstrip('";'))
    assert len(seen) >= 8


async def test_a_watcher_sees_a_stream_begin_and_end(stack):
    async with stack.client.stream("GET", "/dashboard/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        watching = Watching(response)
        assert (await watching.next())["total"] == 0
        async with stack.stream(chat("any/echo-c3-d900")) as streamed:
            message = await watching.next()
            row = message["begun"][0]
            assert row[3:5] == ["any", "echo-c3-d900"]
            assert row[1] == streamed.headers["x-request-id"]
            await streamed.aread()
        while not (message := await watching.next())["ended"]:
            pass
        ended = message["ended"][0]
        assert (ended["outcome"], ended["tries"][0]["error"]) == ("completed", None)
        assert row[0] in message["gone"]
        assert "token0" not in json.dumps(message)


async def test_the_page_is_no_request_to_be_counted(stack):
    await stack.client.get("/dashboard")
    async with stack.client.stream("GET", "/dashboard/events") as response:
        await Watching(response).next()
        assert not stack.router.engine.running
    assert stack.router.observation.history.ended_count == 0


async def test_a_watcher_that_leaves_leaves_nothing_behind(stack):
    before = trio.lowlevel.current_statistics().tasks_living
    async with stack.client.stream("GET", "/dashboard/events") as response:
        await Watching(response).next()
    await trio.sleep(1)
    assert trio.lowlevel.current_statistics().tasks_living <= before + 2  # connections that idle


async def test_a_slow_watcher_gets_the_latest_and_holds_up_nobody(autojump_clock):
    async with memory_stack(tight=True) as stack:
        stack.client.headers["host"] = "localhost"
        async with stack.client.stream("GET", "/dashboard/events") as response:
            watching = Watching(response)
            await watching.next()
            for _ in range(20):  # 20 requests, as many seconds: nobody reads what is told of them
                body = (await stack.ask(chat("any/echo-c2-d500"))).json()
                assert body["choices"]
            told = [await watching.next() for _ in range(3)]
        assert sum(len(message["ended"]) for message in told) == 20


async def stopped(stack, row, **headers):
    body = {"worker": 0, "number": row[0], "request_id": row[1]}
    return await stack.client.post("/dashboard/stop", json=body, headers=headers)


async def first_row(stack, **headers):
    async with stack.client.stream("GET", "/dashboard/events", headers=headers) as response:
        return (await Watching(response).next())["begun"][0]


async def test_stop_ends_the_stream_with_an_honest_error_and_frees_the_upstream(stack, caplog):
    stack.upstream.script = lambda _: Answer(headers=SSE, steps=[Send(CHUNK), Hang()])
    with caplog.at_level(logging.INFO, "trio_router"):
        async with stack.stream(chat("any/m")) as response:
            answer = await stopped(stack, await first_row(stack), **OURS)
            assert answer.status_code == 200
            got = events(await response.aread())
        await stack.upstream.wait_closed_early()
    assert got[-1]["error"]["code"] == "stopped"
    ends = [record.fields for record in caplog.records if record.getMessage() == "request"]
    assert (ends[0]["outcome"], ends[0]["error_code"]) == (Outcome.STOPPED, "stopped")
    assert any(record.getMessage() == "an operator stopped a request" for record in caplog.records)


async def test_stop_before_the_first_event_is_an_answer_that_is_not_tried_again(stack):
    stack.upstream.script = lambda _: Answer(headers=SSE, steps=[Hang()])
    answers = []

    async def ask(stream: bool) -> None:
        answers.append(await stack.ask(chat("any/m", stream=stream)))

    for stream in (True, False):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, stream)
            await stack.upstream.wait_open(1)
            await stopped(stack, await first_row(stack), **OURS)
        assert answers[-1].status_code == 503
        assert answers[-1].json()["error"]["code"] == "stopped"
        assert answers[-1].headers["x-should-retry"] == "false"


async def test_stop_of_an_anthropic_client_speaks_its_api(stack):
    stack.upstream.script = lambda _: Answer(headers=SSE, steps=[Send(CHUNK), Hang()])
    body = {"model": "any/m", "max_tokens": 9, "stream": True}
    body["messages"] = [{"role": "user", "content": "x"}]
    async with stack.client.stream("POST", "/v1/messages", json=body) as response:
        await stopped(stack, await first_row(stack), **OURS)
        text = (await response.aread()).decode()
    assert "event: error" in text
    assert "message_stop" not in text


@pytest.mark.parametrize("other", ["number", "request_id", "worker"])
async def test_only_the_very_request_that_was_shown_is_stopped(stack, other):
    async with stack.stream(chat("any/echo-c2-d100")) as response:
        number, request_id, *_ = await first_row(stack)
        body = {"worker": 0, "number": number, "request_id": request_id}
        body[other] = "other" if other == "request_id" else 77777
        answer = await stack.client.post("/dashboard/stop", json=body, headers=OURS)
        assert answer.status_code == 404
        assert events(await response.aread())[-1] == "[DONE]"


@pytest.mark.parametrize(
    "headers",
    [{}, {"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}, {"origin": "null"}],
)
async def test_another_sites_page_can_stop_nothing(stack, headers):
    async with stack.stream(chat("any/echo-c2-d100")) as response:
        answer = await stopped(stack, await first_row(stack), **headers)
        assert answer.status_code == 403
        assert events(await response.aread())[-1] == "[DONE]"


@pytest.mark.parametrize("body", [{}, {"worker": 0, "number": "1"}, {"worker": True}])
async def test_a_wrong_stop_names_its_field(stack, body):
    answer = await stack.client.post("/dashboard/stop", json=body, headers=OURS)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] in ("worker", "number", "request_id")


async def test_with_keys_there_is_a_form_and_nothing_else(guarded):
    page = await guarded.client.get("/dashboard")
    assert 'name="key"' in page.text
    assert 'id="live"' not in page.text
    for path in ("events",):
        assert (await guarded.client.get(f"/dashboard/{path}")).status_code == 401
    assert (await stopped(guarded, [1, "r"], **OURS)).status_code == 401
    with_client_key = {"authorization": "Bearer client-key"}
    assert (await guarded.client.get("/dashboard/events", headers=with_client_key)).status_code == 401


async def test_with_keys_but_no_admin_key_the_page_says_what_to_do(autojump_clock):
    async with memory_stack("auth: {keys: [client-key]}") as stack:
        page = await stack.client.get("/dashboard")
        assert page.status_code == 403
        assert "auth.admin_keys" in page.text
        assert (await stack.client.get("/dashboard/events")).status_code == 403


async def test_the_form_gives_a_cookie_that_lets_in(guarded, caplog):
    client = guarded.client
    with caplog.at_level(logging.DEBUG):
        wrong = await client.post("/dashboard/login", data={"key": "client-key"}, headers=OURS)
        assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
        answer = await client.post("/dashboard/login", data={"key": ADMIN}, headers=OURS)
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    cookie = {"cookie": answer.headers["set-cookie"].partition(";")[0]}
    assert 'id="live"' in (await client.get("/dashboard", headers=cookie)).text
    async with client.stream("GET", "/dashboard/events", headers=cookie) as response:
        assert "total" in await Watching(response).next()
    assert ADMIN not in caplog.text
    assert ADMIN not in str(dict(answer.headers))


async def test_another_sites_page_can_log_nobody_in(guarded):
    form = {"key": ADMIN}
    answer = await guarded.client.post(
        "/dashboard/login", data=form, headers={"origin": "https://evil.example"}
    )
    assert answer.status_code == 403


async def test_a_form_too_large_is_refused_unread(guarded):
    answer = await guarded.client.post("/dashboard/login", data={"key": "x" * 9000}, headers=OURS)
    assert answer.status_code == 413


async def test_an_admin_key_opens_no_api(guarded):
    answer = await guarded.client.get("/v1/models", headers=BEARER)
    assert answer.status_code == 401


async def test_an_admin_stops_with_the_key_in_a_header(guarded):
    guarded.upstream.script = lambda _: Answer(headers=SSE, steps=[Send(CHUNK), Hang()])
    client_key = {"authorization": "Bearer client-key"}
    body = chat("any/m", stream=True)
    async with guarded.client.stream(
        "POST", "/v1/chat/completions", json=body, headers=client_key
    ) as response:
        answer = await stopped(guarded, await first_row(guarded, **BEARER), **BEARER)
        assert answer.json() == {"stopped": True}
        await response.aread()

"""A request keeps the generation it began with; what is unchanged survives, what changed is fresh."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing

from tests.runtime.reloading import reloaded
from tests.stack import chat, config, events, text_of
from trio_router.demo import Answer, WaitFor, error_answer, json_answer, sse
from trio_router.runtime.reload import Result

SSE = (("content-type", "text/event-stream"),)


def delta(text: str) -> dict:
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}  # fmt: skip


STOP = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}  # fmt: skip


def provider(name: str = "a", path: str = "v1", key: str = "k1", more: str = "") -> str:
    return f'providers: {{{name}: {{base_url: "http://upstream/{path}", api_key: {key}{more}}}}}'


class Held:
    """An upstream whose streams say who asked, then wait for `go`, then say it is good."""

    def __init__(self, stack) -> None:
        self.go = trio.Event()
        self.asked: list[tuple[str, str]] = []  # path and key
        stack.upstream.script = self.answer

    def answer(self, request) -> Answer:
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        self.asked.append((request.path.partition("/chat")[0], key))
        first, last = sse(delta(key), done=False), sse(delta("!"), STOP)
        if not json.loads(request.body).get("stream"):
            return json_answer(
                {"id": "1", "object": "chat.completion", "created": 1, "model": "m",
                 "choices": [{"index": 0, "message": {"role": "assistant", "content": key},
                              "finish_reason": "stop"}]}
            )  # fmt: skip
        return Answer(headers=SSE, steps=[*first, WaitFor(self.go), *last])


async def text(response) -> str:
    items = events(await response.aread())
    assert items[-1] == "[DONE]"
    return text_of(items)


async def test_a_stream_keeps_its_generation_to_its_end_and_a_later_one_has_the_new(
    tmp_path, autojump_clock
):
    keys = "auth: {{keys: [{{name: web, key: client-{0}}}]}}"
    async with reloaded(tmp_path, keys.format(1), provider()) as it:
        held = Held(it.stack)
        client = it.stack.client
        ask = {"json": chat("a/m", stream=True)}
        first = {"headers": {"authorization": "Bearer client-1"}, **ask}
        async with client.stream("POST", "/v1/chat/completions", **first) as old:
            old_one = it.router.generation
            assert (await it.use(keys.format(2), provider(path="v2", key="k2"))).result is Result.LOADED
            assert await it.ask("a/m", key="client-1") == 401
            assert old_one.upstreams.users == 1
            second = {"headers": {"authorization": "Bearer client-2"}, **ask}
            async with client.stream("POST", "/v1/chat/completions", **second) as new:
                held.go.set()
                assert await text(new) == "k2!"
            assert await text(old) == "k1!"
        assert held.asked == [("/v1", "k1"), ("/v2", "k2")]
        await trio.testing.wait_all_tasks_blocked()
        assert old_one.upstreams.users == 0
        assert old_one.upstreams.on_unused is None


async def test_what_only_the_old_one_held_is_closed_after_its_last_request(tmp_path, autojump_clock):
    async with reloaded(tmp_path, "", provider()) as it:
        held = Held(it.stack)
        clients = it.router._clients
        async with it.stack.stream(chat("a/m")) as first:
            await it.use("", provider(path="v2"))
            assert len(clients) == 2
            await it.use("", provider(name="b"))  # the second one had no request: it is gone at once
            assert len(clients) == 2
            held.go.set()
            assert await text(first) == "k1!"
        await trio.testing.wait_all_tasks_blocked()
        assert len(clients) == 1


async def test_retries_and_fallbacks_of_an_old_request_stay_in_its_generation(tmp_path, autojump_clock):
    """Also those that come when the file has long named others."""
    one = """
providers:
  a: {base_url: "http://upstream/a1", api_key: ka1}
  b: {base_url: "http://upstream/b1", api_key: kb1}
routes: {r: {targets: [{model: a/m}, {model: b/m}], retry: {attempts: 1, base: 1}}}
"""
    async with reloaded(tmp_path, "", one) as it:
        seen = []
        failing = trio.Event()

        def script(request):
            where = request.path.split("/")[1]
            seen.append((where, request.headers["authorization"]))
            failing.set()
            if where[0] == "a":
                return error_answer(503, "no", "overloaded")
            return Answer(headers=SSE, steps=sse(delta(where), STOP))

        it.stack.upstream.script = script
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def ask():
                async with it.stack.stream(chat("r")) as response:
                    assert await text(response) == "b1"

            await failing.wait()
            two = (
                one.replace("1/", "2/").replace('1"', '2"').replace("ka1", "ka2").replace("kb1", "kb2")
            )
            assert two.count("upstream/a2") == 1
            await it.use("", two)
        assert {where for where, _ in seen} == {"a1", "b1"}
        assert {key for _, key in seen} == {"Bearer ka1", "Bearer kb1"}
        assert len(seen) == 3
        async with it.stack.stream(chat("r")) as response:
            assert await text(response) == "b2"


async def test_no_request_of_many_is_answered_by_a_mixture(tmp_path, autojump_clock):
    """A client's key, a provider's place and its key are always of one generation."""

    def settings(number: int) -> tuple[str, str]:
        keys = f"auth: {{keys: [{{name: web, key: client-{number}}}, {{name: all, key: always}}]}}"
        return keys, provider(path=f"v{number}", key=f"k{number}")

    async with reloaded(tmp_path, *settings(0)) as it:
        held = Held(it.stack)
        held.go.set()
        answered = 0
        done = False

        async def ask(stream: bool) -> None:
            nonlocal answered
            while not done:
                async with it.stack.client.stream(
                    "POST",
                    "/v1/chat/completions",
                    json=chat("a/m", stream=stream),
                    headers={"authorization": "Bearer always"},
                ) as response:
                    assert response.status_code == 200
                    await response.aread()
                answered += 1
                await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, bool(number % 2))
            for number in range(1, 31):
                await trio.sleep(0.02)
                report = await it.use(*settings(number))
                assert report.generation == number + 1
                assert await it.ask("a/m", key=f"client-{number}") == 200
                assert await it.ask("a/m", key=f"client-{number - 1}") == 401
            done = True
        assert answered > 100
        assert {(path[2:], key[1:]) for path, key in held.asked} == {
            (str(n), str(n)) for n in range(31)
        }
        await trio.testing.wait_all_tasks_blocked()
        assert len(it.router._clients) == 1


async def test_unchanged_providers_keep_their_connections_and_changed_ones_get_new(
    tmp_path, autojump_clock
):
    both = """
providers:
  a: {base_url: "http://upstream/v1", api_key: KEY}
  b: {base_url: "http://upstream/PATH"}
"""
    async with reloaded(tmp_path, "", both.replace("PATH", "v1")) as it:
        opened = []
        connect = it.stack._to_upstream

        async def counted(host, port):
            opened.append(host)
            return await connect(host, port)

        it.stack._to_upstream = counted
        for model in ("a/echo", "b/echo"):
            assert await it.ask(model) == 200
        assert len(opened) == 2
        before = it.router.generation.upstreams.clients
        await it.use("timeouts: {read: 3}", both.replace("PATH", "v1").replace("KEY", "KEY2"))
        assert await it.ask("a/echo") == await it.ask("b/echo") == 200
        assert len(opened) == 2  # another key is no other place
        assert it.stack.upstream.requests[-2].headers["authorization"] == "Bearer KEY2"
        await it.use("", both.replace("PATH", "v2"))
        assert await it.ask("a/echo") == 200
        assert len(opened) == 2
        clients = it.router.generation.upstreams.clients
        assert clients["a"] is before["a"]
        assert clients["b"] is not before["b"]


ROUTE = """
providers:
  a: {base_url: "http://upstream/v1", api_keys: [KEY, k2]}
  b: {base_url: "http://upstream/v1"}
routes: {r: {targets: [{model: a/x}, {model: b/y}], retry: {attempts: 0}, cooldown: {failures: 1}}}
"""


@pytest.mark.parametrize(
    ("after", "is_kept"),
    [
        (ROUTE + "timeouts: {read: 3}\n", True),
        (ROUTE.replace("b:", "c:").replace("b/y", "c/y"), True),
        (ROUTE.replace("KEY", "k3"), False),
        (ROUTE.replace("/v1", "/v2"), False),
        (ROUTE.replace("api_keys", "headers: {x: y}, api_keys"), False),
    ],
)
async def test_targets_that_are_asked_as_before_keep_what_is_known_of_them(
    after, is_kept, tmp_path, autojump_clock
):
    async with reloaded(tmp_path, "", ROUTE) as it:
        it.stack.upstream.script = lambda request: (
            error_answer(503, "no", "overloaded") if json.loads(request.body)["model"] == "x" else None
        )
        await it.ask("r")
        fleet = it.router.generation.upstreams.fleet
        known = fleet.targets["a/x"]
        assert known.health(trio.current_time())[0] == "cooling down"
        ring = fleet.ring(it.router.generation.table.routes["r"].targets[0].target)
        await it.use("", after)
        fleet = it.router.generation.upstreams.fleet
        table = it.router.generation.table
        assert (fleet.targets["a/x"] is known) == is_kept
        assert (fleet.targets["a/x"].health(trio.current_time()) is not None) == is_kept
        assert (fleet.ring(table.routes["r"].targets[0].target) is ring) == is_kept


async def test_latencies_and_turns_of_an_unchanged_route_go_on(tmp_path, autojump_clock):
    text = """
providers: {a: {base_url: "http://upstream/v1"}, b: {base_url: "http://upstream/v1"}}
routes:
  r: {targets: [{model: a/echo-f100}, {model: b/echo-f300}], strategy: round_robin, affinity: off}
"""
    async with reloaded(tmp_path, "", text) as it:
        models = []
        for queue in range(1, 7):
            assert await it.ask("r", stream=True) == 200
            models.append(json.loads(it.stack.upstream.requests[-1].body)["model"])
            await it.use(f"server: {{max_queue: {queue}}}", text)
        assert models == ["echo-f100", "echo-f300"] * 3
        fleet = it.router.generation.upstreams.fleet
        assert fleet.targets["a/echo-f100"].expected(trio.current_time()) == pytest.approx(0.1, 0.1)
        assert fleet.targets["b/echo-f300"].expected(trio.current_time()) == pytest.approx(0.3, 0.1)


@pytest.mark.parametrize(
    ("section", "where"), [("server: {max_streams: %d}", "router"), ("%d", "provider")]
)
async def test_gates_change_their_size_without_losing_a_slot(section, where, tmp_path, autojump_clock):
    def settings(limit: int | None) -> tuple[str, str]:
        if where == "router":
            return ("" if limit is None else section % limit), provider()
        return "", provider(more="" if limit is None else f", max_in_flight: {limit}")

    async with reloaded(tmp_path, *settings(2)) as it:
        held = Held(it.stack)
        upstream = it.stack.upstream
        texts = []

        async def ask() -> None:
            async with it.stack.new_client() as client:
                async with client.stream(
                    "POST", "/v1/chat/completions", json=chat("a/m", stream=True)
                ) as response:
                    texts.append(await text(response))

        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked(0.001)
            assert upstream.open_streams == 2
            await it.use(*settings(4))
            await trio.testing.wait_all_tasks_blocked(0.001)
            assert upstream.open_streams == 4
            await it.use(*settings(1))
            await trio.testing.wait_all_tasks_blocked(0.001)
            assert upstream.open_streams == 4
            held.go.set()
        assert texts == ["k1!"] * 6
        held.go = trio.Event()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked(0.001)
            assert upstream.open_streams == 1
            held.go.set()
        assert len(texts) == 9


async def test_a_gate_that_goes_and_comes_back_counts_right(tmp_path, autojump_clock):
    async with reloaded(tmp_path, "server: {max_streams: 1}", provider()) as it:
        held = Held(it.stack)
        async with it.stack.stream(chat("a/m")) as first:
            await it.use("", provider())
            assert await it.ask("a/m") == 200  # nothing bounds it
            await it.use("server: {max_streams: 1}", provider())
            async with it.stack.stream(chat("a/m")) as second:
                held.go.set()
                assert await text(first) == await text(second) == "k1!"
        await trio.testing.wait_all_tasks_blocked()
        assert it.router.engine.gate.admission.inside == 0


async def test_a_request_that_waits_for_a_slot_as_its_generation_goes_is_answered(
    tmp_path, autojump_clock
):
    async with reloaded(tmp_path, "", provider(more=", max_in_flight: 1")) as it:
        held = Held(it.stack)
        statuses = []
        async with trio.open_nursery() as nursery:
            async with it.stack.stream(chat("a/m")) as first:

                @nursery.start_soon
                async def wait():
                    statuses.append(await it.ask("a/m"))

                await trio.testing.wait_all_tasks_blocked(0.001)
                await it.use("", provider(name="b"))
                held.go.set()
                assert await text(first) == "k1!"
        assert statuses == [200]
        await trio.testing.wait_all_tasks_blocked()
        assert len(it.router._clients) == 1


async def test_the_swap_between_a_requests_coming_and_its_beginning_harms_nothing(
    tmp_path, autojump_clock
):
    """It has the new generation then: the old one, which nobody used, is closed."""
    async with reloaded(tmp_path, "", provider(path="v0")) as it:
        held = Held(it.stack)
        held.go.set()
        count = 200

        async def ask() -> None:
            assert await it.ask("a/m") == 200

        for number in range(1, count):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                for _ in range(number % 40):
                    await trio.lowlevel.checkpoint()
                await it.router.use(config("", provider(path=f"v{number}")))


async def test_a_drained_stream_outlives_its_client_and_its_generation(tmp_path, autojump_clock):
    text_of_route = (
        provider()
        + "\nroutes: {r: {targets: [{model: a/m}], on_disconnect: {drain: {seconds: 20, max: 5}}}}"
    )
    async with reloaded(tmp_path, "", text_of_route) as it:
        held = Held(it.stack)
        async with it.stack.stream(chat("r")):
            pass
        await it.use("", provider(name="b"))
        await trio.testing.wait_all_tasks_blocked(0.001)
        assert len(it.router._clients) == 2
        held.go.set()
        await it.stack.upstream.wait_completed()
        await trio.testing.wait_all_tasks_blocked(0.001)
        assert len(it.router._clients) == 1
        assert it.stack.upstream.closed_early == []


async def test_the_demo_provider_comes_and_goes_with_the_file(tmp_path):
    async with reloaded(tmp_path) as it:
        assert await it.ask("demo/echo") == 404
        assert (await it.use("server: {demo: true}")).changes == ("~ server: demo",)
        assert "demo" in it.router.generation.config.providers
        assert (await it.reloader.reload(it.reloader.last.trigger)).result is Result.UNCHANGED
        await it.use()
        assert await it.ask("demo/echo") == 404

"""Routes with a star in their names, between a client and scripted providers."""

from __future__ import annotations

import pytest
import trio

from tests.relay.routes import good
from tests.runtime.reloading import reloaded
from tests.stack import chat, memory_stack
from trio_router.demo import Answer, Hang
from trio_router.demo.answers import error_answer, json_answer
from trio_router.routing import fleet as fleet_module

PROVIDERS = """
providers:
  first: {base_url: "http://upstream/v1"}
  few: {base_url: "http://upstream/few/v1", models: {last: {}, gpt-4o: {}}}
"""
ROUTES = """
routes:
  claude-*:
    targets: [{model: "first/claude-*"}, {model: few/last}]
    retry: {attempts: 0}
    cooldown: {failures: 1}
  "gpt-*": {targets: [{model: "few/gpt-*"}]}
"""
LISTED = [{"id": "claude-a", "created": 7}, {"id": "claude-b"}, {"id": "other"}]


def answering(stack, *down: str) -> list[str]:
    """Every model answers but those that are `down`; returns the list of what is asked for."""
    asked: list[str] = []

    def answer(request) -> Answer:
        if request.method == "GET":
            return json_answer({"data": LISTED})
        asked.append(request.json["model"])
        return error_answer(500, "down", "down") if asked[-1] in down else good("hi")

    stack.upstream.script = answer
    return asked


async def test_a_name_goes_to_the_target_that_its_star_makes(autojump_clock):
    async with memory_stack(ROUTES, PROVIDERS) as stack:
        records = []
        stack.router.engine.consumers.append(records.append)
        asked = answering(stack)
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses"):
            body = {**chat("claude-sonnet-4-5"), "max_tokens": 9, "input": "x", "stream": True}
            if path != "/v1/chat/completions":
                del body["messages" if "responses" in path else "input"]
            if "responses" in path:
                del body["max_tokens"]
            response = await stack.client.post(path, json=body)
            assert response.status_code == 200, response.text
            assert response.headers["x-trio-router-target"] == "first/claude-sonnet-4-5"
        assert asked == ["claude-sonnet-4-5"] * 3
        assert {record.route for record in records} == {"claude-*"}


async def test_a_target_that_fails_is_skipped_for_its_own_name_alone(autojump_clock):
    async with memory_stack(ROUTES, PROVIDERS) as stack:
        asked = answering(stack, "claude-a")
        for name in ("claude-a", "claude-a", "claude-b"):
            assert (await stack.ask(chat(name))).status_code == 200
        assert asked == ["claude-a", "last", "last", "claude-b"]
        stack.router.show_states()
        await stack.router.sample()
        text = stack.router.metrics.text().decode()
        assert 'trio_router_target_state{model="claude-*",provider="first"} 2.0' in text
        assert 'trio_router_target_cooling_down{model="claude-*",provider="first"} 1.0' in text
        (report,) = stack.router.target_reports()
        assert (report.provider, report.model, report.state) == ("first", "claude-*", "cooling down")
        await trio.sleep(20)
        asked = answering(stack)
        await stack.ask(chat("claude-a"))
        assert asked == ["claude-a"]
        assert stack.router.target_reports() == []


@pytest.mark.parametrize("name", ["claude-*", "gpt-5", "unknown"])
async def test_what_no_target_has_is_not_found(autojump_clock, name):
    async with memory_stack(ROUTES, PROVIDERS) as stack:
        asked = answering(stack)
        response = await stack.ask(chat(name))
        assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
        assert (await stack.client.get(f"/v1/models/{name}")).status_code == 404
        assert asked == []


async def test_unknown_names_go_to_the_route_called_default(autojump_clock):
    async with memory_stack(
        f"{ROUTES}  default: {{targets: [{{model: few/last}}]}}\n", PROVIDERS
    ) as stack:
        asked = answering(stack)
        for name in ("gpt-5", "unknown", "no/such", "default", "claude-x"):
            assert (await stack.ask(chat(name))).status_code == 200
        assert asked == ["last"] * 4 + ["claude-x"]


async def test_names_are_listed_that_can_be_asked_for_and_no_patterns(autojump_clock):
    async with memory_stack(ROUTES, PROVIDERS) as stack:
        asked = answering(stack)
        models = (await stack.client.get("/v1/models")).json()["data"]
        names = [model["id"] for model in models]
        assert names == [
            *("few/last", "few/gpt-4o"),
            *("claude-a", "claude-b", "gpt-4o"),
            *("first/claude-a", "first/claude-b", "first/other"),
        ]
        assert models[2]["created"] == 7
        for name in names:
            assert (await stack.ask(chat(name))).status_code == 200
            one = (await stack.client.get(f"/v1/models/{name}")).json()
            assert one == next(model for model in models if model["id"] == name)
        assert asked == [name.rpartition("/")[2] for name in names]


async def test_a_name_that_a_more_specific_route_has_is_listed_once(autojump_clock):
    own = '  claude-a: {targets: [{model: few/last}]}\n  "*": {targets: [{model: "first/*"}]}\n'
    async with memory_stack(ROUTES + own, PROVIDERS) as stack:
        answering(stack)
        models = (await stack.client.get("/v1/models")).json()["data"]
        names = [model["id"] for model in models]
        assert len(names) == len(set(names))
        assert names[0] == "claude-a"
        assert "other" in names


async def test_a_reload_brings_and_takes_patterns(autojump_clock, tmp_path):
    async with reloaded(tmp_path, providers=PROVIDERS) as own:
        answering(own.stack)
        assert await own.ask("claude-a") == 404
        report = await own.use(ROUTES, PROVIDERS)
        assert {"+ route claude-*", "+ route gpt-*"} <= set(report.changes)
        assert await own.ask("claude-a") == 200
        asked = answering(own.stack, "claude-a")
        await own.ask("claude-a")
        await own.use(ROUTES.replace("few/last", "few/gpt-4o"), PROVIDERS)
        await own.ask("claude-a")
        assert asked == ["claude-a", "last", "gpt-4o"]  # still in cooldown
        own.router.show_states()
        await own.use("", PROVIDERS)
        assert await own.ask("claude-a") == 404
        text = own.router.metrics.text().decode()
        assert 'trio_router_target_state{model="claude-*",provider="first"} 0.0' in text


async def test_a_request_keeps_the_pattern_that_it_began_with(autojump_clock, tmp_path):
    async with reloaded(tmp_path, ROUTES, PROVIDERS) as own:
        asked: list[str] = []
        gate = trio.Event()

        async def first() -> None:
            async with own.stack.stream(chat("claude-a")) as response:
                gate.set()
                assert response.headers["x-trio-router-target"] == "first/claude-a"
                await response.aread()

        own.stack.upstream.script = lambda request: asked.append(request.json["model"]) or good("hi")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            await gate.wait()
            await own.use("", PROVIDERS)
            assert await own.ask("claude-a") == 404
        assert asked == ["claude-a"]


async def test_names_that_clients_make_up_leave_nothing_behind(autojump_clock, monkeypatch):
    monkeypatch.setattr(fleet_module, "_MOST_MADE", 50)
    hedged = ROUTES.replace("cooldown: {failures: 1}", "hedge: {after: 0.1, share: 1}")
    hedged = hedged.replace("{model: few/last}", '{model: "first/x-claude-*"}, {model: few/last}')
    async with memory_stack(hedged, PROVIDERS) as stack:
        answering(stack, *(f"claude-{n}" for n in range(150)))
        fails = stack.upstream.script

        def answer(request) -> Answer:
            is_silent = request.json["model"].startswith("claude-hangs")
            return Answer(steps=[Hang()]) if is_silent else fails(request)

        stack.upstream.script = answer
        series = set()
        for number in range(150):
            for name in (f"claude-{number}", f"claude-hangs-{number}"):
                assert (await stack.ask(chat(name, stream=True))).status_code == 200
            if number == 110:
                series = await labels(stack)
        assert await labels(stack) == series
        fleet, history = stack.router.generation.upstreams.fleet, stack.router.observation.history
        assert len(list(fleet.made())) == 50
        trusted = set(stack.router.metrics._unlisted["first"])
        assert len(trusted) <= 100
        told = {model for slot in history.slots for _, model in slot.series}
        assert told <= {"last", "other", "claude-*", "x-claude-*", ""} | trusted


async def labels(stack) -> set[str]:
    """Every series that there is."""
    stack.router.show_states()
    await stack.router.sample()
    text = stack.router.metrics.text().decode()
    return {line.rpartition(" ")[0] for line in text.splitlines() if "model=" in line}

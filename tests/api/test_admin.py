"""`/admin/v1/config`: for operators; what is in force, and the request to read the file again."""

from __future__ import annotations

import pytest

from tests.runtime.reloading import Reloaded
from tests.stack import PROVIDERS, memory_stack
from trio_router.serve.composing import application

CONFIG, RELOAD = "/admin/v1/config", "/admin/v1/config/reload"
ADMIN = (
    "auth: {keys: [{name: web, key: client-key-1}], admin_keys: [{name: anna, key: admin-key-of-anna}]}"
)
ANNA = {"authorization": "Bearer admin-key-of-anna"}


class Served(Reloaded):
    def __init__(self, stack, path, settings: str) -> None:
        super().__init__(stack, path, f"{settings}\n{PROVIDERS}")
        stack.app = application(stack.router, reloader=self.reloader)


async def test_it_tells_what_is_in_force_and_how_the_last_reload_went(tmp_path, autojump_clock):
    async with memory_stack(ADMIN) as stack:
        it = Served(stack, tmp_path / "router.yaml", ADMIN)
        client = stack.client
        answer = await client.get(CONFIG, headers=ANNA)
        assert answer.headers["cache-control"] == "no-store"
        told = answer.json()
        assert told.pop("loaded_at") > 1e9
        assert told == {"generation": 1, "source": str(it.path), "last_reload": None}
        it.write(f"{ADMIN}\nserver: {{port: 1}}")
        answer = await client.post(RELOAD, headers=ANNA)
        report = answer.json()
        assert (answer.status_code, report["result"], report["generation"]) == (200, "loaded", 2)
        assert (report["changes"], report["needs_restart"]) == (["~ server: port"], ["server.port"])
        assert (await client.post(RELOAD, headers=ANNA)).json()["result"] == "unchanged"
        it.write("bad: 1")
        answer = await client.post(RELOAD, headers=ANNA)
        assert answer.status_code == 422
        assert answer.json()["error"]["code"] == "config_refused"
        assert answer.json()["complaints"] == [answer.json()["error"]["message"]]
        told = (await client.get(CONFIG, headers=ANNA)).json()
        assert (told["generation"], told["last_reload"]["result"]) == (2, "refused")
        assert (await client.get("/readyz")).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", CONFIG), ("POST", RELOAD)])
async def test_only_operators_may_ask(method, path, tmp_path, autojump_clock):
    async with memory_stack(ADMIN) as stack:
        it = Served(stack, tmp_path / "router.yaml", ADMIN)
        it.write("")
        for headers in ({}, {"authorization": "Bearer client-key-1"}, {"authorization": "Bearer x"}):
            assert (await stack.client.request(method, path, headers=headers)).status_code == 401
        assert it.router.generation.number == 1
        assert it.reloader.last is None
    async with memory_stack("auth: {keys: [client-key-1]}") as stack:
        headers = {"authorization": "Bearer client-key-1"}
        assert (await stack.client.request(method, path, headers=headers)).status_code == 403
    async with memory_stack() as stack:
        stack.host = "10.0.0.1"
        assert (await stack.client.request(method, path)).status_code == 403
        stack.host = "127.0.0.1"
        async with stack.new_client() as client:
            assert (await client.request(method, path)).status_code in (200, 422)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://localhost:1234"},
        {"host": "evil.example"},
    ],
)
async def test_no_page_of_another_site_may_reload(headers, tmp_path, autojump_clock):
    async with memory_stack("server: {cors: {origins: ['https://evil.example']}}") as stack:
        it = Served(stack, tmp_path / "router.yaml", "")
        headers = {"content-type": "application/json", **headers}
        assert (await stack.client.post(RELOAD, headers=headers)).status_code == 403
        assert it.reloader.last is None
        same = {
            "content-type": "application/json",
            "origin": "http://localhost",
            "sec-fetch-site": "same-origin",
        }
        answer = await stack.client.post(RELOAD, headers=same)
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers


async def test_another_method_is_not_allowed_and_a_router_without_a_file_says_so(autojump_clock):
    async with memory_stack() as stack:
        for method, path, allowed in (("PUT", RELOAD, "POST"), ("DELETE", CONFIG, "GET, HEAD")):
            answer = await stack.client.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        answer = await stack.client.post(RELOAD)
        assert answer.status_code == 422
        assert "without a configuration file" in answer.json()["error"]["message"]
        assert (await stack.client.get(CONFIG)).json()["source"] is None


async def test_operators_requests_are_not_booked(tmp_path, autojump_clock):
    async with memory_stack() as stack:
        ended = []
        stack.router.engine.consumers.append(ended.append)
        await stack.client.get(CONFIG)
        assert ended == []

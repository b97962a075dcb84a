"""Paths as clients write them: which are put right, what is still checked, what a 404 suggests."""

from __future__ import annotations

import json

import pytest

from tests.api.uploads import answer, upload_stack
from tests.booked import Booked
from tests.stack import chat, memory_stack
from trio_router.api.paths import Paths
from trio_router.dialects import CLIENTS

KEYS = "auth: {keys: [sk-good]}"
CORS = 'server: {cors: {origins: ["*"]}}\n' + KEYS
PATHS = ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions", "/v1/embeddings"]


def url(path: str) -> str:
    """Written out, for `//x` alone would be a host."""
    return f"http://localhost{path}"


def written(path: str) -> list[str]:
    """What people make of a path."""
    bare = path.removeprefix("/v1")
    return [
        bare,
        f"{path}/",
        f"{bare}/",
        f"{path}//",
        f"/{path}",
        f"/v1{path}",
        f"/v1/v1{path}",
        f"/v1//{bare}",
        f"/v1/{path}/",
        path.replace("/", "//"),
    ]


@pytest.mark.parametrize("path", [p for known in PATHS for p in written(known)])
async def test_a_path_is_found_however_it_is_written(path, autojump_clock):
    async with memory_stack(KEYS) as stack:
        response = await stack.client.post(url(path), json={})
        assert response.status_code == 401  # so the endpoint is there, and asks for the key
        response = await stack.client.get(url(path))
        assert response.status_code in (405, 426)


@pytest.mark.parametrize("path", written("/v1/chat/completions"))
async def test_the_answer_is_the_same(path, autojump_clock):
    async with memory_stack() as stack:
        response = await stack.client.post(url(path), json=chat("any/echo", "hello"))
    assert response.json()["choices"][0]["message"]["content"] == "hello"


@pytest.mark.parametrize("path", written("/v1/messages"))
async def test_errors_keep_the_apis_shape(path, autojump_clock):
    async with memory_stack() as stack:
        response = await stack.client.post(url(path), json={})
    assert path in CLIENTS or response.json()["type"] == "error"


@pytest.mark.parametrize(
    "path", ["/v1/models", "/models", "/v1/models/", "/v1/v1/models", "//v1//models"]
)
async def test_the_list_of_models_is_found(path, autojump_clock):
    async with memory_stack() as stack:
        assert (await stack.client.get(url(path))).json()["object"] == "list"


@pytest.mark.parametrize("path", ["/models/any/echo", "/v1/v1/models/any/echo", "//v1/models/any/echo"])
async def test_one_model_is_found(path, autojump_clock):
    async with memory_stack() as stack:
        assert (await stack.client.get(url(path))).json()["id"] == "any/echo"


@pytest.mark.parametrize("path", ["/v1/files/", "/files", "/v1/v1/files"])
async def test_an_upload_may_be_as_large_as_one_however_its_path_is_written(path):
    async with upload_stack("server: {max_body: 100}") as stack:

        async def upstream(seen):
            await seen.read_all()
            await seen.stream.send_all(answer(b"{}"))

        stack.peer.answer = upstream
        form = {"content-type": "multipart/form-data; boundary=x"}
        body = b"--x\r\ncontent-disposition: form-data; name=a\r\n\r\n" + b"a" * 1000 + b"\r\n--x--\r\n"
        response = await stack.client.post(path, content=body, headers=form)
    assert response.status_code == 200


class TestWhatIsNotForgiven:
    @pytest.mark.parametrize(
        "path",
        [
            "/v1/metrics",
            "/v1/dashboard",
            "/v1/admin/v1/config",
            "/V1/chat/completions",
            "/chat",
            "/v2/chat/completions",
            "/v1/chat/completions/x",
            "/v1/v2/chat/completions",
            "/v1" * 400 + "/chat/completions",
        ],
    )
    async def test_another_path(self, path, autojump_clock):
        async with memory_stack() as stack:
            response = await stack.client.post(url(path), json=chat("any/echo"))
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


class TestWhatIsCheckedAllTheSame:
    @pytest.mark.parametrize("path", ["//chat/completions", "/v1/v1/messages", "/models/", "//metrics"])
    async def test_the_names_by_which_a_router_without_keys_answers(self, path, autojump_clock):
        async with memory_stack() as stack:
            for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
                response = await stack.client.get(url(path), headers=headers)
                assert response.status_code == 403

    @pytest.mark.parametrize("path", ["/chat/completions", "//v1/chat/completions/"])
    async def test_the_types_that_pages_can_send_unasked(self, path, autojump_clock):
        headers = {"sec-fetch-site": "same-origin", "content-type": "application/x-www-form-urlencoded"}
        async with memory_stack() as stack:
            response = await stack.client.post(url(path), content=b"{}", headers=headers)
        assert response.status_code == 415

    @pytest.mark.parametrize(
        "path", ["//metrics", "/metrics/", "//dashboard", "/dashboard//", "/admin//v1/config"]
    )
    async def test_what_is_shared_with_no_page(self, path, autojump_clock):
        async with memory_stack(CORS) as stack:
            response = await stack.client.get(url(path), headers={"origin": "https://app.example"})
            asks = {"origin": "https://app.example", "access-control-request-method": "GET"}
            preflight = await stack.client.options(url(path), headers=asks)
        assert "access-control-allow-origin" not in response.headers
        assert preflight.status_code == 405

    @pytest.mark.parametrize("path", ["//dashboard", "/dashboard/", "//admin/v1/config", "/metrics/"])
    async def test_an_operators_key(self, path, autojump_clock):
        settings = (
            "server: {metrics: {auth: admin}}\nauth: {keys: [sk-good], admin_keys: [0123456789abcdefg]}"
        )
        async with memory_stack(settings) as stack:
            key = {"authorization": "Bearer sk-good"}
            response = await stack.client.get(url(path), headers=key)
            plain = await stack.client.get(path.replace("//", "/").rstrip("/"), headers=key)
        assert (response.status_code, response.content) == (plain.status_code, plain.content)
        assert plain.status_code in (401, 403) or b"login" in plain.content


@pytest.mark.parametrize("path", ["/healthz/", "/health", "/v1/health", "//healthz", "/readyz/", "/"])
async def test_health_checks_are_answered_without_a_key_and_not_booked(path, autojump_clock):
    async with memory_stack(KEYS) as stack:
        booked = Booked(stack.router)
        for method in ("GET", "HEAD"):
            assert (await stack.client.request(method, url(path))).status_code == 200
        await stack.client.get("/v1/nothing")
        assert (await booked.next()).status == 404


@pytest.mark.parametrize("path", ["/v1/../metrics", "/v1/./models", "/v1/chat/../models"])
def test_dots_are_no_path(path):
    assert Paths(["/metrics", "/v1/models"], lambda _: False).meant(path) == path


class TestTheFront:
    async def test_tells_a_program_what_this_is(self, autojump_clock):
        async with memory_stack() as stack:
            told = await stack.client.get("/")
            head = await stack.client.head("/")
        assert told.json()["name"] == "trio-router"
        assert (head.status_code, head.content) == (200, b"")

    async def test_leads_a_browser_to_the_dashboard(self, autojump_clock):
        accept = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
        async with memory_stack() as stack:
            led = await stack.client.get("/", headers=accept)
            page = await stack.client.get(led.headers["location"], headers=accept)
        assert (led.status_code, page.status_code) == (302, 200)
        assert "text/html" in page.headers["content-type"]


class TestA404:
    @pytest.mark.parametrize(
        ("path", "near"),
        [
            ("/v1/chat/completion", "/v1/chat/completions"),
            ("/v1/chat", "/v1/chat/completions"),
            ("/chat", "/v1/chat/completions"),
            ("/api/v1/chat/completions", "/v1/chat/completions"),
            ("/v1/message", "/v1/messages"),
            ("/v1/model", "/v1/models"),
            ("/v1/response", "/v1/responses"),
            ("/v1/messages/count-tokens", "/v1/messages/count_tokens"),
            ("/healthy", "/healthz"),
        ],
    )
    async def test_suggests_the_path_that_was_meant(self, path, near, autojump_clock):
        async with memory_stack() as stack:
            message = (await stack.client.get(url(path))).json()["error"]["message"]
        assert f"GET {path}: there is nothing here; did you mean {near}" in message

    @pytest.mark.parametrize(
        "path", ["/wp-login.php", "/admin/v1/config/reloads", "/dashboards", "/metric"]
    )
    async def test_suggests_nothing_that_is_not_near_or_is_the_operators(self, path, autojump_clock):
        async with memory_stack() as stack:
            message = (await stack.client.get(url(path))).json()["error"]["message"]
        assert "did you mean" not in message

    async def test_stays_short(self, autojump_clock):
        async with memory_stack() as stack:
            response = await stack.client.get("/" + "v1/chat/" * 900)
        assert len(json.dumps(response.json())) < 600

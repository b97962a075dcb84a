"""Which endpoint answers a method and a path, and what is said where none does."""

from __future__ import annotations

import json
from itertools import product

import pytest

from tests.api.uploads import upload_stack
from tests.stack import memory_stack
from trio_router.api.table import Below, EndpointRow, EndpointTable
from trio_router.dialects import CLIENTS

ANY = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


async def first(asked) -> None: ...


async def other(asked) -> None: ...


async def lower(asked) -> None: ...


def table() -> EndpointTable:
    exact = {
        ("GET", "/a"): EndpointRow(first),
        ("POST", "/a"): EndpointRow(other),
        ("GET", "/endless"): EndpointRow(first, is_endless=True),
        ("POST", "/below/exact"): EndpointRow(other),
        ("GET", "/quiet"): EndpointRow(first, is_booked=False),
    }
    below = Below("/below/", lambda path: {"GET"} if path != "/below/" else set(), EndpointRow(lower))
    return EndpointTable(exact, [below])


class TestLookUp:
    @pytest.mark.parametrize(
        ("method", "path", "endpoint"),
        [
            ("GET", "/a", first),
            ("HEAD", "/a", first),
            ("POST", "/a", other),
            ("GET", "/endless", first),
            ("GET", "/below/b", lower),
            ("HEAD", "/below/b/c", lower),
            ("POST", "/below/exact", other),
            ("GET", "/below/exact", lower),
        ],
    )
    def test_finds_what_answers(self, method, path, endpoint):
        assert table().find(method, path).endpoint is endpoint

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("PUT", "/a"),
            ("HEAD", "/endless"),
            ("DELETE", "/below/b"),
            ("GET", "/below/"),
            ("GET", "/below"),
            ("GET", "/a/"),
            ("get", "/a"),
            ("GET", ""),
        ],
    )
    def test_finds_none_of_them_for_anything_else(self, method, path):
        assert table().find(method, path).endpoint not in {first, other, lower}

    @pytest.mark.parametrize(
        ("method", "path", "is_booked"),
        [
            ("GET", "/a", True),
            ("PUT", "/a", True),
            ("GET", "/below/b", True),
            ("GET", "/quiet", False),
            ("HEAD", "/quiet", False),
            ("PUT", "/quiet", False),
            ("GET", "/quiet/", True),
            ("GET", "/nowhere", True),
        ],
    )
    def test_says_whether_a_request_is_booked_as_the_path_is(self, method, path, is_booked):
        assert table().find(method, path).is_booked is is_booked


class TestOverHttp:
    async def test_what_operators_ask_for_is_not_booked_and_all_else_is(self, autojump_clock):
        async with memory_stack() as stack:
            booked = {path for (_, path), row in stack.app.table.exact.items() if row.is_booked}
            quiet = {path for _, path in stack.app.table.exact} - booked
            assert {path for path in booked if not path.startswith(("/v1", "/api/"))} == set()
            assert {"/healthz", "/readyz", "/metrics", "/dashboard", "/admin/v1/config"} < quiet
            for path in ("/healthz", "/readyz", "/metrics", "/dashboard", "/admin/v1/config"):
                for method in ("GET", "PUT"):
                    await stack.client.request(method, path)
            assert stack.router.observation.history.ended_count == 0
            for path in ("/v1/models", "/nowhere", "/dashboard/nowhere"):
                await stack.client.get(path)
            assert stack.router.observation.history.ended_count == 3

    async def test_every_path_says_which_methods_it_has(self, autojump_clock):
        async with memory_stack() as stack:
            table = stack.app.table
            for path in {path for _, path in table.exact}:
                methods = {method for method, at in table.exact if at == path}
                refused = await stack.client.request("PUT", path)
                assert refused.status_code == 405
                assert refused.headers["allow"] == ", ".join(sorted(methods))

    async def test_a_head_has_the_get_s_head_and_no_body(self, autojump_clock):
        async with memory_stack() as stack:
            gets = [path for method, path in stack.app.table.exact if method == "HEAD"]
            for path in [*gets, "/v1/models/any/echo"]:
                got = await stack.client.get(path)
                head = await stack.client.head(path)
                assert (head.status_code, head.content) == (got.status_code, b"")
                assert head.headers["content-type"] == got.headers["content-type"]
                if path != "/metrics":  # which counts itself
                    assert head.headers["content-length"] == got.headers["content-length"]

    async def test_the_head_of_a_stream_without_an_end_is_refused(self, autojump_clock):
        async with memory_stack() as stack:
            refused = await stack.client.head("/dashboard/events")
            assert (refused.status_code, refused.headers["allow"]) == (405, "GET")

    async def test_the_head_of_a_file_is_asked_of_its_provider(self):
        async with upload_stack() as stack:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 12345\r\n\r\n"
            stack.peer.says = head
            for _ in range(2):  # the second on the same connections
                got = await stack.client.head("/v1/files/a/content?provider=open")
                assert (got.status_code, got.content) == (200, b"")
                assert got.headers["content-length"] == "12345"
            assert [seen.method for seen in stack.peer.seen] == ["HEAD", "HEAD"]

    @pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/model/", "/x", "/x" * 500, "/é"])
    async def test_what_is_not_there_is_404_for_every_method(self, path, autojump_clock):
        async with memory_stack() as stack:
            for method in ANY:
                answer = await stack.client.request(method, path)
                assert answer.status_code == 404
                assert "allow" not in answer.headers
                if method != "HEAD":
                    assert answer.json()["error"]["code"] == "not_found"
                    assert len(answer.json()["error"]["message"]) < 300

    @pytest.mark.parametrize(("method", "path"), list(product(["GET", "DELETE"], CLIENTS)))
    async def test_a_refusal_has_the_shape_of_the_api_that_is_asked(self, method, path, autojump_clock):
        async with memory_stack() as stack:
            refused = await stack.client.request(method, path)
            unknown = await stack.client.request(method, f"{path}/nothing")
        is_anthropic = path == "/v1/messages"
        assert (refused.status_code, unknown.status_code) == (405, 404)
        for answer in (refused, unknown):
            assert (answer.json().get("type") == "error") is is_anthropic

    async def test_a_fault_of_ours_is_told_by_its_request_id_alone(self, caplog, autojump_clock):
        async def broken(asked) -> None:
            raise ZeroDivisionError("a secret")

        async with memory_stack() as stack:
            stack.app.table.exact["GET", "/broken"] = EndpointRow(broken)
            answer = await stack.client.get("/broken")
        assert answer.status_code == 500
        assert answer.headers["x-request-id"] in answer.json()["error"]["message"]
        assert "secret" not in json.dumps(answer.json())
        assert caplog.messages.count("internal error") == 1

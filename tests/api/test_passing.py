"""What passes through to OpenAI-compatible upstreams, over real sockets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx
import pytest
import trio

from tests.api.transcriptions import MODEL, START, TRANSCRIPTIONS
from tests.api.uploads import (
    END,
    FORM,
    PROVIDERS,
    answer,
    form,
    head,
    json_answer,
    part,
    upload_stack,
)
from tests.booked import Booked
from tests.connections import leave
from trio_router.observe.record import Outcome

SPEECH = "/v1/audio/speech"
FILE = part("file", b"RIFF" + bytes(range(256)) * 300, "a.wav")
NAMED = part("model", b"whisper-1")
FORMS = [
    TRANSCRIPTIONS,
    "/v1/audio/translations",
    "/v1/images/edits",
    "/v1/images/variations",
]
OBJECTS = [SPEECH, "/v1/images/generations", "/v1/moderations", "/v1/rerank"]


async def post_form(stack, body, path=TRANSCRIPTIONS, **headers):
    return await stack.client.post(path, content=body, headers={"content-type": FORM, **headers})


def code(response):
    return response.status_code, response.json()["error"]["code"]


class TestForms:
    @pytest.mark.parametrize("path", FORMS)
    @pytest.mark.parametrize("parts", [(MODEL, FILE), (FILE, MODEL)])
    async def test_a_form_passes_with_the_upstreams_name_of_the_model(self, path, parts):
        async with upload_stack() as stack:
            booked = Booked(stack.router)
            response = await post_form(stack, form(*parts), path)
            assert (response.status_code, response.json()) == (200, {"text": "hello"})
            assert response.headers["x-trio-router-target"] == "open/whisper"
            assert response.headers["x-trio-router-attempts"] == "1"
            expected = form(*parts).replace(MODEL, NAMED)
            seen = stack.peer.seen[0]
            assert (seen.method, seen.path) == ("POST", path)
            assert bytes(seen.body) == expected
            assert seen.headers["content-length"] == str(len(expected))
            assert seen.headers["content-type"] == FORM
            assert seen.headers["authorization"] == "Bearer sk-upstream-secret"
            record = await booked.next()
            assert (record.outcome, record.provider, record.model) == ("completed", "open", "whisper")
            assert (record.attempts, record.status, record.bytes_received) == (1, 200, 17)

    async def test_a_body_without_a_length_goes_out_without_one(self):
        async def pieces():
            for byte in form(FILE[:300] + b"\r\n", MODEL):
                yield bytes([byte])

        async with upload_stack() as stack:
            response = await post_form(stack, pieces())
            assert response.status_code == 200
            seen = stack.peer.seen[0]
            assert seen.headers["transfer-encoding"] == "chunked"
            assert bytes(seen.body) == form(FILE[:300] + b"\r\n", NAMED)

    async def test_a_long_file_before_the_model_is_kept_in_a_file_without_a_name(
        self, monkeypatch, tmp_path
    ):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        long = part("file", os.urandom(5 << 20), "a.wav")
        async with upload_stack() as stack:
            response = await post_form(stack, form(long, MODEL))
            assert response.status_code == 200
            assert stack.peer.seen[0].size == len(form(long, NAMED))
            assert bytes(stack.peer.seen[0].body) == form(long, NAMED)[: len(stack.peer.seen[0].body)]
            assert list(tmp_path.iterdir()) == []

    async def test_the_answers_usage_is_counted(self):
        async with upload_stack() as stack:
            booked = Booked(stack.router)
            stack.peer.says = json_answer(
                {"text": "a", "usage": {"input_tokens": 5, "output_tokens": 2}}
            )
            await post_form(stack, form(MODEL, FILE))
            record = await booked.next()
            assert (record.prompt_tokens, record.completion_tokens) == (5, 2)

    async def test_many_uploads_share_kept_connections(self):
        async with upload_stack() as stack:
            for _ in range(3):
                assert (await post_form(stack, form(MODEL, FILE))).status_code == 200
            assert stack.router.generation.upstreams.clients["open"]._transport.open_connections == 1

    async def test_images_may_be_edited_in_json_too(self):
        async with upload_stack() as stack:
            body = {"model": "open/any", "images": [{"image_url": "data:"}], "prompt": "x"}
            assert (await stack.client.post("/v1/images/edits", json=body)).status_code == 200
            assert json.loads(stack.peer.seen[0].body) == {**body, "model": "any"}

    @pytest.mark.parametrize(
        ("body", "status", "error", "param"),
        [
            (form(part("model", b"nowhere/x"), FILE), 404, "model_not_found", "model"),
            (form(part("model", b""), FILE), 400, "invalid_request", "model"),
            (form(part("model", b"claude/x"), FILE), 400, "invalid_request", "model"),
            (form(MODEL, MODEL), 400, "invalid_request", "model"),
            (b"no form", 400, "invalid_request", None),
            (MODEL + FILE, 400, "invalid_request", None),
            (b"", 400, "invalid_request", None),
        ],
    )
    async def test_a_wrong_form_is_refused(self, body, status, error, param):
        async with upload_stack() as stack:
            response = await post_form(stack, body)
            assert code(response) == (status, error)
            assert response.json()["error"]["param"] == param
            assert (await post_form(stack, form(MODEL, FILE))).status_code == 200

    @pytest.mark.parametrize(
        "kind", ["text/html", "multipart/form-data", "multipart/mixed; boundary=a"]
    )
    async def test_what_is_neither_form_nor_json_is_refused(self, kind):
        async with upload_stack() as stack:
            response = await post_form(stack, form(MODEL), **{"content-type": kind})
            assert code(response) == (400, "invalid_request")
            assert stack.peer.seen == []

    async def test_an_upload_over_the_limit_is_refused_declared_or_not(self):
        async def pieces():
            yield MODEL
            for _ in range(100):
                yield b"a" * 10000

        async with upload_stack("server: {max_upload: 100000, max_body: 1000}") as stack:
            assert code(await post_form(stack, MODEL + b"a" * 100001)) == (413, "request_too_large")
            assert code(await post_form(stack, pieces())) == (413, "request_too_large")
            assert (await post_form(stack, form(MODEL, FILE))).status_code == 200
            assert code(await stack.client.post(SPEECH, content=b"a" * 1001)) == (
                413,
                "request_too_large",
            )
            kind = {"content-type": "application/json"}
            edits = await stack.client.post("/v1/images/edits", content=b"a" * 1001, headers=kind)
            assert code(edits) == (413, "request_too_large")


class TestObjects:
    @pytest.mark.parametrize("path", OBJECTS)
    async def test_json_passes_with_the_upstreams_name_of_the_model(self, path):
        async with upload_stack() as stack:
            body = {"model": "open/tts", "input": "hello", "new": [1, {"a": None}]}
            response = await stack.client.post(path, json=body)
            assert response.json() == {"text": "hello"}
            seen = stack.peer.seen[0]
            assert (seen.path, json.loads(seen.body)) == (path, {**body, "model": "tts-1"})
            assert seen.headers["content-type"] == "application/json"

    async def test_a_binary_answer_comes_as_it_is_with_its_head(self):
        sound = os.urandom(300_000)
        async with upload_stack() as stack:
            stack.peer.says = answer(
                sound,
                200,
                "audio/mpeg",
                'content-disposition: attachment; filename="a.mp3"',
                "x-own: 1",
            )
            response = await stack.client.post(SPEECH, json={"model": "open/tts", "input": "a"})
            assert response.content == sound
            assert response.headers["content-type"] == "audio/mpeg"
            assert response.headers["content-length"] == "300000"
            assert response.headers["content-disposition"] == 'attachment; filename="a.mp3"'
            assert "x-own" not in response.headers

    async def test_each_piece_of_an_answer_comes_when_it_comes(self):
        go_on = trio.Event()

        async def two_events(seen):
            await seen.read_all()
            await seen.stream.send_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                b"transfer-encoding: chunked\r\n\r\nb\r\ndata: one\n\n\r\n"
            )
            await go_on.wait()
            await seen.stream.send_all(b"b\r\ndata: two\n\n\r\n0\r\n\r\n")

        async with upload_stack() as stack:
            stack.peer.answer = two_events
            body = {"model": "open/tts", "input": "a", "stream_format": "sse"}
            async with stack.client.stream("POST", SPEECH, json=body) as response:
                assert response.headers["content-type"] == "text/event-stream"
                pieces = response.aiter_raw()
                assert await anext(pieces) == b"data: one\n\n"
                go_on.set()
                assert await anext(pieces) == b"data: two\n\n"
                assert [piece async for piece in pieces] == []

    @pytest.mark.parametrize(
        ("says", "status", "error"),
        [
            (json_answer({"error": {"message": "no", "code": "bad"}}, 400), 400, "bad"),
            (
                json_answer({"error": {"message": "sk-upstream-secret"}}, 401),
                502,
                "provider_auth_error",
            ),
            (json_answer({"error": "no permission"}, 403), 502, "provider_auth_error"),
            (json_answer({}, 403), 403, "upstream_403"),
            (answer(b"slow down", 429, "text/plain", "retry-after: 7"), 429, "upstream_429"),
            (answer(b"", 500, "text/plain"), 500, "upstream_500"),
            (answer(b"", 302, "text/plain", "location: /"), 503, "provider_network_error"),
            (b"nonsense\r\n\r\n", 503, "provider_network_error"),
        ],
    )
    async def test_an_upstreams_errors_are_told_as_those_of_a_chat(self, says, status, error):
        async with upload_stack() as stack:
            booked = Booked(stack.router)
            stack.peer.says = says
            response = await stack.client.post(SPEECH, json={"model": "open/tts", "input": "a"})
            assert code(response) == (status, error)
            assert "secret" not in response.text
            assert response.headers.get("retry-after") == ("7" if status == 429 else None)
            assert response.headers["x-trio-router-target"] == "open/tts"
            assert (await booked.next()).outcome == Outcome.UPSTREAM_ERROR

    async def test_an_answer_that_breaks_off_breaks_off_for_the_client_too(self):
        async def half(seen):
            await seen.read_all()
            await seen.stream.send_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n"
                b"3\r\nabc\r\n"
            )
            await seen.stream.aclose()

        async with upload_stack() as stack:
            booked = Booked(stack.router)
            stack.peer.answer = half
            connection = await stack.connect()
            body = b'{"model":"open/tts"}'
            await connection.send_all(head(SPEECH, len(body), "application/json") + body)
            got = b""
            while data := await connection.receive_some():
                got += data
            assert got.endswith(b"3\r\nabc\r\n")  # and no last chunk
            record = await booked.next()
            assert (record.outcome, record.error_code) == ("upstream_error", "provider_network_error")

    async def test_silence_before_the_answer_is_a_timeout(self):
        async with upload_stack("timeouts: {response: 0.2}") as stack:
            stack.peer.answer = stack.peer.silent
            response = await stack.client.post(SPEECH, json={"model": "open/tts", "input": "a"})
            assert code(response) == (504, "provider_timeout")
            assert "response" in response.json()["error"]["message"]

    @pytest.mark.parametrize(
        ("body", "status", "param"),
        [
            (b"nonsense", 400, None),
            (b"[]", 400, None),
            (b'{"model": 3}', 400, "model"),
            (b'{"model": ""}', 400, "model"),
            (b'{"model": "claude/x"}', 400, "model"),
            (b'{"model": "nowhere/x"}', 404, "model"),
        ],
    )
    async def test_a_wrong_body_is_refused(self, body, status, param):
        async with upload_stack() as stack:
            response = await stack.client.post(SPEECH, content=body)
            assert response.status_code == status
            assert response.json()["error"]["param"] == param
            assert stack.peer.seen == []

    async def test_azure_is_asked_below_its_deployment(self):
        providers = """
providers:
  azure: {dialect: azure, base_url: "http://upstream", api_key: k, query: {api-version: "1"}}
"""
        async with upload_stack(providers=providers) as stack:
            await stack.client.post(SPEECH, json={"model": "azure/tts", "input": "a"})
            await stack.client.get("/v1/files")
            assert [seen.path for seen in stack.peer.seen] == [
                "/openai/deployments/tts/audio/speech?api-version=1",
                "/openai/files?api-version=1",
            ]
            assert stack.peer.seen[0].headers["api-key"] == "k"


TWO = f"{PROVIDERS}  other: {{base_url: 'http://upstream/other'}}\n"


class TestFiles:
    async def test_files_are_the_only_providers(self):
        async with upload_stack() as stack:
            upload = form(part("purpose", b"batch"), FILE)
            asked = [
                ("POST", "/v1/files"),
                ("GET", "/v1/files"),
                ("GET", "/v1/files/file-a.B_1"),
                ("DELETE", "/v1/files/file-a"),
                ("GET", "/v1/files/file-a/content"),
            ]
            for method, path in asked:
                content = upload if method == "POST" else None
                response = await stack.client.request(
                    method, path, content=content, headers={"content-type": FORM}
                )
                assert response.json() == {"text": "hello"}
                assert response.headers["x-trio-router-target"] == "open"
            assert [(seen.method, seen.path) for seen in stack.peer.seen] == asked
            assert bytes(stack.peer.seen[0].body) == upload
            assert stack.peer.seen[0].headers["content-type"] == FORM

    async def test_the_query_passes_without_the_providers_name(self):
        async with upload_stack(providers=TWO) as stack:
            await stack.client.get("/v1/files?provider=other&purpose=a%20b&after=")
            await stack.client.get("/v1/files?limit=2", headers={"x-trio-router-provider": "open"})
            paths = [seen.path for seen in stack.peer.seen]
            assert paths == ["/other/files?purpose=a+b&after=", "/v1/files?limit=2"]

    @pytest.mark.parametrize(("query", "word"), [("", "not said"), ("?provider=x", "no provider 'x'")])
    async def test_which_provider_is_meant_has_to_be_said_where_there_are_two(self, query, word):
        async with upload_stack(providers=TWO) as stack:
            response = await stack.client.get(f"/v1/files{query}")
            error = response.json()["error"]
            assert (response.status_code, error["param"]) == (400, "provider")
            assert word in error["message"]
            assert "open, other" in error["message"]

    async def test_a_provider_of_another_kind_has_none(self):
        async with upload_stack() as stack:
            response = await stack.client.get("/v1/files?provider=claude")
            assert code(response) == (400, "invalid_request")

    @pytest.mark.parametrize(
        "path", ["/v1/files/../models", "/v1/files/a/b", "/v1/files/%2e%2e", "/v1/filesx"]
    )
    async def test_what_is_no_file_is_not_found(self, path):
        async with upload_stack() as stack:
            connection = await stack.connect()
            await connection.send_all(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            assert (await connection.receive_some()).startswith(b"HTTP/1.1 404")
            assert stack.peer.seen == []

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("PUT", "/v1/files/a", "DELETE, GET, HEAD"),
            ("DELETE", "/v1/files", "GET, HEAD, POST"),
            ("POST", "/v1/files/a/content", "GET, HEAD"),
            ("GET", SPEECH, "POST"),
        ],
    )
    async def test_another_method_is_refused(self, method, path, allowed):
        async with upload_stack() as stack:
            response = await stack.client.request(method, path)
            assert (response.status_code, response.headers["allow"]) == (405, allowed)

    async def test_a_key_is_wanted_where_keys_are_wanted(self):
        async with upload_stack("auth: {keys: [sk-good]}") as stack:
            for path in ("/v1/files", "/v1/files/a/content"):
                assert code(await stack.client.get(path)) == (401, "invalid_api_key")
            assert (await post_form(stack, form(MODEL, FILE))).status_code == 401
            assert stack.peer.seen == []


class TestStreaming:
    async def test_an_upload_goes_on_while_it_comes(self):
        async with upload_stack() as stack:
            booked = Booked(stack.router)
            connection = await stack.connect()
            length = len(START) + 50000 + len(b"\r\n" + END)
            await connection.send_all(head(TRANSCRIPTIONS, length) + START)
            with trio.fail_after(5):
                await stack.peer.until(lambda: stack.peer.seen and stack.peer.seen[0].size)
                for _ in range(5):
                    await connection.send_all(b"a" * 10000)
                    size = stack.peer.seen[0].size
                    await stack.peer.until(lambda s=size: stack.peer.seen[0].size > s + 5000)
                await connection.send_all(b"\r\n" + END)
                assert (await connection.receive_some()).startswith(b"HTTP/1.1 200")
            assert (await booked.next()).outcome == Outcome.COMPLETED

    async def test_an_upstream_that_does_not_read_holds_the_client_back(self):
        async with upload_stack() as stack:
            stack.peer.answer = stack.peer.silent
            connection = await stack.connect()
            await connection.send_all(head(TRANSCRIPTIONS, 1 << 28) + START)
            sent = 0
            with trio.move_on_after(0.5):
                while True:
                    await connection.send_all(b"a" * 65536)
                    sent += 65536
            assert 0 < sent < 32 << 20  # what the kernel's buffers take

    @pytest.mark.parametrize(
        ("stage", "how"),
        [
            *[
                (stage, how)
                for stage in ("before_model", "idle", "waiting", "answer")
                for how in ("close", "reset")
            ],
            # Not "close": its word would wait behind the bytes that the client's own kernel holds.
            ("blocked", "reset"),
        ],
    )
    async def test_a_client_that_leaves_releases_the_upstream_at_every_stage(self, stage, how):
        async with upload_stack("timeouts: {write: null}") as stack:
            booked = Booked(stack.router)
            connection = await stack.connect()
            go_on = trio.Event()

            async def upstream(seen):
                if stage == "blocked":
                    await go_on.wait()
                await seen.read_all()
                if stage == "answer":
                    await seen.stream.send_all(
                        b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nabc",
                    )
                await seen.read()

            stack.peer.answer = upstream
            if stage == "before_model":
                await connection.send_all(head(TRANSCRIPTIONS, 1 << 28) + FILE + b"a" * 3_000_000)
                await trio.sleep(0.1)
            elif stage == "idle":
                await connection.send_all(head(TRANSCRIPTIONS, 1 << 20) + START)
            elif stage == "blocked":
                await connection.send_all(head(TRANSCRIPTIONS, 1 << 28) + START)
                with trio.move_on_after(0.2):
                    while True:
                        await connection.send_all(b"a" * 65536)
            else:
                body = form(MODEL, FILE)
                await connection.send_all(head(TRANSCRIPTIONS, len(body)) + body)
            if stage == "answer":
                while b"abc" not in await connection.receive_some():
                    pass
            if stage != "before_model":
                await stack.peer.until(lambda: stack.peer.seen)
            left_at = trio.current_time()
            leave(connection, how)
            record = await booked.next()
            assert record.outcome == Outcome.CLIENT_GONE
            assert trio.current_time() - left_at < 0.2  # though the upstream takes nothing
            go_on.set()
            if stage != "before_model":
                with trio.fail_after(5):
                    await stack.peer.left.wait()
            transport = stack.router.generation.upstreams.clients["open"]._transport
            assert transport.open_connections == 0

    @pytest.mark.parametrize("status", [413, 401])
    @pytest.mark.parametrize("reads", [True, False])
    async def test_an_early_answer_reaches_the_client_who_still_sends(self, status, reads):
        async def early(seen):
            await seen.stream.send_all(json_answer({"error": {"message": "no", "code": "no"}}, status))
            if reads:
                await seen.read_all()
            else:
                await trio.sleep(1)

        async with upload_stack() as stack:
            stack.peer.answer = early
            connection = await stack.connect()
            length = len(START) + (8 << 20)
            await connection.send_all(head(TRANSCRIPTIONS, length) + START)

            async def send():
                for _ in range(128):
                    await connection.send_all(b"a" * 65536)

            with trio.fail_after(5):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send)
                    got = await connection.receive_some()
            expected = 413 if status == 413 else 502
            assert got.startswith(b"HTTP/1.1 %d " % expected)

    async def test_a_client_that_sends_nothing_more_is_refused_after_a_while(self):
        async with upload_stack("timeouts: {stall: 0.2}") as stack:
            connection = await stack.connect()
            await connection.send_all(head(TRANSCRIPTIONS, 1000, FORM, "expect: 100-continue"))
            assert await connection.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
            await connection.send_all(START)
            with trio.fail_after(8):
                got = await connection.receive_some()
            assert got.startswith(b"HTTP/1.1 408 ")
            assert b"request_timeout" in got
            with trio.fail_after(5):
                await stack.peer.left.wait()

    async def test_a_client_that_takes_nothing_loses_its_upstream(self):
        async def endless(seen):
            await seen.read_all()
            await seen.stream.send_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            while True:
                await seen.stream.send_all(b"10000\r\n" + b"a" * 65536 + b"\r\n")

        async with upload_stack("timeouts: {stall: 0.3}") as stack:
            booked = Booked(stack.router)
            stack.peer.answer = endless
            connection = await stack.connect()
            body = b'{"model":"open/tts"}'
            await connection.send_all(head(SPEECH, len(body), "application/json") + body)
            assert (await booked.next()).outcome == Outcome.CLIENT_STALLED
            with trio.fail_after(5):
                await stack.peer.left.wait()

    async def test_a_body_ahead_of_its_turn_waits_and_is_whole(self):
        async with upload_stack() as stack:
            connection = await stack.connect()
            long = form(MODEL, part("file", b"a" * 2_000_000, "a"))
            models = b"GET /v1/files HTTP/1.1\r\nhost: localhost\r\n\r\n"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(
                    connection.send_all, models + head(TRANSCRIPTIONS, len(long)) + long + models
                )
                got = b""
                with trio.fail_after(10):
                    while got.count(b'{"text": "hello"}') < 3:
                        got += await connection.receive_some()
            assert [seen.size for seen in stack.peer.seen] == [0, len(long) - 3, 0]

    async def test_the_drain_ends_what_runs(self):
        async with upload_stack() as stack:
            stack.peer.answer = stack.peer.silent
            async with trio.open_nursery() as nursery:

                async def ask():
                    response = await stack.client.post(SPEECH, json={"model": "open/tts"})
                    assert code(response) == (503, "draining")

                nursery.start_soon(ask)
                await stack.peer.until(lambda: stack.peer.seen)
                await stack.router.drain(0)
            assert code(await post_form(stack, form(MODEL))) == (503, "draining")


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Highest:
    """The most that is held while it is watched."""

    def __init__(self) -> None:
        self.bytes = self.before = resident()

    async def watch(self, *, task_status=trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            self.bytes = max(self.bytes, resident())
            await trio.sleep(0.01)

    @property
    def growth(self) -> int:
        return self.bytes - self.before


SIZE = 200 << 20


@pytest.mark.slow
@pytest.mark.parametrize("model_first", [True, False])
async def test_a_long_upload_takes_no_memory(model_first):
    async with upload_stack() as stack:
        file = part("file", b"", "a").removesuffix(b"\r\n")
        before, after = (MODEL + file, b"\r\n") if model_first else (file, b"\r\n" + MODEL)
        length = len(before) + SIZE + len(after) + len(END)
        await post_form(stack, form(MODEL, FILE))  # what is made once is made
        connection = await stack.connect()
        piece = b"a" * 65536
        highest = Highest()
        async with trio.open_nursery() as nursery:
            await nursery.start(highest.watch)
            await connection.send_all(head(TRANSCRIPTIONS, length) + before)
            for _ in range(SIZE // len(piece)):
                await connection.send_all(piece)
            await connection.send_all(after + END)
            assert (await connection.receive_some()).startswith(b"HTTP/1.1 200")
            nursery.cancel_scope.cancel()
        assert stack.peer.seen[-1].size == length - len("open/") + len("-1")
        assert highest.growth < 20 << 20


@pytest.mark.slow
async def test_a_long_download_to_a_slow_reader_takes_no_memory():
    async def long(seen):
        await seen.read_all()
        await seen.stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % SIZE)
        for _ in range(SIZE // 65536):
            await seen.stream.send_all(b"a" * 65536)

    async with upload_stack() as stack:
        await stack.client.get("/v1/files")
        stack.peer.answer = long
        connection = await stack.connect()
        highest = Highest()
        async with trio.open_nursery() as nursery:
            await nursery.start(highest.watch)
            await connection.send_all(b"GET /v1/files/a/content HTTP/1.1\r\nhost: localhost\r\n\r\n")
            await trio.sleep(0.5)
            got = 0
            while got < SIZE:
                got += len(await connection.receive_some(65536))
            nursery.cancel_scope.cancel()
        assert highest.growth < 20 << 20


# httpcore leaves its generators unfinished when it is left itself.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestHTTP2:
    """Hypercorn's side: it holds all requests of a connection back with the one that is held back."""

    @staticmethod
    def client(stack) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=stack.url, http1=False, http2=True, trust_env=False)

    async def test_a_long_upload_passes(self):
        long = form(MODEL, part("file", os.urandom(3 << 20), "a"))
        async with upload_stack() as stack, self.client(stack) as client:
            headers = {"content-type": FORM}
            response = await client.post(TRANSCRIPTIONS, content=long, headers=headers)
            assert (response.http_version, response.json()) == ("HTTP/2", {"text": "hello"})
            assert stack.peer.seen[0].size == len(long) - 3

    async def test_an_upstream_that_does_not_read_holds_the_client_back(self):
        sent = 0

        async def pieces():
            nonlocal sent
            yield START
            for _ in range(4096):
                yield b"a" * 65536
                sent += 65536

        async with upload_stack() as stack, self.client(stack) as client:
            stack.peer.answer = stack.peer.silent
            with trio.move_on_after(0.5):
                await client.post(TRANSCRIPTIONS, content=pieces(), headers={"content-type": FORM})
            assert 0 < sent < 32 << 20

    async def test_an_answer_that_breaks_off_breaks_off_for_the_client_too(self):
        async def half(seen):
            await seen.read_all()
            await seen.stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
            await seen.stream.aclose()

        async with upload_stack() as stack, self.client(stack) as client:
            stack.peer.answer = half
            with trio.fail_after(3), pytest.raises(httpx.TransportError):
                await client.post(SPEECH, json={"model": "open/tts"})

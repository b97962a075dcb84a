"""The live page in a real browser: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import json
import re
import socket
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio

from tests.dashboard.browsing import CHROMIUM, PHONE, browser, in_thread
from tests.stack import PROVIDERS, RealStack, chat, real_stack
from trio_router.testing import Answer, Hang, Send, Step, WaitFor

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]
SSE = [(b"content-type", b"text/event-stream")]
ADMIN = "admin-key-of-anna"


def event(text: str) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    return b"data: %b\n\n" % json.dumps(chunk).encode()


class Upstream:
    """Answers whose steps the test lets happen."""

    def __init__(self, stack: RealStack) -> None:
        self.first, self.rest = trio.Event(), trio.Event()
        steps: list[Step] = [WaitFor(self.first), Send(event("a")), WaitFor(self.rest)]
        steps += [Send(event("b")), Send(b"data: [DONE]\n\n")]
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=steps)


@asynccontextmanager
async def streaming(stack: RealStack, count: int = 1, model: str = "any/m"):
    """`count` clients that read their streams; what they have read stands in the list."""
    read: list[bytes] = []

    async def one() -> None:
        body = chat(model, stream=True)
        async with stack.client.stream("POST", "/v1/chat/completions", json=body) as answer:
            async for data in answer.aiter_raw():
                read.append(data)  # noqa: PERF401 - at once: the stream may not end

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
        yield read
        nursery.cancel_scope.cancel()


async def test_rows_appear_move_through_their_stages_and_leave():
    async with real_stack() as stack:
        upstream = Upstream(stack)

        def drive() -> None:
            with browser() as page:
                page.open(stack.url)
                page.wait("#live-empty")
                trio.from_thread.run_sync(go.set)
                page.wait_stage("waiting first event")
                assert "any/m" in page.rows()[0]
                trio.from_thread.run_sync(upstream.first.set)
                page.wait_stage("streaming")
                trio.from_thread.run_sync(upstream.rest.set)
                page.wait("#live-empty")
                page.wait("#ended-body .outcome[data-kind=good]")
                assert page.faults == []
                assert {url.split("/dashboard")[0] for url in page.asked} == {stack.url}

        go = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_thread, drive)
            await go.wait()
            async with streaming(stack):
                await upstream.rest.wait()
                await stack.upstream.wait_completed()
                while stack.router.engine.running:  # noqa: ASYNC110 - no event tells it
                    await trio.sleep(0.01)


async def test_stop_ends_a_stream_and_the_upstreams_socket_sees_it():
    async with real_stack() as stack:
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=[Send(event("a")), Hang()])

        def drive() -> None:
            with browser() as page:
                page.open(stack.url)
                page.wait_stage("streaming")
                page.page.click("#live-body .stop")
                page.wait("#details[open]")
                assert page.page.evaluate("document.activeElement.id") == "details-stop"
                page.page.keyboard.press("Escape")
                page.wait("#details", "hidden")
                assert stack.upstream.open_streams == 1  # nothing happens without the confirmation
                page.page.focus("#live-scroll")
                page.page.keyboard.press("ArrowDown")
                page.page.keyboard.press("Delete")
                page.wait("#details[open]")
                page.page.click("#details-stop")
                page.wait("#live-empty")
                page.wait("#details", "hidden")
                page.page.click("#ended-body .outcome")
                assert "stopped" in page.page.inner_text("#ended-body")
                assert page.faults == []

        async with streaming(stack) as read:
            await stack.upstream.wait_open(1)
            await in_thread(drive)
            await stack.upstream.wait_closed_early()
        assert b'"code":"stopped"' in read[-1]
        assert b"[DONE]" not in read[-1]


@pytest.mark.parametrize("viewport", [{"width": 1300, "height": 1000}, PHONE], ids=["wide", "phone"])
async def test_two_thousand_streams_stay_smooth(viewport):
    async with real_stack() as stack:

        def drive() -> None:
            with browser(viewport=viewport) as page:
                page.open(stack.url)
                page.page.wait_for_function(
                    "document.getElementById('live-count').textContent === '2,000'", timeout=60_000
                )
                assert len(page.rows()) < 60  # only what is in sight is in the document
                page.page.evaluate(
                    """() => { window.late = []; let last = performance.now();
                    const beat = (now) => { window.late.push(now - last); last = now;
                    requestAnimationFrame(beat); }; requestAnimationFrame(beat); }"""
                )
                for top in range(0, 60_000, 3000):
                    page.page.evaluate(f"document.getElementById('live-scroll').scrollTop = {top}")
                    page.page.wait_for_timeout(100)
                    assert 5 < len(page.rows()) < 60
                page.page.fill("#live-filter", "streaming no-such")
                page.wait("#live-empty")
                page.page.fill("#live-filter", "streaming")
                page.wait("#live-empty", "hidden")
                page.page.click("#live-head th:nth-child(6) button")
                frames = sorted(page.page.evaluate("window.late"))
                assert frames[len(frames) // 2] < 100  # ms between frames, on a shared machine
                assert page.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
                assert page.faults == []

        async with streaming(stack, 2000, "any/echo-c1000-d500"):
            await in_thread(drive)


async def test_a_dropped_connection_reconnects():
    """The router goes, and another comes on its address."""
    with free_port() as port:
        seen_lost, is_up = trio.Event(), trio.Event()

        def drive(url: str) -> None:
            with browser() as page:
                page.open(url)
                trio.from_thread.run_sync(opened.set)
                page.wait("#status[data-state=lost]")
                trio.from_thread.run_sync(seen_lost.set)
                trio.from_thread.run(is_up.wait)
                page.wait("#status[data-state=live]")
                refused = re.compile(
                    "ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_CONNECTION_RESET"
                )
                assert [fault for fault in page.faults if not refused.search(fault)] == []

        opened = trio.Event()
        async with trio.open_nursery() as nursery:
            async with real_stack(port=port) as stack:
                nursery.start_soon(in_thread, drive, stack.url)
                await opened.wait()
                stack.stop.set()
                await stack.stopped.wait()
            await seen_lost.wait()
            async with real_stack(port=port) as stack:
                is_up.set()
                while nursery.child_tasks:  # noqa: ASYNC110 - no event tells it
                    await trio.sleep(0.05)


async def test_the_form_lets_in_with_an_admin_key_alone():
    settings = f"auth: {{keys: [client-key], admin_keys: [{{name: anna, key: {ADMIN}}}]}}"
    async with real_stack(settings, PROVIDERS) as stack:

        def drive() -> None:
            with browser() as page:
                page.page.goto(f"{stack.url}/dashboard")
                page.page.fill("#key", "client-key")
                page.page.keyboard.press("Enter")
                page.wait("text=This is not an admin key.")
                page.faults.clear()  # the browser calls a 401 an error
                page.page.fill("#key", ADMIN)
                page.page.keyboard.press("Enter")
                page.wait("#status[data-state=live]")
                cookie = page.page.context.cookies()[0]
                assert cookie["httpOnly"]
                assert cookie["sameSite"] == "Strict"
                assert ADMIN not in cookie["value"]
                assert not any(ADMIN in url for url in page.asked)
                page.page.click("#logout button")
                page.wait("#key")
                assert page.faults == []

        await in_thread(drive)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_is_wider_than_a_phone(scheme):
    async with real_stack() as stack:
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=[Send(event("a")), Hang()])

        def drive() -> None:
            with browser(viewport=PHONE, color_scheme=scheme) as page:
                page.open(stack.url)
                page.wait_stage("streaming")
                assert page.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
                assert page.faults == []

        async with streaming(stack):
            await stack.upstream.wait_open(1)
            await in_thread(drive)


@contextmanager
def free_port():
    """A port that is free now."""

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    yield port

"""A page of another origin, in a real Chromium, with the openai SDK from npm: `server.cors` lets it."""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trio

from tests.clients.saying import PROVIDERS, Say, said
from tests.stack import real_stack

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
PACKAGES = Path(__file__).parent / "node" / "node_modules"
KEY = "sk-page"
TEXT = "Schauen wir nach: 東京 👋🏽."
pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(
        not (PACKAGES / "openai").is_dir(),
        reason="`npm install --prefix tests/clients/node` has not been run",
    ),
]
OPENAI = pytest.mark.client("npm:openai", name="openai (Chromium)", api="Chat")

# What the page does; the tests call these functions.
PAGE = """
import OpenAI from "/openai/index.mjs";
const of = ([baseURL, apiKey]) =>
  new OpenAI({ baseURL: baseURL + "/v1", apiKey, maxRetries: 0, dangerouslyAllowBrowser: true });
const asked = (model) => ({ model, messages: [{ role: "user", content: "?" }] });
window.stream = async (where, model) => {
  const pieces = [];
  for await (const chunk of await of(where).chat.completions.create({ ...asked(model), stream: true }))
    pieces.push(chunk.choices[0]?.delta?.content ?? "");
  return pieces;
};
window.fail = (where, model) =>
  of(where).chat.completions.create(asked(model)).then(
    () => "no error",
    (error) => [error.status ?? null, error.code ?? null, error.requestID ?? null],
  );
window.models = async (where) => (await of(where).models.list()).data.map((model) => model.id);
window.leave = async (where, model) => {
  const stream = await of(where).chat.completions.create({ ...asked(model), stream: true });
  for await (const _ of stream) break;
};
"""


class Site(SimpleHTTPRequestHandler):
    """`/` is the page, all below it the packages from npm."""

    extensions_map = {".mjs": "text/javascript", ".js": "text/javascript"}

    def __init__(self, *args) -> None:
        super().__init__(*args, directory=str(PACKAGES))

    def do_GET(self) -> None:
        if self.path != "/":
            return super().do_GET()
        page = f'<!doctype html><script type="module">{PAGE}</script>'.encode()
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)
        return None

    def log_message(self, *_: object) -> None: ...


@contextmanager
def site():
    """The page's origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def opened(origin: str):
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = running.new_page()
            page.set_default_timeout(30_000)
            page.goto(origin)
            page.wait_for_function("typeof window.stream === 'function'")
            yield page
        finally:
            running.close()


async def evaluated(origin: str, calls: list[tuple[str, list]]) -> list:
    """What functions of the page return, one after another."""

    def run() -> list:
        with opened(origin) as page:
            return [page.evaluate(f"words => {name}(...words)", words) for name, words in calls]

    with trio.fail_after(120):
        return await trio.to_thread.run_sync(run)


def settings(origin: str) -> str:
    return f"auth: {{keys: [{KEY}]}}\nserver: {{cors: {{origins: ['{origin}']}}}}"


@OPENAI
@pytest.mark.client(shows="streaming")
async def test_a_page_streams():
    with site() as origin:
        async with real_stack(settings(origin), PROVIDERS) as stack:
            stack.upstream.script = lambda _: said("openai", Say(TEXT))
            (pieces,) = await evaluated(origin, [("stream", [[stack.url, KEY], "openai/m"])])
    assert "".join(pieces) == TEXT
    assert len(pieces) > 3


@OPENAI
@pytest.mark.client(shows="errors")
async def test_a_page_can_read_errors_and_request_ids():
    with site() as origin:
        async with real_stack(settings(origin), PROVIDERS) as stack:
            unknown, keyless = await evaluated(
                origin,
                [
                    ("fail", [[stack.url, KEY], "nowhere/m"]),
                    ("fail", [[stack.url, "sk-wrong"], "openai/m"]),
                ],
            )
    assert unknown[:2] == [404, "model_not_found"]
    assert unknown[2].startswith("req_")
    assert keyless[:2] == [401, "invalid_api_key"]


@OPENAI
@pytest.mark.client(shows="models")
async def test_a_page_lists_the_models():
    with site() as origin:
        async with real_stack(settings(origin)) as stack:
            (models,) = await evaluated(origin, [("models", [[stack.url, KEY]])])
    assert "deepseek/chat" in models


@OPENAI
@pytest.mark.client(shows="leaving")
async def test_a_page_that_leaves_releases_the_upstream():
    with site() as origin:
        async with real_stack(settings(origin), PROVIDERS) as stack:
            stack.upstream.script = lambda _: said("openai", Say(TEXT, then="hang"))
            await evaluated(origin, [("leave", [[stack.url, KEY], "openai/m"])])
            with trio.fail_after(5):
                await stack.upstream.wait_closed_early()


@OPENAI
async def test_a_page_of_an_origin_that_is_not_named_reads_nothing():
    with site() as origin:
        async with real_stack(settings("https://app.example"), PROVIDERS) as stack:
            stack.upstream.script = lambda _: said("openai", Say(TEXT))
            (failed,) = await evaluated(origin, [("fail", [[stack.url, KEY], "openai/m"])])
            assert failed == [None, None, None]
            assert stack.upstream.requests == []

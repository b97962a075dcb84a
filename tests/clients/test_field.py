"""What teams do in the field: provider `deepseek`, its model `chat`, the bearer `dummy`."""

from __future__ import annotations

import shutil

import pytest
import trio

from tests.chunks import SSE, STOP, delta
from tests.connections import post, raw_client, until_still
from tests.stack import chat, events, real_stack, text_of
from trio_router.demo import Answer, cut, sse

TEXTS = {
    "Russian": "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Japanese": "いろはにほへと ちりぬるを わかよたれそ つねならむ",
    "Arabic": "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈👋🏽🇺🇦🧑🏿‍🚀❤️‍🔥",
}


async def streamed(stack, body) -> bytes:
    response = await stack.client.post(
        "/v1/chat/completions", json=body, headers={"authorization": "Bearer dummy"}
    )
    assert response.status_code == 200
    return response.content


def script(request) -> Answer:
    text = request.json["messages"][-1]["content"]
    data = b"".join(s.data for s in sse(*[delta(c) for c in text], STOP))
    return Answer(headers=SSE, steps=cut(data, 1))


@pytest.mark.parametrize("language", TEXTS)
async def test_text_cut_at_every_byte_arrives_whole(language):
    async with real_stack() as stack:
        stack.upstream.script = script
        items = events(await streamed(stack, chat("deepseek/chat", TEXTS[language], stream=True)))
    assert text_of(items) == TEXTS[language]
    assert items[-1] == "[DONE]"


async def test_two_thousand_words_without_a_break_arrive():
    words = " ".join(f"слово{n}" for n in range(2000))
    async with real_stack() as stack:
        items = events(await streamed(stack, chat("deepseek/chat", words, stream=True)))
    assert text_of(items) == words


async def test_fifty_streams_at_once_are_all_good():
    async with real_stack() as stack:
        good = []

        async def one(number: int) -> None:
            text = f"{number}: {TEXTS['Russian']} {TEXTS['emoji']}"
            items = events(await streamed(stack, chat("deepseek/chat", text, stream=True)))
            if text_of(items) == text and items[-1] == "[DONE]":
                good.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(one, number)
    assert len(good) == 50


def resident() -> int:
    """This process's resident memory, in bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


async def test_a_slow_client_of_an_endless_upstream_leaves_memory_flat():
    chunk = sse(delta("x" * 20_000), done=False)[0]

    def endless():
        while True:
            yield chunk

    async with real_stack() as stack:
        stack.upstream.script = lambda _: Answer(headers=SSE, steps=endless())
        connection = await raw_client(stack)
        await connection.send_all(post(chat("deepseek/chat", stream=True)))
        await stack.upstream.wait_open(1)
        await until_still(lambda: stack.upstream.sent_bytes)
        before, offered = resident(), stack.upstream.sent_bytes
        for _ in range(100):  # a slow reader: a little, a pause, a little...
            taken = 0
            while taken < 200_000:
                taken += len(await connection.receive_some(65536))
            await trio.lowlevel.checkpoint()
        await until_still(lambda: stack.upstream.sent_bytes)
        grown, passed = resident() - before, stack.upstream.sent_bytes - offered
        assert passed > 10_000_000
        assert grown < 8_000_000
        await connection.aclose()
        with trio.fail_after(5):
            await stack.upstream.wait_closed_early()


@pytest.mark.client("program:curl", api="Chat", shows="streaming")
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
async def test_curl_streams():
    async with real_stack() as stack:
        body = (
            '{"model":"deepseek/chat","stream":true,"messages":[{"role":"user","content":"héllo 👋"}]}'
        )
        done = await trio.run_process(
            [
                "curl",
                "-sN",
                "-H",
                "Authorization: Bearer dummy",
                f"{stack.url}/v1/chat/completions",
                "-d",
                body,
            ],
            capture_stdout=True,
        )
    items = events(done.stdout)
    assert text_of(items) == "héllo 👋"
    assert items[-1] == "[DONE]"

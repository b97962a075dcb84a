"""Wrong admin keys: limited by address, never queued, told in the log."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from tests.dashboard.admins import ADMIN, KEYS, OURS
from tests.stack import ServerStream, memory_stack
from trio_router.policy.guesses import Guesses
from trio_router.serve.serving import http_server
from trio_router.transport import StreamTransport
from trio_router.transport.sockets import StreamWire

WRONG = {"authorization": "Bearer wrong-key-of-nobody"}
RIGHT = {"authorization": f"Bearer {ADMIN}"}


@pytest.fixture
async def guarded(autojump_clock):
    async with memory_stack(KEYS) as stack:
        yield stack


async def login(client, key: str):
    return await client.post("/dashboard/login", data={"key": key}, headers=OURS)


async def by_form(client):
    return await login(client, "wrong")


async def by_header(client):
    return await client.get("/dashboard/events", headers=WRONG)


@pytest.mark.parametrize("guess", [by_form, by_header])
async def test_after_ten_wrong_keys_an_address_has_to_wait(guarded, guess, autojump_clock):
    client = guarded.client
    assert [(await guess(client)).status_code for _ in range(11)] == [401] * 10 + [429]
    for answer in (await login(client, ADMIN), await client.get("/dashboard/events", headers=RIGHT)):
        assert answer.status_code == 429  # the right one too: else an answer would tell
        assert 1 <= int(answer.headers["retry-after"]) <= 6
    await trio.sleep(int(answer.headers["retry-after"]))
    assert (await login(client, ADMIN)).status_code == 303


async def test_wrong_keys_wait_for_nobody(guarded, autojump_clock):
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(60):
            nursery.start_soon(by_form, guarded.new_client())
        assert (await login(guarded.client, ADMIN)).status_code in (303, 429)
    assert trio.current_time() == start


async def test_who_is_in_already_stays_in(guarded, autojump_clock):
    cookie = (await login(guarded.client, ADMIN)).headers["set-cookie"].partition(";")[0]
    for _ in range(12):
        await by_form(guarded.client)
    page = await guarded.client.get("/dashboard", headers={"cookie": cookie})
    assert 'id="live"' in page.text


async def test_each_wrong_key_is_told_in_the_log_without_it(guarded, caplog, autojump_clock):
    with caplog.at_level(logging.INFO, "trio_router"):
        for _ in range(8):
            await by_form(guarded.client)
            await by_header(guarded.client)
    told = [r.fields for r in caplog.records if r.getMessage() == "a wrong admin key was given"]
    assert len(told) == 10  # what is refused unread is not told: the log must not be a way in either
    assert [fields["refused_for_now"] for fields in told] == [False] * 9 + [True]
    assert "wrong-key-of-nobody" not in caplog.text


async def test_one_address_does_not_wait_for_another(nursery, autojump_clock):
    async with memory_stack(KEYS) as stack:
        server = http_server(stack.router, stack.app)

        def client_at(address: str):
            async def connect(host: str, port: int) -> trio.abc.Stream:
                ours, theirs = trio.testing.memory_stream_pair()
                nursery.start_soon(serve, StreamWire(ServerStream(theirs)))
                return ours

            async def serve(wire) -> None:
                await server.handle_http1(wire, "127.0.0.1", await wire.receive(), (address, 1))

            return stack.new_client().__class__(
                transport=StreamTransport(connect=connect), base_url="http://router"
            )

        async with client_at("192.0.2.1") as bad, client_at("192.0.2.2") as good:
            for _ in range(11):
                answer = await by_form(bad)
            assert answer.status_code == 429
            assert (await login(good, ADMIN)).status_code == 303


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        (None, None, True),
        (None, "192.0.2.1", False),
    ],
)
def test_guesses_are_counted_by_who_can_have_the_address(one, other, same):
    guesses = Guesses()
    for _ in range(10):
        guesses.wrong(one, 0.0)
    assert guesses.wait(one, 0.0) == 6
    assert (guesses.wait(other, 0.0) > 0) == same


def test_all_is_forgiven_after_a_minute_and_nothing_is_kept():
    guesses = Guesses()
    for second in range(100_000):
        guesses.wrong(f"10.{second >> 16}.{second >> 8 & 255}.{second & 255}", second / 100)
    assert len(guesses._forgiven) < 1000
    for _ in range(10):
        guesses.wrong("192.0.2.1", 2000.0)
    assert [guesses.wait("192.0.2.1", at) for at in (2000.0, 2006.0, 2060.0)] == [6, 0, 0]


def test_no_number_of_addresses_takes_more_than_a_little_memory():
    guesses = Guesses()
    for number in range(20_000):
        guesses.wrong(f"10.0.{number >> 8}.{number & 255}", 0.0)
    assert len(guesses._forgiven) == 10_000

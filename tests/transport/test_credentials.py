"""Credentials that change: one fetch for all who wait, ahead of the end, whatever the source does."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from trio_router.transport.credentials import (
    BearerToken,
    Credentials,
    CredentialsError,
    Lease,
    Renewals,
    in_threads,
)

URL = httpx.URL("http://upstream/v1")


class Source:
    """Gives tokens that say when they end.  `trouble` is what it does in their stead."""

    def __init__(self, seconds: float | None = 3600, takes: float = 0.5) -> None:
        self.seconds, self.takes = seconds, takes
        self.trouble: Exception | None = None
        self.hangs = False
        self.calls = self.at_once = self.most_at_once = 0

    async def __call__(self) -> Lease:
        self.calls += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await trio.sleep(self.takes)
            if self.hangs:
                await trio.sleep_forever()
            if self.trouble is not None:
                raise self.trouble
        finally:
            self.at_once -= 1
        end = trio.current_time() + (self.seconds or 0)
        return Lease(BearerToken(f"until-{end!r}"), self.seconds)


@asynccontextmanager
async def credentials(source):
    results: list[str] = []
    renewals = Renewals()
    async with trio.open_nursery() as nursery:
        await nursery.start(renewals.run)
        made = Credentials("cloud", source, renewals, results.append)
        made.results = results
        yield made
        nursery.cancel_scope.cancel()


def end_of(authority) -> float:
    return float(authority.secrets["authorization"].removeprefix("until-"))


async def use(made, limit: float | None = 10):
    authority = made.held() or await made.wait(limit)
    assert end_of(authority) > trio.current_time(), "an expired token was used"
    return authority


async def test_ten_thousand_requests_never_have_an_expired_token_and_each_renewal_is_one(
    autojump_clock,
):
    source = Source(seconds=3600)
    async with credentials(source) as made:
        async with trio.open_nursery() as nursery:

            async def client(number: int) -> None:
                await trio.sleep(number * 4)
                for _ in range(100):
                    await use(made)
                    await trio.sleep(400)

            for number in range(100):
                nursery.start_soon(client, number)
        # A request every 4 s, for 40,000 s: the first token, and a renewal 300 s before each one's end.
        assert source.calls == len(made.results) == 1 + 40_000 // 3304
        assert source.most_at_once == 1
        assert set(made.results) == {"renewed"}


async def test_a_hundred_that_find_nothing_wait_for_one_fetch(autojump_clock):
    source = Source()
    async with credentials(source) as made:
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(use, made)
        assert source.calls == 1


async def test_who_leaves_while_waiting_takes_the_fetch_from_nobody(autojump_clock):
    source = Source(takes=2)
    async with credentials(source) as made:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use, made)
            with trio.move_on_after(1):
                await made.wait(None)
        assert source.calls == 1


async def test_a_fetch_that_ends_with_the_router_is_no_failure(autojump_clock, caplog):
    source = Source()
    source.hangs = True
    async with credentials(source) as made:
        assert made.held() is None
        await trio.sleep(1)
    assert (source.calls, source.at_once) == (1, 0)
    assert made.results == []
    assert not caplog.records


async def test_a_slow_source_does_not_hold_a_request_that_has_a_valid_token(autojump_clock):
    source = Source(seconds=3600)
    async with credentials(source) as made:
        await use(made)
        source.hangs = True
        await trio.sleep(3400)  # the renewal is due, and hangs
        for _ in range(50):
            before = trio.current_time()
            await use(made)
            assert trio.current_time() == before
            await trio.sleep(2)
        assert made.results.count("failed") >= 2  # each hanging fetch was given up
        assert source.most_at_once == 1


async def test_a_source_that_hangs_costs_a_request_its_limit_and_says_so(autojump_clock):
    source = Source()
    source.hangs = True
    async with credentials(source) as made:
        before = trio.current_time()
        with pytest.raises(CredentialsError, match="did not come within 4 s"):
            await made.wait(4)
        assert trio.current_time() - before == 4


async def test_a_source_that_fails_is_left_alone_for_a_while_and_comes_back(autojump_clock):
    source = Source(takes=0)
    source.trouble = CredentialsError("the role is gone")
    async with credentials(source) as made:
        for _ in range(20):  # within the rest nobody asks it again, and nobody waits
            with pytest.raises(CredentialsError, match="the role is gone"):
                await made.wait(10)
        assert source.calls == 1
        await trio.sleep(1)
        with pytest.raises(CredentialsError):
            await made.wait(10)
        assert source.calls == 2
        source.trouble = None
        await trio.sleep(2)
        await use(made)
        assert made.results == ["failed", "failed", "renewed"]


async def test_a_failed_renewal_leaves_what_is_valid_and_is_tried_again_before_its_end(autojump_clock):
    source = Source(seconds=1000, takes=0)
    async with credentials(source) as made:
        first = await use(made)
        source.trouble = RuntimeError("the secret is hunter2")
        await trio.sleep(800)
        for _ in range(15):
            assert await use(made) is first
            await trio.sleep(10)
        assert 3 <= made.results.count("failed") <= 8  # with longer and longer rests
        source.trouble = None
        await trio.sleep(30)
        assert made.held() is first
        await trio.sleep(1)
        assert await use(made) is not first


async def test_what_a_source_raises_is_told_by_its_kind_alone(autojump_clock, caplog):
    source = Source(takes=0)
    source.trouble = RuntimeError("the secret is hunter2")
    async with credentials(source) as made:
        with caplog.at_level(logging.DEBUG), pytest.raises(CredentialsError) as raised:
            await made.wait(1)
    assert str(raised.value) == "its credentials could not be fetched (RuntimeError)"
    assert "hunter2" not in caplog.text + str([record.__dict__ for record in caplog.records])


@pytest.mark.parametrize("seconds", [0, -5])
async def test_what_has_expired_already_is_not_taken(autojump_clock, seconds):
    async with credentials(Source(seconds=seconds)) as made:
        with pytest.raises(CredentialsError, match="expired"):
            await made.wait(5)


async def test_a_token_with_a_short_life_is_renewed_in_its_last_quarter(autojump_clock):
    source = Source(seconds=40, takes=0)
    async with credentials(source) as made:
        await use(made)
        await trio.sleep(29)
        await use(made)
        assert source.calls == 1
        await trio.sleep(2)
        await use(made)
        await trio.sleep(1)
        assert source.calls == 2


async def test_a_token_without_an_end_is_fetched_once(autojump_clock):
    async def forever() -> Lease:
        return Lease(BearerToken("for-ever"), None)

    async with credentials(forever) as made:
        first = await made.wait(1)
        await trio.sleep(80_000)
        assert made.held() is first
        assert made.results == ["renewed"]


async def test_a_refused_token_is_fetched_anew_if_it_is_old_enough_to_have_been_withdrawn(
    autojump_clock,
):
    source = Source()
    async with credentials(source) as made:
        first = await use(made)
        assert not made.refused(first, "")  # new, and refused: another would be too
        await trio.sleep(60)
        assert made.refused(first, "")
        second = await use(made)
        assert second is not first
        assert made.refused(first, "")  # by now there is another
        assert source.calls == 2


async def test_without_anything_that_runs_fetches_a_request_is_told_so(autojump_clock):
    made = Credentials("cloud", Source(), Renewals(), lambda result: None)
    with pytest.raises(CredentialsError, match="does not run"):
        await made.wait(1)


@pytest.mark.parametrize("token", ["", "two words", "line\r\nx: y", "schlüssel"])
def test_what_is_no_token_is_refused(token):
    with pytest.raises(CredentialsError, match="no token"):
        BearerToken(token)


def test_a_token_is_one_header_line():
    line = BearerToken("abc").lines("POST", URL, b"")
    assert line == b"authorization: Bearer abc\r\n"
    other = BearerToken("abc", header="api-key", scheme="").lines("POST", URL, b"")
    assert other == b"api-key: abc\r\n"


async def test_a_source_that_blocks_runs_in_a_thread():
    loop = trio.lowlevel.current_trio_token()

    def fetch() -> Lease:
        trio.from_thread.run_sync(lambda: None, trio_token=loop)  # which only a thread can do
        return Lease(BearerToken("from-a-thread"), 60)

    lease = await in_threads(fetch)()
    assert lease.authority.secrets == {"authorization": "from-a-thread"}

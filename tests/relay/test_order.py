"""Frames reach the client in order, whichever of two ways they take."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace

import pytest
import trio

from trio_router.relay.stream import StreamRun
from trio_router.wire.written import Written


class Client:
    """A link whose socket takes what chance says."""

    def __init__(self, random: Random) -> None:
        self.got = b""
        self.now = 0  # writes without waiting of which something went out
        self._held = b""
        self._random = random

    def write_now(self, data: bytes) -> Written:
        if self._held:
            return Written.NONE
        how = self._random.choice(list(Written))
        if how is Written.ALL:
            self.got += data
        elif how is Written.HELD:
            self.got, self._held = self.got + data[:1], data[1:]
        self.now += how is not Written.NONE
        return how

    async def write(self, data: bytes) -> None:
        await trio.sleep(self._random.choice([0, 0.1]))
        self.got, self._held = self.got + self._held + data, b""


@pytest.mark.parametrize("seed", range(40))
async def test_nothing_is_overtaken_between_the_channel_and_the_writes_past_it(seed, autojump_clock):
    random = Random(seed)
    run = StreamRun(
        SimpleNamespace(bytes_waiting=0),
        SimpleNamespace(keepalive=b"", forget=lambda: None),
        random.choice([0, 1, 3]),
    )
    client = Client(random)
    pieces = [b"<%d>" % number for number in range(200)]

    async def move() -> None:
        with run.sending():
            run.commit()
            for piece in pieces:
                if not run.put_nowait(piece):
                    await run.put(piece, lambda: None)
                if random.random() < 0.5:
                    await trio.sleep(random.choice([0, 0.05, 0.3]))

    async def take() -> None:
        while (frames := await run.next(client.write_now)) is not None:
            await client.write(frames)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(move)
        nursery.start_soon(take)
    assert client.got == b"".join(pieces)
    assert client.now > 10

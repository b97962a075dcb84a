"""Connections in memory do what networks do to them."""

from __future__ import annotations

import pytest

from trio_router.simulation.chance import Chance
from trio_router.simulation.history import Journal
from trio_router.simulation.loop import run
from trio_router.simulation.network import Network, SimWire
from trio_router.simulation.pipes import Course
from trio_router.simulation.stage import BEGINNING, Actor, Scheduler

import trio  # isort: skip

WELL = Course()


class Bench:
    """One connection: `wire` is the router's side, `end` an actor's."""

    def __init__(self, there=WELL, back=WELL):
        self.stage = Scheduler(Chance(1, "stage"))
        self.history = Journal(self.stage)
        self.network = Network(self.stage, Chance(1, "network"), self.history)
        ours, self.end = self.network.join("router", "host", there, back)
        self.wire = SimWire(ours)

    def play(self, work):
        actor = Actor(self.stage, "host", work)
        self.end.wakes(actor.wake)

    def run(self, main):
        async def whole():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.stage.run)
                await main()
                nursery.cancel_scope.cancel()

        run(self.stage, 1, whole)


def echo(end):
    while True:
        yield from end.wait_receive()
        data = end.receive(65536)
        if not data:
            end.close()
            return
        yield from end.send_all(data)


async def all_of(wire):
    data = b""
    while piece := await wire.receive():
        data += piece
    return data


@pytest.mark.parametrize(
    "course",
    [
        WELL,
        Course(latency=0.1, jitter=0.5),
        Course(cut=3),
        Course(room=7, partial=0.5),
        Course(rate=100.0, latency=0.01, cut=5, room=20, partial=0.3),
    ],
)
def test_every_byte_comes_once_and_in_order(course):
    bench = Bench(course, course)
    sent = bytes(range(256)) * 3

    async def main():
        bench.play(echo(bench.end))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.wire.send, sent)
            got = b""
            while len(got) < len(sent):
                got += await bench.wire.receive()
        assert got == sent
        await bench.wire.send_eof()
        assert await all_of(bench.wire) == b""

    bench.run(main)


def test_latency_and_rate_take_virtual_time():
    bench = Bench(back=Course(latency=0.5, rate=100.0))

    async def main():
        bench.end.send(b"x" * 100)
        began = trio.current_time()
        assert await bench.wire.receive() == b"x" * 100
        assert trio.current_time() - began == pytest.approx(1.5)
        assert began == BEGINNING

    bench.run(main)


def test_a_full_pipe_makes_its_writer_wait_and_patience_ends():
    bench = Bench(Course(room=10))

    async def main():
        with pytest.raises(trio.TooSlowError):
            await bench.wire.send_patiently(b"x" * 20, 3.0)
        assert bench.end.receive(100) == b"x" * 10

    bench.run(main)


def test_what_was_delivered_is_read_before_a_reset_is_told():
    bench = Bench()

    async def main():
        bench.end.send(b"last words")
        bench.end.reset()
        assert await bench.wire.receive() == b"last words"
        with pytest.raises(ConnectionResetError):
            await bench.wire.receive()
        with pytest.raises(ConnectionResetError):
            bench.wire.send_some(b"x")

    bench.run(main)


def test_who_closes_with_unread_bytes_resets():
    bench = Bench()

    async def main():
        bench.wire.send_some(b"never read")
        bench.end.close()
        with pytest.raises(ConnectionResetError):
            await bench.wire.receive()

    bench.run(main)


def test_who_writes_to_a_closed_end_is_reset():
    bench = Bench()

    async def main():
        bench.end.close()
        assert await bench.wire.receive() == b""
        bench.wire.send_some(b"too late")
        with pytest.raises(ConnectionResetError):
            await trio.sleep(0.1)
            bench.wire.send_some(b"and again")

    bench.run(main)


def test_a_hole_swallows_bytes_and_the_end():
    bench = Bench(back=Course(hole=3))

    async def main():
        bench.end.send(b"abc")
        bench.end.send(b"def")
        bench.end.close()
        assert await bench.wire.receive() == b"abc"
        with trio.move_on_after(1000) as limit:
            await bench.wire.receive()
        assert limit.cancelled_caught

    bench.run(main)


def test_a_close_here_ends_who_waits_here():
    bench = Bench()

    async def main():
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def reads():
                with pytest.raises(trio.ClosedResourceError):
                    await bench.wire.receive()

            await trio.sleep(1)
            bench.wire.close()

    bench.run(main)


def test_a_cancelled_read_loses_nothing():
    bench = Bench()

    async def main():
        with trio.move_on_after(1):
            await bench.wire.receive()
        bench.end.send(b"kept")
        assert await bench.wire.receive() == b"kept"

    bench.run(main)


def test_a_hang_up_is_seen_past_unread_bytes():
    bench = Bench()

    async def main():
        bench.end.send(b"unread")
        bench.end.finish()
        await bench.wire.wait_hangup()
        assert not bench.wire.is_quiet()
        assert await all_of(bench.wire) == b"unread"

    bench.run(main)

"""Which of two attempts that race has answered, and what the race came to."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import trio

from trio_router.errors import Draining
from trio_router.relay.race import Race
from trio_router.relay.sinks import HoldingSink
from trio_router.relay.stream import StreamRun


@pytest.mark.parametrize("ends", ["well", "badly", "broken"])
async def test_what_one_lane_came_to_is_kept_whatever_the_other_comes_to_later(ends, autojump_clock):
    async def run(target, lane) -> bool:
        if target == "first":
            await trio.sleep(2)
            lane.claim()
            return True
        with trio.CancelScope(shield=True):  # its end is on the way as the other one answers
            await trio.sleep(3)
        if ends == "broken":
            raise OSError("out of order")
        return ends == "well"

    race = Race(run)
    if ends == "broken":
        with pytest.raises(OSError, match="out of order"):
            await race.run("first", 1, lambda: "second")
    else:
        assert await race.run("first", 1, lambda: "second")
    assert race.has_won(0)


async def test_a_race_that_nobody_wins_has_come_to_nothing(autojump_clock):
    async def run(target, lane) -> bool:
        await trio.sleep(2)
        return False

    race = Race(run)
    assert not await race.run("first", 1, lambda: "second")
    assert not race.has_won(0)
    assert not race.has_won(1)


async def test_nothing_is_told_after_an_answer_that_was_held_back_and_is_whole():
    call = SimpleNamespace(keepalive=b"", forget=lambda: None, fail=lambda error: b"error")
    stream = StreamRun(SimpleNamespace(bytes_waiting=0), call, 1)
    sink = HoldingSink(stream, lambda _: None, 1000)
    sink.begin(call)
    sink.commit()
    sink.put_nowait(b"data: [DONE]\n\n")
    sink.end()
    await sink.release()
    stream.fail(Draining("the other lane of a race still runs, and the router leaves"))
    assert not stream.tail

"""The limits of an attempt, and the time that is nobody's."""

from __future__ import annotations

import trio

from trio_router.relay.watchdog import Watchdog


async def test_a_phase_takes_no_time_while_it_is_paused(autojump_clock):
    watchdog = Watchdog(None)
    began = trio.current_time()
    with watchdog.open():
        watchdog.enter("read", 10)
        await trio.sleep(4)
        left = watchdog.pause()
        await trio.sleep(100)
        watchdog.go_on(left)
        await trio.sleep_forever()
    assert trio.current_time() - began == 110
    assert watchdog.phase == "read"


async def test_the_total_goes_on_while_a_phase_is_paused(autojump_clock):
    watchdog = Watchdog(60)
    began = trio.current_time()
    with watchdog.open():
        watchdog.enter("read", 10)
        watchdog.pause()
        await trio.sleep_forever()
    assert trio.current_time() - began == 60


async def test_the_first_phase_ends_an_attempt_that_has_just_begun(autojump_clock):
    for total, ends, phase in ((None, 5, "response"), (3, 3, "total")):
        watchdog = Watchdog(total)
        began = trio.current_time()
        watchdog.first("response", 5)
        with watchdog.open():
            await trio.sleep_forever()
        assert (trio.current_time() - began, watchdog.phase) == (ends, phase)

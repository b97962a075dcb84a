"""The workers' sockets towards each other."""

from __future__ import annotations

import logging

import pytest
import trio

from tests.stack import config
from trio_router.dashboard.feed import Board
from trio_router.runtime.peers import Lines, Peers, asked
from trio_router.runtime.router import Router
from trio_router.wire.jsoncodec import loads

pytestmark = pytest.mark.slow


@pytest.fixture
async def boards(tmp_path, nursery):
    """Two workers of one address."""
    workers = [Peers(tmp_path, number, 2) for number in range(2)]
    made = [Board(Router(config()), peers) for peers in workers]
    for peers in workers:
        await nursery.start(peers.serve)
    return made


async def messages(board: Board, count: int) -> list[dict]:
    found: list[dict] = []
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:

            async def put(line: bytes) -> None:
                found.append(loads(line))
                if len(found) == count:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(board.tell_all, nursery, put)
    return found


async def test_each_tells_what_all_have(boards):
    for board in boards:
        told = await messages(board, 4)
        assert {message["worker"] for message in told} == {0, 1}
        assert {message["workers"] for message in told} == {2}


async def test_what_is_no_request_any_more_is_not_stopped(boards):
    assert not await boards[0].stop(0, 1, "r")
    assert not await boards[0].stop(1, 1, "r")
    assert not await boards[0].stop(7, 1, "r")


async def test_rubbish_ends_the_connection_and_nothing_else(boards, tmp_path, caplog):
    peers = Peers(tmp_path, 0, 2)
    with caplog.at_level(logging.CRITICAL):
        for question in ("rubbish", ["a"], {"do": "stop"}, {"do": "dance"}):
            stream = await peers.connect(1, question)
            async with stream:
                with trio.fail_after(5):
                    assert [line async for line in Lines(stream)] == []
    assert len(await messages(boards[0], 3)) == 3


async def test_a_worker_that_is_not_there_answers_nothing(tmp_path):
    assert await asked(Peers(tmp_path, 0, 2), 1, {"do": "stop"}) == {}


async def test_a_worker_that_is_replaced_takes_the_place_of_its_socket(tmp_path, nursery):
    for _ in range(2):
        peers = Peers(tmp_path, 1, 2)
        Board(Router(config()), peers)
        with trio.move_on_after(0.1):
            await peers.serve()
    await nursery.start(peers.serve)
    stream = await Peers(tmp_path, 0, 2).connect(1, {"do": "watch"})
    async with stream:
        with trio.fail_after(5):
            assert await stream.receive_some(10)

"""A machine that takes: `python -m tests.stores.taking POSTGRES REDIS HOW_MANY`, without REDIS as `-`.

Takes 10 of a budget of 1000, and a slot of 60, so many times at once; tells how many were granted.
"""

from __future__ import annotations

import os
import sys

import trio

from tests.stores.stores import money, slots, want
from trio_router.ledger.ceilings import Taken
from trio_router.stores.many_machines import ManyMachinesStore
from trio_router.stores.postgres import PostgresStore

BUDGET, SLOTS = money(1000), slots(60)


async def main(postgres: str, redis: str, count: int) -> None:
    ledger = PostgresStore(postgres, patience=30)
    store = ledger if redis == "-" else ManyMachinesStore(redis, ledger, patience=30)
    await store.open()
    worker, granted = str(os.getpid()), 0
    await store.join(worker, 1000, 0)

    async def take() -> None:
        nonlocal granted
        answer = await store.take(worker, [want(BUDGET, 10, extra=5), want(SLOTS)], 0)
        if isinstance(answer, Taken):
            granted += 1

    print("ready", flush=True)
    sys.stdin.readline()
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(take)
    print(granted, flush=True)
    await store.close()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))

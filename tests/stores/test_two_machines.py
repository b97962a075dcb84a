"""Two processes count as one, however many ask at once."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack

import pytest

from tests.processes import started
from tests.stores import servers, taking
from tests.stores.stores import many_machines, postgres
from trio_router.ledger.ceilings import Level

pytestmark = pytest.mark.slow
COUNT = 250  # of each


@pytest.mark.parametrize("kind", ["postgres", "many_machines"])
async def test_500_at_once_of_two_processes_never_take_more_than_there_is(kind):
    store = {"postgres": postgres, "many_machines": many_machines}[kind]()
    await store.open()
    ledger = servers.shared(servers.PostgresServer).url
    counters = servers.shared(servers.RedisServer).url if kind == "many_machines" else "-"
    words = [sys.executable, "-m", "tests.stores.taking", ledger, counters, str(COUNT)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with ExitStack() as stack:
        machines = [stack.enter_context(started(words, **pipes)) for _ in range(2)]
        for machine in machines:
            assert machine.stdout.readline() == "ready\n"
        for machine in machines:
            machine.stdin.write("\n")
            machine.stdin.flush()
        granted = [int(machine.stdout.readline()) for machine in machines]
        for machine in machines:
            machine.stdin.close()
            assert machine.wait(20) == 0
    budget, slots = await store.levels([taking.BUDGET, taking.SLOTS], 0)
    await store.close()
    assert sum(granted) == 60
    assert slots == Level(0, 60)
    assert 600 <= budget.held <= 1000

from __future__ import annotations

import gc
import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import HealthCheck, settings

from tests import processes
from tests.clients.matrix import ClientsPage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from trio.testing import MockClock

# A shared machine is slow at times: that is no fault of the code under test.
settings.register_profile(
    "here",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    max_examples=40,
)
settings.register_profile("more", settings.get_profile("here"), max_examples=150)
settings.register_profile("thorough", settings.get_profile("here"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "here"))

_closing = ExitStack()


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "what the clients' tests do with the table in trio_router/docs/clients.md"
    parser.addoption("--clients-page", choices=("check", "update"), help=told)


def pytest_configure(config: pytest.Config) -> None:
    if mode := config.getoption("clients_page"):
        config.pluginmanager.register(ClientsPage(mode))
    mark = f"{os.getpid()}-{time.time_ns()}"  # each process of pytest-xdist has its own
    _closing.enter_context(processes.watched(mark))


def pytest_unconfigure() -> None:
    _closing.close()


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left_running(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    mark = os.environ[processes.MARK]
    left = processes.left_running(mark)
    processes.end_all(mark)
    told = "; ".join(f"{process_id}: {command}" for process_id, command in left.items())
    assert not left, f"{request.path.name} left processes running, which were killed: {told}"


@pytest.fixture
def autojump_clock(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> MockClock:
    """A clock that jumps when every task waits, but not while a thread works for one of them.

    To Trio's own clock a task that waits for a thread is idle, so that on a busy machine a deadline of
    a hundred seconds passes before the thread has rendered a page.
    """
    working = 0
    run_sync = trio.to_thread.run_sync

    async def run_sync_while_time_stands(*args: Any, **options: Any) -> Any:
        nonlocal working
        working += 1
        autojump_clock.autojump_threshold = float("inf")
        try:
            return await run_sync(*args, **options)
        finally:
            working -= 1
            if not working:
                autojump_clock.autojump_threshold = 0

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync_while_time_stands)
    return autojump_clock


@pytest.fixture
def what_was_there_stands_aside() -> Iterator[None]:
    """The collector looks at what the test makes alone: the whole suite takes it a second."""
    gc.freeze()
    yield
    gc.unfreeze()

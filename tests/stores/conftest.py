from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.stores import servers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", autouse=True)
def _servers_end_with_their_file() -> Iterator[None]:
    yield
    servers.end_shared()


@pytest.fixture(scope="session", autouse=True)
def _servers_leave_nothing() -> Iterator[None]:
    yield
    servers.remove_shared()

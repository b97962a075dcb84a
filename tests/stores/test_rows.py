"""What every store tells of rows."""

from __future__ import annotations

import pytest

from tests.stores.stores import LEASE, NOW, STORES, attempt, opened, reserved, settled
from trio_router.dialects.usage import Usage
from trio_router.ledger.queries import RowFilter, SpendLine
from trio_router.ledger.rows import RowState
from trio_router.stores.interface import Batch

DAY = 86400


@pytest.fixture(params=STORES)
async def store(request, tmp_path):
    async with opened(request.param, tmp_path) as store:
        await store.join("w1", LEASE, NOW)
        await store.sync(Batch("w1", 1, ROWS), LEASE, NOW)
        yield store


ROWS = (
    settled(
        "r1",
        key="web",
        team="search",
        model="fast",
        cost=30,
        attempts=(
            attempt("chat", 10, used=Usage(100, 20)),
            attempt("large", 20, used=Usage(100, 30, is_estimated=True)),
        ),
    ),
    settled("r2", key="web", team="search", model="deepseek/chat", cost=5, attempts=(attempt(),)),
    settled("r3", key="app", began_at=NOW + DAY, attempts=(attempt(cost=None, used=Usage(7, 7)),)),
    settled("r4", key="app", began_at=NOW + 5, outcome="rejected"),
    reserved("r5", key="app", began_at=NOW + 9, cost=1000, attempts=(attempt(cost=1000),)),
)


async def ids(store, **which) -> list[str]:
    return [row.id for row in (await store.rows(RowFilter(**which))).rows]


class TestRows:
    async def test_a_row_comes_back_as_it_was(self, store):
        assert await store.row("r1") == ROWS[0]
        assert await store.row("r9") is None

    async def test_the_latest_come_first(self, store):
        assert await ids(store) == ["r3", "r5", "r4", "r2", "r1"]

    @pytest.mark.parametrize(
        ("which", "found"),
        [
            ({"key": "web"}, ["r2", "r1"]),
            ({"team": "search"}, ["r2", "r1"]),
            ({"model": "fast"}, ["r1"]),
            ({"model": "deepseek/large"}, ["r1"]),
            ({"provider": "deepseek"}, ["r3", "r5", "r2", "r1"]),
            ({"provider": "groq"}, []),
            ({"state": RowState.RESERVED}, ["r5"]),
            ({"since": NOW + 5}, ["r3", "r5", "r4"]),
            ({"until": NOW + 5}, ["r2", "r1"]),
            ({"key": "app", "until": NOW + 6}, ["r4"]),
        ],
    )
    async def test_they_are_found_by_what_they_are(self, store, which, found):
        assert await ids(store, **which) == found

    async def test_they_come_page_by_page(self, store):
        page = await store.rows(RowFilter(), limit=2)
        assert [row.id for row in page.rows] == ["r3", "r5"]
        page = await store.rows(RowFilter(), limit=2, after=page.next)
        assert [row.id for row in page.rows] == ["r4", "r2"]
        page = await store.rows(RowFilter(), limit=2, after=page.next)
        assert ([row.id for row in page.rows], page.next) == (["r1"], None)


class TestSpend:
    async def test_rows_that_come_again_change_nothing(self, store):
        before = await store.spend("model", RowFilter())
        await store.sync(Batch("w1", 2, ROWS), LEASE, NOW)
        assert await store.spend("model", RowFilter()) == before

    async def test_by_key(self, store):
        assert await store.spend("key", RowFilter()) == [
            SpendLine("web", 2, 3, 200, 50, 35, 1, 0),
            SpendLine("app", 2, 1, 7, 7, 0, 0, 1),
        ]

    async def test_by_team(self, store):
        lines = await store.spend("team", RowFilter())
        assert [(line.group, line.requests) for line in lines] == [("search", 2), ("", 2)]

    async def test_by_model(self, store):
        assert await store.spend("model", RowFilter()) == [
            SpendLine("deepseek/large", 1, 1, 100, 30, 20, 1, 0),
            SpendLine("deepseek/chat", 3, 3, 107, 27, 15, 0, 1),
        ]

    async def test_by_provider(self, store):
        [line] = await store.spend("provider", RowFilter())
        assert line == SpendLine("deepseek", 3, 4, 207, 57, 35, 1, 1)

    async def test_by_day(self, store):
        lines = await store.spend("day", RowFilter())
        assert {line.group: line.requests for line in lines} == {"2027-01-15": 3, "2027-01-16": 1}

    async def test_of_some_rows(self, store):
        [line] = await store.spend("key", RowFilter(key="web", until=NOW + DAY))
        assert line.cost == 35

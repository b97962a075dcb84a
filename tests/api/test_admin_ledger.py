"""`/admin/v1/spend`, `/requests`, `/openapi.json`: what was spent, by whom, for what."""

from __future__ import annotations

import csv
import io

import msgspec
import pytest

from tests.api.administering import DAY, NANO, SETTINGS, Administrator, Book, attempt
from tests.stack import memory_stack
from tests.stores.stores import opened
from trio_router.ledger.rows import RowState


@pytest.fixture
async def stack(autojump_clock):
    async with memory_stack(SETTINGS) as stack:
        yield stack


@pytest.fixture
def anna(stack):
    return Administrator(stack)


@pytest.fixture
def book(stack):
    return Book(stack.router.counting.keeper.store, stack.router.clock.wall())


class TestSpend:
    async def test_it_is_summed_by_whatever_is_asked(self, anna, book):
        two = (attempt("deepseek", "chat", NANO), attempt("ollama", "llama", 2 * NANO))
        await book.write("a", key="ada", team="search", attempts=two)
        await book.write("b", key="bob", team="search", attempts=(attempt("ollama", "llama", NANO),))
        told = {
            by: {line["group"]: line["cost_usd"] for line in (await anna.get("spend", by=by))["data"]}
            for by in ("key", "team", "model", "provider")
        }
        assert told == {
            "key": {"ada": 3.0, "bob": 1.0},
            "team": {"search": 4.0},
            "model": {"ollama/llama": 3.0, "deepseek/chat": 1.0},
            "provider": {"ollama": 3.0, "deepseek": 1.0},
        }
        whole = await anna.get("spend", by="team")
        assert whole["total_usd"] == 4.0
        assert whole["data"][0]["requests"] == 2
        assert whole["data"][0]["input_tokens"] == 30

    async def test_filters_and_times_choose_what_is_summed(self, anna, book):
        await book.write("old", days=40, key="ada")
        await book.write("new", key="ada")
        await book.write("other", key="bob")
        assert (await anna.get("spend", key="ada"))["total_usd"] == 1.0  # the last 30 days
        assert (await anna.get("spend", key="ada", since=0))["total_usd"] == 2.0
        assert (await anna.get("spend", since=0, until=book.now - DAY))["total_usd"] == 1.0
        assert (await anna.get("spend", since="2020-01-01T00:00:00+02:00"))["total_usd"] == 3.0
        assert (await anna.get("spend", model="nothing"))["data"] == []

    async def test_each_day_has_its_sum_and_today_is_the_last(self, anna, book):
        await book.write("a", key="ada", days=2)
        await book.write("b", key="ada")
        await book.write("c", key="bob", attempts=(attempt("p", "m", 5 * NANO),))
        told = await anna.get("spend/days", by="key", days=3)
        assert len(told["days"]) == 3
        assert told["data"] == [
            {"group": "bob", "cost_usd": 5.0, "days": [0, 0, 5.0]},
            {"group": "ada", "cost_usd": 2.0, "days": [1.0, 0, 1.0]},
        ]

    async def test_few_groups_are_plotted_and_the_rest_is_one(self, anna, book):
        for number in range(25):
            await book.write(str(number), key=f"k{number:02d}")
        told = await anna.get("spend/days", days=1)
        assert len(told["data"]) == 21
        assert told["data"][-1] == {"group": "(others)", "cost_usd": 5.0, "days": [5.0]}

    async def test_a_table_has_exact_money_and_no_formula(self, anna, book):
        await book.write("a", key="=cmd()", attempts=(attempt("p", "m", 123),))
        answer = await anna.ask("GET", "spend", by="key", format="csv")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        heading, line = csv.reader(io.StringIO(answer.text))
        assert heading[:3] == ["key", "cost_usd", "requests"]
        assert line[:3] == ["'=cmd()", "0.000000123", "1"]

    @pytest.mark.parametrize(
        ("path", "query", "param"),
        [
            ("spend", {"by": "colour"}, "by"),
            ("spend", {"since": "yesterday"}, "since"),
            ("spend", {"since": "nan"}, "since"),
            ("spend", {"since": "-5"}, "since"),
            ("spend", {"until": "1e999"}, "until"),
            ("spend", {"form": "csv"}, "form"),
            ("spend", {"format": "xml"}, "format"),
            ("spend/days", {"days": "0"}, "days"),
            ("spend/days", {"days": "5000"}, "days"),
            ("spend/days", {"days": "1.5"}, "days"),
            ("requests", {"limit": "0"}, "limit"),
            ("requests", {"limit": "1001"}, "limit"),
            ("requests", {"limit": "9" * 400}, "limit"),
            ("requests", {"limit": "٣"}, "limit"),
            ("requests", {"state": "gone"}, "state"),
            ("keys", {"page": "2"}, "page"),
            ("audit", {"before": "x"}, "before"),
        ],
    )
    async def test_a_wrong_parameter_is_named(self, path, query, param, anna):
        status, error = await anna.refused("GET", path, **query)
        assert (status, error["param"]) == (400, param)


class TestRequests:
    async def test_a_request_tells_its_attempts_and_their_costs(self, anna, book):
        tries = (
            attempt("a", "m", None),
            attempt("b", "m", 2 * NANO),
        )
        await book.write("r1", key="ada", attempts=tries, charges={"key:ada usd total": 2 * NANO})
        told = await anna.get("requests/r1")
        assert (told["request_id"], told["key"], told["cost_usd"]) == ("req-r1", "ada", 2.0)
        assert told["charges_usd"] == {"key:ada usd total": 2.0}
        assert [(one["target"], one["cost_usd"]) for one in told["attempts"]] == [
            ("a/m", None),
            ("b/m", 2.0),
        ]
        assert told["attempts"][0]["usage"] == {"input": 10, "output": 20, "cached": 5}
        assert told["attempts"][0]["price"] == "prices.x"

    async def test_they_are_told_page_by_page_the_latest_first(self, anna, book):
        for number in range(5):
            await book.write(f"r{number}", days=number, key="ada" if number % 2 else "bob")
        page = await anna.get("requests", limit=3)
        assert [row["id"] for row in page["data"]] == ["r0", "r1", "r2"]
        page = await anna.get("requests", limit=3, after=page["next"])
        assert ([row["id"] for row in page["data"]], page["next"]) == (["r3", "r4"], None)
        assert [r["id"] for r in (await anna.get("requests", key="ada"))["data"]] == ["r1", "r3"]
        held = await book.write("open", state=RowState.RESERVED)
        assert [r["id"] for r in (await anna.get("requests", state="reserved"))["data"]] == [held.id]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_every_store_answers_alike(kind, tmp_path):
    async with opened(kind, tmp_path) as store, memory_stack(SETTINGS) as stack:
        stack.router.counting.keeper.store = store
        anna, book = Administrator(stack), Book(store, stack.router.clock.wall())
        await anna.post("teams", {"id": "search", "budgets": [{"usd": 5, "per": "day"}]})
        await anna.post("keys", {"id": "ada", "team": "search", "limits": {"parallel": 1}})
        await anna.post("keys/ada/rotate")
        await book.write("r1", key="ada", team="search")
        assert (await anna.get("spend/days", by="model", days=2))["data"][0]["days"] == [0, 1.0]
        assert (await anna.get("spend", by="provider"))["total_usd"] == 1.0
        assert (await anna.get("requests"))["data"][0]["id"] == "r1"
        assert [c["limit"] for c in (await anna.get("keys/ada"))["ceilings"]] == ["parallel", "budget"]
        acts = [entry["act"] for entry in (await anna.get("audit"))["data"]]
        assert acts == ["key.rotate", "key.create", "team.create"]


class TestDescription:
    @pytest.fixture
    async def described(self, anna):
        return await anna.get("openapi.json")

    async def test_everything_that_is_served_is_described(self, stack, described):
        served = {(m, p) for m, p in stack.app.table.exact if p.startswith("/admin/v1/")}
        told = {
            (method.upper(), f"/admin/v1{path}")
            for path, methods in described["paths"].items()
            for method in methods
        }
        missing = {(m, p) for m, p in served - told if m != "HEAD" and not p.endswith("openapi.json")}
        assert missing == set()
        for method, path in told:
            row = stack.app.row_of(method, path.replace("{id}", "some"))
            assert not row.is_booked, "only the administrators' rows are not booked"
            assert row.endpoint.__qualname__.startswith("Dashboard.known"), (method, path)

    async def test_every_reference_leads_to_a_schema(self, described):
        schemas = described["components"]["schemas"]
        text = msgspec.json.encode(described).decode()
        for part in text.split('"$ref":"')[1:]:
            name = part.partition('"')[0]
            assert name.removeprefix("#/components/schemas/") in schemas

    async def test_the_schemas_are_those_that_are_checked(self, described):
        key = described["components"]["schemas"]["NewKeyBody"]
        assert set(key["properties"]) >= {"id", "name", "team", "budgets", "expires_in"}
        assert key["additionalProperties"] is False

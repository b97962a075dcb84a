"""`trio-router keys`, `teams` and `spend` at a running router."""

from __future__ import annotations

import json
from functools import partial

import pytest
import trio
from click.testing import CliRunner

from tests.api.administering import ADMIN, SETTINGS, Book
from tests.stack import real_stack
from trio_router.cli.administering import keys, spend, teams
from trio_router.cli.telling import account_told, dollars, spend_told
from trio_router.ledger.accounts import hash_of

GROUPS = {"keys": keys, "teams": teams, "spend": spend}


class Terminal:
    """Runs commands against a router on a socket."""

    def __init__(self, stack) -> None:
        self.stack = stack
        self.key = ADMIN
        self.store = stack.router.counting.keeper.store

    async def run(self, command: str, *words: str):
        env = {"TRIO_ROUTER_URL": self.stack.url, "TRIO_ROUTER_ADMIN_KEY": self.key}
        ask = partial(CliRunner().invoke, GROUPS[command], words, env=env)
        with trio.fail_after(30):
            return await trio.to_thread.run_sync(ask)

    async def good(self, command: str, *words: str) -> str:
        result = await self.run(command, *words)
        assert result.exit_code == 0, result.output
        return result.stdout


@pytest.fixture
async def terminal():
    async with real_stack(SETTINGS) as stack:
        yield Terminal(stack)


async def test_a_key_goes_to_standard_output_alone(terminal):
    words = ["--id", "ada", "--name", "Ada", "--model", "deepseek/*", "--rpm", "60", "--parallel", "4"]
    words += ["--budget", "100/month", "--budget", "5/day:strict", "--expires-in", "30d"]
    words += ["--metadata", "who=me"]
    result = await terminal.run("keys", "create", *words)
    secret = result.stdout.strip()
    assert secret.startswith("tr-")
    assert secret not in result.stderr
    key = await terminal.store.key("ada")
    assert key.hash == hash_of(secret)
    assert [(one.nanos, one.per, one.mode) for one in key.budgets] == [
        (100_000_000_000, "month", "adaptive"),
        (5_000_000_000, "day", "strict"),
    ]
    assert (key.limits.requests_per_minute, key.limits.parallel) == (60, 4)
    assert (key.models, key.metadata) == (("deepseek/*",), {"who": "me"})
    assert key.expires_at == pytest.approx(key.created_at + 30 * 86400)


async def test_a_key_lives_from_its_making_to_its_end(terminal):
    await terminal.good("keys", "create", "--id", "ada", "--tpm", "1000")
    listed = await terminal.good("keys", "list")
    assert [line.split()[0] for line in listed.splitlines()] == ["ID", "ada", "web"]
    assert "1,000 tokens/min" in listed
    assert "file" in listed.splitlines()[2]
    await terminal.good("keys", "change", "ada", "--rpm", "5")
    shown = await terminal.good("keys", "show", "ada")
    assert "5 requests/min, 1,000 tokens/min" in shown  # what was not named stays
    assert "key tokens/min     [....................] 0 of 1,000" in shown
    old = await terminal.store.key("ada")
    secret = (await terminal.good("keys", "rotate", "ada", "--overlap", "10m")).strip()
    new = await terminal.store.key("ada")
    assert (new.hash, new.old_hash) == (hash_of(secret), old.hash)
    assert (await terminal.good("keys", "revoke", "ada")).strip() == "ada: revoked"
    assert "revoked" in await terminal.good("keys", "list")


async def test_teams_are_made_changed_and_removed(terminal):
    await terminal.good("teams", "create", "search", "--budget", "10/week")
    await terminal.good("teams", "change", "search", "--name", "Search")
    assert "$10.00/week adaptive" in await terminal.good("teams", "list")
    told = json.loads(await terminal.good("teams", "show", "search", "--json"))
    assert (told["name"], told["budgets"][0]["usd"]) == ("Search", 10)
    await terminal.good("teams", "remove", "search")
    assert await terminal.store.team("search") is None


async def test_a_list_has_every_page(terminal, monkeypatch):
    monkeypatch.setattr("trio_router.cli.asking._PAGE", 2)
    for name in "abcde":
        await terminal.good("teams", "create", name)
    listed = json.loads(await terminal.good("teams", "list", "--json"))
    assert [team["id"] for team in listed] == list("abcde")


async def test_spend_is_a_table_for_people_and_for_programs(terminal):
    router = terminal.stack.router
    book = Book(terminal.store, router.clock.wall())
    await book.write("a", key="ada")
    await book.write("b", key="ada")
    told = await terminal.good("spend", "--by", "key")
    assert told.splitlines()[1].split() == ["ada", "2", "20", "40", "$2.00"]
    told = await terminal.good("spend", "--by", "day", "--csv", "--key", "ada")
    heading, line = told.splitlines()
    assert heading.startswith("day,cost_usd,requests,")
    assert line.split(",")[1:3] == ["2", "2"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["keys", "show", "nobody"], 1, "404: there is no key 'nobody'"),
        (["keys", "show", "../teams"], 1, "404: "),
        (["keys", "revoke", "web"], 1, "409: the key 'web' stands in the configuration's file"),
        (["keys", "create", "--budget", "many"], 2, "it is written as 100/month"),
        (["keys", "create", "--budget", "5/day:loose"], 1, "400: budgets[0].mode"),
        (["keys", "create", "--parallel", "0"], 1, "400: limits.parallel"),
        (["keys", "create", "--expires-in", "soon"], 2, "it is written as 90s"),
        (["keys", "create", "--metadata", "x"], 2, "it is written as name=value"),
        (["keys", "change", "web"], 2, "nothing is to be changed"),
        (["spend", "--since", "yesterday"], 1, "400: since: must be a time"),
        (["spend", "--since", "yesterday", "--csv"], 1, "400: since: must be a time"),
    ],
)
async def test_what_is_refused_is_said_in_the_routers_words(words, code, said, terminal):
    result = await terminal.run(*words)
    assert (result.exit_code, said in result.output) == (code, True), result.output


async def test_a_wrong_admin_key_and_a_router_that_is_not_there_are_told(terminal):
    terminal.key = "wrong"
    result = await terminal.run("keys", "list")
    assert (result.exit_code, "401: an admin key is needed" in result.output) == (1, True)
    for url in ("http://127.0.0.1:1", "nonsense", "http://[bad"):
        result = await terminal.run("keys", "list", "--url", url)
        assert result.exit_code == 1, result.output
        assert "Traceback" not in result.output


def test_what_is_told_cannot_steer_a_terminal():
    line = {"group": "a\x1b[2Jb", "requests": 1, "input_tokens": 0, "output_tokens": 0}
    told = {"by": "model", "total_usd": 0, "since": None}
    told["data"] = [{**line, "cost_usd": 0.0000001, "unpriced": 1}]
    lines = spend_told(told)
    assert "\x1b" not in "".join(lines)
    assert lines[-1].startswith("+ some of it")


def test_a_bar_is_full_where_nothing_is_left():
    ceiling = {
        "of": "key",
        "limit": "budget",
        "per": "day",
        "usd": 2.0,
        "spent_usd": 1.5,
        "held_usd": 1.0,
    }
    account = dict.fromkeys(("id", "name"), "ada") | {"models": [], "limits": {}, "tags": []}
    account |= {"model_limits": {}, "budgets": [], "metadata": {}, "created_at": 0}
    account |= {"read_only": False, "ceilings": [{**ceiling, "resets_at": 1.8e9}]}
    *_, bar = account_told(account)
    assert f"[{'#' * 20}] $2.50 of $2.00, resets 2027-01-15 08:00 UTC" in bar
    assert dollars(0.0000012) == "$0.000001"

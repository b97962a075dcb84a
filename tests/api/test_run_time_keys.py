"""Keys that administrators make are keys that clients can use, and no longer than they may."""

from __future__ import annotations

import pytest
import trio

from tests.api.administering import SETTINGS, Administrator
from tests.stack import chat, memory_stack

EVERYWHERE = 2  # s within which every worker knows of a change


@pytest.fixture
async def stack(autojump_clock):
    async with memory_stack(f"{SETTINGS}prices: {{any/*: {{input: 1, output: 1}}}}") as stack:
        yield stack


@pytest.fixture
def anna(stack):
    return Administrator(stack)


async def ask(stack, secret: str, model: str = "any/echo") -> int:
    """The status of an answer to whoever has the key `secret`."""
    return (await stack.ask(chat(model), authorization=f"Bearer {secret}")).status_code


async def test_a_key_works_from_its_making_to_its_revocation(stack, anna):
    made = await anna.post("keys", {"id": "ada", "models": ["any/*"]})
    await trio.sleep(EVERYWHERE)
    assert await ask(stack, made["key"]) == 200
    assert await ask(stack, made["key"], "deepseek/chat") == 403
    await anna.post("keys/ada/revoke")
    await trio.sleep(EVERYWHERE)
    assert await ask(stack, made["key"]) == 401


async def test_a_change_is_in_force_everywhere_soon(stack, anna):
    made = await anna.post("keys", {"id": "ada"})
    await trio.sleep(EVERYWHERE)
    assert await ask(stack, made["key"]) == 200
    await anna.ask("PATCH", "keys/ada", {"models": ["deepseek/*"]})
    await trio.sleep(EVERYWHERE)
    assert await ask(stack, made["key"]) == 403


async def test_a_rotated_key_is_valid_for_its_overlap(stack, anna):
    old = (await anna.post("keys", {"id": "ada"}))["key"]
    new = (await anna.post("keys/ada/rotate", {"overlap": 3000}))["key"]
    await trio.sleep(EVERYWHERE)
    assert [await ask(stack, secret) for secret in (old, new)] == [200, 200]
    newest = (await anna.post("keys/ada/rotate", {"overlap": 0}))["key"]
    await trio.sleep(EVERYWHERE)
    assert [await ask(stack, secret) for secret in (old, new, newest)] == [401, 401, 200]


async def test_what_a_key_spends_is_told_to_administrators(stack, anna):
    made = await anna.post("keys", {"id": "ada", "budgets": [{"usd": 1, "per": "total"}]})
    await trio.sleep(EVERYWHERE)
    assert await ask(stack, made["key"]) == 200
    await trio.sleep(EVERYWHERE)
    (line,) = (await anna.get("spend", by="key"))["data"]
    assert (line["group"], line["requests"]) == ("ada", 1)
    assert line["cost_usd"] > 0
    (row,) = (await anna.get("requests", key="ada"))["data"]
    assert row["attempts"][0]["target"] == "any/echo"
    assert row["cost_usd"] == line["cost_usd"]
    (ceiling,) = (await anna.get("keys/ada"))["ceilings"]
    assert ceiling["spent_usd"] == line["cost_usd"]


async def test_without_a_store_the_files_keys_are_shown_and_none_is_made(autojump_clock):
    async with memory_stack(SETTINGS.replace('store: {url: "memory:"}', "")) as stack:
        anna = Administrator(stack)
        assert [key["id"] for key in (await anna.get("keys"))["data"]] == ["web"]
        for path in ("spend", "requests", "audit", "teams"):
            assert (await anna.get(path))["data"] == []
        status, error = await anna.refused("POST", "keys", {})
        assert (status, "store.url" in error["message"]) == (409, True)
        assert (await anna.ask("POST", "config/reload")).status_code == 422  # there is no file


async def test_teams_of_the_file_are_listed_and_cannot_be_changed(autojump_clock):
    async with memory_stack(f"{SETTINGS}teams: {{search: {{budgets: [{{usd: 7}}]}}}}") as stack:
        anna = Administrator(stack)
        (team,) = (await anna.get("teams", ceilings="true"))["data"]
        assert (team["id"], team["read_only"], team["ceilings"][0]["usd"]) == ("search", True, 7)
        for method, path in (("PATCH", "teams/search"), ("DELETE", "teams/search")):
            assert (await anna.refused(method, path, {}))[0] == 409
        assert (await anna.refused("POST", "teams", {"id": "search"}))[0] == 409
        await anna.post("keys", {"id": "ada", "team": "search"})
        assert (await anna.get("keys/ada"))["ceilings"][0]["of"] == "team"

"""What every store does with keys, teams and the audit log."""

from __future__ import annotations

import pytest

from tests.stores.stores import LEASE, NOW, STORES, act, key, opened, team
from trio_router.ledger.accounts import Limits, MoneyBudget, hash_of
from trio_router.stores.interface import Batch, Conflict


@pytest.fixture(params=STORES)
async def store(request, tmp_path):
    async with opened(request.param, tmp_path) as store:
        yield store


class TestKeys:
    async def test_a_key_is_found_by_its_hash_and_by_its_id(self, store):
        made = key(
            team="search",
            models=("deepseek/*",),
            limits=Limits(parallel=3),
            budgets=(MoneyBudget(5_000_000_000, "day", "strict", "Europe/Berlin"),),
            model_limits={"deepseek/*": Limits(requests_per_minute=5)},
            tags=("a", "b"),
            metadata={"who": "Ada"},
            expires_at=NOW + 5,
        )
        await store.add_key(made, act())
        assert await store.key_of(made.hash) == made
        assert await store.key("web") == made

    async def test_nothing_is_found_for_another_hash(self, store):
        await store.add_key(key(), act())
        assert await store.key_of(hash_of("tr-other")) is None
        assert await store.key("other") is None

    async def test_no_two_keys_have_one_id_or_one_hash(self, store):
        await store.add_key(key(), act())
        with pytest.raises(Conflict):
            await store.add_key(key(hash=hash_of("x")), act())
        with pytest.raises(Conflict):
            await store.add_key(key("other", hash=key().hash), act())
        assert len(await store.audit()) == 1

    async def test_a_rotated_key_is_found_by_both_hashes(self, store):
        await store.add_key(key(), act())
        new = key().rotated(hash_of("tr-new"), NOW, 60)
        assert await store.change_key(new, act("key.rotate"))
        assert await store.key_of(key().hash) == await store.key_of(new.hash) == new

    async def test_the_hash_before_the_last_is_forgotten(self, store):
        await store.add_key(key(), act())
        new = key().rotated(hash_of("tr-2"), NOW, 60).rotated(hash_of("tr-3"), NOW, 60)
        await store.change_key(new, act("key.rotate"))
        assert await store.key_of(key().hash) is None

    async def test_a_key_that_was_changed_meanwhile_is_not_changed_again(self, store):
        await store.add_key(key(), act())
        revoked = key().revoked(NOW)
        assert await store.change_key(revoked, act("key.revoke"), key())
        with pytest.raises(Conflict):
            await store.change_key(key(name="x"), act("key.change"), key())
        assert await store.key("web") == revoked
        assert [entry.act for entry in await store.audit()] == ["key.revoke", "key.create"]
        assert not await store.change_key(key("other"), act("key.change"), key("other"))

    async def test_a_key_that_is_not_there_is_not_changed(self, store):
        assert not await store.change_key(key(), act())
        assert await store.audit() == []

    async def test_keys_are_listed_page_by_page(self, store):
        for number in range(5):
            team = "even" if number % 2 == 0 else None
            await store.add_key(key(f"k{number}", team=team), act())
        page = await store.keys(limit=2)
        assert [k.id for k in page.keys] == ["k0", "k1"]
        page = await store.keys(limit=3, after=page.next)
        assert ([k.id for k in page.keys], page.next) == (["k2", "k3", "k4"], None)
        page = await store.keys(team="even", limit=2)
        assert ([k.id for k in page.keys], page.next) == (["k0", "k2"], "k2")
        page = await store.keys(team="even", after="k2")
        assert ([k.id for k in page.keys], page.next) == (["k4"], None)

    async def test_every_change_is_seen_with_the_next_sync(self, store):
        seen = [await store.join("w1", LEASE, NOW)]
        acts = [
            lambda: store.add_key(key(), act()),
            lambda: store.change_key(key().revoked(NOW), act()),
            lambda: store.put_team(team(), act()),
            lambda: store.remove_team("search", act()),
        ]
        for number, do in enumerate(acts, 1):
            await do()
            seen.append((await store.sync(Batch("w1", number), LEASE, NOW)).accounts)
        assert len(set(seen)) == 5
        assert (await store.sync(Batch("w1", 9), LEASE, NOW)).accounts == seen[-1]


class TestTeams:
    async def test_a_team_is_made_and_replaced_and_removed(self, store):
        await store.put_team(team(name="one"), act("team.put"))
        await store.put_team(team(name="two"), act("team.put"))
        assert await store.team("search") == team(name="two")
        assert await store.remove_team("search", act("team.remove"))
        assert not await store.remove_team("search", act("team.remove"))
        assert await store.team("search") is None
        assert len(await store.audit()) == 3

    async def test_teams_are_listed_page_by_page(self, store):
        for name in "cab":
            await store.put_team(team(name), act())
        page = await store.teams(limit=2)
        assert ([t.id for t in page.teams], page.next) == (["a", "b"], "b")
        assert [t.id for t in (await store.teams(after="b")).teams] == ["c"]


class TestAudit:
    async def test_the_latest_act_comes_first_and_each_has_its_number(self, store):
        for name in ("one", "two", "three"):
            await store.put_team(team(name), act("team.put", name))
        latest = await store.audit(limit=2)
        assert [entry.subject for entry in latest] == ["three", "two"]
        assert [e.subject for e in await store.audit(before=latest[-1].number)] == ["one"]
        assert await store.audit(before=1) == []

    async def test_an_act_that_changes_neither_a_key_nor_a_team_is_kept_too(self, store):
        await store.note(act("config.reload", "config"))
        (entry,) = await store.audit()
        assert (entry.act, entry.subject, entry.number) == ("config.reload", "config", 1)

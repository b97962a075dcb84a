"""`/admin/v1/keys` and `/teams`: made, listed, changed, rotated, revoked; every act is written down."""

from __future__ import annotations

import logging

import pytest

from tests.api.administering import ADMIN, ANNA, SETTINGS, WEB, Administrator
from tests.stack import memory_stack
from trio_router.ledger.accounts import hash_of
from trio_router.stores.interface import Conflict, StoreDown


@pytest.fixture
async def stack(autojump_clock):
    async with memory_stack(SETTINGS) as stack:
        yield stack


@pytest.fixture
def anna(stack):
    return Administrator(stack)


class TestKeys:
    async def test_a_key_is_shown_once_and_only_its_hash_is_kept(self, stack, anna):
        made = await anna.post("keys", {"name": "Ada"})
        secret = made["key"]
        assert secret.startswith("tr-")
        assert len(secret) >= 46
        kept = await stack.router.counting.keeper.store.key(made["id"])
        assert kept.hash == hash_of(secret)
        told = [await anna.get("keys"), await anna.get(f"keys/{made['id']}"), await anna.get("audit")]
        assert secret not in repr((told, kept))
        assert kept.hash not in repr(told)

    async def test_all_that_a_key_may_have_is_kept_and_told(self, anna):
        await anna.post("teams", {"id": "search"})
        body = {
            "id": "ada",
            "name": "Ada's laptop",
            "team": "search",
            "models": ["deepseek/*", "fast"],
            "limits": {"requests_per_minute": 60, "parallel": 4},
            "model_limits": {"deepseek/chat": {"tokens_per_minute": 1000}},
            "budgets": [
                {"usd": 12.5, "per": "day", "mode": "strict", "timezone": "Europe/Berlin", "grace": 0},
                {"usd": 100.0, "per": "month", "mode": "adaptive", "timezone": "UTC", "grace": 5},
            ],
            "tags": ["laptop"],
            "metadata": {"owner": "ada@example.org"},
        }
        made = await anna.post("keys", body)
        told = await anna.get("keys/ada")
        assert {name: told[name] for name in body} == body
        assert {name: made[name] for name in body} == body
        assert (told["state"], told["read_only"]) == ("active", False)

    async def test_a_key_tells_how_near_its_ceilings_are(self, anna):
        body = {"id": "ada", "limits": {"parallel": 4}, "budgets": [{"usd": 1, "per": "total"}]}
        await anna.post("keys", body)
        assert (await anna.get("keys/ada"))["ceilings"] == [
            {"of": "key", "limit": "parallel", "most": 4, "used": 0, "remaining": 4},
            {
                "of": "key",
                "limit": "budget",
                "per": "total",
                "usd": 1.0,
                "spent_usd": 0.0,
                "held_usd": 0.0,
                "remaining_usd": 1.0,
                "mode": "adaptive",
                "resets_at": None,
            },
        ]

    async def test_a_change_leaves_what_it_does_not_name(self, anna):
        await anna.post("keys", {"id": "ada", "name": "Ada", "tags": ["a"], "models": ["x/*"]})
        await anna.ask("PATCH", "keys/ada", {"models": None, "limits": {"parallel": 1}})
        told = await anna.get("keys/ada")
        assert (told["name"], told["tags"], told["models"]) == ("Ada", ["a"], [])
        assert told["limits"] == {"parallel": 1}

    async def test_after_a_rotation_both_keys_are_known_for_the_overlap(self, stack, anna):
        old = await anna.post("keys", {"id": "ada"})
        new = await anna.post("keys/ada/rotate", {"overlap": 60})
        assert new["key"] != old["key"]
        kept, now = await stack.router.counting.keeper.store.key("ada"), stack.router.clock.wall()
        assert kept.fault(hash_of(old["key"]), now) is None
        assert kept.fault(hash_of(old["key"]), now + 61) is not None
        assert kept.fault(hash_of(new["key"]), now + 61) is None
        assert now < new["old_key_until"] <= now + 60

    async def test_a_revoked_key_is_of_no_use_and_is_not_rotated(self, stack, anna):
        await anna.post("keys", {"id": "ada"})
        first = await anna.post("keys/ada/revoke")
        assert first["state"] == "revoked"
        again = await anna.post("keys/ada/revoke")
        assert again["revoked_at"] == first["revoked_at"]
        status, error = await anna.refused("POST", "keys/ada/rotate")
        assert (status, error["code"]) == (409, "conflict")
        assert "revoked" in error["message"]

    async def test_no_revocation_is_lost_to_a_change_in_another_worker(self, stack, anna, monkeypatch):
        await anna.post("keys", {"id": "ada"})
        store = stack.router.counting.keeper.store
        change, entry = store.change_key, (await store.audit())[0]

        async def late(key, *more):
            monkeypatch.setattr(store, "change_key", change)
            await change((await store.key("ada")).revoked(1.0), entry)  # the other worker's
            return await change(key, *more)

        monkeypatch.setattr(store, "change_key", late)
        answer = await anna.ask("PATCH", "keys/ada", {"name": "Ada"})
        assert (answer.json()["name"], answer.json()["state"]) == ("Ada", "revoked")
        assert (await store.key("ada")).revoked_at == 1.0

    async def test_a_key_that_changes_all_the_time_is_a_conflict(self, stack, anna, monkeypatch):
        await anna.post("keys", {"id": "ada"})

        async def never(*_):
            raise Conflict

        monkeypatch.setattr(stack.router.counting.keeper.store, "change_key", never)
        status, error = await anna.refused("PATCH", "keys/ada", {"name": "Ada"})
        assert (status, "try again" in error["message"]) == (409, True)

    async def test_keys_expire_when_they_shall(self, anna):
        made = await anna.post("keys", {"id": "ada", "expires_in": 60})
        assert made["expires_at"] - made["created_at"] == 60
        made = await anna.post("keys", {"id": "bob", "expires_at": "2040-01-01T00:00:00+01:00"})
        assert made["expires_at"] == 2208985200  # 23:00 the day before, in UTC

    async def test_a_key_of_the_file_is_listed_and_cannot_be_changed(self, anna):
        (told,) = (await anna.get("keys"))["data"]
        assert (told["id"], told["read_only"]) == ("web", True)
        for method, path in (
            ("PATCH", "keys/web"),
            ("POST", "keys/web/rotate"),
            ("POST", "keys/web/revoke"),
        ):
            status, error = await anna.refused(method, path, {})
            assert (status, error["code"]) == (409, "conflict")
            assert "configuration" in error["message"]
        status, error = await anna.refused("POST", "keys", {"id": "web"})
        assert status == 409

    async def test_pages_bring_every_key_of_the_file_and_the_store_once(self, anna):
        names = [f"k{number}" for number in range(7)] + ["zoe", "abe"]
        for name in names:
            await anna.post("keys", {"id": name})
        seen, query = [], {"limit": 2}
        while True:
            page = await anna.get("keys", **query)
            assert len(page["data"]) <= 2
            seen += [key["id"] for key in page["data"]]
            if page["next"] is None:
                break
            query["after"] = page["next"]
        assert seen == sorted([*names, "web"])

    async def test_a_list_tells_how_near_all_ceilings_are_if_it_is_asked_to(self, anna):
        await anna.post("teams", {"id": "t", "limits": {"parallel": 9}})
        await anna.post("keys", {"id": "a", "limits": {"parallel": 1}})
        await anna.post("keys", {"id": "b"})
        await anna.post("keys", {"id": "c", "budgets": [{"usd": 2}], "limits": {"parallel": 3}})
        told = {key["id"]: key["ceilings"] for key in (await anna.get("keys", ceilings="true"))["data"]}
        assert {name: len(ceilings) for name, ceilings in told.items()} == {
            "a": 1,
            "b": 0,
            "c": 2,
            "web": 0,
        }
        assert told["c"][1]["usd"] == 2
        (team,) = (await anna.get("teams", ceilings="true"))["data"]
        assert team["ceilings"][0]["most"] == 9
        assert "ceilings" not in (await anna.get("keys"))["data"][0]
        status, error = await anna.refused("GET", "keys", ceilings="yes")
        assert (status, error["param"]) == (400, "ceilings")

    async def test_keys_of_one_team_are_found(self, anna):
        await anna.post("teams", {"id": "search"})
        await anna.post("keys", {"id": "a", "team": "search"})
        await anna.post("keys", {"id": "b"})
        assert [key["id"] for key in (await anna.get("keys", team="search"))["data"]] == ["a"]

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"name": 5}, "name"),
            ({"nmae": "x"}, None),
            ({"id": "with space"}, "id"),
            ({"id": "a" * 65}, "id"),
            ({"name": "a\nb"}, "name"),
            ({"name": "\x1b[31m"}, "name"),
            ({"metadata": {"a": "\u202e"}}, "metadata"),
            ({"limits": {"parallel": -1}}, "limits.parallel"),
            ({"limits": {"parallel": 0}}, "limits.parallel"),
            ({"limits": {"parallel": 1.5}}, "limits.parallel"),
            ({"limits": {"parallel": 10**30}}, "limits.parallel"),
            ({"budgets": [{"usd": -5}]}, "budgets[0].usd"),
            ({"budgets": [{"usd": "NaN"}]}, "budgets[0].usd"),
            ({"budgets": [{"usd": "Infinity"}]}, "budgets[0].usd"),
            ({"budgets": [{"usd": "1e400"}]}, "budgets[0].usd"),
            ({"budgets": [{"usd": "ten"}]}, "budgets[0].usd"),
            ({"budgets": [{"per": "day"}]}, "budgets[0]"),
            ({"budgets": [{"usd": 1, "per": "hour"}]}, "budgets[0].per"),
            ({"budgets": [{"usd": 1, "timezone": "Mars/Olympus"}]}, "budgets[0].timezone"),
            ({"budgets": [{"usd": 1, "timezone": "../../etc/passwd"}]}, "budgets[0].timezone"),
            ({"budgets": [{"usd": 0}]}, "budgets[0].usd"),
            ({"budgets": [{"usd": 1}, {"usd": 1e-12}]}, "budgets[1].usd"),
            ({"budgets": [{"usd": 1, "grace": -1}]}, "budgets[0].grace"),
            ({"expires_at": 5}, "expires_at"),
            ({"expires_at": "2040-01-01T00:00:00"}, "expires_at"),
            ({"expires_in": -5}, "expires_in"),
            ({"expires_in": 5, "expires_at": 2e9}, "expires_in"),
            ({"team": "nobody"}, "team"),
            ([1], None),
        ],
    )
    async def test_a_wrong_body_names_the_field_and_makes_no_key(self, body, param, anna):
        status, error = await anna.refused("POST", "keys", body)
        assert (status, error["param"]) == (400, param), error
        assert [key["id"] for key in (await anna.get("keys"))["data"]] == ["web"]

    @pytest.mark.parametrize(
        "body", [b"{", b"\xff", b'{"name": "\xff"}', b"[" * 60_000, b"nul", b'{"name": NaN}']
    )
    async def test_what_is_no_json_is_said_to_be_none(self, body, stack, anna):
        answer = await stack.client.post("/admin/v1/keys", headers=ANNA, content=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] in ("invalid_json", "invalid_request")

    async def test_a_body_is_not_larger_than_any_key_needs(self, stack, anna):
        status, error = await anna.refused("POST", "keys", {"name": "x" * 70_000})
        assert (status, error["code"]) == (413, "request_too_large")

    async def test_two_keys_of_one_id_are_a_conflict(self, anna):
        await anna.post("keys", {"id": "ada"})
        status, error = await anna.refused("POST", "keys", {"id": "ada"})
        assert (status, error["param"]) == (409, "id")

    async def test_no_key_is_made_up(self, anna):
        for method, path in (
            ("GET", "keys/nobody"),
            ("PATCH", "keys/nobody"),
            ("POST", "keys/nobody/rotate"),
            ("POST", "keys/nobody/revoke"),
            ("GET", "teams/nobody"),
            ("PATCH", "teams/nobody"),
            ("DELETE", "teams/nobody"),
            ("GET", "requests/nobody"),
        ):
            status, error = await anna.refused(method, path, {} if method != "GET" else None)
            assert (status, error["code"]) == (404, "not_found"), path

    async def test_other_methods_are_not_allowed(self, anna):
        answer = await anna.ask("DELETE", "keys/web")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, PATCH")
        answer = await anna.ask("GET", "keys/web/rotate")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")

    async def test_head_is_as_get_without_a_body(self, anna):
        answer = await anna.ask("HEAD", "keys/web")
        assert (answer.status_code, answer.content) == (200, b"")


class TestTeams:
    async def test_a_team_is_made_changed_and_removed(self, anna):
        body = {"id": "search", "name": "Search", "budgets": [{"usd": 100}]}
        made = await anna.post("teams", body)
        assert made["budgets"][0]["usd"] == 100
        status, _ = await anna.refused("POST", "teams", body)
        assert status == 409
        await anna.ask("PATCH", "teams/search", {"limits": {"parallel": 2}})
        told = await anna.get("teams/search")
        assert (told["name"], told["limits"]) == ("Search", {"parallel": 2})
        assert [one["limit"] for one in told["ceilings"]] == ["parallel", "budget"]
        assert [team["id"] for team in (await anna.get("teams"))["data"]] == ["search"]
        assert (await anna.ask("DELETE", "teams/search")).json()["removed"]
        assert (await anna.get("teams"))["data"] == []

    async def test_a_team_that_has_keys_is_not_removed(self, anna):
        await anna.post("teams", {"id": "search"})
        await anna.post("keys", {"id": "ada", "team": "search"})
        status, error = await anna.refused("DELETE", "teams/search")
        assert (status, "'ada'" in error["message"]) == (409, True)

    async def test_a_key_tells_its_teams_ceilings_too(self, anna):
        await anna.post("teams", {"id": "search", "budgets": [{"usd": 3, "per": "total"}]})
        await anna.post("keys", {"id": "ada", "team": "search"})
        (ceiling,) = (await anna.get("keys/ada"))["ceilings"]
        assert (ceiling["of"], ceiling["usd"]) == ("team", 3)


class TestWhoMayAsk:
    PATHS = [
        ("GET", "keys"),
        ("POST", "keys"),
        ("GET", "keys/web"),
        ("PATCH", "keys/web"),
        ("POST", "keys/web/rotate"),
        ("POST", "keys/web/revoke"),
        ("GET", "teams"),
        ("POST", "teams"),
        ("DELETE", "teams/x"),
        ("GET", "spend"),
        ("GET", "spend/days"),
        ("GET", "requests"),
        ("GET", "requests/x"),
        ("GET", "audit"),
        ("GET", "openapi.json"),
    ]

    @pytest.mark.parametrize("root", ["/admin/v1", "/dashboard/admin"])
    @pytest.mark.parametrize(("method", "path"), PATHS)
    async def test_only_administrators_may(self, method, path, root, stack):
        if root == "/dashboard/admin" and path == "openapi.json":
            return
        for headers in ({}, {"authorization": f"Bearer {WEB}"}, {"authorization": "Bearer x"}):
            answer = await stack.client.request(method, f"{root}/{path}", headers=headers)
            assert answer.status_code == 401
        assert await stack.router.counting.keeper.store.audit() == []

    @pytest.mark.parametrize(
        "headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}]
    )
    async def test_no_page_of_another_site_may_make_a_key(self, headers, autojump_clock):
        async with memory_stack('store: {url: "memory:"}') as stack:
            for root in ("/admin/v1", "/dashboard/admin"):
                answer = await stack.client.post(f"{root}/keys", headers=headers, json={})
                assert answer.status_code == 403
            assert (await stack.router.counting.keeper.store.keys()).keys == ()

    async def test_the_dashboards_cookie_opens_its_own_path_to_its_own_pages(self, stack):
        login = await stack.client.post(
            "/dashboard/login", data={"key": ADMIN}, headers={"sec-fetch-site": "same-origin"}
        )
        cookie = {"cookie": login.headers["set-cookie"].partition(";")[0]}
        path, body = "/dashboard/admin/keys", {"id": "ada"}
        foreign = {**cookie, "sec-fetch-site": "cross-site"}
        assert (await stack.client.post(path, headers=foreign, json=body)).status_code == 403
        own = {**cookie, "sec-fetch-site": "same-origin"}
        assert (await stack.client.post(path, headers=own, json=body)).status_code == 201
        (entry,) = await stack.router.counting.keeper.store.audit()
        assert (entry.actor, entry.act, entry.subject) == ("anna", "key.create", "ada")


class TestAudit:
    async def test_every_act_is_written_down_with_who_and_what(self, anna):
        await anna.post("teams", {"id": "search"})
        await anna.post("keys", {"id": "ada", "team": "search"})
        await anna.ask("PATCH", "keys/ada", {"limits": {"parallel": 1}, "team": None})
        await anna.post("keys/ada/rotate", {"overlap": 5})
        await anna.post("keys/ada/revoke")
        await anna.post("keys/ada/revoke")
        await anna.ask("PATCH", "teams/search", {"name": "S"})
        await anna.ask("DELETE", "teams/search")
        await anna.ask("POST", "config/reload")
        entries = (await anna.get("audit"))["data"]
        assert [(entry["act"], entry["subject"]) for entry in entries[::-1]] == [
            ("team.create", "search"),
            ("key.create", "ada"),
            ("key.change", "ada"),
            ("key.rotate", "ada"),
            ("key.revoke", "ada"),
            ("team.change", "search"),
            ("team.remove", "search"),
            ("config.reload", "config"),
        ]
        assert {entry["actor"] for entry in entries} == {"anna"}
        assert entries[::-1][2]["detail"] == {"fields": "limits, team"}
        assert all(entry["at"] > 1e9 for entry in entries)

    async def test_it_is_told_page_by_page(self, anna):
        for name in "abcde":
            await anna.post("teams", {"id": name})
        page = await anna.get("audit", limit=2)
        assert ([e["subject"] for e in page["data"]], page["next"]) == (["e", "d"], 4)
        page = await anna.get("audit", limit=3, before=page["next"])
        assert ([e["subject"] for e in page["data"]], page["next"]) == (["c", "b", "a"], None)

    async def test_what_was_refused_is_no_act(self, anna):
        await anna.refused("POST", "keys", {"id": "web"})
        await anna.refused("DELETE", "teams/x")
        assert (await anna.get("audit"))["data"] == []


class TestSecrets:
    async def test_no_key_reaches_the_log_or_the_metrics(self, stack, anna, caplog):
        caplog.set_level(logging.DEBUG)
        made = await anna.post("keys", {"id": "ada"})
        rotated = await anna.post("keys/ada/rotate")
        metrics = (await stack.client.get("/metrics")).text
        logged = " ".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
        assert "key.create" in logged
        for secret in (made["key"], rotated["key"], hash_of(made["key"]), ADMIN, WEB):
            assert secret not in logged
            assert secret not in metrics

    async def test_what_is_told_is_kept_by_no_cache(self, anna):
        answer = await anna.ask("POST", "keys", {})
        assert answer.headers["cache-control"] == "no-store"


async def test_a_store_that_is_down_is_told_and_is_worth_another_try(stack, anna, monkeypatch):
    async def down(*_, **__):
        raise StoreDown

    for name in ("key", "keys", "spend", "rows", "audit", "teams", "note"):
        monkeypatch.setattr(stack.router.counting.keeper.store, name, down)
    for path in ("keys", "keys/x", "teams", "spend", "requests", "audit"):
        answer = await anna.ask("GET", path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
        assert answer.headers["retry-after"] == "2"
    assert (await anna.get("keys/web"))["id"] == "web"  # of the file
    assert (await anna.ask("POST", "config/reload")).status_code == 422  # there is no file to read

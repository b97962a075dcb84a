"""`/admin/v1/keys`: made, listed, changed, rotated, revoked.  A key itself is shown once."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from trio_router.api.accounts import Accounts, conflict, opened
from trio_router.api.admin import admin_reply
from trio_router.api.admin_acts import act, logged
from trio_router.api.admin_bodies import (
    KeyBody,
    NewKeyBody,
    RotateBody,
    changed,
    key_of,
    understood,
)
from trio_router.api.admin_query import CEILINGS, PAGE, flag, page_size, refuse_unknown
from trio_router.api.admin_shapes import ceilings_told, key_told, listed
from trio_router.errors import InvalidRequest, MethodNotAllowed
from trio_router.ledger.accounts import KEY_BYTES, Key, hash_of, new_secret
from trio_router.ledger.table import ceilings_of
from trio_router.stores.interface import Conflict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from trio_router.api.reply import Reply
    from trio_router.api.request import ClientRequest
    from trio_router.ledger.accounts import Team
    from trio_router.ledger.queries import AuditEntry

    Rewriting = Callable[[Accounts, Key], Awaitable[Key]]
    Doing = Callable[[ClientRequest, str, str], Awaitable[Reply]]

_ID_BYTES = 8
_TRIES = 10  # of a change that others come before


class KeyEndpoints:
    """The endpoints of keys, below the path `root`."""

    def __init__(self, root: str) -> None:
        self.path = f"{root}/keys"
        self._doing: dict[tuple[str, str], Doing] = {
            ("GET", ""): self._show,
            ("PATCH", ""): self._change,
            ("POST", "rotate"): self._rotate,
            ("POST", "revoke"): self._revoke,
        }

    async def list(self, asked: ClientRequest, who: str) -> Reply:
        """A page of keys by their ids; those of one team alone with `team`.

        With `ceilings=true` each tells how near its own ceilings are.
        """
        query = asked.query
        refuse_unknown(query, (*PAGE, "team", CEILINGS))
        limit, now = page_size(query), asked.router.clock.wall()
        async with opened(asked) as accounts:
            page = await accounts.keys(team=query.get("team"), after=query.get("after"), limit=limit)
            told = [key_told(key, now) for key in page.keys]
            if flag(query, CEILINGS):
                await add_standing(accounts, "key", page.keys, told, now)
        return admin_reply(listed(told, page.next))

    async def create(self, asked: ClientRequest, who: str) -> Reply:
        """A new key, which is in this answer and nowhere else."""
        body = understood(await asked.body.read(), NewKeyBody)
        router = asked.router
        now = router.clock.wall()
        secret = new_secret(router.clock.token(KEY_BYTES))
        name = body.id or f"key_{router.clock.token(_ID_BYTES).hex()}"
        key = key_of(body, Key(id=name, hash=hash_of(secret), created_at=now), now)
        async with opened(asked, changes=True) as accounts:
            accounts.refuse_of_file(accounts.file.keys, "key", name)
            await accounts.refuse_no_team(key.team)
            if await accounts.store.key(name) is not None:
                raise conflict(f"there is a key {name!r} already", "id")
            entry = act(router, who, "key.create", name, name=key.name, team=key.team or "")
            await accounts.store.add_key(key, entry)
            logged(entry)
        return admin_reply({**key_told(key, now), "key": secret}, 201)

    def methods(self, path: str) -> set[str]:
        """Which methods a path below has."""
        name, what = self._parts(path)
        return {method for method, one in self._doing if one == what} if name else set()

    async def one(self, asked: ClientRequest, who: str) -> Reply:
        """What is asked of one key."""
        name, what = self._parts(asked.link.path)
        method = "GET" if asked.link.method == "HEAD" else asked.link.method
        doing = self._doing.get((method, what))
        if doing is None:
            raise MethodNotAllowed("the method is not allowed here")
        return await doing(asked, who, name)

    def _parts(self, path: str) -> tuple[str, str]:
        """The key that a path names, and what is asked of it."""
        name = path.removeprefix(f"{self.path}/")
        front, _, last = name.rpartition("/")
        return (front, last) if front and ("POST", last) in self._doing else (name, "")

    async def _show(self, asked: ClientRequest, who: str, name: str) -> Reply:
        """The key, and how near its ceilings are."""
        now = asked.router.clock.wall()
        async with opened(asked) as accounts:
            key = await accounts.key(name)
            told = {**key_told(key, now), "ceilings": await standing(accounts, "key", key.id, key, now)}
            if key.team is not None and (team := await accounts.known_team(key.team)) is not None:
                told["ceilings"] += await standing(accounts, "team", team.id, team, now)
        return admin_reply(told)

    async def _change(self, asked: ClientRequest, who: str, name: str) -> Reply:
        body = understood(await asked.body.read(), KeyBody)
        now = asked.router.clock.wall()

        async def change(accounts: Accounts, before: Key) -> Key:
            key = key_of(body, before, now)
            await accounts.refuse_no_team(key.team)
            return key

        entry = act(asked.router, who, "key.change", name, fields=changed(body))
        return admin_reply(key_told(await self._rewritten(asked, name, entry, change), now))

    async def _rotate(self, asked: ClientRequest, who: str, name: str) -> Reply:
        """Another secret for the same key; the one before is valid for `overlap` more seconds."""
        body = understood(await asked.body.read(), RotateBody)
        router = asked.router
        now = router.clock.wall()
        secret = new_secret(router.clock.token(KEY_BYTES))

        async def rotate(_: Accounts, before: Key) -> Key:
            if (fault := before.fault(before.hash, now)) is not None:
                raise conflict(f"{fault}: make a new one")
            return before.rotated(hash_of(secret), now, body.overlap)

        entry = act(router, who, "key.rotate", name, overlap=f"{body.overlap:g}")
        key = await self._rewritten(asked, name, entry, rotate)
        return admin_reply({**key_told(key, now), "key": secret})

    async def _revoke(self, asked: ClientRequest, who: str, name: str) -> Reply:
        """Makes the key useless.  It stays in the list; a second time changes nothing."""
        if await asked.body.read() not in (b"", b"{}"):
            raise InvalidRequest("nothing is to be said here: send no body")
        now = asked.router.clock.wall()

        async def revoke(_: Accounts, before: Key) -> Key:
            return before.revoked(now)

        entry = act(asked.router, who, "key.revoke", name)
        return admin_reply(key_told(await self._rewritten(asked, name, entry, revoke), now))

    async def _rewritten(
        self, asked: ClientRequest, name: str, entry: AuditEntry, change: Rewriting
    ) -> Key:
        """The key after `change`, which is asked again if somebody else changes the key meanwhile."""
        for _ in range(_TRIES):
            async with opened(asked, changes=True) as accounts:
                before = await accounts.own_key(name)
                key = await change(accounts, before)
                if key == before:
                    return key
                with suppress(Conflict):
                    if await accounts.store.change_key(key, entry, before):
                        logged(entry)
                        return key
        raise conflict("others change this key at the same time: try again")


async def add_standing(
    accounts: Accounts,
    scope: str,
    listed: Sequence[Key | Team],
    told: Sequence[dict[str, Any]],
    now: float,
) -> None:
    """Adds to what is told of each account how near its ceilings are; asks the store once."""
    ceilings = [tuple(ceilings_of(scope, account.id, account, now)) for account in listed]
    wanted = [one for own in ceilings for one in own]
    levels = iter(await accounts.store.levels(wanted, now) if wanted else ())
    for line, own in zip(told, ceilings, strict=True):
        line["ceilings"] = ceilings_told(own, list(islice(levels, len(own))))


async def standing(
    accounts: Accounts, scope: str, name: str, account: Any, now: float
) -> list[dict[str, Any]]:
    """The account's ceilings, and how near they are.  Raises StoreDown."""
    ceilings = tuple(ceilings_of(scope, name, account, now))
    return ceilings_told(ceilings, await accounts.store.levels(ceilings, now)) if ceilings else []

"""Keys and teams as administrators have them: those of the store, and those of the configuration.

Whatever the configuration names stands above what the store has under the same name, and cannot be
changed at run time.  This file alone knows where the store and the configuration's accounts come from.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from trio_router.errors import InvalidRequest, NotFound, StoreUnavailable
from trio_router.ledger.accounts import Key, Team
from trio_router.ledger.queries import KeyPage, TeamPage
from trio_router.stores.interface import Conflict, StoreDown
from trio_router.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from trio_router.api.request import ClientRequest
    from trio_router.policy.accounts import AccountBook
    from trio_router.runtime.router import Router
    from trio_router.stores.interface import Store

A = TypeVar("A", Key, Team)
_SOON = "2"  # s after which a store that was down is worth another try


_NO_STORE = (
    "nothing is kept at run time, for no store is configured: "
    "set store.url in the configuration, such as sqlite:trio-router.db"
)


def store_in(router: Router) -> Store | None:
    """The process's store; None if no configuration has needed one."""
    keeper = router.counting.keeper
    return None if keeper is None else keeper.store


@asynccontextmanager
async def opened(asked: ClientRequest, *, changes: bool = False) -> AsyncIterator[Accounts]:
    """The accounts that `asked` is about, to be changed or not.

    Raises RouterError for what the store raises inside, and if there is none to be changed.
    """
    store = store_in(asked.router)
    if store is None and changes:
        raise conflict(_NO_STORE)
    try:
        yield Accounts(store or MemoryStore(), asked.generation.accounts)
    except StoreDown:
        raise StoreUnavailable("the store cannot be reached", retry_after=_SOON) from None
    except Conflict as fault:
        raise conflict(str(fault)) from None


def conflict(what: str, param: str | None = None) -> InvalidRequest:
    """What was asked does not fit what is there."""
    return InvalidRequest(what, status=409, code="conflict", param=param)


class Accounts:
    """The accounts of `store`, below those of the configuration."""

    def __init__(self, store: Store, file: AccountBook) -> None:
        self.store = store
        self.file = file

    async def key(self, name: str) -> Key:
        """Raises NotFound."""
        found = self.file.keys.get(name) or await self.store.key(name)
        if found is None:
            raise NotFound(f"there is no key {_shown(name)}")
        return found

    async def known_team(self, name: str) -> Team | None:
        """The team of this id; None if there is none."""
        return self.file.teams.get(name) or await self.store.team(name)

    async def team(self, name: str) -> Team:
        """Raises NotFound."""
        found = await self.known_team(name)
        if found is None:
            raise NotFound(f"there is no team {_shown(name)}")
        return found

    async def own_key(self, name: str) -> Key:
        """A key that may be changed.  Raises NotFound, and Forbidden if the configuration has it."""
        self.refuse_of_file(self.file.keys, "key", name)
        return await self.key(name)

    def refuse_of_file(self, named: Mapping[str, Any], kind: str, name: str) -> None:
        """Raises a conflict if the configuration has the account."""
        if name in named:
            what = "stands in the configuration's file, which cannot be changed at run time"
            raise conflict(f"the {kind} {_shown(name)} {what}")

    async def refuse_no_team(self, name: str | None) -> None:
        """Raises InvalidRequest if there is no such team."""
        if name is None or await self.known_team(name) is not None:
            return
        raise InvalidRequest(f"team: there is no team {_shown(name)}", param="team")

    async def keys(self, *, team: str | None, after: str | None, limit: int) -> KeyPage:
        """A page of keys by their ids, whoever has them."""
        page = await self.store.keys(team=team, after=after, limit=limit)
        filed = (key for key in self.file.keys.values() if team is None or key.team == team)
        return KeyPage(*_merged(filed, page.keys, page.next, self.file.keys, after, limit))

    async def teams(self, *, after: str | None, limit: int) -> TeamPage:
        page = await self.store.teams(after=after, limit=limit)
        filed = self.file.teams
        return TeamPage(*_merged(filed.values(), page.teams, page.next, filed, after, limit))


def _merged(
    filed: Iterable[A],
    stored: Iterable[A],
    following: str | None,
    names: Mapping[str, A],
    after: str | None,
    limit: int,
) -> tuple[tuple[A, ...], str | None]:
    """One page of both, and where the next begins.  What the file names hides what the store has."""
    ours = [one for one in filed if after is None or one.id > after]
    # Beyond the store's own page nothing is known of it yet.
    page = [one for one in ours if following is None or one.id <= following]
    page += [one for one in stored if one.id not in names]
    page.sort(key=lambda one: one.id)
    is_more = following is not None or len(page) > limit
    shown = tuple(page[:limit])
    if not is_more:
        return shown, None
    # A page whose entries were all hidden has a next one all the same.
    return shown, shown[-1].id if len(page) > limit or following is None else following


def _shown(name: str) -> str:
    return repr(name[:100])

"""What stands between a request and the models, from top to bottom.

    key -> model allowed -> limits -> budgets -> exchange

All ceilings of a key and its team (and those of the target, if the request names one) are taken in one
step, and given back in one when the request is booked.  Each further attempt of a route takes what its
own target has, and more money if it needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.answer_size import most_answer_tokens
from trio_router.errors import ModelNotAllowed, StoreUnavailable, Unauthorized
from trio_router.policy.accounts import RETRY
from trio_router.policy.keys import token_of
from trio_router.policy.permit import AskedModel, Permit
from trio_router.routing.route import Route
from trio_router.stores.interface import StoreDown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_router.ledger.accounts import Account, Key, Team
    from trio_router.ledger.ceilings import Ceiling, Level
    from trio_router.policy.accounts import AccountBook
    from trio_router.policy.keys import Authenticator
    from trio_router.policy.permit import Booking, Counted
    from trio_router.routing.target import Target


class Chain:
    """The chain of one configuration.  `counted` is None where nothing is counted.

    `wall` gives Unix seconds.
    """

    def __init__(
        self,
        keys: Authenticator,
        book: AccountBook,
        counted: Counted | None,
        wall: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._book = book
        self._counted = counted
        self._wall = wall

    # -- the key

    async def account(self, authorization: str, server: str | None) -> Key | None:
        """Whose request it is; None where no key is needed.  Raises Unauthorized, StoreUnavailable.

        `server` is the address that the request came in on.
        """
        token = token_of(authorization)
        if token is not None and (name := self._keys.name_of(token)) is not None:
            key = self._book.keys[name]
            if fault := key.fault(key.hash, self._wall()):
                raise Unauthorized(fault)
            return key
        if self._counted is None or not await self._has_run_time_keys(self._counted):
            self._keys.check(authorization, server)
            return None
        if token is None:
            raise Unauthorized("no API key given: send it as `Authorization: Bearer KEY`")
        return await self._counted.accounts.key(token)

    async def _has_run_time_keys(self, counted: Counted) -> bool:
        known = counted.keeper.has_keys
        if known is None and not self._book.keys:
            raise StoreUnavailable("the store of keys cannot be reached", retry_after=RETRY)
        return bool(known) or known is None

    async def team(self, key: Key | None) -> Team | None:
        """The key's team: the configuration's, else the store's.  Raises StoreUnavailable."""
        if key is None or key.team is None:
            return None
        known = self._book.teams.get(key.team)
        if known is not None or self._counted is None:
            return known
        return await self._counted.accounts.team(key.team)

    async def levels(
        self, key: Key | None
    ) -> tuple[Key | None, Team | None, list[tuple[Ceiling, Level]]]:
        """A key, its team, and what is used of their limits and budgets.  Raises StoreUnavailable."""
        team = await self.team(key)
        if self._counted is None:
            return key, team, []
        ceilings = self._counted.table.of_account(key, team, "", self._wall()).all
        try:
            levels = await self._counted.keeper.store.levels(ceilings, self._wall())
        except StoreDown:
            raise StoreUnavailable("the store cannot be reached", retry_after=RETRY) from None
        return key, team, list(zip(ceilings, levels, strict=True))

    # -- model allowed -> limits -> budgets

    async def admit(
        self,
        key: Key | None,
        model: str,
        target: Target | Route,
        said: Mapping[str, Any],
        size: int,
        booking: Booking,
    ) -> Permit | None:
        """The permit of a request for `model`; None where nothing is counted.

        `said` is what the client asks, in `size` bytes.  Raises ModelNotAllowed, RateLimited,
        InsufficientQuota, StoreUnavailable; TargetLimited and TargetSpent.
        """
        team = await self.team(key)
        for account in (key, team):
            if account is not None:
                refuse_model(account, model)
        if self._counted is None:
            return None
        is_plain = not isinstance(target, Route)
        targets = tuple(t.target for t in target.targets) if isinstance(target, Route) else (target,)
        asked = AskedModel(model, targets, is_plain, size, most_answer_tokens(said))
        permit = Permit(self._counted, key, team, asked, booking)
        await permit.enter()
        return permit


def refuse_model(account: Account, model: str) -> None:
    """Raises ModelNotAllowed if the account may not ask for `model`."""
    if account.models and not account.may_ask(model):
        raise ModelNotAllowed(
            f"this key may not use {model}: it may use {', '.join(account.models)}", param="model"
        )

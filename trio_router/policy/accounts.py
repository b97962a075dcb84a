"""Whose request it is: the keys and teams of the configuration, and those that were made at run time.

The configuration's are known at once, and they win.  The others are asked of the store, and kept until
any key or team changes, which the store tells with each heartbeat; so they cost nothing on a request's
way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from trio_router.errors import StoreUnavailable, Unauthorized
from trio_router.ledger.accounts import Key, Limits, MoneyBudget, Team, hash_of
from trio_router.money import of_dollars
from trio_router.stores.interface import StoreDown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_router.config.accounts import AccountConfig, BudgetConfig, ClientKey, LimitsConfig
    from trio_router.config.schema import Config
    from trio_router.stores.interface import Store

T = TypeVar("T", Key, Team)
_MOST = 100_000  # keys and teams that are kept
_UNKNOWN = 1.0  # s for which nobody asks again for what the store does not know
RETRY = "1"  # s, of a store that is down


class AccountBook:
    """The keys and teams of one configuration."""

    def __init__(self, config: Config) -> None:
        keys = [_key(number, key) for number, key in enumerate(config.auth.keys, 1)]
        self.keys = {key.id: key for key in keys}
        self.teams = {name: _team(name, team) for name, team in config.teams.items()}


class RunTimeAccounts:
    """The keys and teams of the store, as far as they were asked for.  `wall` gives Unix seconds."""

    def __init__(self, store: Store, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall
        self._keys: dict[str, tuple[Key | None, float]] = {}  # by hash; until when nobody asks again
        self._teams: dict[str, tuple[Team | None, float]] = {}

    def forget(self) -> None:
        """Any of them may have changed."""
        self._keys.clear()
        self._teams.clear()

    async def key(self, secret: str) -> Key:
        """The valid key of this secret.  Raises Unauthorized, StoreUnavailable."""
        hashed = hash_of(secret)
        key = await self._of(self._keys, hashed, self._store.key_of)
        if key is None:
            raise Unauthorized("the API key is not valid")
        if fault := key.fault(hashed, self._wall()):
            raise Unauthorized(fault)
        return key

    async def team(self, id_: str) -> Team | None:
        """Raises StoreUnavailable."""
        return await self._of(self._teams, id_, self._store.team)

    async def _of(
        self,
        kept: dict[str, tuple[T | None, float]],
        name: str,
        ask: Callable[[str], Awaitable[T | None]],
    ) -> T | None:
        now = self._wall()
        known = kept.get(name)
        if known is not None and (known[0] is not None or now < known[1]):
            return known[0]
        try:
            found = await ask(name)
        except StoreDown:
            raise StoreUnavailable("the store of keys cannot be reached", retry_after=RETRY) from None
        if len(kept) >= _MOST:
            kept.clear()
        kept[name] = found, now + _UNKNOWN
        return found


def _key(number: int, config: ClientKey) -> Key:
    return Key(
        **_account(config),
        id=config.name or f"key-{number}",
        hash=hash_of(config.key.get_secret_value()),
        team=config.team,
        expires_at=None if config.expires is None else config.expires.timestamp(),
        is_of_file=True,
    )


def _team(name: str, config: AccountConfig) -> Team:
    return Team(**_account(config), id=name)


def _account(config: AccountConfig) -> dict[str, Any]:
    return {
        "models": config.models,
        "limits": limits_of(config.limits),
        "model_limits": {name: limits_of(one) for name, one in config.model_limits.items()},
        "budgets": tuple(map(budget_of, config.budgets)),
        "tags": config.tags,
    }


def limits_of(config: LimitsConfig) -> Limits:
    return Limits(config.requests_per_minute, config.tokens_per_minute, config.parallel)


def budget_of(config: BudgetConfig) -> MoneyBudget:
    nanos = of_dollars(config.usd)
    return MoneyBudget(nanos, config.per, config.mode, config.timezone, config.grace)

"""The process's part in counting: its store, its keeper, and what each generation is counted by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.config.accounts import NO_LIMITS
from trio_router.ledger.table import CeilingTable, Sold
from trio_router.observe.budgets import BudgetGauges
from trio_router.policy.accounts import RunTimeAccounts, budget_of, limits_of
from trio_router.policy.chain import Chain
from trio_router.policy.permit import Counted
from trio_router.runtime.generation import made_store
from trio_router.stores.keeper import Keeper

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trio

    from trio_router.clock.clock import Clock
    from trio_router.config.accounts import BudgetConfig, LimitsConfig, StoreConfig
    from trio_router.config.schema import Config
    from trio_router.ledger.ceilings import Ceiling
    from trio_router.ledger.holds import AnswerSizes
    from trio_router.ledger.rows import LedgerRow
    from trio_router.observe.metrics import Metrics
    from trio_router.policy.permit import Permit
    from trio_router.runtime.generation import Draft
    from trio_router.stores.interface import Store


class ProcessCounting:
    """Nothing is there until a configuration needs it; then it stays to the process's end.

    `store`, if it is given, is used in place of the one that the configuration names.
    """

    def __init__(self, clock: Clock, metrics: Metrics, store: Store | None = None) -> None:
        self.keeper: Keeper | None = None
        self.running: dict[str, Permit] = {}
        self._clock = clock
        self._metrics = metrics
        self._store = store
        self._accounts: RunTimeAccounts | None = None
        self._sizes: dict[str, AnswerSizes] = {}
        self._is_started = False
        self._gauges = BudgetGauges(metrics)

    def chain(self, draft: Draft) -> Chain | None:
        """What stands before the models in the generation of `draft`; None if nothing does."""
        config, book, wall = draft.config, draft.accounts, self._clock.wall
        if config.stored is not None and self.keeper is None:
            self._make(config.stored)
        if self.keeper is None or self._accounts is None:
            is_idle = not any(_restricts(config))
            return None if is_idle else Chain(draft.keys, book, None, wall)
        counted = Counted(
            self.keeper,
            self._accounts,
            self._sizes,
            self.running,
            wall,
            self._note_refusal,
            book,
            CeilingTable(sold(config)),
            draft.prices,
        )
        return Chain(draft.keys, book, counted, wall)

    def _make(self, config: StoreConfig) -> None:
        store = self._store or made_store(config)
        self._accounts = RunTimeAccounts(store, self._clock.wall)
        self.keeper = keeper = Keeper(
            store,
            allows_when_down=config.when_down == "allow",
            wall=self._clock.wall,
            token=self._clock.token,
        )
        keeper.on_change = self._accounts.forget
        keeper.running = self._progress
        keeper.on_beat = self._show_budgets

    async def start(self, nursery: trio.Nursery) -> None:
        """Starts the heartbeat, once there is a keeper.  It ends with the nursery."""
        if self.keeper is not None and not self._is_started:
            self._is_started = True
            await nursery.start(self.keeper.run)

    def _progress(self) -> Iterator[LedgerRow]:
        for permit in self.running.values():
            if (row := permit.progress()) is not None:
                yield row

    def _note_refusal(self, ceiling: Ceiling) -> None:
        self._metrics.limit_refusals.labels(f"{ceiling.scope}_{ceiling.kind.value}").inc()

    def _show_budgets(self) -> None:
        if self.keeper is not None:
            self._gauges.show(self.keeper.purse.known())

    def show(self) -> None:
        """Sets the gauges of the store, and of budgets whose window has ended."""
        if self.keeper is not None:
            self._metrics.store_down.set(self._is_started and self.keeper.is_down)
            self._gauges.settle(self._clock.wall())


def sold(config: Config) -> dict[str, Sold]:
    """The limits and budgets of providers and of their models, where there are any."""
    places: list[tuple[str, LimitsConfig, tuple[BudgetConfig, ...]]] = []
    for name, provider in config.providers.items():
        places.append((name, provider.limits, provider.budgets))
        models = (provider.models or {}).items()
        places += [(f"{name}/{model}", one.limits, one.budgets) for model, one in models]
    return {
        name: Sold(limits_of(limits), tuple(map(budget_of, budgets)))
        for name, limits, budgets in places
        if budgets or limits != NO_LIMITS
    }


def _restricts(config: Config) -> Iterator[bool]:
    for key in config.auth.keys:
        yield bool(key.models or key.expires or key.team)

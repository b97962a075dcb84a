"""One request's permit: what it has drawn of its ceilings, from its admission to its row in the ledger.

Money is drawn for what the request will probably cost (`strict` budgets: at most).  While a stream
runs, more is drawn before it is said: `attempt` tells how many events are paid for, and `more` pays for
further ones.  When the request is booked, its row says what it cost, and the rest goes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from trio_router.dialects.usage import Usage
from trio_router.errors import InsufficientQuota, ModelNotAllowed, StoreUnavailable
from trio_router.ledger.ceilings import Counting
from trio_router.ledger.holds import AnswerSizes, usual_usage, worst_cost, worst_usage
from trio_router.ledger.rows import LedgerRow, RowAttempt, RowState
from trio_router.ledger.table import NOTHING, Stack
from trio_router.policy.accounts import RETRY
from trio_router.policy.booked import Booked
from trio_router.policy.refusals import ratelimit_headers, refusal
from trio_router.stores.interface import StoreDown
from trio_router.stores.keeper import CeilingReached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from trio_router.ledger.accounts import Key, Team
    from trio_router.ledger.ceilings import Ceiling
    from trio_router.ledger.purse import Draw
    from trio_router.ledger.table import CeilingTable
    from trio_router.money import Price, PriceBook
    from trio_router.policy.accounts import AccountBook, RunTimeAccounts
    from trio_router.policy.booked import BookedTry
    from trio_router.routing.target import Target
    from trio_router.stores.keeper import Keeper

UNLIMITED = 1 << 62  # events: nothing is paid for by the event
_LONGEST = 65_536  # tokens of an answer whose client names no limit, as a strict budget sees it
_EARLY = 2  # events before the last paid one at which more is paid for: one is already in hand
_LEAST_MORE = 64  # tokens that are paid for at a time while a stream runs
_MOST_TARGETS = 1000  # whose answers' sizes are remembered


class Counted:
    """What the requests of one configuration are counted by.

    `refused` is called with each ceiling that refuses.  Everything but `book`, `table` and `prices` is
    shared with the configurations before and after.
    """

    def __init__(
        self,
        keeper: Keeper,
        accounts: RunTimeAccounts,
        sizes: dict[str, AnswerSizes],
        running: dict[str, Permit],
        wall: Callable[[], float],
        refused: Callable[[Ceiling], None],
        book: AccountBook,
        table: CeilingTable,
        prices: PriceBook,
    ) -> None:
        self.keeper = keeper
        self.accounts = accounts
        self.running = running
        self.wall = wall
        self.refused = refused
        self.book = book
        self.table = table
        self.prices = prices
        self._sizes = sizes

    def sizes(self, target: str) -> AnswerSizes:
        """How long the target's answers are."""
        if (found := self._sizes.get(target)) is None:
            if len(self._sizes) >= _MOST_TARGETS:
                self._sizes.clear()
            found = self._sizes[target] = AnswerSizes()
        return found


class Booking(Booked, Protocol):
    """The record of a request that is about to be asked."""

    @property
    def request_id(self) -> str: ...
    @property
    def operation(self) -> str: ...


class AskedModel(msgspec.Struct, frozen=True):
    """What is asked: `model` as the client names it, `targets` that may answer, the preferred first.

    `size` is the request's, in bytes; `most` the tokens that its answer may have; None: nobody said.
    `is_plain`: the client named the target.
    """

    model: str
    targets: tuple[Target, ...]
    is_plain: bool
    size: int
    most: int | None


class PaidAttempt:
    """One attempt under way, and what it is paid for.  `said` is in tokens; `worst` in nano-dollars."""

    __slots__ = ("entry", "price", "said", "stack", "target", "usage", "worst")

    def __init__(self, target: Target, stack: Stack, entry: BookedTry | None) -> None:
        self.target = target
        self.stack = stack
        self.entry = entry
        self.said = 0
        self.usage = Usage()
        self.worst = 0
        self.price: Price | None = None

    def cost(self, mode: str) -> int:
        """What is to be held for it."""
        if self.entry is not None and self.entry.ended_at is not None:
            return self.entry.cost or 0
        if mode == "strict":
            return self.worst
        if self.price is None:
            return 0
        return self.price.cost(Usage(self.usage.input, self.said)) or 0


class Permit:
    """See the head of this file.  `attempt`, `more` and `finish` belong to the relay."""

    def __init__(
        self, counted: Counted, key: Key | None, team: Team | None, asked: AskedModel, booking: Booking
    ) -> None:
        self._counted = counted
        self._key = key
        self._team = team
        self._asked = asked
        self._began = now = counted.wall()
        self._account = counted.table.of_account(key, team, asked.model, now)
        self._draws: list[Draw] = []
        self._covered: dict[str, int] = {}  # what was drawn of each budget's counter
        self._courses: list[PaidAttempt] = []
        self._is_ahead = False  # the first course was paid for at the door, and has not begun
        self._grace_ends: float | None = None
        self._told = 0  # nano-dollars that the store knows of
        self._booking = booking
        self.id = counted.keeper.next_id()
        self.worker = counted.keeper.worker

    # -- at the door

    async def enter(self) -> None:
        """Takes the ceilings of the account, and those of the target if the client named one.

        Raises RateLimited, InsufficientQuota, StoreUnavailable; TargetLimited and TargetSpent.
        """
        asked = self._asked
        first = self._course(asked.targets[0], None)
        if not asked.is_plain:
            first.stack = NOTHING
        self._courses.append(first)
        self._is_ahead = True
        try:
            await self._draw(self._account.rates + first.stack.rates, first)
        except BaseException:
            self._courses.clear()
            raise
        self._counted.running[self.id] = self
        self._counted.keeper.note(self._row(RowState.RESERVED, self._counted.wall()))

    async def attempt(self, target: Target, entry: BookedTry) -> int:
        """Takes what an attempt at `target` needs; returns how many of its events are paid for.

        Raises as `enter` does.
        """
        if self._is_ahead:  # what was paid for at the door is this attempt's
            self._is_ahead = False
            first = self._courses.pop()
            if self._asked.is_plain:
                first.entry = entry
                self._courses.append(first)
                return self._paid(first)
        course = self._course(target, entry)
        self._courses.append(course)
        try:
            await self._draw(course.stack.rates, course)
        except BaseException:
            self._courses.remove(course)
            raise
        return self._paid(course)

    async def more(self, entry: BookedTry, said: int) -> int:
        """Pays for more events of an attempt that has said `said`; returns how many are paid for then.

        If there is no money left, the stream may go on for the budget's grace.  Raises
        InsufficientQuota.
        """
        course = next(c for c in self._courses if c.entry is entry)
        before = course.said
        usual = self._counted.sizes(course.target.name).usual
        course.said = max(before, said) + max(_LEAST_MORE, usual // 2)
        if self._asked.most is not None:
            course.said = max(before, min(course.said, self._asked.most))
        try:
            await self._draw((), course)
        except InsufficientQuota as error:
            course.said = before
            return self._in_grace(error, said)
        return self._paid(course)

    def _in_grace(self, error: InsufficientQuota, said: int) -> int:
        now = self._counted.wall()
        if self._grace_ends is None:
            self._grace_ends = now + self._account.grace
        if now >= self._grace_ends:
            raise error
        return said + 1

    # -- what is drawn

    def _course(self, target: Target, entry: BookedTry | None) -> PaidAttempt:
        now, asked = self._counted.wall(), self._asked
        stack = self._counted.table.of_target(target.provider, target.name, now)
        course = PaidAttempt(target, stack, entry)
        usual = self._counted.sizes(target.name).usual
        course.usage = usual_usage(asked.size, usual, asked.most)
        course.said = course.usage.output or 0
        if self._account.money or stack.money:
            course.price = self._counted.prices.of(target, now)
            if self._account.has_strict or stack.has_strict:
                course.worst = self._worst(course)
        return course

    def _worst(self, course: PaidAttempt) -> int:
        asked, price = self._asked, course.price
        if price is None:
            name = course.target.name
            raise ModelNotAllowed(f"no price of {name} is known, and a strict budget needs one")
        return worst_cost(price, worst_usage(asked.size, asked.most or _LONGEST))

    async def _draw(self, rates: Sequence[Ceiling], course: PaidAttempt) -> None:
        """Takes `rates` for one more attempt, and all money that is lacking, in one step."""
        amounts = [(ceiling, self._amount(ceiling, course)) for ceiling in rates]
        needs: dict[str, int] = {}  # of the account, by mode
        for ceiling in self._account.money + course.stack.money:
            if ceiling in course.stack.money:
                need = sum(c.cost(ceiling.mode) for c in self._courses if ceiling in c.stack.money)
            elif (known := needs.get(ceiling.mode)) is not None:
                need = known
            else:
                need = needs[ceiling.mode] = sum([c.cost(ceiling.mode) for c in self._courses])
            if (lack := need - self._covered.get(ceiling.counter, 0)) > 0:
                amounts.append((ceiling, lack))
        if not amounts:
            return
        try:
            self._draws.append(await self._counted.keeper.draw(amounts))
        except CeilingReached as reached:
            self._counted.refused(reached.refused.ceiling)
            raise refusal(reached.refused) from None
        except StoreDown:
            told = "the store of limits and budgets cannot be reached"
            raise StoreUnavailable(told, retry_after=RETRY) from None
        for ceiling, amount in amounts:
            if ceiling.kind is Counting.BUDGET:
                self._covered[ceiling.counter] = self._covered.get(ceiling.counter, 0) + amount

    def _amount(self, ceiling: Ceiling, course: PaidAttempt) -> int:
        if ceiling.kind is Counting.TOKENS:
            return (course.usage.input or 0) + (course.usage.output or 0)
        return 1

    def _paid(self, course: PaidAttempt) -> int:
        """Events that are paid for: one has a token, as far as anybody knows before the end."""
        is_watched = self._account.is_watched or course.stack.is_watched
        is_whole = self._asked.most is not None and course.said >= self._asked.most
        if course.price is None or is_whole or not is_watched:
            return UNLIMITED
        return max(0, course.said - _EARLY)

    # -- what is told

    def headers(self) -> dict[str, str]:
        """What a good answer tells of limits, and of soft budgets that are used up."""
        purse = self._counted.keeper.purse
        left = [
            (ceiling, pocket.remaining)
            for ceiling in self._account.all
            if (pocket := purse.pocket(ceiling.counter)) is not None
        ]
        found = ratelimit_headers(left)
        over = [c.scope for c, remaining in left if c.is_soft and remaining <= 0]
        if over:
            found["x-trio-router-over-budget"] = ", ".join(dict.fromkeys(over))
        return found

    def progress(self) -> LedgerRow | None:
        """The row with what the request has cost by now; None if the store knows as much."""
        cost, events = 0, self._booking.chunks
        for course in self._courses:
            if course.entry is not None and course.entry.ended_at is not None:
                cost += course.entry.cost or 0
            elif course.price is not None and course.entry is not None:
                cost += course.price.cost(Usage(course.usage.input, events)) or 0
        if cost <= self._told:
            return None
        self._told = cost
        charges = {c.counter: cost for c in self._account.money}
        row = self._row(RowState.RESERVED, None)
        return msgspec.structs.replace(row, cost=cost, charges=charges, is_estimated=True)

    def finish(self, record: Booked) -> None:
        """The request has ended: writes its row, gives back what it did not use."""
        counted = self._counted
        counted.running.pop(self.id, None)
        tries = list(record.tries)
        row = self._row(RowState.SETTLED, counted.wall())
        attempts = tuple(map(_attempt, tries))
        charges, tokens = self._sums(tries)
        row = msgspec.structs.replace(
            row,
            outcome=str(record.outcome or ""),
            status=record.status,
            cost=sum(attempt.cost or 0 for attempt in attempts),
            is_estimated=record.is_estimated,
            is_unpriced=record.is_unpriced,
            charges=charges,
            attempts=attempts,
        )
        counted.keeper.end(self._draws, row, charges, tokens)
        self._learn(tries)

    def _sums(self, tries: Sequence[BookedTry]) -> tuple[dict[str, int], dict[str, int]]:
        """What the request cost each budget's counter, and used of each limit of tokens."""
        charges: dict[str, int] = {}
        tokens: dict[str, int] = {}
        _add(self._account, tries, charges, tokens)
        for course in self._courses:
            for ceiling in course.stack.all:
                at = [one for one in tries if _is_at(one, ceiling, course.target)]
                _add(Stack((ceiling,)), at, charges, tokens)
        return charges, tokens

    def _learn(self, tries: Iterable[BookedTry]) -> None:
        for one in tries:
            if one.used is not None and one.used.output is not None and one.error is None:
                self._counted.sizes(one.target).note(one.used.output)

    def _row(self, state: RowState, ended: float | None) -> LedgerRow:
        asked = self._asked
        return LedgerRow(
            self.id,
            self.worker,
            state,
            self._began,
            self._booking.request_id,
            ended if state is not RowState.RESERVED else None,
            "" if self._key is None else self._key.id,
            "" if self._team is None else self._team.id,
            asked.model,
            self._booking.operation,
            tags=() if self._key is None else self._key.tags,
        )


def _add(
    stack: Stack, tries: Sequence[BookedTry], charges: dict[str, int], tokens: dict[str, int]
) -> None:
    """What the tries cost, and used, is the same for each ceiling of the stack."""
    cost = sum([one.cost or 0 for one in tries])
    if cost:
        charges |= dict.fromkeys([c.counter for c in stack.money], cost)
    used = sum([_tokens(one.used) for one in tries])
    tokens |= {c.counter: used for c in stack.rates if c.kind is Counting.TOKENS}


def _is_at(one: BookedTry, ceiling: Ceiling, target: Target) -> bool:
    if ceiling.scope == "provider":
        return one.provider == target.provider
    return one.target == target.name


def _tokens(used: Usage | None) -> int:
    return 0 if used is None else (used.input or 0) + (used.output or 0)


def _attempt(one: BookedTry) -> RowAttempt:
    return RowAttempt(
        one.provider,
        one.model,
        one.outcome or one.error or "",
        Usage() if one.used is None else one.used,
        one.cost,
        one.price_source,
    )

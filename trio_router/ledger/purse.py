"""What one worker took from the store in advance, and spends by itself.

A draw takes what it can from the purse; what is lacking is wanted from the store, in one step, and
comes with a slice for the next requests.  The slice shrinks as the ceiling nears (`slice_of`), and
whatever is free there goes back at once, so that near the ceiling the store alone decides and is exact.

The purse never spends what the store has not granted: what is in use is never more than what is held (a
settled request that cost more than it held aside).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.ledger.ceilings import SLICE, Change, Counting, Want, leaves

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trio_router.ledger.ceilings import Ceiling, Grant, Taken

_SLICE_OF = 8  # such requests, or what was drawn in the last second, is wanted in advance


class Draw:
    """What was drawn for one request.  The store has to grant what it still `wants`."""

    __slots__ = ("epoch", "lacks", "parts", "wants")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.parts: list[Part] = []
        self.lacks: list[Part] = []  # for each want, the part that it is for
        self.wants: list[Want] = []


class Part:
    """An amount of one ceiling.  In a sliding minute it leaves at the tick `at`."""

    __slots__ = ("amount", "at", "ceiling", "lack", "pocket")

    def __init__(self, ceiling: Ceiling, pocket: Pocket, amount: int, lack: int, at: int) -> None:
        self.ceiling = ceiling
        self.pocket = pocket
        self.amount = amount
        self.lack = lack
        self.at = at


class Pocket:
    """What the worker has of one counter."""

    __slots__ = (
        "before",
        "ceiling",
        "drawn",
        "held",
        "in_use",
        "is_tight",
        "pending",
        "slices",
        "used",
    )

    def __init__(self) -> None:
        self.held = 0  # of a holding: granted, and neither given back nor settled
        self.in_use = 0  # of it, by requests that run or wait for the store
        self.pending = 0  # asked of the store
        self.slices: list[list[float]] = []  # of a sliding minute: left, tick of leaving, end of use
        self.drawn = self.before = 0  # since the last tidying, and in the time before
        self.used = 0  # by all workers, as the store said last
        self.ceiling: Ceiling | None = None
        self.is_tight = False  # the ceiling is near: nothing is kept in advance

    @property
    def free(self) -> int:
        return self.held + self.pending - self.in_use

    @property
    def remaining(self) -> int:
        """What is left of the ceiling, as far as this worker knows."""
        ahead = sum(int(left) for left, _, _ in self.slices) if self.slices else self.free
        most = 0 if self.ceiling is None else self.ceiling.most
        return max(0, most - self.used + max(0, ahead))


class Purse:
    """All pockets of one worker."""

    def __init__(self) -> None:
        self.is_urgent = False  # something that others may wait for is to go back
        self._epoch = 0
        self._ahead = 0  # ticks that the store's clock is ahead of this worker's
        self._pockets: dict[str, Pocket] = {}
        self._changes: dict[tuple[str, int], int] = {}

    def draw(self, amounts: Sequence[tuple[Ceiling, int]], now: float) -> Draw:
        """Takes the amounts from the purse.  What the result still wants, the store must grant."""
        draw = Draw(self._epoch)
        leaving = leaves(now) + self._ahead
        for ceiling, amount in amounts:
            pocket = self._pockets.get(ceiling.counter)
            if pocket is None:
                pocket = self._pockets[ceiling.counter] = Pocket()
            pocket.ceiling = ceiling
            pocket.drawn += amount
            at = 0
            if ceiling.kind.slides:
                at = leaving
                lack = self._from_slices(ceiling.counter, pocket, amount, at, now)
            else:
                lack = min(amount, max(0, amount - pocket.free))
                pocket.in_use += amount
                pocket.pending += lack
            part = Part(ceiling, pocket, amount, lack, at)
            draw.parts.append(part)
            if lack:
                ahead = max(_SLICE_OF * amount, pocket.drawn, pocket.before)
                draw.lacks.append(part)
                draw.wants.append(Want(ceiling, lack, ahead))
        return draw

    def _from_slices(self, counter: str, pocket: Pocket, amount: int, at: int, now: float) -> int:
        """Uses what was taken in advance; returns what is lacking."""
        for piece in pocket.slices:
            left, leaving, end = piece
            if amount and left and now < end:
                part = min(amount, int(left))
                piece[0] -= part
                amount -= part
                self._change(counter, -part, int(leaving))
                self._change(counter, part, at)
        return amount

    def granted(self, draw: Draw, taken: Taken, now: float) -> None:
        """The store granted all that the draw wanted, as it was asked at `now`."""
        if draw.epoch != self._epoch:
            return
        for part, grant in zip(draw.lacks, taken.grants, strict=True):
            pocket = part.pocket
            pocket.used, pocket.is_tight = grant.used, not grant.extra
            if part.ceiling.kind.slides:
                self._take_slice(part, grant, now)
            else:
                pocket.pending -= part.lack
                pocket.held += grant.amount + grant.extra
        draw.wants = []
        draw.lacks = []

    def _take_slice(self, part: Part, grant: Grant, now: float) -> None:
        if grant.at != part.at:  # the store has a clock of its own
            self._ahead = grant.at - leaves(now)
            counter, own = part.ceiling.counter, part.amount - part.lack
            self._change(counter, -own, part.at)
            self._change(counter, own, grant.at)
            part.at = grant.at
        if grant.extra:
            part.pocket.slices.append([grant.extra, grant.extra_at, now + SLICE])

    def refused(self, draw: Draw) -> None:
        """The store granted nothing, or was not there: the draw is undone."""
        if draw.epoch != self._epoch:
            return
        for part in draw.parts:
            if part.ceiling.kind.slides:
                self._change(part.ceiling.counter, part.lack - part.amount, part.at)
            else:
                part.pocket.in_use -= part.amount
                part.pocket.pending -= part.lack if part in draw.lacks else 0
                self._give_back_if_tight(part.ceiling.counter, part.pocket)
        draw.wants = []
        draw.lacks = []

    def ended(
        self,
        draws: Sequence[Draw],
        charges: Mapping[str, int],
        tokens: Mapping[str, int],
        now: float,
    ) -> None:
        """The request of these draws has ended: what it costs each counter, and used of each.

        The store takes the charges from what the worker holds when the settled row arrives.
        """
        open_charges, open_tokens = dict(charges), dict(tokens)
        for draw in draws:
            if draw.epoch != self._epoch:
                continue
            for part in draw.parts:
                pocket, counter = part.pocket, part.ceiling.counter
                if part.ceiling.kind is Counting.TOKENS:
                    more = open_tokens.pop(counter, 0) - part.amount
                    self._change(counter, more, part.at if more < 0 else leaves(now) + self._ahead)
                elif not part.ceiling.kind.slides:
                    pocket.in_use -= part.amount
                    pocket.held = max(0, pocket.held - open_charges.pop(counter, 0))
        for draw in draws:
            if draw.epoch == self._epoch:
                for part in draw.parts:
                    if not part.ceiling.kind.slides:
                        self._give_back_if_tight(part.ceiling.counter, part.pocket)

    def _give_back_if_tight(self, counter: str, pocket: Pocket) -> None:
        if pocket.is_tight and pocket.held > pocket.in_use:
            self._give_back(counter, pocket)
            self.is_urgent = True

    def _give_back(self, counter: str, pocket: Pocket) -> None:
        spare = pocket.held - max(0, pocket.in_use)
        if spare > 0:
            pocket.held -= spare
            self._change(counter, -spare, 0)

    def tidy(self, now: float) -> None:
        """To be called about once a second: gives back what nobody has used since the last time."""
        for counter, pocket in list(self._pockets.items()):
            for left, leaving, end in pocket.slices:
                if left and now >= end:
                    self._change(counter, -int(left), int(leaving))
            pocket.slices = [piece for piece in pocket.slices if piece[0] and now < piece[2]]
            if not pocket.drawn and not pocket.pending:
                self._give_back(counter, pocket)
                if not pocket.slices and not pocket.held and not pocket.in_use:
                    del self._pockets[counter]
            pocket.before, pocket.drawn = pocket.drawn, 0

    @property
    def has_changes(self) -> bool:
        """Whether the store is to be told anything."""
        return bool(self._changes)

    def changes(self) -> tuple[Change, ...]:
        """What the store is to be told; it is handed out once."""
        told = tuple(Change(counter, n, at) for (counter, at), n in self._changes.items() if n)
        self._changes = {}
        self.is_urgent = False
        return told

    def reset(self) -> None:
        """The lease has ended, and with it all that was held: what runs is drawn from nothing."""
        self._epoch += 1
        self._pockets = {}
        self.changes()

    def known(self) -> list[tuple[Ceiling, int]]:
        """Each ceiling that was drawn of lately, with what is left of it."""
        return [(p.ceiling, p.remaining) for p in self._pockets.values() if p.ceiling is not None]

    def pocket(self, counter: str) -> Pocket | None:
        """What the worker has and knows of a counter."""
        return self._pockets.get(counter)

    def _change(self, counter: str, amount: int, at: int) -> None:
        if amount:
            key = counter, at
            self._changes[key] = self._changes.get(key, 0) + amount

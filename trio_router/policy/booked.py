"""What the relay's record of a request tells this room; see `observe/record.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_router.dialects.usage import Usage


class BookedTry(Protocol):
    """See `Try`."""

    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def ended_at(self) -> float | None: ...
    @property
    def outcome(self) -> str | None: ...
    @property
    def error(self) -> str | None: ...
    @property
    def used(self) -> Usage | None: ...
    @property
    def cost(self) -> int | None: ...
    @property
    def price_source(self) -> str: ...


class Booked(Protocol):
    """See `RequestRecord`."""

    @property
    def tries(self) -> Sequence[BookedTry]: ...
    @property
    def outcome(self) -> str | None: ...
    @property
    def status(self) -> int: ...
    @property
    def is_estimated(self) -> bool: ...
    @property
    def chunks(self) -> int: ...
    @property
    def is_unpriced(self) -> bool: ...

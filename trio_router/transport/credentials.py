"""Credentials that change while the router runs: fetched tokens, and signatures of each request.

A provider with a key of its own has no `Credentials`: its key stands in the prepared heads of its
requests, and costs them nothing.  All others have a `Credentials`, which holds an `Authority`: what was
fetched last, and is valid.  An authority gives the header lines of a request, which are the same for
each (`BearerToken`) or a signature of it.

How an authority is renewed.  Requests that find it near its end begin a fetch and go on with what they
have; one task fetches, however many ask.  Only a request that finds nothing valid waits, for as long as
it may.  A fetch that takes too long is given up, and one that failed is not repeated at once.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, NamedTuple, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import httpx

    Source = Callable[[], Awaitable["Lease"]]

logger = logging.getLogger("trio_router")
_AHEAD = 300.0  # s before its end that an authority is renewed; a quarter of a short life
_PATIENCE = 30.0  # s that a fetch may take
_WAIT = 10.0  # s that a request waits for it, if its provider sets no limit
_FIRST_REST, _LONGEST_REST = 1.0, 30.0  # s after a failure until the source is asked again
_THREADS = 2  # of one source: one may hang while the next one answers


class CredentialsError(Exception):
    """No valid credentials could be had.  The message says why, and holds no secret."""


class Authority(Protocol):
    """Valid credentials, as one fetch has brought them."""

    signs: bool  # the lines depend on the request, whose whole body is read for them

    @property
    def secrets(self) -> Mapping[str, str]:
        """What must not be told, by the headers that tell it to the provider."""
        ...

    def lines(self, method: str, url: httpx.URL, body: bytes) -> bytes:
        """The header lines that a request is sent with."""
        ...

    def corrected(self, date: str) -> bool:
        """Whether a refusal was the clock's fault, which is mended; `date` is the answer's own."""
        ...


class Lease(NamedTuple):
    """An authority, and the seconds that it is valid from now on; None: it has no end."""

    authority: Authority
    seconds: float | None


class BearerToken(Authority):
    """A token that each request is sent with, and perhaps `more` header lines.

    Raises CredentialsError for what is no token.
    """

    signs = False

    def __init__(
        self, token: str, header: str = "authorization", scheme: str = "Bearer ", more: str = ""
    ) -> None:
        if not token or not token.isascii() or any(c <= " " or c == "\x7f" for c in token):
            raise CredentialsError("what was fetched is no token")
        self._secrets = {header: token}
        self._lines = f"{header}: {scheme}{token}\r\n{more}".encode()

    @property
    def secrets(self) -> Mapping[str, str]:
        return self._secrets

    def lines(self, method: str, url: httpx.URL, body: bytes) -> bytes:
        return self._lines

    def corrected(self, date: str) -> bool:
        return False


class Renewals:
    """Where the fetches of all sources run: in tasks of `run`, which outlive the requests that ask."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs fetches until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def start(self, fetch: Callable[[], Awaitable[None]]) -> bool:
        """Runs `fetch` in a task; False if nothing runs."""
        if self._nursery is None:
            return False
        self._nursery.start_soon(fetch)
        return True


class Credentials:
    """The changing credentials of one provider, which `source` fetches.

    `source` raises CredentialsError; what else it raises is told by its kind alone, for its words may
    hold secrets.  `told` is called with the result of each fetch, "renewed" or "failed".
    """

    def __init__(
        self, name: str, source: Source, renewals: Renewals, told: Callable[[str], None]
    ) -> None:
        self._name = name
        self._source = source
        self._renewals = renewals
        self._told = told
        self._authority: Authority | None = None
        self._before: Authority | None = None  # the one before it: requests may still be under way
        self._fetched_at = -math.inf
        self._renew_at = self._end = -math.inf
        self._coming: trio.Event | None = None  # there while a fetch runs
        self._failure = ""
        self._rest = _FIRST_REST
        self._rested_at = -math.inf  # no fetch before

    def secrets(self) -> list[Mapping[str, str]]:
        """The secrets of what is held and of what was held before it."""
        return [one.secrets for one in (self._authority, self._before) if one is not None]

    def held(self) -> Authority | None:
        """What is valid now, if there is anything.  Never waits; begins a renewal when it is due."""
        now = trio.current_time()
        if now < self._renew_at:
            return self._authority
        self._begin(now)
        return self._authority if now < self._end else None

    async def wait(self, limit: float | None) -> Authority:
        """What is valid; waits for it at most `limit` seconds.

        Raises CredentialsError.  On cancel the fetch goes on, for others.
        """
        if (held := self.held()) is not None:
            return held
        limit = _WAIT if limit is None else limit
        with trio.move_on_after(limit):
            while self._coming is not None:
                await self._coming.wait()
                if (held := self.held()) is not None:
                    return held
            raise CredentialsError(self._failure or "its credentials cannot be fetched now")
        raise CredentialsError(f"its credentials did not come within {limit:g} s")

    def refused(self, authority: Authority, date: str) -> bool:
        """The provider has refused `authority`.  Returns whether a second try may be accepted.

        That is so if the clock was wrong (`date` is the answer's), if another authority is held by now,
        or if this one is old enough to have been withdrawn: then it is fetched anew.
        """
        if authority.corrected(date):
            return True
        if self._authority is not authority:
            return True
        if trio.current_time() - self._fetched_at < _LONGEST_REST:
            return False
        self._renew_at = self._end = -math.inf
        return True

    def _begin(self, now: float) -> None:
        if self._coming is None and now >= self._rested_at:
            coming = trio.Event()
            self._coming = coming
            if not self._renewals.start(self._fetch):
                self._coming = None
                self._failure = "the router does not run"

    async def _fetch(self) -> None:
        try:
            failure = await self._fetched()
            if failure:
                self._failed(failure)
        finally:
            coming, self._coming = self._coming, None
            if coming is not None:
                coming.set()
        self._told("failed" if failure else "renewed")

    async def _fetched(self) -> str:
        """Takes what the source gives.  Returns what went wrong; empty if nothing did."""
        try:
            with trio.move_on_after(_PATIENCE):
                self._take(await self._source())
                return ""
        except CredentialsError as fault:
            return str(fault)
        except Exception as fault:
            return f"its credentials could not be fetched ({type(fault).__name__})"
        return f"its credentials did not come within {_PATIENCE:g} s"

    def _take(self, lease: Lease) -> None:
        now = trio.current_time()
        seconds = math.inf if lease.seconds is None else lease.seconds
        if seconds <= 0:
            raise CredentialsError("its credentials have expired")
        if lease.authority is not self._authority:
            self._before, self._authority = self._authority, lease.authority
        self._fetched_at = now
        self._end = now + seconds
        self._renew_at = now + max(seconds - _AHEAD, seconds * 0.75)
        self._failure, self._rest, self._rested_at = "", _FIRST_REST, -math.inf

    def _failed(self, failure: str) -> None:
        self._failure = failure
        self._rested_at = trio.current_time() + self._rest
        self._rest = min(self._rest * 2, _LONGEST_REST)
        fields = {"provider": self._name, "reason": failure}
        logger.warning("credentials could not be renewed", extra={"fields": fields})


def in_threads(fetch: Callable[[], Lease]) -> Source:
    """The source that runs `fetch`, which blocks, in a thread.

    A fetch that is given up is left behind in its thread; there are two of them at most.
    """
    limiter = trio.CapacityLimiter(_THREADS)

    async def source() -> Lease:
        return await trio.to_thread.run_sync(fetch, abandon_on_cancel=True, limiter=limiter)

    return source

"""Keys and teams: what they may ask for, how often, and for how much money."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX = "tr-"
KEY_BYTES = 32  # 256 bits, so a plain hash of a key says nothing about it

Mode = Literal["strict", "adaptive", "soft"]
Per = Literal["day", "week", "month", "total"]


class Limits(msgspec.Struct, frozen=True):
    """How much at a time; None is without limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    parallel: int | None = None


class MoneyBudget(msgspec.Struct, frozen=True):
    """`nanos` nano-dollars for each window of `per`, which begins at midnight in `timezone`.

    `grace` is how many seconds a stream may go on for which no more money is granted.
    """

    nanos: int
    per: Per = "month"
    mode: Mode = "adaptive"
    timezone: str = "UTC"
    grace: float = 0


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What keys and teams have in common.  `models` are patterns; without any, every model may be
    asked.

    `model_limits` are limits of this account on the models that a pattern matches, for each model.
    """

    name: str = ""
    models: tuple[str, ...] = ()
    limits: Limits = Limits()
    model_limits: dict[str, Limits] = {}
    budgets: tuple[MoneyBudget, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    created_at: float = 0

    def may_ask(self, model: str) -> bool:
        """Whether `model`, as a client names it, is one of those that the account may ask."""
        return not self.models or matches(self.models, model)


class Team(Account, frozen=True, kw_only=True):
    """A team; keys name it."""

    id: str


class Key(Account, frozen=True, kw_only=True):
    """A key, without the key itself: only its hash is kept.  `id` is what rows and logs call it.

    After a rotation the hash before is valid until `old_until`.  Times are in Unix seconds.
    """

    id: str
    hash: str
    team: str | None = None
    expires_at: float | None = None
    revoked_at: float | None = None
    old_hash: str | None = None
    old_until: float = 0
    is_of_file: bool = False  # the configuration has it, so nobody can change it at run time

    def fault(self, given: str, now: float) -> str | None:
        """Why the key whose hash is `given` is not valid at `now`; None if it is."""
        if self.revoked_at is not None and self.revoked_at <= now:
            return "the API key was revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "the API key has expired"
        if given != self.hash and not (given == self.old_hash and now < self.old_until):
            return "the API key was rotated: use the new one"
        return None

    def rotated(self, new_hash: str, now: float, overlap: float) -> Key:
        """The same key with another secret; the one before is valid for `overlap` more seconds."""
        return msgspec.structs.replace(self, hash=new_hash, old_hash=self.hash, old_until=now + overlap)

    def revoked(self, now: float) -> Key:
        """The same key, of no more use; the first time stays."""
        if self.revoked_at is not None and self.revoked_at <= now:
            return self
        return msgspec.structs.replace(self, revoked_at=now)


def new_secret(token: bytes) -> str:
    """A new key from 32 random bytes.  It is shown once and kept nowhere."""
    if len(token) != KEY_BYTES:
        raise ValueError(f"a key is made of {KEY_BYTES} random bytes")
    return PREFIX + urlsafe_b64encode(token).decode().rstrip("=")


def hash_of(secret: str) -> str:
    """The hash by which a key is found."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def matches(patterns: Iterable[str], name: str) -> bool:
    """Whether one of the patterns, in which a star stands for any text, matches `name`."""
    return any(_matches(pattern, name) for pattern in patterns)


def _matches(pattern: str, name: str) -> bool:
    first, *parts = pattern.split("*")
    if not parts:
        return pattern == name
    if not name.startswith(first):
        return False
    place, last = len(first), parts.pop()
    for part in parts:
        place = name.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return len(name) - len(last) >= place and name.endswith(last)

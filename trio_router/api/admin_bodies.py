"""What administrators send: the bodies of requests, checked and turned into keys and teams.  Pure."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from trio_router.errors import InvalidRequest, RequestTooLarge
from trio_router.ledger.accounts import Key, Limits, Mode, MoneyBudget, Per, Team
from trio_router.ledger.windows import zone_of
from trio_router.money import of_dollars

if TYPE_CHECKING:
    from collections.abc import Iterable

LARGEST = 1 << 16  # bytes of a body
MOST_DOLLARS = 1_000_000_000  # of one budget: as nano-dollars they fit in 64 bits
LONGEST_OVERLAP = 30 * 86400  # s
_PLACE = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")
_LEAST = Decimal("1e-9")  # dollars: a nano-dollar
_NOT_YET = 253_402_300_800  # Unix time of the year 10,000, which no date can say

B = TypeVar("B")
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Text = Annotated[str, Meta(max_length=200)]
Long = Annotated[str, Meta(max_length=1000)]
Pattern = Annotated[str, Meta(min_length=1, max_length=200)]
Patterns = Annotated[tuple[Pattern, ...], Meta(max_length=100)]
Amount = Annotated[int, Meta(ge=1, le=1 << 53)]
Aware = Annotated[datetime, Meta(tz=True)]
Seconds = Annotated[float, Meta(gt=0, lt=_NOT_YET)]


class LimitsBody(Struct, forbid_unknown_fields=True):
    """How much at a time; null is without limit."""

    requests_per_minute: Amount | None = None
    tokens_per_minute: Amount | None = None
    parallel: Amount | None = None

    def limits(self) -> Limits:
        return Limits(self.requests_per_minute, self.tokens_per_minute, self.parallel)


class BudgetBody(Struct, forbid_unknown_fields=True):
    """`usd` US dollars for each window of `per`, which begins at midnight in `timezone`."""

    usd: Decimal
    per: Per = "month"
    mode: Mode = "adaptive"
    timezone: Annotated[str, Meta(max_length=64)] = "UTC"
    grace: Annotated[float, Meta(ge=0, le=3600)] = 0

    def budget(self, place: str) -> MoneyBudget:
        """Raises InvalidRequest, naming `place`."""
        if not self.usd.is_finite() or not _LEAST <= self.usd <= MOST_DOLLARS:
            raise wrong(f"{place}.usd", f"must be dollars, above zero, at most {MOST_DOLLARS:,}")
        try:
            zone_of(self.timezone)
        except ValueError as fault:
            raise wrong(f"{place}.timezone", str(fault)) from None
        return MoneyBudget(of_dollars(self.usd), self.per, self.mode, self.timezone, self.grace)


class TeamBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """What a team may have.  Fields that are left out stay as they are; null is the default."""

    name: Text | UnsetType | None = UNSET
    models: Patterns | UnsetType | None = UNSET
    limits: LimitsBody | UnsetType | None = UNSET
    model_limits: Annotated[dict[Pattern, LimitsBody], Meta(max_length=100)] | UnsetType | None = UNSET
    budgets: Annotated[list[BudgetBody], Meta(max_length=16)] | UnsetType | None = UNSET
    tags: Annotated[tuple[Text, ...], Meta(max_length=32)] | UnsetType | None = UNSET
    metadata: Annotated[dict[Text, Long], Meta(max_length=32)] | UnsetType | None = UNSET


class KeyBody(TeamBody, forbid_unknown_fields=True, kw_only=True):
    """`expires_at` is a time in Unix seconds or RFC 3339; `expires_in` are seconds from now."""

    team: Text | UnsetType | None = UNSET
    expires_at: Seconds | Aware | UnsetType | None = UNSET
    expires_in: Seconds | UnsetType | None = UNSET


class NewTeamBody(TeamBody, forbid_unknown_fields=True, kw_only=True):
    id: Id


class NewKeyBody(KeyBody, forbid_unknown_fields=True, kw_only=True):
    """`id` is made up if it is left out."""

    id: Id | None = None


class RotateBody(Struct, forbid_unknown_fields=True):
    """`overlap` is for how many seconds the key before stays valid."""

    overlap: Annotated[float, Meta(ge=0, le=LONGEST_OVERLAP)] = 3600


def wrong(param: str, what: str) -> InvalidRequest:
    """The error that the field `param` is wrong: `what` says why."""
    return InvalidRequest(f"{param}: {what}", param=param)


def understood(data: bytes | bytearray, kind: type[B]) -> B:
    """The body as `kind`; an empty one is `{}`.  Raises InvalidRequest."""
    if len(data) > LARGEST:
        raise RequestTooLarge(f"at most {LARGEST:,} bytes are taken here")
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except msgspec.ValidationError as fault:
        raise _misfit(str(fault)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest("the request's body is not JSON", code="invalid_json") from None


def _misfit(fault: str) -> InvalidRequest:
    """msgspec's complaint, with its place first."""
    found = _PLACE.search(fault)
    what = fault if found is None else fault[: found.start()]
    place = found[1] if found else ""
    said = f"{what[:1].lower()}{what[1:]}".replace("`", "")
    return wrong(place, said) if place else InvalidRequest(f"the request's body: {said}")


def team_of(body: TeamBody, before: Team) -> Team:
    """`before` with what `body` sets.  Raises InvalidRequest."""
    return msgspec.structs.replace(before, **_changes(body))


def key_of(body: KeyBody, before: Key, now: float) -> Key:
    """`before` with what `body` sets at the Unix time `now`.  Raises InvalidRequest."""
    changes = _changes(body)
    if body.team is not UNSET:
        changes["team"] = body.team or None
    if body.expires_at is not UNSET and body.expires_in is not UNSET:
        raise wrong("expires_in", "stands beside expires_at: give one of the two")
    if body.expires_at is not UNSET:
        at = body.expires_at
        changes["expires_at"] = at if isinstance(at, float | None) else at.timestamp()
    elif body.expires_in is not UNSET:
        changes["expires_at"] = None if body.expires_in is None else now + body.expires_in
    if (changes.get("expires_at") or now + 1) <= now:
        raise wrong("expires_at", "is past already; to end a key, revoke it")
    return msgspec.structs.replace(before, **changes)


def changed(body: TeamBody) -> str:
    """The names of the fields that a body sets, for the audit log."""
    names = (name for name in body.__struct_fields__ if name != "id")
    return ", ".join(name for name in names if getattr(body, name) is not UNSET)


def _changes(body: TeamBody) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for name, nothing in (("name", ""), ("models", ()), ("tags", ()), ("metadata", {})):
        value = getattr(body, name)
        if value is not UNSET:
            changes[name] = nothing if value is None else value
    _refuse_unprintable(changes)
    if body.limits is not UNSET:
        changes["limits"] = Limits() if body.limits is None else body.limits.limits()
    if body.model_limits is not UNSET:
        limits = body.model_limits or {}
        changes["model_limits"] = {pattern: one.limits() for pattern, one in limits.items()}
    if body.budgets is not UNSET:
        changes["budgets"] = _budgets(body.budgets or ())
    return changes


def _budgets(bodies: Iterable[BudgetBody]) -> tuple[MoneyBudget, ...]:
    """Raises InvalidRequest."""
    return tuple(body.budget(f"budgets[{place}]") for place, body in enumerate(bodies))


def _refuse_unprintable(changes: dict[str, Any]) -> None:
    """What is shown in logs and terminals must not steer them."""
    texts = [("name", changes.get("name", ""))]
    texts += [(name, text) for name in ("models", "tags") for text in changes.get(name, ())]
    texts += [("metadata", text) for pair in changes.get("metadata", {}).items() for text in pair]
    for name, text in texts:
        if not text.isprintable():
            raise wrong(name, "holds a character that cannot be printed")

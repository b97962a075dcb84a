"""Keys, teams, their limits and budgets, and where they are counted, as the configuration says it."""

from __future__ import annotations

import difflib
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal  # noqa: TC003 - pydantic reads it
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator

from trio_router.config.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    Complaint = tuple[tuple[str | int, ...], str]

_MOST_TOKENS = 10**15  # a sum of them stays below what databases count


def _is_number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _is_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}; they are named as Europe/Berlin") from None
    return name


Count = Annotated[int, BeforeValidator(_is_number), Field(ge=1, le=_MOST_TOKENS)]


class LimitsConfig(Section):
    """How much at a time; absent is without limit."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    parallel: Count | None = None


NO_LIMITS = LimitsConfig()


class BudgetConfig(Section):
    """`usd` US dollars for each day, week (from Monday on), month, or in total."""

    usd: Annotated[
        Decimal,
        BeforeValidator(_is_number),
        Field(gt=0, le=1_000_000_000, decimal_places=9, allow_inf_nan=False),
    ]
    per: Literal["day", "week", "month", "total"] = "month"
    mode: Literal["strict", "adaptive", "soft"] = "adaptive"
    timezone: Annotated[str, AfterValidator(_is_zone)] = "UTC"  # whose midnight begins a window
    # s that a running stream may go on when nothing is left
    grace: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 0


class AccountConfig(Section):
    """What keys and teams have in common.  `models` may hold patterns: `deepseek/*`."""

    models: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    # for each model that a pattern matches
    model_limits: dict[Annotated[str, Field(min_length=1)], LimitsConfig] = Field(default_factory=dict)
    budgets: tuple[BudgetConfig, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def is_counted(self) -> bool:
        """Whether a store has to count anything for it."""
        return bool(self.budgets or self.model_limits) or self.limits != NO_LIMITS


class TeamConfig(AccountConfig):
    pass


class BearerKey(Section):
    """A key.  `name` is what the log calls it; the key itself is never printed."""

    name: str = ""
    key: SecretStr

    @field_validator("key")
    @classmethod
    def _not_empty(cls, key: SecretStr) -> SecretStr:
        if not key.get_secret_value().strip():
            raise ValueError("the key is empty")
        return key


class ClientKey(BearerKey, AccountConfig):
    team: str | None = None
    expires: datetime | None = None  # a date ends the key as its day begins, in UTC

    @field_validator("expires", mode="before")
    @classmethod
    def _is_date(cls, value: Any) -> Any:
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time())
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if value is None or isinstance(value, str):
            return value
        raise ValueError("must be a date or a time, such as 2027-01-31")

    @field_validator("expires")
    @classmethod
    def _has_zone(cls, value: datetime | None) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


_URL = re.compile(r"memory:|sqlite:.+|postgres(ql)?://.+")
_COUNTERS = re.compile(r"(redis|rediss|valkey|unix)://.+")


class StoreConfig(Section):
    """Where counters, rows and run-time keys are kept."""

    url: SecretStr = SecretStr("sqlite:trio-router.db")
    counters: SecretStr | None = None  # redis://...: several machines count as one
    when_down: Literal["refuse", "allow"] = "refuse"

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: SecretStr) -> SecretStr:
        if not _URL.fullmatch(url.get_secret_value()):
            raise ValueError("must be memory:, sqlite:PATH or postgresql://...")
        return url

    @field_validator("counters")
    @classmethod
    def _is_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not _COUNTERS.fullmatch(url.get_secret_value()):
            raise ValueError("must be a redis:// or valkey:// URL")
        return url


def account_complaints(config: dict[str, Any]) -> Iterator[Complaint]:
    """Complaints about keys of teams that there are not, and about keys with one name."""
    teams = _mapping(config.get("teams"))
    given = _mapping(config.get("auth")).get("keys")
    keys = given if isinstance(given, list) else []
    names: dict[str, int] = {}
    for number, key in enumerate(keys):
        place = ("auth", "keys", number)
        team, name = _mapping(key).get("team"), _mapping(key).get("name")
        if isinstance(team, str) and team not in teams:
            near = difflib.get_close_matches(team, map(str, teams), n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield (*place, "team"), f"there is no team {team}{hint}"
        if isinstance(name, str) and name:
            first = names.setdefault(name, number)
            if _settings(key) != _settings(keys[first]):
                yield (*place, "name"), f"key {first + 1} is called {name} too, and may do other things"
    if _mapping(config.get("server")).get("workers", 1) not in (1, None) and _is_memory(config):
        what = "memory: is of one process, and there are several workers: each would count for itself"
        yield ("store", "url"), what


def _settings(key: Any) -> dict[str, Any]:
    """What a key may do: two keys of one name, as while one replaces the other, may do the same."""
    return {name: value for name, value in key.items() if name not in ("key", "expires")}


def _is_memory(config: dict[str, Any]) -> bool:
    return _mapping(config.get("store")).get("url") == "memory:"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

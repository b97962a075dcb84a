"""The differences between two configurations, in words.  Pure; it never shows a secret."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from trio_router.config.accounts import BearerKey
    from trio_router.config.schema import Config

# What takes effect only when the process starts.
NEED_RESTART = (
    "server.host",
    "server.port",
    "server.workers",
    "server.metrics.host",
    "server.metrics.port",
    "store",
)
_NAMED = {"providers": "provider", "routes": "route", "teams": "team"}
_KEYS = {"keys": "key", "admin_keys": "admin key"}


def changes(before: Config, after: Config) -> list[str]:
    """One line for each change: `+ provider groq`, `~ route fast: targets`, `- key web`.

    In the order of the configuration's sections; in a section what was there before comes first, in
    its own order, then what is new.  Two configurations that differ have at least one line.
    """
    return [*_changes(before, after)]


def needs_restart(started: Config, after: Config, fixed: Container[str] = ()) -> list[str]:
    """The settings that have to wait for a restart, as `server.port`.

    `started` is what the process was started with.  Settings in `fixed` were given on the command line:
    the configuration's value does not count.
    """
    changed = (n for n in NEED_RESTART if attrgetter(n)(started) != attrgetter(n)(after))
    return [name for name in changed if name not in fixed]


def _changes(before: Config, after: Config) -> Iterator[str]:
    for section in type(after).model_fields:
        one, other = getattr(before, section), getattr(after, section)
        if section in _NAMED:
            yield from _of_mapping(_NAMED[section], one, other)
        elif section == "auth":
            for field, word in _KEYS.items():
                yield from _of_keys(word, getattr(one, field), getattr(other, field))
            if rest := [name for name in _fields(one, other) if name not in _KEYS]:
                yield f"~ auth: {', '.join(rest)}"
        elif one != other:
            yield f"~ {section}: {', '.join(_fields(one, other))}"


def _of_mapping(word: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in [*before, *(name for name in after if name not in before)]:
        if name not in after:
            yield f"- {word} {name}"
        elif name not in before:
            yield f"+ {word} {name}"
        elif before[name] != after[name]:
            yield f"~ {word} {name}: {', '.join(_fields(before[name], after[name]))}"


def _of_keys(word: str, before: Sequence[BearerKey], after: Sequence[BearerKey]) -> Iterator[str]:
    if before == after:
        return
    old, new = _by_identity(before), _by_identity(after)
    lines = []
    for identity, (label, key) in old.items():
        if identity not in new:
            lines.append(f"- {word} {label}")
        elif new[identity][1] != key:
            lines.append(f"~ {word} {label}")
    lines += [f"+ {word} {label}" for identity, (label, _) in new.items() if identity not in old]
    yield from lines or [f"~ {word}s: order"]


def _by_identity(keys: Sequence[BearerKey]) -> dict[Any, tuple[str, BearerKey]]:
    """Each key with the name that the log calls it by; keys of one name are told apart by their place
    among themselves, keys without a name by what they are."""
    found: dict[Any, tuple[str, BearerKey]] = {}
    for number, key in enumerate(keys, 1):
        what = key.name or key.key
        place = 0
        while (what, place) in found:
            place += 1
        found[what, place] = key.name or f"number {number}", key
    return found


def _fields(one: Any, other: Any) -> list[str]:
    if isinstance(one, BaseModel) and type(one) is type(other):
        return [n for n in type(one).model_fields if getattr(one, n) != getattr(other, n)]
    return ["value"]

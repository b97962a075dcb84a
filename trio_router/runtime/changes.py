"""The differences between two configurations, in words.  Pure; it never shows a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trio_router.config.schema import ClientKey, Config

NEED_RESTART = ("host", "port", "workers")  # of `server`
_NAMED = {"providers": "provider", "routes": "route"}
_KEYS = {"keys": "key", "admin_keys": "admin key"}


def changes(before: Config, after: Config) -> list[str]:
    """One line for each change: `+ provider groq`, `~ route fast: targets`, `- key web`."""
    return [*_changes(before, after)]


def needs_restart(before: Config, after: Config) -> list[str]:
    """The changed settings that take effect only when the process starts, as `server.port`."""
    one, other = before.server, after.server
    return [f"server.{name}" for name in NEED_RESTART if getattr(one, name) != getattr(other, name)]


def _changes(before: Config, after: Config) -> Iterator[str]:
    for section in type(after).model_fields:
        one, other = getattr(before, section), getattr(after, section)
        if one == other:
            continue
        if section in _NAMED:
            yield from _of_mapping(_NAMED[section], one, other)
        elif section == "auth":
            for field, word in _KEYS.items():
                yield from _of_mapping(
                    word, _by_name(getattr(one, field)), _by_name(getattr(other, field))
                )
            rest = [name for name in _fields(one, other) if name not in _KEYS]
            if rest:
                yield f"~ auth: {', '.join(rest)}"
        else:
            yield f"~ {section}: {', '.join(_fields(one, other))}"


def _of_mapping(word: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in [*before, *(name for name in after if name not in before)]:
        if name not in after:
            yield f"- {word} {name}"
        elif name not in before:
            yield f"+ {word} {name}"
        elif before[name] != after[name]:
            fields = ", ".join(_fields(before[name], after[name]))
            # The only thing that can change about a key is the key, which is not shown.
            yield f"~ {word} {name}" if word in _KEYS.values() else f"~ {word} {name}: {fields}"


def _fields(one: Any, other: Any) -> list[str]:
    if isinstance(one, BaseModel) and type(one) is type(other):
        return [n for n in type(one).model_fields if getattr(one, n) != getattr(other, n)]
    return ["value"]


def _by_name(keys: tuple[ClientKey, ...]) -> dict[str, ClientKey]:
    return {key.name or f"number {number}": key for number, key in enumerate(keys, 1)}

"""Names with a star: routes that stand for many names, and the targets that the star goes to.

The star of `claude-*` stands for any text, slashes and the empty text included.  The most specific name
wins: an exact one, then the pattern with the longest text beside its star, then the longest beginning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Complaint = tuple[tuple[str | int, ...], str]

STAR = "*"
DEFAULT = "default"  # the route of all names that nothing else has


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text with one star: what stands before it, and what stands after it."""

    before: str
    after: str

    @classmethod
    def of(cls, text: str) -> Pattern | None:
        """None for a text without a star, or with more than one."""
        before, star, after = text.partition(STAR)
        return cls(before, after) if star and STAR not in after else None

    def star(self, name: str) -> str | None:
        """What the star stands for in `name`; None if the pattern does not match it."""
        end = len(name) - len(self.after)
        if end < len(self.before) or not name.startswith(self.before) or not name.endswith(self.after):
            return None
        return name[len(self.before) : end]

    def filled(self, star: str) -> str:
        return f"{self.before}{star}{self.after}"

    @property
    def specificity(self) -> tuple[int, int]:
        """The more specific of two patterns has the larger one.

        Of two patterns that match one name it is never the same.
        """
        return len(self.before) + len(self.after), len(self.before)

    def meets(self, other: Pattern) -> Pattern | None:
        """The pattern of the names that both match; None if there are none."""
        before, beginning = sorted((self.before, other.before), key=len, reverse=True)
        after, ending = sorted((self.after, other.after), key=len, reverse=True)
        if before.startswith(beginning) and after.endswith(ending):
            return Pattern(before, after)
        return None


def name_complaints(routes: Iterable[str]) -> Iterator[Complaint]:
    """Complaints about the names of routes, as far as they have stars."""
    names = [name for name in routes if STAR in name]
    patterns = {name: found for name in names if (found := Pattern.of(name))}
    for number, name in enumerate(names):
        pattern = patterns.get(name)
        if pattern is None:
            yield ("routes", name), "a name may have one star"
            continue
        for earlier in names[:number]:
            other = patterns.get(earlier)
            if other is None or len(pattern.filled("")) != len(other.filled("")):
                continue
            both = pattern.meets(other)
            if both is not None and both.filled(STAR) not in patterns:
                yield (
                    ("routes", name),
                    f"{earlier} matches the same names as {name}, such as {both.filled('x')!r}, and "
                    f"neither is more specific; add a route {both.filled(STAR)!r} for these",
                )
    if STAR in patterns and DEFAULT in routes:
        yield ("routes", DEFAULT), f"the route {STAR!r} takes every name: no unknown one is left for it"


def star_complaint(route: str, model: str) -> str:
    """What is wrong with the star of a route's target; "" if nothing is, or it has none."""
    if STAR not in model:
        return ""
    if model.count(STAR) > 1:
        return "a target may have one star"
    if STAR in model.partition("/")[0]:
        return "the star may stand in the model, not in the provider"
    if STAR in route:
        return ""
    hint = f": name the route {STAR!r}" if route == DEFAULT else ""
    return f"the star carries over from the route's name, and {route} has none{hint}"


def matches_any(model: str, listed: Iterable[Any]) -> bool:
    """Whether one of the `listed` models is meant by `model`, whose star stands for anything."""
    pattern = Pattern.of(model)
    return pattern is not None and any(pattern.star(str(one)) is not None for one in listed)

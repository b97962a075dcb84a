"""A configuration file -> `Config`, or every complaint about it at once, each with its place."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ValidationError

from trio_router.config.access import access_complaints
from trio_router.config.accounts import account_complaints
from trio_router.config.prices import price_complaints
from trio_router.config.routes import route_complaints
from trio_router.config.schema import Config

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
Place = tuple[str | int, ...]


class ConfigError(Exception):
    """The configuration is wrong; `complaints` has a line for each fault, with its place."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__("\n".join(complaints))
        self.complaints = complaints


def load_config(
    path: str | Path, environ: Mapping[str, str] | None = None, host: str | None = None
) -> Config:
    """The configuration in the YAML file at `path`.  Raises ConfigError.

    `${NAME}` and `${NAME:-default}` in any value are taken from `environ` (default: the process's).
    `host` is the address that is listened on instead of the configuration's.
    """
    text = read_text(path)
    return parse_config(text, os.environ if environ is None else environ, str(path), host)


def read_text(path: str | Path) -> str:
    """The text of a configuration file.  Raises ConfigError."""
    try:
        return Path(path).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "is not UTF-8"
        raise ConfigError([f"{path}: cannot be read: {reason}"]) from None


def parse_config(
    text: str, environ: Mapping[str, str], source: str = "configuration", host: str | None = None
) -> Config:
    """The configuration in a YAML text; `source` is what complaints call it.  Raises ConfigError.

    `host` is as `load_config` has it.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as fault:
        raise ConfigError([f"{source}{_mark(fault)}: not YAML: {_reason(fault)}"]) from None
    document = _Document(source, environ)
    value = {} if root is None else document.build(root, ())
    if not isinstance(value, dict):
        raise ConfigError([f"{source}:1: the configuration must be a mapping"])
    try:
        config = Config.model_validate(value)
    except ValidationError as fault:
        document.add_validation(fault)
    document.add(route_complaints(value))
    document.add(access_complaints(value, host))
    document.add(price_complaints(value))
    document.add(account_complaints(value))
    if document.complaints:
        raise ConfigError([text for _, text in sorted(document.complaints)])
    return config


class _Document:
    """Builds plain values from YAML nodes, and remembers on which line each stands."""

    def __init__(self, source: str, environ: Mapping[str, str]) -> None:
        self._source = source
        self._environ = environ
        self._lines: dict[Place, int] = {(): 1}
        self._broken: set[Place] = set()
        self.complaints: list[tuple[int, str]] = []

    def build(self, node: yaml.Node, place: Place) -> Any:
        self._lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return {key: self.build(value, (*place, key)) for key, value in self._pairs(node, place)}
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*place, i)) for i, item in enumerate(node.value)]
        value = yaml.SafeLoader("").construct_object(node)
        return self._expand(value, place) if isinstance(value, str) else value

    def _pairs(self, node: yaml.MappingNode, place: Place) -> Iterator[tuple[str, yaml.Node]]:
        seen: set[str] = set()
        yaml.SafeLoader("").flatten_mapping(node)
        for key_node, value in node.value:
            key = str(key_node.value)
            here = (*place, key)
            if key in seen:
                self._complain(here, "is given twice", line=key_node.start_mark.line + 1)
            seen.add(key)
            self._lines[here] = key_node.start_mark.line + 1
            yield key, value

    def _expand(self, value: str, place: Place) -> str:
        def replace(found: re.Match[str]) -> str:
            name, default = found[1], found[2]
            if self._environ.get(name):
                return self._environ[name]
            if default is not None:
                return default
            self._complain(place, f"the environment variable {name} is not set")
            self._broken.add(place)
            return ""

        return _VARIABLE.sub(replace, value)

    def add(self, complaints: Iterable[tuple[Place, str]]) -> None:
        for place, message in complaints:
            if place not in self._broken:
                self._complain(place, message)

    def add_validation(self, fault: ValidationError) -> None:
        for error in fault.errors(include_input=False, include_url=False):
            place = tuple(p for p in error["loc"] if self._is_known((p,)) or p != "[key]")
            if place in self._broken:
                continue  # its variable is missing: that complaint says it already
            if error["type"] == "extra_forbidden":
                self._complain(place, _unknown_key(place))
            elif error["type"] == "missing":
                self._complain(place[:-1], f"{place[-1]} is missing")
            else:
                self._complain(place, _plain(error["msg"]))

    def _is_known(self, place: Place) -> bool:
        return place in self._lines

    def _complain(self, place: Place, message: str, line: int | None = None) -> None:
        known = place
        while known not in self._lines:
            known = known[:-1]
        line = self._lines[known] if line is None else line
        path = ".".join(map(str, place)) or "configuration"
        self.complaints.append((line, f"{self._source}:{line}: {path}: {message}"))


def _unknown_key(place: Place) -> str:
    near = difflib.get_close_matches(str(place[-1]), _known_keys(Config, place[:-1]), n=1, cutoff=0.5)
    return f"unknown key; did you mean {near[0]}?" if near else "unknown key"


def _known_keys(section: type[BaseModel], place: Place) -> list[str]:
    """The keys that the section at `place` may have."""
    for name in place:
        field = section.model_fields.get(str(name))
        inner = _section_in(field.annotation) if field else None
        # An item of a mapping or a list has a name or number of its own: stay in what it holds.
        section = inner or section
    return list(section.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if found := _section_in(argument):
            return found
    return None


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ")


def _mark(fault: yaml.YAMLError) -> str:
    mark = getattr(fault, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""


def _reason(fault: yaml.YAMLError) -> str:
    return str(getattr(fault, "problem", None) or "cannot be parsed")

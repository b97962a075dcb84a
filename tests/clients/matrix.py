"""The table of clients in the docs, made by a run of the clients' tests.

A test says with a marker which client it runs, and that is all it has to do:

    @pytest.mark.client("npm:openai", name="openai (Node)", api="Chat", shows="tools")

- The first argument is the package with its registry (`pypi:anthropic`, `npm:openai`), or a program
  that knows its own `--version` (`program:curl`).  The version in the table is the one that ran.
- `name` is what people call it (by default the package's name), `api` the API that it speaks.
- `dialect` is the upstream's.  By default it is the value of the test's parameter `dialect`, else the
  provider in its parameter `model`, if that is a dialect's name, else `openai`.
- `shows` is what the test shows, in a word or two each: `text`, `streaming, tools`.

A module's or class's marker gives what its tests' own markers leave open.  All tests of one client, API
and dialect are one row.  `pytest tests/clients --clients-page update` writes the rows that it ran into
the page; `--clients-page check` fails if a row of the page falls, is missing or is not on the page.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trio_router.dialects import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

PAGE = Path(__file__).parents[2] / "trio_router" / "docs" / "clients.md"
NODE = Path(__file__).parent / "node"
BEGIN, END = "<!-- clients -->\n", "<!-- /clients -->"
_HEAD = "| client | version | API | upstream | shown | verdict |\n|---|---|---|---|---|---|\n"
_ROW = re.compile(r"^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \| (.*?) \| (\d+) of (\d+)(?:: fails .*)? \|$")
_NAMES = frozenset({"name", "api", "dialect", "shows"})
_PROPERTY = "client"

Key = tuple[str, str, str]  # client, API, dialect


@dataclass
class Row:
    """What one client's tests showed; `good` and `all` count tests."""

    version: str
    shown: set[str] = field(default_factory=set)
    fallen: set[str] = field(default_factory=set)
    good: int = 0
    all: int = 0

    def line(self, key: Key) -> str:
        verdict = f"{self.good} of {self.all}"
        if self.good < self.all:
            verdict += f": fails {', '.join(sorted(self.fallen)) or 'in part'}"
        shown = ", ".join(sorted(self.shown - self.fallen))
        client, api, dialect = key
        return f"| {client} | {self.version} | {api} | {dialect} | {shown} | {verdict} |\n"


Rows = dict[Key, Row]


def told_by(item: pytest.Item) -> dict[str, str] | None:
    """What the markers of a test say; None if it runs no client."""
    told: dict[str, str] = {}
    for marker in item.iter_markers("client"):  # the closest one comes first
        if unknown := marker.kwargs.keys() - _NAMES:
            raise ValueError(f"{item.nodeid}: the marker client has no {', '.join(sorted(unknown))}")
        given = {"package": marker.args[0]} if marker.args else {}
        told = {**marker.kwargs, **given, **told}
    if not told:
        return None
    if not {"package", "api"} <= told.keys():
        raise ValueError(f"{item.nodeid}: the marker client needs a package and an api")
    told.setdefault("name", told["package"].partition(":")[2])
    told.setdefault("dialect", _dialect(getattr(item, "callspec", None)))
    return told


def _dialect(callspec: Any) -> str:
    given = callspec.params if callspec is not None else {}
    if isinstance(given.get("dialect"), str):
        return given["dialect"]
    provider = str(given.get("model", "")).partition("/")[0]
    return provider if provider in DIALECTS else "openai"


def version_of(package: str) -> str:
    kind, _, name = package.partition(":")
    if kind == "pypi":
        return metadata.version(name)
    if kind == "npm":
        return json.loads((NODE / "node_modules" / name / "package.json").read_text())["version"]
    said = subprocess.run(
        [program_at(name) or name, "--version"], capture_output=True, text=True, check=True, timeout=30
    )
    return re.search(r"\d+(\.\d+)+", said.stdout)[0]


def program_at(name: str) -> str | None:
    """Where a client's command is: in the folder that `TRIO_ROUTER_AGENTS` names, of the packages
    beside these tests, in this environment, or on the path.
    """
    own = os.environ.get("TRIO_ROUTER_AGENTS", "")
    folders = (own, str(NODE / "node_modules" / ".bin"), str(Path(sys.executable).parent))
    return shutil.which(name, path=os.pathsep.join(folders)) or shutil.which(name)


class ClientsPage:
    """A plugin for pytest.  `mode` is `update` or `check`.  It works with pytest-xdist too."""

    def __init__(self, mode: str, page: Path = PAGE) -> None:
        self._mode = mode
        self._page = page
        self._rows: Rows = {}
        self._versions: dict[str, str] = {}
        self.complaints: list[str] = []

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if (told := told_by(item)) is not None:
            item.user_properties.append((_PROPERTY, told))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = dict(report.user_properties).get(_PROPERTY)
        is_expected_to_fail = hasattr(report, "wasxfail")
        if told is None or not (report.when == "call" or report.failed):
            return
        if report.skipped and not is_expected_to_fail:
            return
        self.add(told, is_good=report.passed and not is_expected_to_fail)

    def add(self, told: dict[str, str], *, is_good: bool) -> None:
        package = told["package"]
        if package not in self._versions:
            self._versions[package] = version_of(package)
        key = (told["name"], told["api"], told["dialect"])
        row = self._rows.setdefault(key, Row(self._versions[package]))
        row.all += 1
        row.good += is_good
        shows = set(filter(None, told.get("shows", "").split(", ")))
        row.shown |= shows
        if not is_good:
            row.fallen |= shows

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workerinput"):
            return  # the process that began pytest-xdist's workers hears of all their tests
        text = self._page.read_text()
        if self._mode == "update":
            self._page.write_text(with_rows(text, self._rows))
        else:
            self.complaints = complaints(lines_in(text), self._rows)
            if self.complaints and session.exitstatus == 0:
                session.exitstatus = 1

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for complaint in self.complaints:
            terminalreporter.write_line(f"{self._page.name}: {complaint}", red=True)


def lines_in(text: str) -> dict[Key, str]:
    """The rows of the page's table, as they stand there."""
    table = text.partition(BEGIN)[2].partition(END)[0]
    found = (_ROW.match(line) for line in table.splitlines())
    return {(row[1], row[3], row[4]): f"{row[0]}\n" for row in found if row}


def with_rows(text: str, rows: Rows) -> str:
    """The page with `rows` put in; the rows of clients that did not run stay."""
    lines = lines_in(text) | {key: row.line(key) for key, row in rows.items()}
    before, begin, rest = text.partition(BEGIN)
    table = "".join(lines[key] for key in sorted(lines, key=lambda key: [k.casefold() for k in key]))
    return before + begin + _HEAD + table + END + rest.partition(END)[2]


def complaints(page: dict[Key, str], rows: Rows) -> list[str]:
    """Why the page is not true of a run.  Versions may differ; more good tests than before are fine."""
    found = []
    for key, line in page.items():
        told = _ROW.match(line)
        name, row = " / ".join(key), rows.get(key)
        if row is None:
            found.append(f"{name} did not run")
            continue
        lost = set(filter(None, told[5].split(", "))) - (row.shown - row.fallen)
        if row.good < int(told[6]) or lost:
            what = f" without {', '.join(sorted(lost))}" if lost else ""
            found.append(f"{name} falls from {told[6]} of {told[7]} to {row.good} of {row.all}{what}")
    return found + _new(page, rows)


def _new(page: dict[Key, str], rows: Iterable[Key]) -> list[str]:
    command = "pytest tests/clients --clients-page update"
    return [f"{' / '.join(key)} is not on the page: run {command}" for key in rows if key not in page]

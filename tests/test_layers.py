"""Imports point one way; the pure rooms stay pure; files stay small."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import trio_router

ROOT = Path(trio_router.__file__).parent
# A module may import what stands in a later line than itself, and its own room.
LAYERS = [
    {"__main__"},
    {"cli", "bench", "simulation"},
    {"serve"},
    {"testing"},
    {"dashboard"},
    {"api"},
    {"runtime"},
    {"server"},
    {"relay"},
    {"demo", "observe", "transport"},
    {"clock"},
    {"policy"},
    {"stores"},
    {"ledger"},
    {"money"},
    {"routing"},
    {"config"},
    {"dialects"},
    {"wire"},
    {"errors", "version"},
]
PURE = {"wire", "dialects", "routing", "ledger", "errors"}
IMPURE = {
    "trio",
    "httpx",
    "quart",
    "quart_trio",
    "hypercorn",
    "time",
    "random",
    "asyncio",
    "socket",
    "os",
}
# Where time and chance come from.  Everyone else is given a Clock, or asks trio.current_time().
SOURCES = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"},
    "os": {"urandom", "getrandom"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}
DICE = {"random", "uuid", "secrets"}
OWN_TIME = {"clock", "bench", "demo", "simulation"}
LONGEST_FILE, LONGEST_FUNCTION, LOOSE = 400, 40, 6  # lines, lines, files
FILES = sorted(ROOT.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def room(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def module(path: Path) -> str:
    parts = path.with_suffix("").relative_to(ROOT.parent).parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST) -> set[str]:
    """Modules, and for `from a import b` also `a.b`, which may be one."""
    found = set()
    for item in ast.walk(tree):
        if isinstance(item, ast.Import):
            found |= {alias.name for alias in item.names}
        elif isinstance(item, ast.ImportFrom):
            assert item.level == 0, "relative import"
            found |= {item.module, *(f"{item.module}.{alias.name}" for alias in item.names)}
    return found


def rooms(tree: ast.AST) -> set[str]:
    """Which rooms of the package are imported, for types alone too."""
    names = {name.split(".")[1] for name in imports(tree) if name.startswith("trio_router.")}
    return names - {"create_app", "load_config"}


def rank(name: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


def not_below(own: str, tree: ast.AST) -> list[str]:
    return sorted(other for other in rooms(tree) if other != own and rank(other) <= rank(own))


def leaks(tree: ast.AST) -> list[str]:
    """Uses of time and chance that are no clock's, under whatever name they were imported."""
    modules = {name: name for name in SOURCES}
    found = sorted(name for name in imports(tree) if name.split(".")[0] in DICE)
    for item in ast.walk(tree):
        if isinstance(item, ast.Import):
            modules |= {a.asname: a.name for a in item.names if a.asname and a.name in SOURCES}
        elif isinstance(item, ast.ImportFrom) and item.module in SOURCES:
            modules |= {a.asname or a.name: a.name for a in item.names if a.name in SOURCES}
            names = SOURCES[item.module]
            found += [f"{item.module}.{a.name}" for a in item.names if a.name in names]
    for item in ast.walk(tree):
        if isinstance(item, ast.Attribute):
            owner = ast.unparse(item.value).rpartition(".")[2]  # also datetime.datetime.now
            if item.attr in SOURCES.get(modules.get(owner, ""), ()):
                found.append(f"{owner}.{item.attr}")
    return found


def late_imports(tree: ast.AST) -> list[str]:
    functions = [item for item in ast.walk(tree) if isinstance(item, Function)]
    return sorted({name for f in functions for name in imports(f) if name.startswith("trio_router")})


def long_functions(tree: ast.AST) -> list[str]:
    functions = [item for item in ast.walk(tree) if isinstance(item, Function)]
    return [f.name for f in functions if f.end_lineno - f.lineno >= LONGEST_FUNCTION]


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """A way from a file back to itself; nothing if there is none."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name not in done:
            for other in sorted(arrows[name]):
                if found := walk(other, [*way, name]):
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(arrows) if (found := walk(name, []))), [])


def arrows(trees: dict[str, ast.AST]) -> dict[str, set[str]]:
    """Which files each one imports.  `from a import b` points to the file `a.b`, if it is one."""
    found: dict[str, set[str]] = {name: set() for name in trees}
    for name, tree in trees.items():
        for item in ast.walk(tree):
            if isinstance(item, ast.Import):
                found[name] |= {alias.name for alias in item.names}
            elif isinstance(item, ast.ImportFrom):
                whole = [f"{item.module}.{alias.name}" for alias in item.names]
                found[name] |= {one if one in trees else item.module for one in whole}
    return {name: (others & trees.keys()) - {name} for name, others in found.items()}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
class TestEachFile:
    @pytest.fixture
    def tree(self, path) -> ast.AST:
        return ast.parse(path.read_text())

    def test_imports_only_what_stands_below(self, path, tree):
        if room(path) == "__init__":
            pytest.skip("the face of the package stands above all")
        assert not_below(room(path), tree) == []

    def test_is_pure_where_it_must_be(self, path, tree):
        if room(path) in PURE:
            assert not {name.split(".")[0] for name in imports(tree)} & IMPURE

    def test_imports_nothing_of_asyncio(self, tree):
        assert "asyncio" not in {name.split(".")[0] for name in imports(tree)}

    def test_holds_one_thing(self, path):
        assert len(path.read_text().splitlines()) <= LONGEST_FILE

    def test_imports_the_package_at_its_top_alone(self, path, tree):
        if room(path) in ("__init__", "cli"):
            pytest.skip("these import late, so that the command answers at once")
        assert late_imports(tree) == []

    def test_takes_time_and_chance_from_the_clock_alone(self, path, tree):
        if room(path) in OWN_TIME:
            pytest.skip("this room has time and chance of its own")
        assert leaks(tree) == []

    def test_has_short_functions(self, tree):
        assert long_functions(tree) == []


def test_no_files_import_each_other_in_a_circle():
    trees = {module(path): ast.parse(path.read_text()) for path in FILES}
    assert circle(arrows(trees)) == []


def test_every_room_has_its_place():
    placed = [name for layer in LAYERS for name in layer]
    assert sorted(placed) == sorted({room(path) for path in FILES} - {"__init__"})


class TestTheRules:
    """Each rule finds what it forbids."""

    @pytest.mark.parametrize(
        ("own", "text", "found"),
        [
            ("relay", "from trio_router.api.app import RouterApp", ["api"]),
            ("relay", "import trio_router.api.app", ["api"]),
            ("relay", "from trio_router import api", ["api"]),
            ("relay", "if TYPE_CHECKING:\n    from trio_router.api.app import RouterApp", ["api"]),
            ("server", "from trio_router.api.request import ClientRequest", ["api"]),
            ("server", "from trio_router.runtime.router import Router", ["runtime"]),
            ("demo", "from trio_router.transport.pool import Pool", ["transport"]),  # on the same line
            ("api", "from trio_router.relay.engine import Engine\nimport trio", []),
            ("api", "from trio_router.api.reply import Reply", []),
        ],
    )
    def test_no_arrow_goes_up(self, own, text, found):
        assert not_below(own, ast.parse(text)) == found

    @pytest.mark.parametrize(
        ("text", "count"),
        [
            ("import time\nnow = time.time()", 1),
            ("import time\ndef f(clock=time.time): ...", 1),
            ("import time as t\nt.monotonic()", 1),
            ("from time import time", 1),
            ("from time import perf_counter as tick", 1),
            ("import os\nos.urandom(8)", 1),
            ("from os import urandom", 1),
            ("import random", 1),
            ("from random import random", 2),
            ("import uuid", 1),
            ("import secrets", 1),
            ("from datetime import datetime\ndatetime.now(UTC)", 1),
            ("from datetime import datetime as when\nwhen.utcnow()", 1),
            ("import datetime\ndatetime.datetime.now()", 1),
            ("import datetime as d\nd.datetime.now()", 1),
            ("from datetime import date\ndate.today()", 1),
            ("import time\ntime.strftime('%Y', time.gmtime(0))", 0),
            ("import os\nos.getpid()", 0),
            ("self.clock.time()\nrouter.clock.random()\ntrio.current_time()", 0),
            ("from datetime import datetime\ndatetime.fromtimestamp(0)", 0),
        ],
    )
    def test_time_and_chance_are_found_under_any_name(self, text, count):
        assert len(leaks(ast.parse(text))) == count

    @pytest.mark.parametrize(
        ("files", "way"),
        [
            ({"a": "import b", "b": "import c", "c": "import a"}, ["a", "b", "c", "a"]),
            ({"a": "if TYPE_CHECKING:\n    from b import B", "b": "from a import A"}, ["a", "b", "a"]),
            ({"a": "from p import b", "p": "", "p.b": "import a"}, ["a", "p.b", "a"]),
            ({"a": "def f():\n    import b", "b": "import a"}, ["a", "b", "a"]),
            ({"a": "import b\nimport c", "b": "import c", "c": "import trio"}, []),
            ({"a": "from p import b", "p": "import a", "p.b": ""}, []),  # the file, not the face
        ],
    )
    def test_a_circle_is_found(self, files, way):
        assert circle(arrows({name: ast.parse(text) for name, text in files.items()})) == way

    def test_late_imports_are_found(self):
        text = "def f():\n    async def g():\n        from trio_router.wire import sse"
        assert late_imports(ast.parse(text)) == ["trio_router.wire", "trio_router.wire.sse"]
        assert late_imports(ast.parse("from trio_router.wire import sse")) == []

    def test_long_functions_are_found(self):
        body = "    x = 1\n"
        assert long_functions(ast.parse("class A:\n async def f():\n" + body * 40)) == ["f"]
        assert long_functions(ast.parse("def f():\n" + body * 39)) == []


def test_few_files_lie_loose_at_the_top():
    assert len(list(ROOT.glob("*.py"))) <= LOOSE


def test_dialects_do_not_know_each_other():
    # What every dialect may use:
    known = {"base", "chat_fields", "embedding", "fold", "freeform", "hub", "media"}
    shared = {
        *known,
        "__init__",
        "answer",
        "chat_freeform",
        "chat_messages",
        "chat_request",
        "embedding_answer",
        "native",
        "taps",
        "translate",
    }
    for path in (ROOT / "dialects").rglob("*.py"):
        family = path.relative_to(ROOT / "dialects").parts[0].removesuffix(".py").split("_")[0]
        if path.parent.name == "dialects" and path.stem in shared:
            continue
        for name in imports(ast.parse(path.read_text())):
            parts = name.split(".")
            if parts[:2] == ["trio_router", "dialects"] and len(parts) > 2:
                assert parts[2] in known or parts[2].split("_")[0] == family


def test_what_the_package_offers_is_there():
    for name in trio_router.__all__:
        assert getattr(trio_router, name)


def test_no_two_public_classes_have_one_name():
    places: dict[str, list[str]] = {}
    for path in FILES:
        for item in ast.parse(path.read_text()).body:
            if isinstance(item, ast.ClassDef) and not item.name.startswith("_"):
                places.setdefault(item.name, []).append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}

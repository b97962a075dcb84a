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
    {"routing"},
    {"config"},
    {"dialects"},
    {"wire"},
    {"errors", "version"},
]
PURE = {"wire", "dialects", "routing", "errors"}
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
TIME = {
    "time.time",
    "time.time_ns",
    "time.monotonic",
    "time.perf_counter",
    "os.urandom",
    "datetime.now",
}
OWN_TIME = {"clock", "bench", "demo", "simulation"}
FILES = sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imports(node: ast.AST) -> list[str]:
    found = []
    for item in ast.walk(node):
        if isinstance(item, ast.Import):
            found += [alias.name for alias in item.names]
        elif isinstance(item, ast.ImportFrom):
            assert item.level == 0, "relative import"
            found.append(item.module or "")
            found += [f"{item.module}.{a.name}" for a in item.names if item.module == "trio_router"]
    return found


def rank(name: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
class TestEachFile:
    def test_imports_only_what_stands_below(self, path):
        own = room(path)
        if own == "__init__":
            pytest.skip("the map of the package names everything")
        for name in imports(ast.parse(path.read_text())):
            parts = name.split(".")
            if parts[0] != "trio_router" or len(parts) == 1 or parts[1] in (own, "__version__"):
                continue
            assert rank(parts[1]) > rank(own), f"{own} imports {parts[1]}"

    def test_is_pure_where_it_must_be(self, path):
        if room(path) in PURE:
            tops = {name.split(".")[0] for name in imports(ast.parse(path.read_text()))}
            assert not tops & IMPURE

    def test_imports_nothing_of_asyncio(self, path):
        assert "asyncio" not in imports(ast.parse(path.read_text()))

    def test_holds_one_thing(self, path):
        assert len(path.read_text().splitlines()) <= 400

    def test_imports_the_package_at_its_top_alone(self, path):
        if room(path) in ("__init__", "cli"):
            pytest.skip("these import late, so that the command answers at once")
        for item in ast.walk(ast.parse(path.read_text())):
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                assert not [n for n in imports(item) if n.startswith("trio_router")]

    def test_takes_time_and_chance_from_the_clock_alone(self, path):
        if room(path) in OWN_TIME:
            pytest.skip("this room has time and chance of its own")
        tree = ast.parse(path.read_text())
        assert not {name.split(".")[0] for name in imports(tree)} & {"random", "uuid", "secrets"}
        for item in ast.walk(tree):
            if isinstance(item, ast.Attribute) and isinstance(item.value, ast.Name):
                assert f"{item.value.id}.{item.attr}" not in TIME, f"line {item.lineno}"

    def test_has_functions_of_at_most_forty_lines(self, path):
        for item in ast.walk(ast.parse(path.read_text())):
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                assert item.end_lineno - item.lineno < 40, item.name


def module(path: Path) -> str:
    parts = path.with_suffix("").relative_to(ROOT.parent).parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def graph() -> dict[str, set[str]]:
    """Which files of the package each one imports, for types alone too."""
    known = {module(path): path for path in FILES}
    found = {}
    for name, path in known.items():
        arrows = set()
        for item in ast.walk(ast.parse(path.read_text())):
            if isinstance(item, ast.ImportFrom):
                whole = [f"{item.module}.{alias.name}" for alias in item.names]
                arrows |= {one if one in known else item.module for one in whole}
            elif isinstance(item, ast.Import):
                arrows |= {alias.name for alias in item.names}
        found[name] = (arrows & known.keys()) - {name}
    return found


def test_no_files_import_each_other_in_a_circle():
    arrows = graph()
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name not in done:
            for other in arrows[name]:
                walk(other, [*way, name])
            done.add(name)

    for name in arrows:
        walk(name, [])


def test_few_files_lie_loose_at_the_top():
    assert len(list(ROOT.glob("*.py"))) <= 6


def test_dialects_do_not_know_each_other():
    known = {"base", "embedding", "fold", "hub", "media"}  # what every dialect may use
    shared = {
        *known,
        "__init__",
        "answer",
        "chat_messages",
        "chat_request",
        "embedding_answer",
        "native",
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

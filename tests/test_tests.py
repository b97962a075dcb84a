"""The tests' own files: what several of them need stands in helpers, and each test can be found."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
# Packages of Node bring files of their own.
FILES = sorted(path for path in ROOT.rglob("*.py") if "node_modules" not in path.parts)
TESTS = [path for path in FILES if path.name.startswith("test_")]


def imported(tree: ast.AST) -> list[str]:
    """Every module that is imported, wherever the import stands, and every name taken from one."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module or ''}.{alias.name}" for alias in node.names]
    return found


def is_of_a_test_file(name: str) -> bool:
    first, *rest = name.split(".")
    modules = {path.relative_to(ROOT).with_suffix("").parts for path in TESTS}
    return first == "tests" and any(tuple(rest[:n]) in modules for n in range(1, len(rest) + 1))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=named)
def test_no_file_imports_a_test_file(path):
    assert [n for n in imported(ast.parse(path.read_text())) if is_of_a_test_file(n)] == []


@pytest.mark.parametrize("path", sorted(set(FILES) - set(TESTS)), ids=named)
def test_a_helper_holds_no_test(path):
    tree = ast.parse(path.read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [f.name for f in functions if f.name.startswith("test_")] == []


@pytest.mark.parametrize("path", TESTS, ids=named)
def test_no_two_tests_of_a_file_have_one_name(path):
    """The second would take the first one's place, which then never runs."""
    for scope in ast.walk(ast.parse(path.read_text())):
        if not isinstance(scope, ast.Module | ast.ClassDef):
            continue
        names = [getattr(node, "name", "") for node in scope.body]
        tests = [name for name in names if name.lower().startswith("test")]
        assert len(tests) == len(set(tests))


@pytest.mark.parametrize(
    "text",
    [
        "from tests.test_tests import ROOT",
        "from tests import test_tests",
        "import tests.test_tests",
        "def f():\n    from tests.test_tests import ROOT as R",
    ],
)
def test_an_import_of_a_test_file_is_seen_in_each_form(text):
    assert any(is_of_a_test_file(name) for name in imported(ast.parse(text)))
    harmless = ast.parse(
        "from tests.stack import test_tests\nimport tests.stack, test_tests\nimport json"
    )
    assert not any(is_of_a_test_file(name) for name in imported(harmless))

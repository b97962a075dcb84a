"""The pages are true: the paths they name exist, links lead somewhere, configurations pass `check`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from trio_router.config.file import parse_config
from trio_router.observe.metrics import Metrics
from trio_router.runtime.changes import NEED_RESTART

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "trio_router" / "docs"
PAGES = [ROOT / "README.md", ROOT / ".github" / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
OTHERS = [
    *sorted((ROOT / "trio_router").rglob("*.py")),
    *(path for path in sorted((ROOT / "config").rglob("*")) if path.is_file()),
    ROOT / ".ci" / "run",
    ROOT / "pyproject.toml",
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]+)(#[^)\s]*)?\)")
TICKED = re.compile(r"`([^`\n]+)`")
FOLDERS = ("trio_router", "tests", "config", ".ci", ".github", "downstream")
PATH = re.compile(rf"(?<![\w./-])((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*\w)")
FILE = re.compile(r"[\w./-]*\w\.(?:py|md|ya?ml|json|toml)")
METRIC = re.compile(r"`(trio_router_[a-z_]+)[`{]")
GLOSS = re.compile(r"^\| ([^|]+) \| ([^|]+) \| `(\w+)` in `([^`]+)` \|$", re.M)


@pytest.fixture(scope="session")
def metrics() -> set[str]:
    """The names that a scrape gives, whether or not anything was counted yet."""
    return {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in Metrics().registry.collect()
    }


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def exists(name: str, page: Path) -> bool:
    """A path counts from the root, the package or the page's folder; a bare name from anywhere."""
    if "/" not in name and any((ROOT / "trio_router").rglob(name)):
        return True
    return any((base / name).exists() for base in (ROOT, ROOT / "trio_router", page.parent))


def named_paths(text: str) -> set[str]:
    prose = FENCE.sub("", text)
    ticked = [match for token in TICKED.findall(prose) for match in [FILE.fullmatch(token)] if match]
    return {match.group() for match in ticked} | set(PATH.findall(text))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
class TestEachPage:
    def test_names_paths_that_exist(self, page):
        assert not {name for name in named_paths(page.read_text()) if not exists(name, page)}

    def test_links_to_what_exists(self, page):
        for target, anchor in LINK.findall(page.read_text()):
            if "://" in target:
                continue
            found = page.parent / target
            assert found.exists(), target
            if anchor:
                heads = re.findall(r"^#+ (.+)$", found.read_text(), re.M)
                slugs = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
                assert anchor[1:] in slugs

    def test_names_metrics_that_there_are(self, page, metrics):
        assert set(METRIC.findall(page.read_text())) <= metrics

    def test_shows_configurations_that_pass_the_check(self, page):
        """A block without providers is a part: it stands in the place of the example's own."""
        example = (ROOT / "config" / "router.yaml").read_text()
        for kind, text in FENCE.findall(page.read_text()):
            if kind == "yaml":
                sections = yaml.safe_load(text)
                secrets = {n: f"the secret called {n}" for n in re.findall(r"\$\{(\w+)\}", text)}
                whole = (
                    text if "providers" in sections else yaml.dump(yaml.safe_load(example) | sections)
                )
                parse_config(whole, secrets)


def test_the_example_configuration_passes_the_check():
    parse_config((ROOT / "config" / "router.yaml").read_text(), {})


@pytest.mark.parametrize("path", OTHERS, ids=page_id)
def test_code_and_examples_name_files_that_exist(path):
    named = {name for name in PATH.findall(path.read_text()) if FILE.fullmatch(name)}
    assert not {name for name in named if not exists(name, path)}


def test_the_glossarys_words_stand_in_the_code():
    rows = GLOSS.findall((DOCS / "glossary.md").read_text())
    assert len(rows) > 30
    words = [word.casefold() for word, *_ in rows]
    assert words == sorted(set(words))
    for _, _, name, path in rows:
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text()), f"{name} in {path}"


def test_the_page_on_reloading_names_all_that_waits_for_a_restart():
    page = (DOCS / "reloading.md").read_text()
    assert {name for name in NEED_RESTART if f"`{name}`" not in page} == set()


def test_every_page_is_in_the_list_of_pages():
    listed = {target for target, _ in LINK.findall((DOCS / "README.md").read_text())}
    assert {page.name for page in DOCS.glob("*.md")} - listed == {"README.md"}
    readme = {Path(target).name for target, _ in LINK.findall((ROOT / "README.md").read_text())}
    assert {"README.md", "CONTRIBUTING.md", "changes.md"} <= readme


def test_every_room_has_a_page_and_stands_in_the_map():
    rooms = {path.parent.name for path in (ROOT / "trio_router").glob("*/__init__.py")}
    package = (ROOT / "trio_router" / "__init__.py").read_text()
    listed = (DOCS / "rooms.md").read_text()
    for room in rooms:
        page = (ROOT / "trio_router" / room / "__init__.py").read_text()
        assert page.count("\n", 0, page.index('"""', 3)) > 5, room
        assert re.search(rf"\b{room}\b", package.split('"""')[1]), room
        assert f"`trio_router/{room}`" in listed, room


def test_what_ci_runs_is_what_the_pages_say():
    run = (ROOT / ".ci" / "run").read_text()
    readme, contributing = PAGES[0].read_text(), PAGES[1].read_text()
    assert readme.count("<!-- test -->\n```sh\n") == readme.count("<!-- run -->\n```sh\n") == 1
    assert "<!-- test -->" in run
    blocks = re.findall(r"^<!-- ci -->\n```sh\n(.*?)^```$", contributing, re.M | re.S)
    assert len(blocks) == contributing.count("<!-- ci -->") >= 4
    assert "<!-- ci -->" in run
    assert ".github/CONTRIBUTING.md" in run
    tools = " ".join(blocks)
    assert all(tool in tools for tool in ("pip install", "ruff check", "flake8", "mypy", "pytest"))


def test_what_is_new_stands_under_unreleased():
    heads = re.findall(r"^## (.+)$", (DOCS / "changes.md").read_text(), re.M)
    assert heads[0] == "Unreleased"

"""The table of clients: what a run writes into the page, and when a check complains."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.clients.matrix import BEGIN, END, ClientsPage, complaints, lines_in, told_by, with_rows

EMPTY = f"# Clients\n\n{BEGIN}{END}\n\nMore.\n"


def told(shows: str = "text", api: str = "Chat", dialect: str = "openai") -> dict[str, str]:
    return {"package": "pypi:pytest", "name": "SDK", "api": api, "dialect": dialect, "shows": shows}


def run(*outcomes: tuple[dict[str, str], bool]) -> ClientsPage:
    page = ClientsPage("check")
    for what, is_good in outcomes:
        page.add(what, is_good=is_good)
    return page


def rows(*outcomes: tuple[dict[str, str], bool]):
    return run(*outcomes)._rows


ALL_GOOD = [(told("text"), True), (told("tools"), True)]


def test_a_run_writes_a_row_for_each_client_api_and_dialect():
    text = with_rows(EMPTY, rows(*ALL_GOOD, (told("text", "Chat", "gemini"), True)))
    assert f"| SDK | {pytest.__version__} | Chat | openai | text, tools | 2 of 2 |\n" in text
    assert f"| SDK | {pytest.__version__} | Chat | gemini | text | 1 of 1 |\n" in text
    assert text.startswith("# Clients\n")
    assert text.endswith("\n\nMore.\n")
    assert len(lines_in(text)) == 2


def test_a_failure_is_told_in_the_row():
    text = with_rows(EMPTY, rows((told("text"), True), (told("tools"), False)))
    assert "| text | 1 of 2: fails tools |\n" in text


def test_a_test_may_show_several_things():
    text = with_rows(EMPTY, rows((told("text, tools"), True), (told("tools"), False)))
    assert "| text | 1 of 2: fails tools |\n" in text
    page = lines_in(with_rows(EMPTY, rows((told("text, tools"), True))))
    assert complaints(page, rows((told("tools"), True), (told("text"), True))) == []


def test_a_run_of_some_clients_leaves_the_rows_of_the_others():
    first = with_rows(EMPTY, rows(*ALL_GOOD))
    both = with_rows(first, rows((told("text", "Messages"), True)))
    assert set(lines_in(first)) < set(lines_in(both))
    assert with_rows(both, {}) == both


@pytest.mark.parametrize(
    ("outcomes", "count"),
    [
        (ALL_GOOD, 0),
        ([*ALL_GOOD, (told("images"), True)], 0),
        ([*ALL_GOOD, (told("images"), False)], 0),  # pytest itself fails then
        ([(told("text"), True), (told("tools"), False)], 1),
        ([(told("text"), True)], 1),
        ([(told("text"), True), (told("text"), True)], 1),  # as many, but tools are gone
        ([], 1),
        ([*ALL_GOOD, (told("text", "Messages"), True)], 1),  # not on the page yet
    ],
)
def test_a_check_complains_of_rows_that_fall_are_missing_or_are_new(outcomes, count):
    page = lines_in(with_rows(EMPTY, rows(*ALL_GOOD)))
    assert len(complaints(page, rows(*outcomes))) == count


def test_a_row_that_failed_before_may_go_on_failing():
    half = [(told("text"), True), (told("tools"), False)]
    page = lines_in(with_rows(EMPTY, rows(*half)))
    assert complaints(page, rows(*half)) == []
    assert len(complaints(page, rows((told("text"), False), (told("tools"), False)))) == 1


class Item:
    """A test with these markers, the closest one first."""

    nodeid = "test_it"

    def __init__(self, *markers: pytest.MarkDecorator, **params: str) -> None:
        self._markers = markers
        self.callspec = SimpleNamespace(params=params)

    def iter_markers(self, name: str) -> list[pytest.Mark]:
        return [marker.mark for marker in self._markers if marker.name == name]


AROUND = pytest.mark.client("pypi:pytest", api="Chat")


def test_a_marker_adds_to_the_one_around_it():
    own = pytest.mark.client(name="A name", shows="tools", dialect="gemini")
    assert told_by(Item(own, AROUND, dialect="ollama")) == {
        "package": "pypi:pytest",
        "api": "Chat",
        "name": "A name",
        "shows": "tools",
        "dialect": "gemini",
    }


@pytest.mark.parametrize(
    ("params", "dialect"),
    [
        ({"dialect": "anthropic"}, "anthropic"),
        ({"model": "ollama/m"}, "ollama"),
        ({"model": "any/m"}, "openai"),
        ({}, "openai"),
    ],
)
def test_the_dialect_comes_from_the_tests_parameters(params, dialect):
    found = told_by(Item(AROUND, **params))
    assert (found["name"], found["dialect"]) == ("pytest", dialect)


@pytest.mark.parametrize("wrong", [{"apis": "Chat"}, {}])
def test_a_marker_that_says_something_else_or_too_little_is_an_error(wrong):
    with pytest.raises(ValueError, match="test_it"):
        told_by(Item(pytest.mark.client("pypi:pytest", **wrong)))


def test_a_test_without_a_marker_is_of_no_client(request):
    assert told_by(request.node) is None


@pytest.mark.parametrize(
    ("when", "outcome", "more", "line"),
    [
        ("call", "passed", {}, "1 of 1 |"),
        ("call", "failed", {}, "0 of 1: fails text |"),
        ("setup", "failed", {}, "0 of 1: fails text |"),
        ("call", "skipped", {"wasxfail": "not yet"}, "0 of 1: fails text |"),
        ("setup", "passed", {}, None),
        ("call", "skipped", {}, None),
    ],
)
def test_what_counts_is_a_test_that_ran_or_could_not(when, outcome, more, line):
    page = run()
    report = pytest.TestReport(
        "test_it", ("file", 1, "test_it"), {}, outcome, None, when, user_properties=[("client", told())]
    )
    vars(report).update(more)
    page.pytest_runtest_logreport(report)
    found = lines_in(with_rows(EMPTY, page._rows)).values()
    assert [text.endswith(f"{line}\n") for text in found] == ([True] if line else [])

"""`python -m trio_router.simulation`, as its user sees it."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.simulation.worlds import check
from trio_router.simulation import runs
from trio_router.simulation.__main__ import main
from trio_router.simulation.generate import generate
from trio_router.simulation.judge import Failure
from trio_router.simulation.plan import plan_from, plan_text
from trio_router.simulation.world import World

ROOT = Path(__file__).parents[2]
LAST = re.compile(r"(\d+) seeds, (\d+) requests, (\d+) failures, digest [0-9a-f]{32}")


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Calls it with arguments, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "disable", lambda: None)

    def call(*arguments):
        return CliRunner().invoke(main, arguments)

    return call


def last_line(result):
    return result.stdout.splitlines()[-1]


def test_the_last_line_counts(call):
    result = call("--seeds", "60..61")
    assert LAST.fullmatch(last_line(result))[1] == "2"
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1


def test_fresh_seeds_run_for_a_while(call):
    result = call("--for", "0.001")
    assert int(LAST.fullmatch(last_line(result))[1]) >= 1


def test_a_trace_tells_who_did_what_when(call):
    lines = call("--seed", "60", "--trace").stdout.splitlines()
    assert len(lines) > 500
    times = [float(line[:12]) for line in lines[:-1]]
    assert times == sorted(times)
    assert any(re.search(r"client\d+ +asks r\d+: ", line) for line in lines)


def test_a_world_that_was_written_plays_the_same_again(call):
    first = call("--seed", "3", "--write", "world.json")  # its texts have characters that YAML refuses
    again = call("--world", "world.json")
    assert last_line(first) == last_line(again)


def test_a_plan_is_the_same_after_it_was_written():
    for seed in range(60):
        plan = generate(seed)
        assert plan_from(plan_text(plan).encode()) == plan


def test_a_world_may_be_yaml():
    plan = plan_from(b"seed: 4\nconfig: {routes: {}}\ncallers: [{id: 0, start: 0.5}]\n")
    assert (plan.seed, plan.callers[0].start) == (4, 0.5)


@pytest.fixture
def broken(monkeypatch):
    """A promise that each world breaks in which somebody leaves."""

    def judge(world):
        leavers = [got for got in world.got if got.has_left]
        return [Failure("nobody_leaves", "Nobody leaves.", "world", "r1")] if leavers else []

    monkeypatch.setattr(runs, "judge", judge)


def test_a_failure_is_told_with_its_command_and_made_smaller(call, broken):
    seed = next(n for n in range(70, 90) if _has_leaver(n))
    result = call("--seeds", f"{seed}..{seed}")
    assert result.exit_code == 1
    assert LAST.fullmatch(last_line(result))[3] == "1"
    assert f"python -m trio_router.simulation --seed {seed} --trace\n" in result.stderr
    assert "Nobody leaves.\n    nobody_leaves: world: r1" in result.stderr
    name = f"world-{seed}-nobody_leaves.json"
    assert f"with 1 requests: python -m trio_router.simulation --world {name} --trace" in result.stderr
    again = call("--world", name, "--no-shrink")
    assert again.exit_code == 1
    assert LAST.fullmatch(last_line(again))[2] == "1"
    assert f"--world {name} --trace" in again.stderr


def _has_leaver(seed):
    world = World(generate(seed))
    world.run()
    return any(got.has_left for got in world.got)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "one of --seeds, --seed, --for and --world is needed"),
        (("--seeds", "1..2", "--seed", "3"), "one of --seeds, --seed, --for and --world is needed"),
        (("--seeds", "5..3"), "A..B is expected"),
        (("--seeds", "x"), "A..B is expected"),
        (("--seeds", "1..2", "--trace"), "with --seed or --world"),
        (("--for", "0"), "not in the range"),
        (("--world", "none.json"), "does not exist"),
    ],
)
def test_what_cannot_be_done_is_said(call, arguments, what):
    result = call(*arguments)
    assert result.exit_code == 2
    assert what in result.stderr


def test_a_file_that_is_no_world_is_refused(call, tmp_path):
    (tmp_path / "bad.json").write_text('{"seed": 1}')
    result = call("--world", "bad.json")
    assert result.exit_code == 2
    assert "bad.json is no world: Object missing required field `config`" in result.stderr


class TestThePage:
    """The page on the simulation is true: its commands do what it says."""

    page = (ROOT / "trio_router" / "docs" / "simulation.md").read_text()

    @pytest.mark.slow
    def test_its_commands_run_and_print_what_it_shows(self, call):
        blocks = re.findall(r"^```sh\n(.*?)^```$", self.page, re.M | re.S)
        lines = [line.split() for block in blocks for line in block.splitlines()]
        assert all(line[:3] == ["python", "-m", "trio_router.simulation"] for line in lines)
        results = [call(*line[3:]) for line in lines]
        assert [result.exit_code for result in results] == [0, 0, 0]
        shown = re.search(r"^(\d+) seeds, (\d+) requests, 0 failures, digest", self.page, re.M)
        counted = LAST.fullmatch(last_line(results[0]))
        assert (counted[1], counted[3]) == (shown[1], "0")
        # What is generated changes now and then, but not by much.
        assert int(counted[2]) == pytest.approx(int(shown[2]), rel=0.1)

    def test_its_options_are_all_that_there_are(self, call):
        told = set(re.findall(r"^\| `(--[\w-]+)", self.page, re.M))
        options = set(re.findall(r"--[a-z-]+", call("--help").stdout))
        assert told == options - {"--help", "--shrink"}

    def test_its_world_keeps_every_promise(self):
        text = re.search(r"^```yml\n(.*?)^```$", self.page, re.M | re.S)[1]
        world = check(plan_from(text.encode()))
        assert [told.provider for told in world.outlets["p0"].told + world.outlets["p1"].told] == [
            "p0",
            "p1",
        ]
        assert world.got[0].end == "whole"
        assert b'"hel' in bytes(world.got[0].parser.body)

"""What tests start is ended with them, whatever ends them; and what is left running is told of."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import processes

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc")

ROOT = Path(__file__).parents[1]
SLEEP = "import time; print('here', flush=True); time.sleep(600)"
# A process that starts one as Hypercorn does, in a session of its own, and does not end it.
PARENT = f"""
import subprocess, sys, time
words = [sys.executable, "-c", {SLEEP!r}]
child = subprocess.Popen(words, start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


def ended(process_id: int, within: float = 10) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def without_mark(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != processes.MARK} | more


def test_what_a_killed_process_has_started_is_found():
    mark = f"{os.getpid()}-found"
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        env=without_mark(**{processes.MARK: mark}),
    ) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        assert list(processes.left_running(mark, patience=0)) == [child]
        assert "time.sleep(600)" in processes.marked(mark)[child]
        processes.end_all(mark)
        assert ended(child)
        assert not processes.left_running(mark)


def test_tests_that_are_killed_leave_nothing_running():
    program = "from tests.processes import watched\nwith watched('killed-tests'):\n" + "\n".join(
        f"    {line}" for line in PARENT.splitlines()
    )
    words = [sys.executable, "-c", program]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=without_mark(), cwd=ROOT) as tests:
        child = int(tests.stdout.readline())
        tests.kill()
        tests.wait()
        assert ended(child)


def test_a_command_ends_with_its_block_and_its_children_with_it():
    program = PARENT.replace(", start_new_session=True", "")
    with processes.started([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        child = int(process.stdout.readline())
    assert process.returncode is not None
    assert ended(child)


def test_ci_is_told_what_the_tests_have_left_running():
    mark = f"{os.getpid()}-ci"
    check = [sys.executable, ROOT / "tests" / "processes.py", mark, "SOME_CI", "0.2"]
    assert subprocess.run(check, capture_output=True, check=False, timeout=60).returncode == 0
    with subprocess.Popen(
        [sys.executable, "-c", SLEEP], stdout=subprocess.PIPE, env={**os.environ, "SOME_CI": mark}
    ) as left:
        left.stdout.readline()
        told = subprocess.run(check, capture_output=True, text=True, check=False, timeout=60)
        assert told.returncode == 1
        assert f"the tests left a process running: {left.pid}: " in told.stderr
        assert ended(left.pid)

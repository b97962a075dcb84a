"""The teeth of the simulation: small faults, planted one at a time, and how many seeds it takes.

    python -m tests.simulation.mutants [--most 2000] [--minutes 10] [NAME...]

Prints a table; exit status 1 if more than a tenth is not found within so many seeds and minutes each.
A failure that the unchanged package has with the same seed does not count.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from tests.simulation.planted import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
HUNT = Path(__file__).with_name("hunt.py")


def hunt(tree: Path, first: int, last: int, seconds: float = 600) -> tuple[int | None, set[str]]:
    """The first seed that fails with the package in `tree`, and the promises that are broken."""
    command = [sys.executable, str(HUNT), str(first), str(last)]
    environ = {**os.environ, "PYTHONPATH": str(tree)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environ, cwd=tree, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return None, {"not found in time"}
    told = done.stdout.strip()
    if told == "none":
        return None, {"not found"}
    if not told:
        return first, {done.stderr.strip().splitlines()[-1][:80]}
    seed, names = told.split(" ", 1)
    return int(seed), set(names.split(","))


def search(mutant: Mutant, most: int, seconds: float) -> tuple[int | None, str]:
    """The number of seeds that it took, and the promises that were broken; None if it was not found."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        shutil.copytree(
            ROOT / "trio_router", tree / "trio_router", ignore=shutil.ignore_patterns("__pycache__")
        )
        path = tree / "trio_router" / mutant.file
        text = path.read_text()
        if mutant.before not in text:
            return None, "does not apply"
        path.write_text(text.replace(mutant.before, mutant.after, 1))
        first, until = 0, time.monotonic() + seconds
        while True:
            seed, names = hunt(tree, first, most - 1, until - time.monotonic())
            if seed is None:
                return None, ", ".join(names)
            if names := names - hunt(ROOT, seed, seed)[1]:
                return seed + 1, ", ".join(sorted(names))
            first = seed + 1


@click.command()
@click.option("--most", default=2000, show_default=True, help="Seeds for each fault.")
@click.option("--minutes", default=10.0, show_default=True, help="Minutes for each fault.")
@click.option("--at-once", default=1, show_default=True, help="Faults that are looked for at one time.")
@click.argument("names", nargs=-1)
def main(most: int, minutes: float, at_once: int, names: tuple[str, ...]) -> None:
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    found = 0
    with ThreadPoolExecutor(at_once) as pool:
        results = pool.map(lambda mutant: search(mutant, most, 60 * minutes), chosen)
        for mutant, (seeds, what) in zip(chosen, results, strict=True):
            found += seeds is not None
            print(f"| {mutant.name} | {mutant.file} | {seeds or '-'} | {what} |", flush=True)
    print(f"{found} of {len(chosen)} found")
    sys.exit(0 if found >= 0.9 * len(chosen) else 1)


if __name__ == "__main__":
    main()

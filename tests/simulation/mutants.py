"""The teeth of the simulation: small faults, planted one at a time, and how many seeds it takes.

    python -m tests.simulation.mutants [--most 2000] [NAME...]

Prints a table; exit status 1 if more than a tenth is not found.  A failure that the unchanged package
has with the same seed does not count.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.simulation.planted import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
HUNT = Path(__file__).with_name("hunt.py")


def hunt(tree: Path, *arguments: str) -> str:
    """What hunt.py says of the package in `tree`."""
    command = [sys.executable, str(HUNT), *arguments]
    environ = {**os.environ, "PYTHONPATH": str(tree)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environ, cwd=tree, timeout=3600, check=False
        )
    except subprocess.TimeoutExpired:
        return "0 hangs"
    return done.stdout.strip() or f"0 {done.stderr.strip().splitlines()[-1][:80]}"


def search(mutant: Mutant, most: int, known: list[str]) -> tuple[int | None, str]:
    """The number of seeds that it took, and the promise that was broken; None if it was not found."""
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
        told = hunt(tree, str(most - 1), *known)
    if told == "none":
        return None, "not found"
    seed, names = told.split(" ", 1)
    return int(seed) + 1, names.replace(",", ", ")


def main() -> None:
    arguments = sys.argv[1:]
    most = int(arguments[arguments.index("--most") + 1]) if "--most" in arguments else 2000
    names = [a for a in arguments if not a.startswith("--") and not a.isdigit()]
    chosen = [m for m in MUTANTS if not names or m.name in names]
    known = [line for line in hunt(ROOT, str(most - 1), "all").splitlines() if line != "none"]
    print(f"{len(known)} of {most} seeds fail without any of them", flush=True)
    found = 0
    with ThreadPoolExecutor(int(os.environ.get("MUTANTS_AT_ONCE", "1"))) as pool:
        for mutant, (seeds, what) in zip(
            chosen, pool.map(lambda m: search(m, most, known), chosen), strict=True
        ):
            found += seeds is not None
            print(f"| {mutant.name} | {mutant.file} | {seeds or '-'} | {what} |", flush=True)
    print(f"{found} of {len(chosen)} found")
    sys.exit(0 if found >= 0.9 * len(chosen) else 1)


if __name__ == "__main__":
    main()

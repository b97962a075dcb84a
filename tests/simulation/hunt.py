"""Runs seeds until one fails; the table of mutants runs it on a changed copy of the package.

    python tests/simulation/hunt.py FIRST LAST

Prints `SEED NAME,NAME` for the first seed of which promises are broken, with their names, or `none`.
"""

from __future__ import annotations

import sys

from trio_router.simulation.runs import run_seed


def main() -> None:
    first, last = map(int, sys.argv[1:])
    for seed in range(first, last + 1):
        if broken := {failure.name for failure in run_seed(seed).failures}:
            print(seed, ",".join(sorted(broken)))
            return
    print("none")


if __name__ == "__main__":
    main()

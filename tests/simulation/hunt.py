"""Runs seeds until one fails; for the table of mutants, which runs it on a changed copy of the package.

    python tests/simulation/hunt.py FIRST LAST [SKIP...]

Prints `SEED NAME,NAME` for the first seed of which another promise is broken than the ones that are
named after the seed in SKIP (`SEED:NAME,NAME`), or `none`.
"""

from __future__ import annotations

import sys

from trio_router.simulation.runs import run_seed


def main() -> None:
    first, last = int(sys.argv[1]), int(sys.argv[2])
    skipped = {
        int(s): set(names.split(",")) for s, _, names in (a.partition(":") for a in sys.argv[3:])
    }
    for seed in range(first, last + 1):
        broken = {failure.name for failure in run_seed(seed).failures} - skipped.get(seed, set())
        if broken:
            print(seed, ",".join(sorted(broken)))
            return
    print("none")


if __name__ == "__main__":
    main()

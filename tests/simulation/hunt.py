"""Runs seeds until one fails; the table of mutants runs it on a changed copy of the package.

    python tests/simulation/hunt.py LAST [all | SKIP...]

Prints `SEED NAME,NAME` for the first seed, from 0 to LAST, of which another promise is broken than the
ones that are named after the seed in SKIP (`SEED:NAME,NAME`), or `none`.  With `all` it prints each
seed that fails, as `SEED:NAME,NAME`.
"""

from __future__ import annotations

import sys

from trio_router.simulation.runs import run_seed


def main() -> None:
    last, *rest = sys.argv[1:]
    is_all = rest == ["all"]
    told = {} if is_all else dict(one.split(":", 1) for one in rest)
    for seed in range(int(last) + 1):
        broken = {failure.name for failure in run_seed(seed).failures}
        broken -= set(told.get(str(seed), "").split(","))
        if broken:
            print(seed, ",".join(sorted(broken)), sep=":" if is_all else " ")
            if not is_all:
                return
    print("none")


if __name__ == "__main__":
    main()

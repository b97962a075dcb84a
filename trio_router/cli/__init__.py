"""The command `trio-router`: serve, check, chat.

    commands                the subcommands, the banner, what they print and their exit status
    chat                    a small client for the terminal

Invariants.
- `--version` and `--help` answer at once: heavy imports stand inside the commands that need them.
- A wrong configuration ends with status 2 and every complaint; an address in use with status 1.
- Nothing secret is printed.

What it may not know: how anything works.  It reads options and calls `config` and `serve`.
"""

from trio_router.cli.commands import main as main

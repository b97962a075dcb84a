"""The command."""

from trio_router.cli.commands import main as main

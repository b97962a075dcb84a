"""The commands `keys`, `teams` and `spend`, over the API for administrators."""

from __future__ import annotations

import json
import re
import sys
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trio_router.cli.asking import AdminClient

    Command = Callable[..., None]

F = TypeVar("F")
_BUDGET = re.compile(r"\$?([0-9]+(?:\.[0-9]+)?)(?:/(day|week|month|total))?(?::(\w+))?")
_SPAN = re.compile(r"([0-9]+)([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _asking(command: Command) -> Command:
    """Gives a command `client`, in place of the options --url and --key."""

    @click.option(
        "--url",
        default="http://127.0.0.1:8777",
        show_default=True,
        envvar="TRIO_ROUTER_URL",
        help="The router's address.",
    )
    @click.option(
        "--admin-key",
        envvar="TRIO_ROUTER_ADMIN_KEY",
        help="Admin key.  Default: $TRIO_ROUTER_ADMIN_KEY.",
    )
    @wraps(command)
    def run(url: str, admin_key: str | None, **words: Any) -> None:
        from trio_router.cli.asking import AdminClient, AskFailed

        try:
            command(client=AdminClient(url, admin_key), **words)
        except AskFailed as fault:
            click.echo(f"trio-router: {fault}", err=True)
            sys.exit(1)

    return run


def _as_json(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print what the router told.")(command)


def _budget(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> list[dict[str, Any]]:
    """`100/month:adaptive`; the router knows which modes there are."""
    budgets = []
    for text in given:
        found = _BUDGET.fullmatch(text)
        if found is None:
            raise click.BadParameter(f"{text!r}: it is written as 100/month or 5/day:strict")
        usd, per, mode = found.groups()
        budgets.append({"usd": usd, "per": per or "month", **({"mode": mode} if mode else {})})
    return budgets


def _span(_: click.Context, __: click.Parameter, given: str | None) -> int | None:
    if given is None:
        return None
    found = _SPAN.fullmatch(given)
    if found is None:
        raise click.BadParameter(f"{given!r}: it is written as 90s, 30m, 12h or 7d")
    return int(found[1]) * _SECONDS[found[2]]


def _pairs(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    if bad := [text for text in given if "=" not in text]:
        raise click.BadParameter(f"{bad[0]!r}: it is written as name=value")
    return dict(text.split("=", 1) for text in given)


_ACCOUNT = [
    click.option("--name", help="What people call it."),
    click.option("--model", "models", multiple=True, help="A model it may ask; * is any text.  Again."),
    click.option("--requests-per-minute", "--rpm", type=int, help="At most so many requests a minute."),
    click.option("--tokens-per-minute", "--tpm", type=int, help="At most so many tokens a minute."),
    click.option("--parallel", type=int, help="At most so many requests at once."),
    click.option(
        "--budget",
        "budgets",
        multiple=True,
        callback=_budget,
        metavar="USD/PER[:MODE]",
        help="100/month, 5/day:strict; per day, week, month or total.  Again for several.",
    ),
    click.option("--tag", "tags", multiple=True, help="Again for several."),
    click.option("--metadata", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="Again."),
]
_KEY = [
    *_ACCOUNT,
    click.option("--team", help="The team it belongs to."),
    click.option("--expires-in", callback=_span, metavar="SPAN", help="12h, 30d, ..."),
]


def _with(options: Iterable[Callable[[Any], Any]]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for option in reversed(list(options)):
            command = option(command)
        return command

    return decorate


def _body(fields: dict[str, Any]) -> dict[str, Any]:
    """What was given, as the API has it."""
    limits = {
        name: fields.pop(name) for name in ("requests_per_minute", "tokens_per_minute", "parallel")
    }
    given = {name: value for name, value in fields.items() if value not in (None, (), [], {})}
    return given | ({"limits": limits} if any(most is not None for most in limits.values()) else {})


def _print(told: Any, lines: Callable[[Any], list[str]], *, as_json: bool) -> None:
    text = json.dumps(told, indent=2) if as_json else "\n".join(lines(told))
    click.echo(text)


@click.group()
def keys() -> None:
    """Make, list, rotate and revoke clients' keys at a running router."""


@keys.command("create")
@click.option("--id", "id_", help="Default: one is made up.")
@_with(_KEY)
@_as_json
@_asking
def create_key(client: AdminClient, id_: str | None, as_json: bool, **fields: Any) -> None:
    """Make a key.  It is printed, this once; all else goes to standard error."""
    from trio_router.cli.telling import account_told

    made = client.ask("POST", "keys", {**_body(fields), **({"id": id_} if id_ else {})})
    _print_secret(made, account_told, as_json=as_json)


@keys.command("list")
@click.option("--team", help="Of this team alone.")
@_as_json
@_asking
def list_keys(client: AdminClient, team: str | None, as_json: bool) -> None:
    """List all keys, without the keys themselves."""
    from trio_router.cli.telling import keys_told

    _print(list(client.pages("keys", team=team)), keys_told, as_json=as_json)


@keys.command("show")
@click.argument("id_", metavar="ID")
@_as_json
@_asking
def show_key(client: AdminClient, id_: str, as_json: bool) -> None:
    """Show one key, and how near its ceilings are."""
    _show(client, "keys", id_, as_json=as_json)


@keys.command("change")
@click.argument("id_", metavar="ID")
@_with(_KEY)
@_as_json
@_asking
def change_key(client: AdminClient, id_: str, as_json: bool, **fields: Any) -> None:
    """Change what is given; the rest stays."""
    _change(client, "keys", id_, fields, as_json=as_json)


@keys.command("rotate")
@click.argument("id_", metavar="ID")
@click.option("--overlap", callback=_span, default="1h", show_default=True, help="The old one's rest.")
@_as_json
@_asking
def rotate_key(client: AdminClient, id_: str, overlap: int, as_json: bool) -> None:
    """Give a key another secret, which is printed, this once."""
    from trio_router.cli.asking import below
    from trio_router.cli.telling import account_told

    made = client.ask("POST", below("keys", id_, "rotate"), {"overlap": overlap})
    _print_secret(made, account_told, as_json=as_json)


@keys.command("revoke")
@click.argument("id_", metavar="ID")
@_asking
def revoke_key(client: AdminClient, id_: str) -> None:
    """Make a key useless, everywhere within 2 s."""
    from trio_router.cli.asking import below

    told = client.ask("POST", below("keys", id_, "revoke"))
    click.echo(f"{told['id']}: {told['state']}")


@click.group()
def teams() -> None:
    """Make, list, change and remove teams at a running router."""


@teams.command("create")
@click.argument("id_", metavar="ID")
@_with(_ACCOUNT)
@_as_json
@_asking
def create_team(client: AdminClient, id_: str, as_json: bool, **fields: Any) -> None:
    """Make a team."""
    from trio_router.cli.telling import account_told

    _print(client.ask("POST", "teams", {**_body(fields), "id": id_}), account_told, as_json=as_json)


@teams.command("list")
@_as_json
@_asking
def list_teams(client: AdminClient, as_json: bool) -> None:
    """List all teams."""
    from trio_router.cli.telling import teams_told

    _print(list(client.pages("teams")), teams_told, as_json=as_json)


@teams.command("show")
@click.argument("id_", metavar="ID")
@_as_json
@_asking
def show_team(client: AdminClient, id_: str, as_json: bool) -> None:
    """Show one team, and how near its ceilings are."""
    _show(client, "teams", id_, as_json=as_json)


@teams.command("change")
@click.argument("id_", metavar="ID")
@_with(_ACCOUNT)
@_as_json
@_asking
def change_team(client: AdminClient, id_: str, as_json: bool, **fields: Any) -> None:
    """Change what is given; the rest stays."""
    _change(client, "teams", id_, fields, as_json=as_json)


@teams.command("remove")
@click.argument("id_", metavar="ID")
@_asking
def remove_team(client: AdminClient, id_: str) -> None:
    """Remove a team that has no keys."""
    from trio_router.cli.asking import below

    client.ask("DELETE", below("teams", id_))
    click.echo(f"{id_}: removed")


@click.command()
@click.option(
    "--by",
    type=click.Choice(["key", "team", "model", "provider", "day"]),
    default="key",
    show_default=True,
)
@click.option("--since", help="Unix seconds, a date (UTC) or RFC 3339.  Default: 30 days ago.")
@click.option("--until", help="Before this time.  Default: now.")
@click.option("--key", help="Of this key alone, by its id.")
@click.option("--team", help="Of this team alone.")
@click.option("--model", help="Of this model alone.")
@click.option("--provider", help="Of this provider alone.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a table for other programs.")
@_as_json
@_asking
def spend(client: AdminClient, as_csv: bool, as_json: bool, **query: str | None) -> None:
    """Print what was spent, by key, team, model, provider or day."""
    from trio_router.cli.telling import spend_told

    if not as_csv:
        _print(client.ask("GET", "spend", **query), spend_told, as_json=as_json)
        return
    answer = client.answer("GET", "spend", format="csv", **query)
    if not answer.is_success:
        raise client.refusal(answer)
    click.echo(answer.text.replace("\r\n", "\n"), nl=False)


def _show(client: AdminClient, kind: str, id_: str, *, as_json: bool) -> None:
    from trio_router.cli.asking import below
    from trio_router.cli.telling import account_told

    _print(client.ask("GET", below(kind, id_)), account_told, as_json=as_json)


def _change(client: AdminClient, kind: str, id_: str, fields: dict[str, Any], *, as_json: bool) -> None:
    from trio_router.cli.asking import below
    from trio_router.cli.telling import account_told

    body = _body(fields)
    if not body:
        raise click.UsageError("nothing is to be changed: give an option")
    if limits := body.get("limits"):  # those that were not given stay
        kept = client.ask("GET", below(kind, id_))["limits"]
        body["limits"] = kept | {name: most for name, most in limits.items() if most is not None}
    _print(client.ask("PATCH", below(kind, id_), body), account_told, as_json=as_json)


def _print_secret(made: dict[str, Any], lines: Callable[[Any], list[str]], *, as_json: bool) -> None:
    """The key goes to standard output alone, where a script takes it from."""
    if as_json:
        _print(made, lines, as_json=True)
        return
    click.echo("\n".join(lines(made)), err=True)
    click.echo("This is the key. It is shown this once:", err=True)
    click.echo(made["key"])

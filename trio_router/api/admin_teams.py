"""`/admin/v1/teams`: made, listed, changed, removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_router.api.accounts import conflict, opened
from trio_router.api.admin import admin_reply
from trio_router.api.admin_acts import act, logged
from trio_router.api.admin_bodies import NewTeamBody, TeamBody, changed, team_of, understood
from trio_router.api.admin_keys import add_standing, standing
from trio_router.api.admin_query import CEILINGS, PAGE, flag, page_size, refuse_unknown
from trio_router.api.admin_shapes import listed, team_told
from trio_router.errors import NotFound
from trio_router.ledger.accounts import Team

if TYPE_CHECKING:
    from trio_router.api.reply import Reply
    from trio_router.api.request import ClientRequest


class TeamEndpoints:
    """The endpoints of teams, below the path `root`."""

    def __init__(self, root: str) -> None:
        self.path = f"{root}/teams"
        self._changing = trio.Lock()  # a team is read, changed and written as one step

    async def list(self, asked: ClientRequest, who: str) -> Reply:
        """A page of teams by their ids."""
        query = asked.query
        refuse_unknown(query, (*PAGE, CEILINGS))
        limit, now = page_size(query), asked.router.clock.wall()
        async with opened(asked) as accounts:
            page = await accounts.teams(after=query.get("after"), limit=limit)
            filed = accounts.file.teams
            told = [team_told(team, is_of_file=team.id in filed) for team in page.teams]
            if flag(query, CEILINGS):
                await add_standing(accounts, "team", page.teams, told, now)
        return admin_reply(listed(told, page.next))

    async def create(self, asked: ClientRequest, who: str) -> Reply:
        body = understood(await asked.body.read(), NewTeamBody)
        now = asked.router.clock.wall()
        team = team_of(body, Team(id=body.id, created_at=now))
        async with opened(asked, changes=True) as accounts, self._changing:
            accounts.refuse_of_file(accounts.file.teams, "team", team.id)
            if await accounts.store.team(team.id) is not None:
                raise conflict(f"there is a team {team.id!r} already", "id")
            entry = act(asked.router, who, "team.create", team.id, name=team.name)
            await accounts.store.put_team(team, entry)
            logged(entry)
        return admin_reply(team_told(team), 201)

    def methods(self, path: str) -> set[str]:
        """Which methods a path below has."""
        return {"GET", "PATCH", "DELETE"} if path != f"{self.path}/" else set()

    async def one(self, asked: ClientRequest, who: str) -> Reply:
        """What is asked of one team."""
        name = asked.link.path.removeprefix(f"{self.path}/")
        match asked.link.method:
            case "PATCH":
                return await self._change(asked, who, name)
            case "DELETE":
                return await self._remove(asked, who, name)
        return await self._show(asked, name)

    async def _show(self, asked: ClientRequest, name: str) -> Reply:
        """The team, and how near its ceilings are."""
        now = asked.router.clock.wall()
        async with opened(asked) as accounts:
            team = await accounts.team(name)
            told = team_told(team, is_of_file=name in accounts.file.teams)
            told["ceilings"] = await standing(accounts, "team", team.id, team, now)
        return admin_reply(told)

    async def _change(self, asked: ClientRequest, who: str, name: str) -> Reply:
        body = understood(await asked.body.read(), TeamBody)
        async with opened(asked, changes=True) as accounts, self._changing:
            accounts.refuse_of_file(accounts.file.teams, "team", name)
            team = team_of(body, await accounts.team(name))
            if fields := changed(body):
                entry = act(asked.router, who, "team.change", name, fields=fields)
                await accounts.store.put_team(team, entry)
                logged(entry)
        return admin_reply(team_told(team))

    async def _remove(self, asked: ClientRequest, who: str, name: str) -> Reply:
        """Removes the team, unless a key belongs to it."""
        async with opened(asked, changes=True) as accounts, self._changing:
            accounts.refuse_of_file(accounts.file.teams, "team", name)
            team = await accounts.team(name)
            page = await accounts.keys(team=name, after=None, limit=1)
            if page.keys:
                first = page.keys[0].id
                raise conflict(f"the key {first!r} belongs to the team: give its keys to another one")
            entry = act(asked.router, who, "team.remove", name, name=team.name)
            if not await accounts.store.remove_team(name, entry):
                raise NotFound(f"there is no team {name!r}")
            logged(entry)
        return admin_reply({"object": "team", "id": name, "removed": True})

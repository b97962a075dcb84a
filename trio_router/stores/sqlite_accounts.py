"""What the SQLite store does with keys, teams and the audit log: each function is one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trio_router.ledger.accounts import Key, Team
from trio_router.ledger.queries import AuditEntry, KeyPage, TeamPage
from trio_router.stores.interface import Conflict

if TYPE_CHECKING:
    from sqlite3 import Connection

_encode = msgspec.json.Encoder().encode
_key = msgspec.json.Decoder(Key).decode
_team = msgspec.json.Decoder(Team).decode


def add_key(db: Connection, key: Key, audit: AuditEntry) -> None:
    taken = "select 1 from keys where id = ?1 or hash = ?2 or old_hash = ?2"
    if db.execute(taken, (key.id, key.hash)).fetchone() is not None:
        raise Conflict(f"there is a key {key.id} already")
    values = (key.id, key.hash, key.old_hash, key.team, _encode(key))
    db.execute("insert into keys values (?, ?, ?, ?, ?)", values)
    note(db, audit)


def change_key(db: Connection, new: Key, audit: AuditEntry, before: Key | None) -> bool:
    if before is not None and key(db, new.id) not in (before, None):
        raise Conflict(f"the key {new.id} was changed meanwhile")
    update = "update keys set hash = ?, old_hash = ?, team = ?, body = ? where id = ?"
    done = db.execute(update, (new.hash, new.old_hash, new.team, _encode(new), new.id))
    if done.rowcount:
        note(db, audit)
    return bool(done.rowcount)


def key_of(db: Connection, hashed: str) -> Key | None:
    query = "select body from keys where hash = ?1 union all select body from keys where old_hash = ?1"
    found = db.execute(query, (hashed,)).fetchone()
    return None if found is None else _key(found[0])


def key(db: Connection, id: str) -> Key | None:  # noqa: A002
    found = db.execute("select body from keys where id = ?", (id,)).fetchone()
    return None if found is None else _key(found[0])


def keys(db: Connection, team: str | None, after: str | None, limit: int) -> KeyPage:
    where, values = "id > ?", [after or ""]
    if team is not None:
        where, values = f"team = ? and {where}", [team, *values]
    query = f"select body from keys where {where} order by id limit ?"
    found = [_key(body) for (body,) in db.execute(query, (*values, limit + 1))]
    return KeyPage(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)


def put_team(db: Connection, team: Team, audit: AuditEntry) -> None:
    db.execute("insert or replace into teams values (?, ?)", (team.id, _encode(team)))
    note(db, audit)


def remove_team(db: Connection, id: str, audit: AuditEntry) -> bool:  # noqa: A002
    done = db.execute("delete from teams where id = ?", (id,))
    if done.rowcount:
        note(db, audit)
    return bool(done.rowcount)


def team(db: Connection, id: str) -> Team | None:  # noqa: A002
    found = db.execute("select body from teams where id = ?", (id,)).fetchone()
    return None if found is None else _team(found[0])


def teams(db: Connection, after: str | None, limit: int) -> TeamPage:
    query = "select body from teams where id > ? order by id limit ?"
    found = [_team(body) for (body,) in db.execute(query, (after or "", limit + 1))]
    return TeamPage(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)


def note(db: Connection, entry: AuditEntry) -> None:
    """Writes down an act."""
    values = (entry.at, entry.actor, entry.act, entry.subject, _encode(entry.detail).decode())
    insert = "insert into audit (at, actor, act, subject, detail) values (?, ?, ?, ?, ?)"
    db.execute(insert, values)


def audit(db: Connection, before: int | None, limit: int) -> list[AuditEntry]:
    where, values = ("", ()) if before is None else ("where number < ?", (before,))
    query = f"select at, actor, act, subject, detail, number from audit {where}"
    found = db.execute(f"{query} order by number desc limit ?", (*values, limit))
    return [
        AuditEntry(at, actor, act, subject, msgspec.json.decode(detail), number)
        for at, actor, act, subject, detail, number in found
    ]

"""What the PostgreSQL store does with keys, teams and the audit log: a transaction each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from trio_router.ledger.accounts import Key, Team
from trio_router.ledger.queries import AuditEntry, KeyPage, TeamPage
from trio_router.stores.interface import Conflict
from trio_router.stores.postgres_rows import plain

if TYPE_CHECKING:
    from psycopg import Connection

_encode = msgspec.json.Encoder().encode
_key = msgspec.json.Decoder(Key).decode
_team = msgspec.json.Decoder(Team).decode


def add_key(db: Connection[Any], key: Key, audit: AuditEntry) -> None:
    with db.transaction():
        known = "select 1 from keys where old_hash = %s"
        insert = "insert into keys values (%s, %s, %s, %s, %s) on conflict do nothing"
        is_taken = db.execute(known, (key.hash,)).fetchone() is not None
        if is_taken or not db.execute(insert, (plain(key.id), *_columns(key))).rowcount:
            raise Conflict(f"there is a key {key.id} already")
        note(db, audit)


def change_key(db: Connection[Any], new: Key, audit: AuditEntry, before: Key | None) -> bool:
    update = "update keys set hash = %s, old_hash = %s, team = %s, body = %s where id = %s"
    with db.transaction():
        db.execute("select from keys where id = %s for update", (plain(new.id),))
        if before is not None and key(db, new.id) not in (before, None):
            raise Conflict(f"the key {new.id} was changed meanwhile")
        done = db.execute(update, (*_columns(new), plain(new.id)))
        if done.rowcount:
            note(db, audit)
        return bool(done.rowcount)


def _columns(key: Key) -> tuple[Any, ...]:
    return key.hash, key.old_hash, None if key.team is None else plain(key.team), _encode(key)


def key_of(db: Connection[Any], hashed: str) -> Key | None:
    query = "select body from keys where hash = %s union all select body from keys where old_hash = %s"
    found = db.execute(query, (plain(hashed), plain(hashed))).fetchone()
    return None if found is None else _key(found[0])


def key(db: Connection[Any], id: str) -> Key | None:  # noqa: A002
    found = db.execute("select body from keys where id = %s", (plain(id),)).fetchone()
    return None if found is None else _key(found[0])


def keys(db: Connection[Any], team: str | None, after: str | None, limit: int) -> KeyPage:
    query = "select body from keys where id > %s order by id limit %s"
    values: tuple[Any, ...] = (plain(after or ""), limit + 1)
    if team is not None:
        query = "select body from keys where team = %s and id > %s order by id limit %s"
        values = (plain(team), *values)
    found = [_key(body) for (body,) in db.execute(query, values)]
    return KeyPage(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)


def put_team(db: Connection[Any], team: Team, audit: AuditEntry) -> None:
    insert = "insert into teams values (%s, %s) on conflict (id) do update set body = excluded.body"
    with db.transaction():
        db.execute(insert, (plain(team.id), _encode(team)))
        note(db, audit)


def remove_team(db: Connection[Any], id: str, audit: AuditEntry) -> bool:  # noqa: A002
    with db.transaction():
        done = db.execute("delete from teams where id = %s", (plain(id),))
        if done.rowcount:
            note(db, audit)
        return bool(done.rowcount)


def team(db: Connection[Any], id: str) -> Team | None:  # noqa: A002
    found = db.execute("select body from teams where id = %s", (plain(id),)).fetchone()
    return None if found is None else _team(found[0])


def teams(db: Connection[Any], after: str | None, limit: int) -> TeamPage:
    query = "select body from teams where id > %s order by id limit %s"
    found = [_team(body) for (body,) in db.execute(query, (plain(after or ""), limit + 1))]
    return TeamPage(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)


def note(db: Connection[Any], entry: AuditEntry) -> None:
    """Acts wait for each other here: a number that a sequence gave could be seen after a later one."""
    db.execute(
        "with act as (update accounts set acts = acts + 1 returning acts)"
        " insert into audit select acts, %s, %s, %s, %s, %s from act",
        (
            entry.at,
            plain(entry.actor),
            plain(entry.act),
            plain(entry.subject),
            _encode({plain(name): plain(value) for name, value in entry.detail.items()}).decode(),
        ),
    )


def audit(db: Connection[Any], before: int | None, limit: int) -> list[AuditEntry]:
    query = (
        "select at, actor, act, subject, detail, number from audit"
        " where number < coalesce(%s::bigint, 9223372036854775807) order by number desc limit %s"
    )
    return [AuditEntry(*found) for found in db.execute(query, (before, limit))]

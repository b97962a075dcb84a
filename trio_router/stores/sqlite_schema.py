"""The tables of the SQLite store, and how an older file is brought up to date.

`PRAGMA user_version` says how many of the migrations a file has seen.  A migration that was released is
never changed; a new one is added behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.stores.interface import StoreDown

if TYPE_CHECKING:
    import sqlite3

MIGRATIONS = (
    """
    create table workers (name text primary key, ends real not null, batch integer not null default 0);
    create table minutes (
        counter text not null, at integer not null, amount integer not null, primary key (counter, at)
    ) without rowid;
    create index minutes_at on minutes (at);
    create table spent (counter text primary key, amount integer not null) without rowid;
    create table held (
        counter text not null, worker text not null, amount integer not null,
        primary key (counter, worker)
    ) without rowid;
    create index held_by on held (worker);
    create table reserved (
        id text primary key, began_at real not null, worker text not null, key text not null,
        team text not null, model text not null, body text not null
    ) without rowid;
    create index reserved_by on reserved (worker);
    create table rows (
        id text primary key, began_at real not null, worker text not null, key text not null,
        team text not null, model text not null, body text not null
    );
    create index rows_at on rows (began_at, id);
    create index rows_of_key on rows (key, began_at);
    create index rows_of_team on rows (team, began_at);
    create view ledger as select * from rows union all select * from reserved;
    create table attempts (
        row text not null, provider text not null, target text not null, used integer not null,
        input integer not null, output integer not null, cost integer, estimated integer not null
    );
    create index attempts_of on attempts (row);
    create table keys (
        id text primary key, hash text not null unique, old_hash text, team text, body blob not null
    );
    create index keys_by_old_hash on keys (old_hash) where old_hash is not null;
    create index keys_of_team on keys (team, id);
    create table teams (id text primary key, body blob not null);
    create table audit (
        number integer primary key autoincrement, at real not null, actor text not null,
        act text not null, subject text not null, detail text not null
    );
    """,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Brings the file up to date, in one transaction.  Raises StoreDown if a newer version made it."""
    connection.execute("begin immediate")
    try:
        (version,) = connection.execute("pragma user_version").fetchone()
        if version > len(MIGRATIONS):
            raise StoreDown(f"a newer version made the file (version {version} of its tables)")
        for script in MIGRATIONS[version:]:
            for statement in script.split(";"):
                connection.execute(statement)
        connection.execute(f"pragma user_version = {len(MIGRATIONS)}")
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise

"""The tables of the PostgreSQL store, and how an older database is brought up to date.

Everything is in a schema of its own, `trio_router`; its table `version` says how many of the migrations
it has seen.  A migration that was released is never changed; a new one is added behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.stores.interface import StoreDown

if TYPE_CHECKING:
    from psycopg import Connection

SCHEMA = "trio_router"
COUNTERS_LOCK, MIGRATION_LOCK = (
    7_237_116_810,
    7_237_116_811,
)  # of the whole database, so unlikely numbers
# Names are compared byte by byte, as Python does it, whatever language the database speaks.
MIGRATIONS = (
    """
    create table rows (
        id text collate "C" primary key, began_at double precision not null, owner text not null,
        state text not null, key text not null, team text not null, model text not null,
        providers text[] not null, targets text[] not null, charges jsonb not null, body bytea not null
    );
    create index rows_at on rows (began_at, id);
    create index rows_of_key on rows (key, began_at, id);
    create index rows_of_team on rows (team, began_at, id);
    create index rows_reserved on rows (owner) where state = 'reserved';
    create table attempts (
        row_id text collate "C" not null references rows on delete cascade, provider text not null,
        target text not null, used boolean not null, input bigint not null, output bigint not null,
        cost bigint, estimated boolean not null
    );
    create index attempts_of on attempts (row_id);
    create table spent (counter text primary key, amount bigint not null, version bigint not null);
    create table keys (
        id text collate "C" primary key, hash text not null unique, old_hash text,
        team text, body bytea not null
    );
    create index keys_by_old_hash on keys (old_hash) where old_hash is not null;
    create index keys_of_team on keys (team, id);
    create table teams (id text collate "C" primary key, body bytea not null);
    create table audit (
        number bigint primary key, at double precision not null, actor text not null,
        act text not null, subject text not null, detail jsonb not null
    );
    create table accounts (acts bigint not null);
    insert into accounts values (0);
    """,
    """
    create table workers (
        name text primary key, ends double precision not null,
        ahead bigint not null default 0, batch bigint not null default 0
    );
    create table held (
        counter text not null, worker text not null, amount bigint not null,
        primary key (counter, worker)
    );
    create index held_by on held (worker);
    create table minutes (
        counter text not null, at bigint not null, amount bigint not null, primary key (counter, at)
    );
    create index minutes_at on minutes (at);
    """,
)


def migrate(db: Connection[Any]) -> None:
    """Brings the database up to date.  Raises StoreDown if a newer version of the router made it."""
    with db.transaction():
        db.execute("set local statement_timeout = 0")
        db.execute("set local lock_timeout = 0")
        db.execute("select pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        if _one(db, "select to_regnamespace(%s) is null", SCHEMA):
            db.execute(f"create schema {SCHEMA}".encode())
        db.execute("create table if not exists version (migrations integer not null)")
        version = _one(db, "select coalesce(max(migrations), 0) from version")
        if version > len(MIGRATIONS):
            raise StoreDown(f"a newer version made the database (version {version} of its tables)")
        for script in MIGRATIONS[version:]:
            db.execute(script.encode())
        db.execute("delete from version")
        db.execute("insert into version values (%s)", (len(MIGRATIONS),))


def _one(db: Connection[Any], query: str, *values: object) -> Any:
    found = db.execute(query.encode(), values or None).fetchone()
    return None if found is None else found[0]

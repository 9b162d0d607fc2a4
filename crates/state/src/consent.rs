//! The tables of what people are shown and agree to: what is kept with open requests, grants, halts.

use lictor_store::Migration;

pub(crate) const MIGRATION: Migration = Migration {
    owner: "state",
    version: 4,
    sql: "
CREATE TABLE approval_part (
    approval TEXT NOT NULL REFERENCES approval (id),
    name TEXT NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (approval, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE approval_grant (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT;

CREATE TABLE halt (
    id TEXT PRIMARY KEY,
    in_force INTEGER NOT NULL,
    at INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT;
CREATE INDEX halt_in_force ON halt (at) WHERE in_force = 1;
",
};

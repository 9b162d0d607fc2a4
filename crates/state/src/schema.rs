//! The tables.

use lictor_store::Migration;

/// The migrations of this crate's tables, for [`lictor_store::Store::open`].
#[must_use]
pub fn migrations() -> &'static [Migration] {
    &[
        FIRST,
        crate::runs::LEASES,
        crate::catalogue::MIGRATION,
        crate::consent::MIGRATION,
        crate::usage::MIGRATION,
        crate::decisions::MIGRATION,
        crate::runs::PLACES,
        crate::pins::MIGRATION,
        crate::sealed_runs::SEALED,
        crate::clients::MIGRATION,
        crate::executions::UNREAD,
        crate::executions::UNREAD_RUN,
    ]
}

const FIRST: Migration = Migration {
    owner: "state",
    version: 1,
    sql: "
CREATE TABLE execution (
    id TEXT PRIMARY KEY,
    started_at INTEGER NOT NULL,
    session TEXT NOT NULL,
    status TEXT NOT NULL,
    idempotency_key TEXT,
    run TEXT,
    undoes INTEGER NOT NULL,
    undone_by TEXT,
    record TEXT NOT NULL
) STRICT;
CREATE INDEX execution_time ON execution (started_at);
CREATE INDEX execution_session ON execution (session, started_at);
CREATE INDEX execution_key ON execution (idempotency_key, started_at)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX execution_run ON execution (run) WHERE run IS NOT NULL;

CREATE TABLE approval (
    id TEXT PRIMARY KEY,
    action_digest TEXT NOT NULL,
    open INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    requested_at INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX approval_open ON approval (action_digest) WHERE open = 1;
CREATE INDEX approval_time ON approval (requested_at);

CREATE TABLE approver (
    folded_name TEXT PRIMARY KEY,
    record TEXT NOT NULL
) STRICT;

CREATE TABLE run (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT;
CREATE INDEX run_time ON run (created_at);
CREATE INDEX run_status ON run (status);
",
};

//! The tables of the trail.

use lictor_store::Migration;

/// The tables of the trail, for the store that it shall stand in.
///
/// The triggers are guard rails for honest programs. Whoever can drop them is caught by the
/// checkpoint instead.
#[must_use]
pub fn migrations() -> &'static [Migration] {
    const ALL: &[Migration] = &[
        Migration { owner: "audit", version: 1, sql: VERSION_1 },
        Migration { owner: "audit", version: 2, sql: VERSION_2 },
        Migration { owner: "audit", version: 3, sql: VERSION_3 },
        Migration { owner: "audit", version: 4, sql: VERSION_4 },
    ];
    ALL
}

const VERSION_1: &str = "
CREATE TABLE audit_log (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  log_id TEXT NOT NULL
) STRICT;

CREATE TABLE audit_head (
  org TEXT PRIMARY KEY NOT NULL,
  size INTEGER NOT NULL,
  chain BLOB NOT NULL,
  frontier BLOB NOT NULL,
  checkpoint_note TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_session (
  org TEXT NOT NULL,
  session TEXT NOT NULL,
  next_seq INTEGER NOT NULL,
  PRIMARY KEY (org, session)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_event (
  org TEXT NOT NULL,
  seq INTEGER NOT NULL,
  session TEXT NOT NULL,
  session_seq INTEGER NOT NULL,
  type TEXT NOT NULL,
  ts INTEGER NOT NULL,
  user TEXT NOT NULL,
  agent TEXT NOT NULL,
  action_name TEXT,
  execution TEXT,
  run TEXT,
  success INTEGER,
  bytes BLOB NOT NULL,
  leaf BLOB NOT NULL,
  chain BLOB NOT NULL,
  UNIQUE (org, seq)
) STRICT;

CREATE INDEX audit_event_session ON audit_event (org, session, seq);
CREATE INDEX audit_event_type ON audit_event (org, type, seq);
CREATE INDEX audit_event_ts ON audit_event (org, ts, seq);
CREATE INDEX audit_event_execution ON audit_event (org, execution, seq) WHERE execution IS NOT NULL;
CREATE INDEX audit_event_run ON audit_event (org, run, seq) WHERE run IS NOT NULL;

CREATE TRIGGER audit_event_update BEFORE UPDATE ON audit_event
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_event_delete BEFORE DELETE ON audit_event
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_head_update BEFORE UPDATE ON audit_head
WHEN NEW.size <= OLD.size OR NEW.org <> OLD.org
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_head_delete BEFORE DELETE ON audit_head
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_session_update BEFORE UPDATE ON audit_session
WHEN NEW.next_seq <= OLD.next_seq OR NEW.org <> OLD.org OR NEW.session <> OLD.session
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_session_delete BEFORE DELETE ON audit_session
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_log_update BEFORE UPDATE ON audit_log
BEGIN SELECT RAISE(ABORT, 'a log keeps its id'); END;
CREATE TRIGGER audit_log_delete BEFORE DELETE ON audit_log
BEGIN SELECT RAISE(ABORT, 'a log keeps its id'); END;
";

/// Nodes of the tree, sealed content, epochs of the key, what was pruned, holds, erased keys.
///
/// A log of version 1 has no nodes; they are made at its next append.
const VERSION_2: &str = "
CREATE TABLE audit_node (
  org TEXT NOT NULL,
  level INTEGER NOT NULL,
  idx INTEGER NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (org, level, idx)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_sealed (
  org TEXT NOT NULL,
  seq INTEGER NOT NULL,
  pointer TEXT NOT NULL,
  ciphertext BLOB NOT NULL,
  PRIMARY KEY (org, seq, pointer)
) STRICT;

CREATE TABLE audit_epoch (
  org TEXT NOT NULL,
  size INTEGER NOT NULL,
  note TEXT NOT NULL,
  PRIMARY KEY (org, size)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_pruned (
  org TEXT PRIMARY KEY NOT NULL,
  first_seq INTEGER NOT NULL,
  chain BLOB NOT NULL,
  frontier BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_hold (
  org TEXT NOT NULL,
  name TEXT NOT NULL,
  PRIMARY KEY (org, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_erased (
  org TEXT NOT NULL,
  key_id TEXT NOT NULL,
  done INTEGER NOT NULL,
  PRIMARY KEY (org, key_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_key (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  public TEXT NOT NULL
) STRICT;

-- The end of an epoch gets a second signature.
DROP TRIGGER audit_head_update;
CREATE TRIGGER audit_head_update BEFORE UPDATE ON audit_head
WHEN NEW.size < OLD.size OR NEW.org <> OLD.org
  OR (NEW.size = OLD.size AND (NEW.frontier <> OLD.frontier OR NEW.chain <> OLD.chain
    OR substr(NEW.checkpoint_note, 1, length(OLD.checkpoint_note)) <> OLD.checkpoint_note))
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;

-- What is pruned is deleted; everything else stays.
DROP TRIGGER audit_event_delete;
CREATE TRIGGER audit_event_delete BEFORE DELETE ON audit_event
WHEN OLD.seq >= (SELECT coalesce(max(first_seq), 0) FROM audit_pruned WHERE org = OLD.org)
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_sealed_update BEFORE UPDATE ON audit_sealed
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_node_update BEFORE UPDATE ON audit_node
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_epoch_update BEFORE UPDATE ON audit_epoch
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_epoch_delete BEFORE DELETE ON audit_epoch
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_pruned_update BEFORE UPDATE ON audit_pruned
WHEN NEW.first_seq <= OLD.first_seq OR NEW.org <> OLD.org
BEGIN SELECT RAISE(ABORT, 'what was pruned stays so'); END;
CREATE TRIGGER audit_pruned_delete BEFORE DELETE ON audit_pruned
BEGIN SELECT RAISE(ABORT, 'what was pruned stays so'); END;
";

/// What went on without its events, until the trail tells of it.
const VERSION_3: &str = "
CREATE TABLE audit_dropped (
  org TEXT PRIMARY KEY NOT NULL,
  events INTEGER NOT NULL,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Sealed content lies where its key does: an append writes one page for it, not two.
const VERSION_4: &str = "
DROP TRIGGER audit_sealed_update;
ALTER TABLE audit_sealed RENAME TO audit_sealed_3;
CREATE TABLE audit_sealed (
  org TEXT NOT NULL,
  seq INTEGER NOT NULL,
  pointer TEXT NOT NULL,
  ciphertext BLOB NOT NULL,
  PRIMARY KEY (org, seq, pointer)
) STRICT, WITHOUT ROWID;
INSERT INTO audit_sealed SELECT org, seq, pointer, ciphertext FROM audit_sealed_3
  ORDER BY org, seq, pointer;
DROP TABLE audit_sealed_3;
CREATE TRIGGER audit_sealed_update BEFORE UPDATE ON audit_sealed
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
";

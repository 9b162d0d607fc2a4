//! Exports: the event bytes, one a line, and a second file that proves them.
//!
//! The second file begins with the signed checkpoint, a C2SP note byte for byte. After an empty
//! line and a line that names the format follow the leaf hashes of the whole log, in base64, one
//! a line. The checkpoint vouches for the list (its root is signed), and the list for each single
//! line: so a verifier can name the first bad one, and tell a shortened file from a forged one.
//! Of a log that was pruned, the list begins with the hashes of the tree before its first leaf.
//! When the key was rotated, the checkpoints with which its epochs ended follow the list.

use std::io::Write;

use lictor_context::Name;
use lictor_store::rusqlite::{self, Connection};

use crate::error::{ExportErrorKind, QueryErrorKind};
use crate::filter::Filter;
use crate::log::{Hash, base64_hash};
use crate::trail::{Head, Pruned};

/// Names the list of leaves, and its version.
pub(crate) const LEAVES: &str = "lictor-leaves/v1";

/// Names the checkpoints of the epochs, and their version.
pub(crate) const EPOCHS: &str = "lictor-epochs/v1";

/// What an export holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// How many events were written.
    pub events: u64,
    /// How many the log has. When it has more, the file cannot verify as complete.
    pub size: u64,
}

pub(crate) fn export_from(
    connection: &Connection,
    org: &Name,
    filter: &Filter,
    events: &mut dyn Write,
    checkpoint: &mut dyn Write,
) -> Result<Exported, ExportErrorKind> {
    let Some(head) = Head::read(connection, org).map_err(QueryErrorKind::Sqlite)? else {
        return Ok(Exported { events: 0, size: 0 });
    };
    let mut written = 0;
    filter.each(connection, org, |_, bytes| {
        written += 1;
        events.write_all(bytes)?;
        events.write_all(b"\n").map_err(ExportErrorKind::Io)
    })?;
    events.flush()?;

    write_evidence(connection, org, &head, checkpoint)?;
    checkpoint.flush()?;
    let size = u64::try_from(head.size).map_err(|_| QueryErrorKind::Damaged)?;
    Ok(Exported { events: written, size })
}

/// The checkpoint, the list of leaves, and the ends of the epochs.
pub(crate) fn write_evidence(
    connection: &Connection,
    org: &Name,
    head: &Head,
    checkpoint: &mut dyn Write,
) -> Result<(), ExportErrorKind> {
    let read = |error| ExportErrorKind::Query(QueryErrorKind::Sqlite(error));
    checkpoint.write_all(head.note.as_bytes())?;
    match Pruned::read(connection, org).map_err(read)? {
        None => writeln!(checkpoint, "\n{LEAVES}")?,
        Some(pruned) => {
            writeln!(checkpoint, "\n{LEAVES} {}", pruned.first_seq)?;
            for hash in pruned.frontier.as_chunks::<32>().0 {
                writeln!(checkpoint, "{}", base64_hash(hash))?;
            }
        }
    }
    let mut statement = connection
        .prepare_cached("SELECT leaf FROM audit_event WHERE org = ?1 ORDER BY seq")
        .map_err(read)?;
    let mut rows = statement.query([org.as_str()]).map_err(read)?;
    while let Some(row) = rows.next().map_err(read)? {
        let leaf: Hash = row.get(0).map_err(read)?;
        writeln!(checkpoint, "{}", base64_hash(&leaf))?;
    }
    let epochs = epoch_notes(connection, org).map_err(read)?;
    if !epochs.is_empty() {
        let notes: Vec<String> = epochs.into_iter().map(|(_, note)| note).collect();
        writeln!(checkpoint, "\n{EPOCHS}")?;
        checkpoint.write_all(notes.join("\n").as_bytes())?;
    }
    Ok(())
}

/// The checkpoints with which the epochs ended, and at which size, of those that were not pruned.
pub(crate) fn epoch_notes(
    connection: &Connection,
    org: &Name,
) -> rusqlite::Result<Vec<(i64, String)>> {
    let mut statement = connection.prepare_cached(
        "SELECT size, note FROM audit_epoch WHERE org = ?1 AND size > \
         (SELECT coalesce(max(first_seq), 0) FROM audit_pruned WHERE org = ?1) ORDER BY size",
    )?;
    let notes = statement.query_map([org.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    notes.collect()
}

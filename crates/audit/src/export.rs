//! Exports: the event bytes, one a line, and a second file that proves them.
//!
//! The second file begins with the signed checkpoint, a C2SP note byte for byte. After an empty
//! line and a line that names the format follow the leaf hashes of the whole log, in base64, one
//! a line. The checkpoint vouches for the list (its root is signed), and the list for each single
//! line: so a verifier can name the first bad one, and tell a shortened file from a forged one.

use std::io::Write;

use lictor_context::Name;
use lictor_store::rusqlite::Connection;

use crate::error::{ExportErrorKind, QueryErrorKind};
use crate::filter::Filter;
use crate::log::{Hash, base64_hash};
use crate::trail::Head;

/// Names the list of leaves, and its version.
pub(crate) const LEAVES: &str = "lictor-leaves/v1";

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

    checkpoint.write_all(head.note.as_bytes())?;
    writeln!(checkpoint, "\n{LEAVES}")?;
    let read = |error| ExportErrorKind::Query(QueryErrorKind::Sqlite(error));
    let mut statement = connection
        .prepare_cached("SELECT leaf FROM audit_event WHERE org = ?1 ORDER BY seq")
        .map_err(read)?;
    let mut rows = statement.query([org.as_str()]).map_err(read)?;
    while let Some(row) = rows.next().map_err(read)? {
        let leaf: Hash = row.get(0).map_err(read)?;
        writeln!(checkpoint, "{}", base64_hash(&leaf))?;
    }
    checkpoint.flush()?;
    let size = u64::try_from(head.size).map_err(|_| QueryErrorKind::Damaged)?;
    Ok(Exported { events: written, size })
}

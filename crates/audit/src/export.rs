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

use crate::error::ExportErrorKind;
use crate::filter::Filter;
use crate::log::{Node, base64_hash};
use crate::stores::{Head, TrailReader};
use crate::trail::go_on;

/// Names the list of leaves, and its version.
pub(crate) const LEAVES: &str = "lictor-leaves/v1";

/// Names the checkpoints of the epochs, and their version.
pub(crate) const EPOCHS: &str = "lictor-epochs/v1";

/// So many leaves are read at once.
const LEAVES_AT_ONCE: u64 = 8192;

/// What an export holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// How many events were written.
    pub events: u64,
    /// How many the log has. When it has more, the file cannot verify as complete.
    pub size: u64,
}

pub(crate) fn export_from(
    reader: &dyn TrailReader,
    org: &Name,
    filter: &Filter,
    events: &mut dyn Write,
    checkpoint: &mut dyn Write,
) -> Result<Exported, ExportErrorKind> {
    let Some(head) = reader.head(org)? else {
        return Ok(Exported { events: 0, size: 0 });
    };
    let mut count = 0;
    let mut written = Ok(());
    reader.select(org, filter, &mut |line| {
        count += 1;
        let line = events.write_all(line.bytes).and_then(|()| events.write_all(b"\n"));
        go_on(&mut written, line)
    })?;
    written?;
    events.flush()?;
    write_evidence(reader, org, &head, checkpoint)?;
    checkpoint.flush()?;
    Ok(Exported { events: count, size: head.size })
}

/// The checkpoint, the list of leaves, and the ends of the epochs.
pub(crate) fn write_evidence(
    reader: &dyn TrailReader,
    org: &Name,
    head: &Head,
    checkpoint: &mut dyn Write,
) -> Result<(), ExportErrorKind> {
    checkpoint.write_all(head.note.as_bytes())?;
    let mut next = Node { level: 0, index: 0 };
    match reader.pruned(org)? {
        None => writeln!(checkpoint, "\n{LEAVES}")?,
        Some(pruned) => {
            writeln!(checkpoint, "\n{LEAVES} {}", pruned.first_seq)?;
            for hash in pruned.frontier.as_chunks::<32>().0 {
                writeln!(checkpoint, "{}", base64_hash(hash))?;
            }
            next.index = pruned.first_seq;
        }
    }
    loop {
        let leaves = reader.hashes(org, next, LEAVES_AT_ONCE)?;
        for leaf in &leaves {
            writeln!(checkpoint, "{}", base64_hash(leaf))?;
        }
        next.index += LEAVES_AT_ONCE;
        if u64::try_from(leaves.len()).unwrap_or(u64::MAX) < LEAVES_AT_ONCE {
            break;
        }
    }
    let epochs = reader.epochs(org)?;
    if !epochs.is_empty() {
        let notes: Vec<String> = epochs.into_iter().map(|(_, note)| note).collect();
        writeln!(checkpoint, "\n{EPOCHS}")?;
        checkpoint.write_all(notes.join("\n").as_bytes())?;
    }
    Ok(())
}

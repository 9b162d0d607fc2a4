//! Files that a verb is given by name.

use std::io::{Read as _, Write as _};
use std::path::Path;

use lictor::document::{Limits, Source};

use crate::failure::Failure;

/// The most that a change document or a diff may hold, in bytes; policy may allow less.
pub(crate) const MAX_CHANGES: u64 = 64 << 20;

/// A file that was read.
pub(crate) struct Given {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl Given {
    pub(crate) fn source(&self) -> Source<'_> {
        Source::new(&self.name, &self.bytes)
    }
}

/// Reads a file, or standard input for `-`; a byte more than `limit`, so that whoever parses it
/// can say that it is too large.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Given, Failure> {
    let name =
        if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() };
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(limit + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
    };
    match read {
        Ok(_) => Ok(Given { name, bytes }),
        Err(error) => Err(Failure::input(format!("`{name}` cannot be read: {error}"))),
    }
}

/// Writes a file that a verb was asked for; replaces what was there.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = std::fs::File::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written
        .map_err(|error| Failure::input(format!("`{}` cannot be written: {error}", path.display())))
}

/// The limits of change documents and diffs.
pub(crate) fn change_limits() -> Limits {
    Limits::default().with_max_bytes(MAX_CHANGES)
}

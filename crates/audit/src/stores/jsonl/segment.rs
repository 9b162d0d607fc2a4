//! One file of lines, and what is written in it beside events.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lictor_context::Digest;
use serde::{Deserialize, Serialize};

use crate::fault::point;

/// After so many events, it is remembered where the next batch begins.
const MARKED: u64 = 256;
/// Longer lines are none of ours; they are read in pieces.
const MAX_READ: u64 = 1 << 20;
/// What begins a line that is not an event.
const OWN: &[u8] = b"{\"lictor\":";

/// A line that is not an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "lictor", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Own {
    /// The first line of a file: what goes before it.
    Segment { v: u32, log: String, org: String, first_seq: u64, chain: String },
    /// What follows: so many events, with these leaves.
    Batch { first_seq: u64, leaves: Vec<String> },
    /// What was appended up to here is committed.
    Commit {
        size: u64,
        chain: String,
        frontier: String,
        note: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        holds: Vec<(String, bool)>,
        /// The SHA-256 of the line `commit` before it: a checkpoint that a later one took the place
        /// of is vouched for by nothing else. Files of older versions have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Digest>,
    },
    /// The last line of a file: it goes on in another one.
    Seal { size: u64, chain: String },
}

impl Own {
    /// As a line, its end included.
    pub(super) fn line(&self) -> io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }
}

/// What stands in a line.
pub(super) enum Line<'a> {
    Event(&'a [u8]),
    Own(Own),
}

impl<'a> Line<'a> {
    /// Tells which it is. What only looks like one of ours is an event, and a bad one.
    pub(super) fn of(line: &'a [u8]) -> Self {
        if line.starts_with(OWN)
            && let Ok(own) = serde_json::from_slice::<Own>(line)
            // In another spelling it is none of ours.
            && own.line().is_ok_and(|written| written.strip_suffix(b"\n") == Some(line))
        {
            return Self::Own(own);
        }
        Self::Event(line)
    }
}

/// A file of lines. Clones share the open file: it can be read when it was removed.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) first_seq: u64,
    pub(super) events: u64,
    /// As far as it is committed, in bytes.
    pub(super) len: u64,
    pub(super) sealed: bool,
    /// Where some batches begin: with which event, and at which offset.
    marks: Arc<Vec<(u64, u64)>>,
    pub(super) file: Arc<File>,
    inode: u64,
}

impl Segment {
    pub(super) fn open(path: &Path, first_seq: u64) -> io::Result<Self> {
        Self::of(OpenOptions::new().read(true).write(true).open(path)?, path, first_seq)
    }

    /// A new file with its first line, synced.
    pub(super) fn create(path: &Path, first_seq: u64, first: &Own) -> io::Result<Self> {
        point("jsonl: before a file is made")?;
        // One that is there was made by somebody who died before anything was in it.
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = file.open(path)?;
        let line = first.line()?;
        file.write_all_at(&line, 0)?;
        file.sync_all()?;
        point("jsonl: before a folder is synced")?;
        sync_folder(path)?;
        let mut made = Self::of(file, path, first_seq)?;
        made.len = u64::try_from(line.len()).unwrap_or(u64::MAX);
        Ok(made)
    }

    fn of(file: File, path: &Path, first_seq: u64) -> io::Result<Self> {
        let inode = file.metadata()?.ino();
        Ok(Self {
            path: path.to_owned(),
            first_seq,
            events: 0,
            len: 0,
            sealed: false,
            marks: Arc::default(),
            file: Arc::new(file),
            inode,
        })
    }

    /// Whether the file at its path is this one and ends where we know it to.
    pub(super) fn is_as_known(&self) -> io::Result<Known> {
        match std::fs::metadata(&self.path) {
            Ok(found) if found.ino() != self.inode || found.len() < self.len => Ok(Known::Other),
            Ok(found) if found.len() > self.len => Ok(Known::Longer),
            Ok(_) => Ok(Known::Same),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Known::Other),
            Err(error) => Err(error),
        }
    }

    /// The first `seq` that is not in it.
    pub(super) fn end(&self) -> u64 {
        self.first_seq + self.events
    }

    /// Remembers where a batch begins.
    pub(super) fn mark(&mut self, seq: u64, offset: u64) {
        let last = self.marks.last().map(|(last, _)| *last);
        if last.is_none_or(|last| seq >= last + MARKED) {
            Arc::make_mut(&mut self.marks).push((seq, offset));
        }
    }

    /// Where to begin to read for an event, and which event stands there.
    pub(super) fn near(&self, seq: u64) -> (u64, u64) {
        let after = self.marks.partition_point(|(marked, _)| *marked <= seq);
        let mark = after.checked_sub(1).and_then(|at| self.marks.get(at));
        mark.map_or((self.first_seq, 0), |mark| *mark)
    }

    /// Writes behind what is committed, and cuts off what was there: nobody was told of it.
    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.file.metadata()?.len() > offset {
            self.file.set_len(offset)?;
        }
        self.file.write_all_at(bytes, offset)
    }

    /// The lines from one offset to another, with where each begins. `take` says when it wants no
    /// more.
    pub(super) fn read(
        &self,
        from: u64,
        until: u64,
        mut take: impl FnMut(u64, &[u8]) -> io::Result<bool>,
    ) -> io::Result<()> {
        let reader = At { file: &self.file, offset: from, until };
        let mut reader = BufReader::with_capacity(1 << 16, reader);
        let (mut offset, mut line) = (from, Vec::new());
        loop {
            line.clear();
            let read = reader.by_ref().take(MAX_READ).read_until(b'\n', &mut line)?;
            if read == 0 || !take(offset, &line)? {
                return Ok(());
            }
            offset += u64::try_from(read).unwrap_or(0);
        }
    }
}

/// What became of a file since we last looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Same,
    Longer,
    Other,
}

struct At<'a> {
    file: &'a File,
    offset: u64,
    until: u64,
}

impl Read for At<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.until.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let wanted = into.len().min(left);
        let into = into.get_mut(..wanted).unwrap_or_default();
        let read = self.file.read_at(into, self.offset)?;
        self.offset += u64::try_from(read).unwrap_or(0);
        Ok(read)
    }
}

/// Makes a file's name durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

//! Retention: old events are written to files, the files are verified, and only then are the
//! events removed. The tree stays the same one; what is left still proves itself.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lictor_context::{
    Clock, Digest, Event, EventFacts, EventType, Hasher, Name, Session, Timestamp,
};
use serde_json::json;

use crate::error::{AppendError, AppendErrorKind, ExportErrorKind, NotAppended, VerifyError};
use crate::export::write_evidence;
use crate::fault::point;
use crate::filter::Filter;
use crate::guard::GuardError;
use crate::log::{Hash, Tree, chain_hash, leaf_hash};
use crate::stores::{
    Head, Pruned, StoreError, TrailReader, TrailStore, TrailWriter, WriteJob, beginning,
};
use crate::trail::{AuditLog, go_on};
use crate::verify::{Verdict, verify_file};

/// What is pruned is a multiple of so many events: the nodes of the tree above it stay.
const ALIGNED: u64 = 256;

/// Up to where events are archived. What is archived is rounded down to a multiple of 256 events,
/// and is never all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Those before this `seq`.
    Seq(u64),
    /// Those before the first one that is not older than this.
    Before(Timestamp),
}

/// Events were archived and removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// The first event that was archived.
    pub first_seq: u64,
    /// The first event that was not.
    pub until_seq: u64,
    /// The digest of the file of events.
    pub digest: Digest,
    /// The files: events, what proves them, and what was sealed beside them.
    pub files: [PathBuf; 3],
}

/// Events were not archived; none was removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot archive the audit trail of `{org}`")]
pub struct ArchiveError {
    org: String,
    #[source]
    kind: ArchiveErrorKind,
}

/// Why events were not archived.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveErrorKind {
    /// There are fewer than 256 events to archive.
    #[error("fewer than 256 events would be archived, of {size}; nothing is to be done yet")]
    Nothing {
        /// How many there are.
        size: u64,
    },
    /// Somebody forbade it.
    #[error("it is held: {}", .holds.join(", "))]
    Held {
        /// The names of the holds.
        holds: Vec<String>,
    },
    /// The log does not hold.
    #[error("the log does not hold ({verdict}): {problem}")]
    Unproven {
        /// The verdict.
        verdict: Verdict,
        /// What is the matter.
        problem: String,
    },
    /// What was written does not verify.
    #[error("the archive does not verify ({verdict}): {problem}")]
    NotVerified {
        /// The verdict.
        verdict: Verdict,
        /// What is the matter.
        problem: String,
    },
    /// It could not be found out whether log or archive hold.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The store could not be read.
    #[error("the store could not be read")]
    Read(#[source] ExportErrorKind),
    /// A file could not be written, or is there already.
    #[error("a file could not be written")]
    Io(#[from] io::Error),
    /// It was not recorded, so nothing was removed. The files are there.
    #[error("it was not recorded, so nothing was removed")]
    NotRecorded(#[source] Box<NotAppended>),
    /// The rollback guard refused.
    #[error(transparent)]
    Guard(GuardError),
}

impl ArchiveError {
    /// Why.
    #[must_use]
    pub fn kind(&self) -> &ArchiveErrorKind {
        &self.kind
    }
}

/// A hold was not placed, or not released.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// There is one of this name, or none.
    #[error("the hold `{0}` {1}")]
    Same(String, &'static str),
    /// It was not recorded.
    #[error("it was not recorded")]
    NotRecorded(#[source] Box<NotAppended>),
    /// The rollback guard refused.
    #[error(transparent)]
    Guard(GuardError),
    /// The store could not be read.
    #[error("the store could not be read")]
    Read(#[source] StoreError),
}

impl<S: TrailStore> AuditLog<S> {
    /// Archives old events of the session's organisation, and removes them: they are written to
    /// `out`, with what proves them in `out.checkpoint` and what was sealed in `out.sealed`; the
    /// files are synced, read again and verified. Then, in one transaction, an event
    /// `audit_pruned` is appended and the events are removed. What is left verifies as `pruned`.
    ///
    /// # Errors
    /// When it is held, when log or archive do not hold, or a file cannot be written. Nothing
    /// was removed then.
    pub fn archive(
        &self,
        session: &Session,
        cut: Cut,
        out: &Path,
        clock: &dyn Clock,
    ) -> Result<Archived, ArchiveError> {
        let org = &session.principal().org;
        let failed = |kind| ArchiveError { org: org.as_str().to_owned(), kind };
        self.archive_org(session, cut, out, clock).map_err(failed)
    }

    fn archive_org(
        &self,
        session: &Session,
        cut: Cut,
        out: &Path,
        clock: &dyn Clock,
    ) -> Result<Archived, ArchiveErrorKind> {
        let org = session.principal().org.clone();
        let holds = self.holds(&org).map_err(|error| ArchiveErrorKind::Read(error.into()))?;
        if !holds.is_empty() {
            return Err(ArchiveErrorKind::Held { holds });
        }
        let log = self.verify_store(&org)?;
        if !log.verdict.is_proven() {
            let problem = log.problem.unwrap_or_default();
            return Err(ArchiveErrorKind::Unproven { verdict: log.verdict, problem });
        }
        let files = [out.to_owned(), beside(out, ".checkpoint"), beside(out, ".sealed")];
        let range = self.inner.store.view(|reader| match range(reader, &org, cut)? {
            Range::Nothing { size } => Ok(Err(size)),
            Range::Of(range) => write_files(reader, &org, *range, &files).map(Ok),
        });
        let written = range.map_err(ArchiveErrorKind::Read)?;
        let written = written.map_err(|size| ArchiveErrorKind::Nothing { size })?;
        self.check_files(&org, &written, &files)?;
        point("archive: before it is recorded")?;
        let event = pruned_event(session, &written, clock);
        let (log, range) = (self.clone(), written.clone());
        let job: WriteJob = Box::new(move |writer| {
            let appended = log.append_own(writer, vec![event])?;
            prune(writer, &org, &range).map_err(|kind| AppendError::new(&org, kind))?;
            Ok(appended)
        });
        let pruned = self.inner.store.submit(job).wait();
        let appended = pruned.map_err(|error| ArchiveErrorKind::NotRecorded(Box::new(error)))?;
        self.confirm(&appended).map_err(ArchiveErrorKind::Guard)?;
        let Written { first_seq, tree, digest, .. } = written;
        Ok(Archived { first_seq, until_seq: tree.size(), digest, files })
    }

    /// Reads the archive as somebody would who has nothing else.
    fn check_files(
        &self,
        org: &Name,
        written: &Written,
        files: &[PathBuf; 3],
    ) -> Result<(), ArchiveErrorKind> {
        let [events, evidence, _] = files;
        let read = |path: &Path| File::open(path).map(BufReader::new);
        let origin = self.origin(org);
        let found = verify_file(read(events)?, read(evidence)?, &self.public_key(), Some(&origin))?;
        let whole = found.verdict == Verdict::ValidPrefix
            && found.events == written.tree.size() - written.first_seq
            && found.root == Some(Digest::from_bytes(written.tree.root()));
        if whole {
            return Ok(());
        }
        let problem = found.problem.unwrap_or_default();
        Err(ArchiveErrorKind::NotVerified { verdict: found.verdict, problem })
    }

    /// The holds of an organisation.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn holds(&self, org: &Name) -> Result<Vec<String>, StoreError> {
        self.inner.store.view(|reader| reader.holds(org))
    }

    /// Forbids to remove anything of the session's organisation, until it is released.
    ///
    /// # Errors
    /// When there is a hold of this name, or it cannot be recorded.
    pub fn place_hold(
        &self,
        session: &Session,
        name: &str,
        reason: &str,
        clock: &dyn Clock,
    ) -> Result<(), HoldError> {
        self.change_hold(session, (name, reason), EventType::HoldPlaced, clock)
    }

    /// Lifts a hold.
    ///
    /// # Errors
    /// When there is none of this name, or it cannot be recorded.
    pub fn release_hold(
        &self,
        session: &Session,
        name: &str,
        reason: &str,
        clock: &dyn Clock,
    ) -> Result<(), HoldError> {
        self.change_hold(session, (name, reason), EventType::HoldReleased, clock)
    }

    fn change_hold(
        &self,
        session: &Session,
        (name, reason): (&str, &str),
        kind: EventType,
        clock: &dyn Clock,
    ) -> Result<(), HoldError> {
        let org = session.principal().org.clone();
        let placed = kind == EventType::HoldPlaced;
        if self.holds(&org).map_err(HoldError::Read)?.iter().any(|hold| hold == name) == placed {
            let why = if placed { "is placed already" } else { "is not placed" };
            return Err(HoldError::Same(name.to_owned(), why));
        }
        let mut facts = EventFacts { success: Some(true), ..EventFacts::default() };
        facts.metadata.insert("hold".to_owned(), json!(name));
        facts.metadata.insert("reason".to_owned(), json!(reason));
        let event = Event::new(session, kind, facts, clock);
        let (log, name) = (self.clone(), name.to_owned());
        let job: WriteJob = Box::new(move |writer| {
            let appended = log.append_own(writer, vec![event])?;
            let put = writer.put_hold(&org, &name, placed);
            put.map_err(|error| AppendError::new(&org, error.into()))?;
            Ok(appended)
        });
        let written = self.inner.store.submit(job).wait();
        let appended = written.map_err(|error| HoldError::NotRecorded(Box::new(error)))?;
        self.confirm(&appended).map_err(HoldError::Guard)
    }
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// Where the log begins, and up to where it is to be archived.
struct ToArchive {
    head: Head,
    before: Tree,
    chain: Hash,
    until: u64,
}

enum Range {
    Nothing { size: u64 },
    Of(Box<ToArchive>),
}

fn range(reader: &dyn TrailReader, org: &Name, cut: Cut) -> Result<Range, StoreError> {
    let Some(head) = reader.head(org)? else { return Ok(Range::Nothing { size: 0 }) };
    let size = head.size;
    let (before, chain, _) = beginning(reader.pruned(org)?.as_ref());
    let until = match cut {
        Cut::Seq(seq) => seq,
        Cut::Before(time) => {
            let filter = Filter { since: Some(time), limit: Some(1), ..Filter::default() };
            let mut first = size;
            reader.select(org, &filter, &mut |line| {
                first = line.seq;
                ControlFlow::Break(())
            })?;
            first
        }
    };
    let until = until.min(size.saturating_sub(1)) / ALIGNED * ALIGNED;
    if until <= before.size() {
        return Ok(Range::Nothing { size });
    }
    Ok(Range::Of(Box::new(ToArchive { head, before, chain, until })))
}

/// What was written.
#[derive(Debug, Clone)]
struct Written {
    first_seq: u64,
    /// The log up to where it was archived.
    tree: Tree,
    chain: Hash,
    digest: Digest,
    sealed_digest: Digest,
}

fn write_files(
    reader: &dyn TrailReader,
    org: &Name,
    range: ToArchive,
    [events, evidence, sealed]: &[PathBuf; 3],
) -> Result<Written, ExportErrorKind> {
    let ToArchive { head, before, mut chain, until } = range;
    let first_seq = before.size();
    let mut tree = before;
    let mut out = Output::create(events)?;
    let mut written = Ok(());
    reader.lines(org, first_seq..until, &mut |line| {
        let leaf = leaf_hash(line.bytes);
        chain = chain_hash(&chain, &leaf);
        tree.push(leaf);
        let line = out.write_all(line.bytes).and_then(|()| out.write_all(b"\n"));
        go_on(&mut written, line)
    })?;
    written?;
    let digest = out.finish()?;
    let mut out = Output::create(evidence)?;
    write_evidence(reader, org, &head, &mut out)?;
    out.finish()?;
    let mut out = Output::create(sealed)?;
    let mut written = Ok(());
    reader.each_sealed(org, first_seq..until, &mut |(seq, pointer, ciphertext)| {
        let ciphertext = STANDARD.encode(ciphertext);
        let line = json!({ "seq": seq, "pointer": pointer, "ciphertext": ciphertext });
        go_on(&mut written, writeln!(out, "{line}"))
    })?;
    written?;
    let sealed_digest = out.finish()?;
    Ok(Written { first_seq, tree, chain, digest, sealed_digest })
}

/// A new file that hashes what is written to it.
struct Output {
    file: BufWriter<File>,
    hasher: Hasher,
    folder: PathBuf,
}

impl Output {
    /// Never over another file: an archive is the only copy there is.
    fn create(path: &Path) -> io::Result<Self> {
        point("archive: before a file is made")?;
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        Ok(Self { file: BufWriter::new(file), hasher: Hasher::new(), folder })
    }

    fn finish(self) -> io::Result<Digest> {
        point("archive: before a file is synced")?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        File::open(self.folder)?.sync_all()?;
        Ok(self.hasher.finish())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn pruned_event(session: &Session, written: &Written, clock: &dyn Clock) -> Event {
    let mut facts = EventFacts { success: Some(true), ..EventFacts::default() };
    let metadata = [
        ("from_seq", json!(written.first_seq)),
        ("first_seq", json!(written.tree.size())),
        ("root", json!(Digest::from_bytes(written.tree.root()))),
        ("archive", json!(written.digest)),
        ("archive_sealed", json!(written.sealed_digest)),
    ];
    for (name, value) in metadata {
        facts.metadata.insert(name.to_owned(), value);
    }
    Event::new(session, EventType::AuditPruned, facts, clock)
}

/// Removes what was archived; not when somebody forbade it or did it in the meantime.
fn prune(
    writer: &mut dyn TrailWriter,
    org: &Name,
    written: &Written,
) -> Result<(), AppendErrorKind> {
    let first = writer.pruned(org)?.map_or(0, |pruned| pruned.first_seq);
    if first != written.first_seq || !writer.holds(org)?.is_empty() {
        return Err(AppendErrorKind::Overtaken);
    }
    point("prune: before the rows are removed")?;
    let pruned = Pruned {
        first_seq: written.tree.size(),
        chain: written.chain.to_vec(),
        frontier: written.tree.frontier(),
    };
    writer.prune(org, &pruned)?;
    point("prune: before the commit")?;
    Ok(())
}

//! Logs in files: a folder an organisation, in it files of lines, one after the other. Each line
//! is an event, or one of ours: what a file follows, what is committed, what it ends with.
//!
//! A batch is in the log when the line `commit` behind it is whole; what stands behind the last
//! such line was never acknowledged, and whoever writes next cuts it off.

mod log;
mod segment;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lictor_context::Name;

use self::log::OrgLog;
use self::segment::{Line, Own, Segment, sync_folder};
use super::staged::{Committed, Staged, StagedOrg, Staging};
use super::{
    Head, Pending, Pruned, StoreError, StoredLine, TakeLine, TrailReader, TrailStore, WriteJob,
};
use crate::error::NotAppended;
use crate::log::{Hash, Node, leaf_hash, parse_hash};
use crate::trail::Appended;

/// Where the id of the logs stands.
const LOG_ID: &str = "log-id";
/// A folder's name begins with this, and goes on with the organisation's.
const ORG: &str = "org-";

/// How long a file becomes before another one is begun. A batch is never divided, so a file may be
/// longer by one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonlOptions {
    /// In bytes.
    pub max_bytes: u64,
    /// In events.
    pub max_events: u64,
}

impl Default for JsonlOptions {
    /// 64 MiB, and as many events as fit.
    fn default() -> Self {
        Self { max_bytes: 64 << 20, max_events: u64::MAX }
    }
}

/// Logs in a folder of JSONL files, which other programs can read as they grow.
///
/// Appends cost a sync each, so whoever has many events hands them over in batches. Opening reads
/// every file once. Events of several organisations in one append are all there or none for each
/// organisation, not for all of them together.
#[derive(Debug, Clone)]
pub struct JsonlStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    options: JsonlOptions,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Keeps other processes away, for as long as it is locked.
    lock: File,
    orgs: BTreeMap<String, Arc<OrgLog>>,
}

impl JsonlStore {
    /// Opens the store in a folder, which is made when it is not there.
    ///
    /// # Errors
    /// When the folder is not usable.
    pub fn open(folder: &Path, options: JsonlOptions) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut lock = OpenOptions::new();
        let lock = lock.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = lock.open(folder.join("lock"))?;
        let state = Mutex::new(State { lock, orgs: BTreeMap::new() });
        Ok(Self { inner: Arc::new(Inner { folder: folder.to_owned(), options, state }) })
    }

    fn run(&self, job: WriteJob) -> Result<Appended, NotAppended> {
        let mut writer = Staging::new(Logs {
            store: &self.inner,
            held: Some(RefCell::new(self.inner.hold()?)),
            seen: RefCell::default(),
        });
        let answer = job(&mut writer).map_err(NotAppended::Refused);
        let Staging { committed: Logs { held, .. }, staged } = writer;
        let Some(held) = held else { return Err(StoreError::Closed.into()) };
        let mut held = held.into_inner();
        let committed = match &answer {
            Ok(_) => held.commit(&self.inner.options, &staged),
            Err(_) => Ok(()),
        };
        if answer.is_err() || committed.is_err() {
            held.take_back(&staged);
        }
        committed?;
        answer
    }
}

impl TrailStore for JsonlStore {
    fn log_id(&self, fresh: &str) -> Result<String, StoreError> {
        let held = self.inner.hold()?;
        if let Some(log_id) = self.inner.log_id()? {
            return Ok(log_id);
        }
        let path = self.inner.folder.join(LOG_ID);
        let mut file = OpenOptions::new();
        let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        writeln!(file, "{fresh}")?;
        file.sync_all()?;
        sync_folder(&path)?;
        drop(held);
        Ok(fresh.to_owned())
    }

    fn view<T, E: From<StoreError>>(
        &self,
        look: impl FnOnce(&dyn TrailReader) -> Result<T, E>,
    ) -> Result<T, E> {
        let seen = RefCell::default();
        look(&Staging::new(Logs { store: &self.inner, held: None, seen }))
    }

    fn submit(&self, job: WriteJob) -> Pending {
        let store = self.clone();
        Pending::blocking(move || store.run(job))
    }
}

/// The store while nobody else reads or writes it, in this process or another one.
struct Held<'a> {
    store: &'a Inner,
    state: MutexGuard<'a, State>,
    /// Those of whom we know what others wrote.
    fresh: BTreeSet<String>,
}

impl Inner {
    fn hold(&self) -> Result<Held<'_>, StoreError> {
        // What is known of the files is read again when it does not fit them.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.lock.lock()?;
        Ok(Held { store: self, state, fresh: BTreeSet::new() })
    }

    fn log_id(&self) -> Result<Option<String>, StoreError> {
        match std::fs::read_to_string(self.folder.join(LOG_ID)) {
            // Somebody died before its end was written.
            Ok(text) => Ok(text.strip_suffix('\n').map(str::to_owned)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // A lock that is not given back here is with the file.
        self.state.lock.unlock().unwrap_or_default();
    }
}

impl Held<'_> {
    /// The log as its files are now.
    fn org(&mut self, org: &str) -> Result<&mut Arc<OrgLog>, StoreError> {
        if !self.fresh.contains(org) {
            match self.state.orgs.get_mut(org) {
                // Nothing changed, and a look that is under way keeps what it sees.
                Some(log) => Arc::make_mut(log).refresh()?,
                None => {
                    let log_id = self.store.log_id()?.unwrap_or_default();
                    let folder = self.store.folder.join(format!("{ORG}{org}"));
                    let log = OrgLog::load(&folder, org, &log_id)?;
                    self.state.orgs.insert(org.to_owned(), Arc::new(log));
                }
            }
            self.fresh.insert(org.to_owned());
        }
        self.state.orgs.get_mut(org).ok_or(StoreError::Closed)
    }

    fn commit(&mut self, options: &JsonlOptions, staged: &Staged) -> Result<(), StoreError> {
        for (org, own) in &staged.orgs {
            Arc::make_mut(self.org(org)?).commit(own, options)?;
        }
        for (org, own) in &staged.orgs {
            if let Some(pruned) = &own.pruned {
                Arc::make_mut(self.org(org)?).prune(pruned)?;
            }
        }
        Ok(())
    }

    /// Cuts off what was written and is not committed, and looks again next time.
    fn take_back(&mut self, staged: &Staged) {
        for org in staged.orgs.keys() {
            if let Some(log) = self.state.orgs.remove(org) {
                log.take_back();
            }
        }
    }
}

/// What was committed at one moment.
struct Logs<'a> {
    store: &'a Inner,
    held: Option<RefCell<Held<'a>>>,
    seen: RefCell<BTreeMap<String, Arc<OrgLog>>>,
}

/// A part of a file: from an offset on, at which this event stands, up to another one.
struct Part {
    segment: Segment,
    from: u64,
    seq: u64,
    until: u64,
}

impl Logs<'_> {
    fn with<T>(
        &self,
        org: &Name,
        look: impl FnOnce(&mut Arc<OrgLog>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(held) = &self.held {
            return look(held.borrow_mut().org(org.as_str())?);
        }
        let mut seen = self.seen.borrow_mut();
        let log = match seen.get_mut(org.as_str()) {
            Some(log) => log,
            None => {
                let log = Arc::clone(self.store.hold()?.org(org.as_str())?);
                seen.entry(org.as_str().to_owned()).or_insert(log)
            }
        };
        look(log)
    }

    /// Where a range of events stands, what is being written included.
    fn parts(
        &self,
        org: &Name,
        staged: Option<&StagedOrg>,
        range: &Range<u64>,
    ) -> Result<Vec<Part>, StoreError> {
        let options = &self.store.options;
        self.with(org, |log| {
            let mut parts = Vec::new();
            for segment in &log.segments {
                if segment.first_seq < range.end && range.start < segment.end() {
                    let (seq, from) = segment.near(range.start.max(segment.first_seq));
                    let (segment, until) = (segment.clone(), segment.len);
                    parts.push(Part { segment, from, seq, until });
                }
            }
            let seq = log.end();
            if let Some(own) = staged.filter(|own| !own.lines.is_empty())
                && range.end > seq
            {
                // INVARIANT: what a job reads of its lines comes from the file.
                let segment = Arc::make_mut(log).write_lines(own, options)?;
                let (from, until) = (segment.len, own.written.get().unwrap_or(0));
                parts.push(Part { segment, from, seq, until });
            }
            Ok(parts)
        })
    }
}

impl Committed for Logs<'_> {
    /// Nodes are made from the lines.
    const KEEPS_NODES: bool = false;

    fn log_id(&self) -> Result<Option<String>, StoreError> {
        self.store.log_id()
    }

    fn orgs(&self) -> Result<Vec<String>, StoreError> {
        let mut orgs = Vec::new();
        for entry in std::fs::read_dir(&self.store.folder)? {
            let name = entry?.file_name();
            let org = name.to_str().and_then(|name| name.strip_prefix(ORG));
            if let Some(org) = org.and_then(|org| Name::parse(org).ok())
                && self.head(&org)?.is_some()
            {
                orgs.push(org.as_str().to_owned());
            }
        }
        orgs.sort_unstable();
        Ok(orgs)
    }

    fn head(&self, org: &Name) -> Result<Option<Head>, StoreError> {
        self.with(org, |log| Ok(log.head.clone()))
    }

    fn pruned(&self, org: &Name) -> Result<Option<Pruned>, StoreError> {
        self.with(org, |log| Ok(log.pruned.clone()))
    }

    fn session(&self, org: &Name, session: &str) -> Result<Option<u64>, StoreError> {
        self.with(org, |log| Ok(log.sessions.get(session).copied()))
    }

    fn holds(&self, org: &Name) -> Result<BTreeSet<String>, StoreError> {
        self.with(org, |log| Ok(log.holds.clone()))
    }

    fn ends(&self, org: &Name) -> Result<(u64, u64), StoreError> {
        self.with(org, |log| Ok((log.first_seq(), log.end())))
    }

    fn lines(
        &self,
        org: &Name,
        staged: Option<&StagedOrg>,
        range: Range<u64>,
        take: &mut TakeLine<'_>,
    ) -> Result<(), StoreError> {
        let mut more = true;
        for Part { segment, from, mut seq, until } in self.parts(org, staged, &range)? {
            let mut leaves = Vec::new().into_iter();
            segment.read(from, until, |_, line| {
                match Line::of(line.strip_suffix(b"\n").unwrap_or(line)) {
                    Line::Own(Own::Batch { leaves: announced, .. }) => {
                        leaves = announced.into_iter();
                    }
                    Line::Own(_) => {}
                    Line::Event(bytes) => {
                        // One that nobody announced has a leaf that nothing hashes to.
                        let leaf = leaves.next().and_then(|leaf| parse_hash(&leaf));
                        let leaf = leaf.unwrap_or_default();
                        if range.contains(&seq) {
                            more = take(StoredLine { seq, bytes, leaf: Some(&leaf) }).is_continue();
                        }
                        seq += 1;
                        more &= seq < range.end;
                    }
                }
                Ok(more)
            })?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn hashes(
        &self,
        org: &Name,
        staged: Option<&StagedOrg>,
        from: Node,
        count: u64,
    ) -> Result<Vec<Hash>, StoreError> {
        let range = from.index..from.index.saturating_add(count);
        let mut hashes = Vec::new();
        if from.level == 0 {
            if self.ends(org)?.0 <= range.start {
                self.lines(org, staged, range, &mut |line| {
                    hashes.push(leaf_hash(line.bytes));
                    std::ops::ControlFlow::Continue(())
                })?;
            }
            return Ok(hashes);
        }
        self.with(org, |log| {
            let mut nodes = range.map(|index| log.nodes.get(&Node { level: from.level, index }));
            hashes.extend(nodes.by_ref().map_while(|hash| hash.copied()));
            Ok(hashes)
        })
    }

    fn damage(&self, org: &Name) -> Result<Option<(u64, String)>, StoreError> {
        self.with(org, |log| Ok(log.broken.clone()))
    }
}

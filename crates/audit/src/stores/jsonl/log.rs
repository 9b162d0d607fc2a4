//! The log of one organisation: a folder of files, and what is known of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lictor_context::Digest;
use serde::{Deserialize, Serialize};

use super::JsonlOptions;
use super::segment::{Known, Line, Own, Segment, sync_folder};
use crate::fault::point;
use crate::header::Header;
use crate::log::{CHAIN_START, Hash, Node, Tree, base64_hash, chain_hash, leaf_hash, parse_hash};
use crate::stores::staged::StagedOrg;
use crate::stores::{Head, Pruned, StoreError, beginning};

/// Where a log begins that was pruned.
const BEGIN: &str = "begin.json";
/// The end of a file's name that takes its place when it is whole.
const NEW: &str = ".new";

/// What is known of a log: what its files say, as far as they are committed.
#[derive(Debug, Clone)]
pub(super) struct OrgLog {
    pub(super) org: String,
    log_id: String,
    folder: PathBuf,
    pub(super) segments: Vec<Segment>,
    pub(super) head: Option<Head>,
    pub(super) pruned: Option<Pruned>,
    pub(super) sessions: HashMap<String, u64>,
    pub(super) holds: BTreeSet<String>,
    pub(super) nodes: HashMap<Node, Hash>,
    /// The tree and the chain of the lines; nobody signs them.
    tree: Tree,
    chain: Hash,
    /// The last line `commit` that is there: the first event of its batch, and its digest.
    committed: Option<(u64, Digest)>,
    /// Why nothing may be appended, and from which event on.
    pub(super) broken: Option<(u64, String)>,
}

/// What a pruned log goes on from.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    v: u32,
    first_seq: u64,
    chain: String,
    frontier: String,
    sessions: BTreeMap<String, u64>,
    nodes: Vec<(u32, u64, String)>,
}

/// Lines that were read, and are not committed yet.
#[derive(Default)]
struct Batch {
    /// Where it begins.
    start: Option<u64>,
    events: Vec<(Hash, Option<(String, u64)>)>,
    /// Nothing that we write holds a zero: power was cut before the disk had all of it.
    zeros: bool,
    /// What announced its events said that they stand elsewhere.
    misplaced: bool,
}

impl OrgLog {
    /// Reads all of it.
    pub(super) fn load(folder: &Path, org: &str, log_id: &str) -> Result<Self, StoreError> {
        let mut log = Self {
            org: org.to_owned(),
            log_id: log_id.to_owned(),
            folder: folder.to_owned(),
            segments: Vec::new(),
            head: None,
            pruned: None,
            sessions: HashMap::new(),
            holds: BTreeSet::new(),
            nodes: HashMap::new(),
            tree: Tree::new(),
            chain: CHAIN_START,
            committed: None,
            broken: None,
        };
        log.begin()?;
        for first_seq in log.files()? {
            log.join(first_seq)?;
        }
        Ok(log)
    }

    /// Reads what others wrote since we last looked.
    pub(super) fn refresh(&mut self) -> Result<(), StoreError> {
        let known = match self.segments.last() {
            Some(last) => last.is_as_known()?,
            None => Known::Other,
        };
        let reload = match known {
            Known::Same => return Ok(()),
            Known::Other => true,
            Known::Longer => {
                let first = read_begin(&self.folder)?.map(|begin| begin.first_seq);
                first != self.pruned.as_ref().map(|pruned| pruned.first_seq)
            }
        };
        if reload {
            *self = Self::load(&self.folder, &self.org, &self.log_id)?;
            return Ok(());
        }
        self.scan_last()?;
        while self.segments.last().is_some_and(|last| last.sealed) {
            let next = self.end();
            if !self.path(next).exists() {
                break;
            }
            self.join(next)?;
        }
        Ok(())
    }

    /// The first `seq` that is there.
    pub(super) fn first_seq(&self) -> u64 {
        self.pruned.as_ref().map_or(0, |pruned| pruned.first_seq)
    }

    /// The first `seq` that is not there yet.
    pub(super) fn end(&self) -> u64 {
        self.segments.last().map_or(self.first_seq(), Segment::end)
    }

    fn path(&self, first_seq: u64) -> PathBuf {
        self.folder.join(format!("{first_seq:020}.jsonl"))
    }

    /// What was pruned, and what a crash left of pruning.
    fn begin(&mut self) -> Result<(), StoreError> {
        let begin = read_begin(&self.folder)?;
        if let Some(begin) = &begin {
            let new = beside(&self.path(begin.first_seq), NEW);
            if new.exists() {
                rename(&new, &self.path(begin.first_seq))?;
                sync_folder(&new)?;
            }
        }
        let Some(begin) = begin else { return Ok(()) };
        let damaged = || StoreError::Damaged(format!("`{}` of `{}`", BEGIN, self.org));
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| damaged());
        let (chain, frontier) = (decode(&begin.chain)?, decode(&begin.frontier)?);
        for (level, index, hash) in &begin.nodes {
            let hash = parse_hash(hash).ok_or_else(damaged)?;
            self.nodes.insert(Node { level: *level, index: *index }, hash);
        }
        let pruned = Pruned { first_seq: begin.first_seq, chain, frontier };
        (self.tree, self.chain, _) = beginning(Some(&pruned));
        self.sessions = begin.sessions.into_iter().collect();
        self.pruned = Some(pruned);
        Ok(())
    }

    /// The files that belong to the log, in order. Others are what was pruned, and go.
    fn files(&self) -> Result<Vec<u64>, StoreError> {
        let mut firsts = Vec::new();
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(firsts),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.ends_with(NEW)) {
                // It never took its place.
                remove(&entry.path())?;
                continue;
            }
            let first = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
            if let Some(first) = first.and_then(|first| first.parse().ok()) {
                firsts.push(first);
            }
        }
        firsts.sort_unstable();
        let begins = self.first_seq();
        for old in firsts.iter().filter(|first| **first < begins) {
            remove(&self.path(*old))?;
        }
        firsts.retain(|first| *first >= begins);
        Ok(firsts)
    }

    /// Goes on with another file.
    fn join(&mut self, first_seq: u64) -> Result<(), StoreError> {
        let due = self.end();
        let sealed = self.segments.last().is_none_or(|last| last.sealed);
        if first_seq != due || !sealed {
            self.break_at(due, &format!("a file begins with event {first_seq}"));
        }
        self.segments.push(Segment::open(&self.path(first_seq), first_seq)?);
        self.scan_last()
    }

    fn break_at(&mut self, seq: u64, why: &str) {
        self.broken.get_or_insert_with(|| (seq, why.to_owned()));
    }

    /// Reads the last file from where we know it on.
    fn scan_last(&mut self) -> Result<(), StoreError> {
        let Some(mut segment) = self.segments.pop() else { return Ok(()) };
        let file = Arc::clone(&segment.file);
        let reader = segment.clone();
        let mut batch = Batch::default();
        let scanned = reader.read(segment.len, file.metadata()?.len(), |offset, line| {
            let Some(whole) = line.strip_suffix(b"\n") else { return Ok(false) };
            let end = offset + u64::try_from(line.len()).unwrap_or(0);
            batch.zeros |= whole.contains(&0);
            match Line::of(whole) {
                Line::Event(bytes) => batch.events.push(event_of(bytes)),
                Line::Own(Own::Batch { first_seq, .. }) => {
                    batch.start.get_or_insert(offset);
                    let before = u64::try_from(batch.events.len()).unwrap_or(u64::MAX);
                    batch.misplaced |= first_seq != segment.end().saturating_add(before);
                }
                Line::Own(own) => {
                    if self.take_own(&mut segment, (own, whole), &mut batch) {
                        segment.len = end;
                    }
                }
            }
            Ok(true)
        });
        self.segments.push(segment);
        Ok(scanned?)
    }

    /// Takes in a line that is not an event; says whether what is before it is committed.
    fn take_own(
        &mut self,
        segment: &mut Segment,
        (own, line): (Own, &[u8]),
        batch: &mut Batch,
    ) -> bool {
        let first = segment.end();
        match own {
            Own::Segment { v, log, org, first_seq, chain } => {
                let ours = v == 1 && log == self.log_id && org == self.org;
                let follows =
                    first_seq == segment.first_seq && chain == STANDARD.encode(self.chain);
                if !ours || !follows || segment.len > 0 {
                    self.break_at(first, "the file that begins there does not follow");
                }
                true
            }
            Own::Batch { .. } => false,
            Own::Commit { size, chain, frontier, note, holds, after } => {
                if std::mem::take(&mut batch.zeros) {
                    return false;
                }
                // The first that is left may follow on one that was pruned.
                if let (Some((begun, before)), Some(after)) = (self.committed, after)
                    && before != after
                {
                    self.break_at(begun, "what was committed with it is not what stood there");
                }
                self.committed = Some((first, Digest::of(line)));
                if let Some(start) = batch.start.take() {
                    segment.mark(first, start);
                }
                if std::mem::take(&mut batch.misplaced) {
                    self.break_at(
                        first,
                        "what announces the events says that they stand elsewhere",
                    );
                }
                for (leaf, session) in batch.events.drain(..) {
                    segment.events += 1;
                    let nodes = &mut self.nodes;
                    self.tree.push_noting(leaf, |node, hash| nodes.extend([(node, hash)]));
                    self.chain = chain_hash(&self.chain, &leaf);
                    self.sessions.extend(session);
                }
                self.apply_holds(holds);
                let decode = |text: &str| STANDARD.decode(text).unwrap_or_default();
                let head = Head { size, chain: decode(&chain), frontier: decode(&frontier), note };
                if head.parts() != Some((self.tree.clone(), self.chain)) {
                    self.break_at(first, "what is committed there is not what stands there");
                }
                self.head = Some(head);
                true
            }
            Own::Seal { size, chain } => {
                if size != first || chain != STANDARD.encode(self.chain) {
                    self.break_at(first, "the file that ends there was another one");
                }
                segment.sealed = batch.events.is_empty();
                segment.sealed
            }
        }
    }

    fn apply_holds(&mut self, holds: Vec<(String, bool)>) {
        for (name, placed) in holds {
            if placed {
                self.holds.insert(name);
            } else {
                self.holds.remove(&name);
            }
        }
    }

    /// The file that the next lines go to: another one, when the last is long enough.
    pub(super) fn writable(&mut self, options: &JsonlOptions) -> Result<&Segment, StoreError> {
        if let Some((seq, why)) = &self.broken {
            return Err(StoreError::Damaged(format!("event {seq}: {why}")));
        }
        // Somebody died before anything was in it.
        self.segments.pop_if(|last| last.len == 0);
        let full = self.segments.last().is_none_or(|last| {
            last.sealed || last.len >= options.max_bytes || last.events >= options.max_events
        });
        if full {
            self.rotate()?;
        }
        let last = self.segments.last();
        last.ok_or_else(|| StoreError::Damaged("there is no file to write to".to_owned()))
    }

    fn rotate(&mut self) -> Result<(), StoreError> {
        let (first_seq, org) = (self.end(), self.org.clone());
        let chain = STANDARD.encode(self.chain);
        if let Some(last) = self.segments.last_mut().filter(|last| !last.sealed) {
            point("jsonl: before a file is sealed")?;
            let seal = Own::Seal { size: first_seq, chain: chain.clone() }.line()?;
            last.write(&seal, last.len)?;
            last.file.sync_data()?;
            last.len += u64::try_from(seal.len()).unwrap_or(0);
            last.sealed = true;
        }
        std::fs::create_dir_all(&self.folder)?;
        sync_folder(&self.folder)?;
        let first = Own::Segment { v: 1, log: self.log_id.clone(), org, first_seq, chain };
        let made = Segment::create(&self.path(first_seq), first_seq, &first)?;
        self.segments.push(made);
        Ok(())
    }

    /// Writes the lines of a batch. Nothing of them counts before it is committed.
    pub(super) fn write_lines(
        &mut self,
        staged: &StagedOrg,
        options: &JsonlOptions,
    ) -> Result<Segment, StoreError> {
        let segment = self.writable(options)?;
        let bytes = batch(segment.end(), &staged.lines, &staged.leaves)?;
        point("jsonl: before lines are written")?;
        segment.write(&bytes, segment.len)?;
        let end = segment.len + u64::try_from(bytes.len()).unwrap_or(0);
        staged.written.set(Some(end));
        Ok(segment.clone())
    }

    /// Says that a batch is committed, and makes it durable.
    pub(super) fn commit(
        &mut self,
        staged: &StagedOrg,
        options: &JsonlOptions,
    ) -> Result<(), StoreError> {
        let Some(head) = &staged.head else { return Ok(()) };
        if staged.written.get().is_none() {
            self.write_lines(staged, options)?;
        }
        let commit = Own::Commit {
            size: head.size,
            chain: STANDARD.encode(&head.chain),
            frontier: STANDARD.encode(&head.frontier),
            note: head.note.clone(),
            holds: staged.holds.clone(),
            after: self.committed.map(|(_, digest)| digest),
        };
        let written = self.write_commit(&commit.line()?, staged.written.get().unwrap_or(0));
        if written.is_err() {
            // Nobody may find it committed of whom it was said that it is not.
            self.take_back();
        }
        written?;
        // What was written is read as everybody else reads it.
        self.scan_last()
    }

    fn write_commit(&self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        let Some(last) = self.segments.last() else { return Err(StoreError::Closed) };
        point("jsonl: before the commit is written")?;
        last.write(bytes, offset)?;
        point("jsonl: before the commit is synced")?;
        last.file.sync_data()?;
        Ok(())
    }

    /// Cuts off what is not committed. What cannot be cut off now is by whoever writes next.
    pub(super) fn take_back(&self) {
        if let Some(last) = self.segments.last() {
            let cut = last.file.set_len(last.len).and_then(|()| last.file.sync_data());
            cut.unwrap_or_default();
        }
    }

    /// Removes what is before the first event of `pruned`. It is done as soon as `begin.json` says
    /// so; what is left then is finished by whoever reads the folder next.
    pub(super) fn prune(&mut self, pruned: &Pruned) -> Result<(), StoreError> {
        let first = pruned.first_seq;
        if let Some(cut) =
            self.segments.iter().find(|one| one.first_seq < first && first < one.end())
        {
            self.copy_from(cut, pruned)?;
        }
        let kept = |node: &&Node| node.level > 1 && (node.index + 1) << (4 * node.level) <= first;
        let nodes = self.nodes.iter().filter(|(node, _)| kept(node));
        let begin = Begin {
            v: 1,
            first_seq: first,
            chain: STANDARD.encode(&pruned.chain),
            frontier: STANDARD.encode(&pruned.frontier),
            sessions: self.sessions.iter().map(|(id, next)| (id.clone(), *next)).collect(),
            nodes: nodes.map(|(node, hash)| (node.level, node.index, base64_hash(hash))).collect(),
        };
        let (path, new) = (self.folder.join(BEGIN), self.folder.join(format!("{BEGIN}{NEW}")));
        let file = std::fs::File::create(&new)?;
        serde_json::to_writer(&file, &begin).map_err(io::Error::from)?;
        file.sync_all()?;
        point("jsonl: before the beginning is moved")?;
        rename(&new, &path)?;
        sync_folder(&path)?;
        point("jsonl: before old files are removed")?;
        *self = Self::load(&self.folder, &self.org, &self.log_id)?;
        sync_folder(&path)?;
        Ok(())
    }

    /// The rest of a file, from one event on, as a file of its own.
    fn copy_from(&self, cut: &Segment, pruned: &Pruned) -> Result<(), StoreError> {
        let first_seq = pruned.first_seq;
        let (mut seq, from) = cut.near(first_seq);
        let (mut lines, mut start) = (Vec::new(), None);
        cut.read(from, cut.len, |offset, line| {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            match Line::of(line) {
                Line::Event(bytes) => {
                    if seq >= first_seq {
                        lines.push(bytes.to_vec());
                    }
                    seq += 1;
                }
                // What is left of the batch; from its end on everything stays as it is.
                Line::Own(Own::Commit { .. }) if seq > first_seq => start = Some(offset),
                Line::Own(_) => {}
            }
            Ok(start.is_none())
        })?;
        let damaged = || StoreError::Damaged(format!("event {first_seq} is not where it was"));
        let start = start.ok_or_else(damaged)?;
        let (log, org) = (self.log_id.clone(), self.org.clone());
        let chain = STANDARD.encode(&pruned.chain);
        let first = Own::Segment { v: 1, log, org, first_seq, chain };
        let new = beside(&self.path(first_seq), NEW);
        let copy = Segment::create(&new, first_seq, &first)?;
        let leaves: Vec<Hash> = lines.iter().map(|line| leaf_hash(line)).collect();
        let rest = batch(first_seq, &lines, &leaves)?;
        copy.write(&rest, copy.len)?;
        let mut offset = copy.len + u64::try_from(rest.len()).unwrap_or(0);
        cut.read(start, cut.len, |_, line| {
            copy.write(line, offset)?;
            offset += u64::try_from(line.len()).unwrap_or(0);
            Ok(true)
        })?;
        copy.file.sync_all()?;
        Ok(())
    }
}

/// The lines of a batch, what announces them included.
fn batch(first_seq: u64, lines: &[Vec<u8>], leaves: &[Hash]) -> io::Result<Vec<u8>> {
    let leaves = leaves.iter().map(base64_hash).collect();
    let mut bytes = Own::Batch { first_seq, leaves }.line()?;
    bytes.reserve(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    Ok(bytes)
}

fn event_of(bytes: &[u8]) -> (Hash, Option<(String, u64)>) {
    let session = Header::parse(bytes)
        .map(|header| (header.session_id.into_owned(), header.session_seq.saturating_add(1)));
    (leaf_hash(bytes), session)
}

fn read_begin(folder: &Path) -> Result<Option<Begin>, StoreError> {
    match std::fs::read(folder.join(BEGIN)) {
        Ok(bytes) => {
            let begin: Begin = serde_json::from_slice(&bytes)
                .map_err(|error| StoreError::Damaged(format!("`{BEGIN}`: {error}")))?;
            Ok(Some(begin))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

#[expect(clippy::disallowed_methods, reason = "the trail's files are not part of a workspace")]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

#[expect(clippy::disallowed_methods, reason = "the trail's files are not part of a workspace")]
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

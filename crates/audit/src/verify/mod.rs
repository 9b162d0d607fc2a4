//! Whether a log holds: everything is read and computed anew, in memory that does not grow with
//! the number of events.

mod epochs;
mod file;
mod store;

use std::collections::HashMap;
use std::fmt;

use lictor_context::Digest;
use serde::Serialize;

use crate::header::Header;
use crate::log::{Hash, Node, Tree, leaf_hash};

pub(crate) use epochs::Rotation;
pub use file::verify_file;
pub(crate) use store::{StoreEvidence, verify_rows};

/// What a verification found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every event that was signed is there, as it was signed, and no other one.
    Complete,
    /// What is there is as it was signed, from the first event on; the end is not proven.
    ValidPrefix,
    /// Something is not as it was signed.
    Tampered,
    /// It holds in itself, but another history was signed as well.
    Forked,
    /// It holds in itself, but more was signed once: an older copy was put back.
    RolledBack,
    /// As complete, but for old events whose removal is itself proven.
    Pruned,
    /// There is nothing that could prove anything.
    NoEvidence,
}

impl Verdict {
    /// The name that stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ValidPrefix => "valid_prefix",
            Self::Tampered => "tampered",
            Self::Forked => "forked",
            Self::RolledBack => "rolled_back",
            Self::Pruned => "pruned",
            Self::NoEvidence => "no_evidence",
        }
    }

    /// Whether everything is proven, the end included.
    #[must_use]
    pub const fn is_proven(self) -> bool {
        matches!(self, Self::Complete | Self::Pruned)
    }

    /// Whether what is there is proven, or there is nothing to prove, and only the end is open.
    #[must_use]
    pub const fn is_unproven_end(self) -> bool {
        matches!(self, Self::ValidPrefix | Self::NoEvidence)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a verification found, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[must_use]
pub struct Verification {
    /// The result.
    pub verdict: Verdict,
    /// How many events were read.
    pub events: u64,
    /// The root over them; none when there are none.
    pub root: Option<Digest>,
    /// The first event that is not as it should be. When the events may be as they were, and what
    /// vouches for them is not: the first for which nothing vouches any more. Whatever is tampered
    /// with, there is one.
    pub first_bad_seq: Option<u64>,
    /// What is the matter, in words; nothing when everything is well.
    pub problem: Option<String>,
    /// Which log the checkpoint says that it is of.
    #[serde(skip)]
    pub origin: Option<String>,
}

/// Reads lines in the order in which they were signed, and remembers the first that is wrong.
#[derive(Default, Clone)]
pub(super) struct Walk {
    pub(super) tree: Tree,
    pub(super) sessions: HashMap<String, u64>,
    pub(super) first_bad: Option<Bad>,
    /// The first event that has to be there; those before it were pruned.
    pub(super) first_seq: u64,
    /// What the events say about where the log begins, and with which root before it.
    pub(super) pruned: Option<(u64, String)>,
    pub(super) rotations: Vec<Rotation>,
    /// The nodes of the tree that the last line has completed.
    pub(super) made: Vec<(Node, Hash)>,
}

impl Walk {
    /// A walk over what was left after pruning.
    pub(super) fn after(pruned: Tree) -> Self {
        Self { first_seq: pruned.size(), tree: pruned, ..Self::default() }
    }

    /// Whether the events say that what is missing before them was pruned, or nothing is.
    pub(super) fn pruning_is_told(&self, root_before: &Hash) -> bool {
        let told = |(first, root): &(u64, String)| {
            *first == self.first_seq && *root == Digest::from_bytes(*root_before).to_string()
        };
        self.first_seq == 0 || self.pruned.as_ref().is_some_and(told)
    }

    /// What it is when everything holds.
    pub(super) fn whole(self) -> Verification {
        if self.first_seq == 0 {
            return self.result(Verdict::Complete, None);
        }
        let problem = format!("the first {} events were archived and pruned", self.first_seq);
        self.result(Verdict::Pruned, Some(&problem))
    }
}

#[derive(Clone)]
pub(super) struct Bad {
    pub(super) seq: u64,
    pub(super) problem: String,
}

impl Bad {
    pub(super) fn at(seq: u64, problem: &str) -> Self {
        Self { seq, problem: problem.to_owned() }
    }
}

impl Walk {
    /// One more line. `org` is whose log it has to be.
    pub(super) fn step<'a>(
        &mut self,
        line: &'a [u8],
        org: Option<&str>,
    ) -> (Hash, Option<Header<'a>>) {
        let leaf = leaf_hash(line);
        let header = Header::parse(line);
        self.check(header.as_ref(), org);
        self.push(leaf, header.as_ref(), line);
        (leaf, header)
    }

    fn push(&mut self, leaf: Hash, header: Option<&Header<'_>>, line: &[u8]) {
        self.made.clear();
        self.tree.push_noting(leaf, |place, hash| self.made.push((place, hash)));
        match header.map(|header| &*header.event_type) {
            Some("key_rotated") => {
                let rotation = Rotation::read(line, self.tree.size(), self.tree.root());
                match rotation {
                    Some(rotation) => self.rotations.push(rotation),
                    None => {
                        self.bad_at(self.tree.size() - 1, "it does not say which key follows which")
                    }
                }
            }
            Some("audit_pruned") => self.pruned = read_pruned(line),
            _ => {}
        }
    }

    pub(super) fn check(&mut self, header: Option<&Header<'_>>, org: Option<&str>) {
        let due = self.tree.size();
        let Some(header) = header else {
            return self.bad("it is not an event");
        };
        if header.seq > due {
            self.bad(format!("it is missing: event {} stands in its place", header.seq));
        } else if header.seq < due {
            self.bad(format!("event {} stands in its place", header.seq));
        }
        if org.is_some_and(|org| org != header.org_id) {
            self.bad("it is of another organisation");
        }
        let next = match self.sessions.get_mut(&*header.session_id) {
            Some(next) => next,
            None => {
                // A session that began before the pruning goes on where it was.
                let base = if self.first_seq > 0 { header.session_seq } else { 0 };
                self.sessions.entry(header.session_id.clone().into_owned()).or_insert(base)
            }
        };
        let session_due = *next;
        *next += 1;
        if header.session_seq != session_due {
            self.bad(format!("its session_seq is {}, not {session_due}", header.session_seq));
        }
    }

    /// The event that is due is wrong.
    pub(super) fn bad(&mut self, problem: impl Into<String>) {
        let seq = self.tree.size();
        self.bad_at(seq, problem);
    }

    pub(super) fn bad_at(&mut self, seq: u64, problem: impl Into<String>) {
        if self.first_bad.as_ref().is_none_or(|bad| seq < bad.seq) {
            self.first_bad = Some(Bad { seq, problem: problem.into() });
        }
    }

    /// Nothing is tampered with, as far as it can be told.
    pub(super) fn result(self, verdict: Verdict, problem: Option<&str>) -> Verification {
        let size = self.tree.size();
        Verification {
            verdict,
            events: size - self.first_seq,
            root: (size > 0).then(|| Digest::from_bytes(self.tree.root())),
            first_bad_seq: None,
            problem: problem.map(str::to_owned),
            origin: None,
        }
    }

    /// Tampered with, there.
    pub(super) fn tampered(self, bad: Bad) -> Verification {
        let problem = format!("event {}: {}", bad.seq, bad.problem);
        let found = self.result(Verdict::Tampered, Some(&problem));
        Verification { first_bad_seq: Some(bad.seq), ..found }
    }

    /// What vouches for the events from one on is damaged; they may be as they were.
    pub(super) fn unvouched(self, from: u64, problem: &str) -> Verification {
        let problem = format!("nothing vouches for it and what follows: {problem}");
        self.tampered(Bad { seq: from, problem })
    }
}

/// What an event of pruning says: where the log begins, and the root before it.
fn read_pruned(line: &[u8]) -> Option<(u64, String)> {
    let event: serde_json::Value = serde_json::from_slice(line).ok()?;
    let first = event.pointer("/metadata/first_seq")?.as_u64()?;
    let root = event.pointer("/metadata/root")?.as_str()?;
    Some((first, root.to_owned()))
}

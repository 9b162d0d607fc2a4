//! The proof of one event: that it is in the log, without the other ones.

use std::ops::ControlFlow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lictor_context::{Name, Timestamp};

use crate::filter::Filter;
use crate::header::Header;
use crate::line::contains;
use crate::log::{
    Checkpoint, CheckpointError, Hash, Node, PublicKey, base64_hash, inclusion_path, leaf_hash,
    parse_hash, root_by_path,
};
use crate::stores::{StoreError, TrailReader, TrailStore};
use crate::trail::AuditLog;

/// The first line of a proof (C2SP `tlog-proof`).
const TITLE: &str = "c2sp.org/tlog-proof@v1";

/// One event with what proves it: a C2SP `tlog-proof`, whose `extra` is the event's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    event: Vec<u8>,
    seq: u64,
    path: Vec<Hash>,
    note: String,
}

/// What a proof that holds says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Which log.
    pub origin: String,
    /// How many events it had when it was signed.
    pub size: u64,
    /// The event's place.
    pub seq: u64,
    /// The event's line.
    pub event: Vec<u8>,
}

/// A proof cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// There is no such event (any more).
    #[error("there is no such event; what was pruned is proven by its archive")]
    NoEvent,
    /// What is stored does not lead to what was signed.
    #[error("what is stored does not lead to what was signed; `audit verify` says more")]
    Damaged,
    /// The store could not be read.
    #[error("the store could not be read")]
    Store(#[source] StoreError),
}

/// A proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not hold: {kind}")]
pub struct ProofError {
    kind: ProofErrorKind,
}

/// Why a proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofErrorKind {
    /// It is not written as one.
    #[error("it is no C2SP tlog-proof with an event in it")]
    Malformed,
    /// Its checkpoint.
    #[error(transparent)]
    Checkpoint(CheckpointError),
    /// It is of another log.
    #[error("it is of the log `{0}`")]
    OtherLog(String),
    /// It leads elsewhere.
    #[error("this event does not lead to the root that was signed")]
    OtherRoot,
    /// The event says another place of itself.
    #[error("the event does not say of itself that it stands there")]
    OtherPlace,
}

impl ProofError {
    /// Why.
    #[must_use]
    pub fn kind(&self) -> &ProofErrorKind {
        &self.kind
    }
}

impl From<ProofErrorKind> for ProofError {
    fn from(kind: ProofErrorKind) -> Self {
        Self { kind }
    }
}

impl<S: TrailStore> AuditLog<S> {
    /// The proof of one event, against the checkpoint of now.
    ///
    /// # Errors
    /// When there is no such event, or the store does not hold.
    pub fn prove(&self, org: &Name, seq: u64) -> Result<Proof, ProveError> {
        let made = self.inner.store.view(|reader| make(reader, org, seq));
        let proof = made.map_err(ProveError::Store)?.ok_or(ProveError::NoEvent)?;
        // Nothing is handed out that does not hold.
        match proof.verify(&self.public_key(), Some(&self.origin(org))) {
            Ok(_) => Ok(proof),
            Err(_) => Err(ProveError::Damaged),
        }
    }

    /// The place of the event with this id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn find_event(&self, org: &Name, id: &str) -> Result<Option<u64>, StoreError> {
        // An id begins with the millisecond at which it was made, and so do few others.
        let hex: String = id.rsplit('_').next().unwrap_or_default().chars().take(12).collect();
        let Ok(millis) = i64::from_str_radix(&hex, 16) else { return Ok(None) };
        let around = |seconds: i64| {
            let micros = millis.saturating_add(seconds * 1000).saturating_mul(1000);
            Some(Timestamp::from_micros(micros))
        };
        let filter = Filter { since: around(-60), until: around(60), ..Filter::default() };
        let wanted = format!("\"event_id\":\"{id}\"");
        let mut found = None;
        self.inner.store.view(|reader| {
            reader.select(org, &filter, &mut |line| {
                if contains(line.bytes, &wanted) {
                    found = Some(line.seq);
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })
        })?;
        Ok(found)
    }
}

fn make(reader: &dyn TrailReader, org: &Name, seq: u64) -> Result<Option<Proof>, StoreError> {
    let mut event = None;
    reader.lines(org, seq..seq.saturating_add(1), &mut |line| {
        event = Some(line.bytes.to_vec());
        ControlFlow::Break(())
    })?;
    let (Some(event), Some(head)) = (event, reader.head(org)?) else { return Ok(None) };
    let mut read = |node: Node, count: u64| reader.hashes(org, node, count);
    let path = inclusion_path(seq, head.size, &mut read)?;
    Ok(path.map(|path| Proof { event, seq, path, note: head.note }))
}

impl Proof {
    /// The proof as a file: text, of which a few lines suffice whatever the log's size.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text =
            format!("{TITLE}\nextra {}\nindex {}\n", STANDARD.encode(&self.event), self.seq);
        for hash in &self.path {
            text.push_str(&base64_hash(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.note);
        text
    }

    /// Takes a proof from outside. Nothing is believed yet.
    ///
    /// # Errors
    /// When it is not written as one.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        parse(text).ok_or_else(|| ProofErrorKind::Malformed.into())
    }

    /// Whether the event is in the log: from its bytes to its leaf, along the path to the root,
    /// which `key` signed. `origin` is the log it has to be of; without it, any log that this key
    /// signs will do.
    ///
    /// # Errors
    /// When it does not hold.
    pub fn verify(&self, key: &PublicKey, origin: Option<&str>) -> Result<Proven, ProofError> {
        let signed = Checkpoint::open(&self.note, key).map_err(ProofErrorKind::Checkpoint)?;
        if origin.is_some_and(|origin| origin != signed.origin) {
            return Err(ProofErrorKind::OtherLog(signed.origin).into());
        }
        let root = root_by_path(leaf_hash(&self.event), self.seq, signed.size, &self.path);
        if root != Some(signed.root) {
            return Err(ProofErrorKind::OtherRoot.into());
        }
        let header = Header::parse(&self.event);
        let org = signed.origin.rsplit('/').next().unwrap_or_default();
        if header.is_none_or(|header| header.seq != self.seq || header.org_id != org) {
            return Err(ProofErrorKind::OtherPlace.into());
        }
        let Checkpoint { origin, size, .. } = signed;
        Ok(Proven { origin, size, seq: self.seq, event: self.event.clone() })
    }
}

fn parse(text: &str) -> Option<Proof> {
    let (head, note) = text.split_once("\n\n")?;
    let mut lines = head.split('\n');
    if lines.next()? != TITLE {
        return None;
    }
    let event = STANDARD.decode(lines.next()?.strip_prefix("extra ")?).ok()?;
    let index = lines.next()?.strip_prefix("index ")?;
    let seq: u64 = index.parse().ok().filter(|seq: &u64| seq.to_string() == index)?;
    let path = lines.map(parse_hash).collect::<Option<Vec<_>>>()?;
    Some(Proof { event, seq, path, note: note.to_owned() })
}

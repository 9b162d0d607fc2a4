//! From an event to its line: what is left out, what is sealed, where it stands. Every store of
//! ours gets its lines from here, so that they differ in where they keep them only.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use lictor_context::{Event, EventType, Name, Principal};

use crate::error::{AppendError, AppendErrorKind};
use crate::key::SigningKey;
use crate::line::{Place, PlacelessLine};
use crate::log::{CHAIN_START, Checkpoint, Hash, Node, Tree, chain_hash, leaf_hash};
use crate::metrics::Measured;
use crate::redact::Redactor;
use crate::sealed::{SealedContent, SubjectKey, Subjects, seal_event};

/// Makes lines, and signs.
pub(crate) struct Maker {
    log_id: String,
    key: RwLock<Arc<SigningKey>>,
    subjects: Option<Subjects>,
    redactor: RwLock<Arc<Redactor>>,
}

/// The end of a log, on the way to the next one.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    pub(crate) tree: Tree,
    pub(crate) chain: Hash,
}

impl Cursor {
    /// Before the first event.
    pub(crate) fn start() -> Self {
        Self { tree: Tree::new(), chain: CHAIN_START }
    }
}

/// Events on their way into the trail, written as far as can be without knowing where they will
/// stand. See [`AuditLog::prepare`](crate::AuditLog::prepare).
#[derive(Debug)]
#[must_use = "nothing is recorded before they are appended"]
pub struct PreparedEvents {
    /// Those of each organisation, in the order in which they came.
    pub(crate) orgs: Vec<(Name, Vec<Prepared>)>,
    pub(crate) measured: Vec<Measured>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// As it stands in the line.
    pub(crate) event: Event,
    line: PlacelessLine,
    pub(crate) sealed: Vec<SealedContent>,
}

impl Prepared {
    /// An event that only the trail itself writes: nothing in it is left out.
    pub(crate) fn own(event: Event) -> Self {
        let line = PlacelessLine::of(&event);
        Self { event, line, sealed: Vec::new() }
    }
}

impl PreparedEvents {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.orgs.is_empty()
    }

    /// Puts others behind them.
    pub fn extend(&mut self, more: Self) {
        for (org, events) in more.orgs {
            match self.orgs.iter_mut().find(|(known, _)| *known == org) {
                Some((_, own)) => own.extend(events),
                None => self.orgs.push((org, events)),
            }
        }
        self.measured.extend(more.measured);
    }

    pub(crate) fn find(&self, wanted: impl Fn(EventType) -> bool) -> Option<&Event> {
        let mut events = self.orgs.iter().flat_map(|(_, own)| own).map(|prepared| &prepared.event);
        events.find(|event| wanted(event.event_type()))
    }
}

/// An event that was made a line.
#[derive(Debug)]
pub(crate) struct Made<'a> {
    pub(crate) prepared: &'a Prepared,
    pub(crate) place: Place,
    pub(crate) bytes: Vec<u8>,
    pub(crate) leaf: Hash,
    /// The chain, this event included.
    pub(crate) chain: Hash,
    /// The nodes of the tree that are complete by it.
    pub(crate) nodes: Vec<(Node, Hash)>,
}

impl Maker {
    pub(crate) fn new(
        log_id: String,
        key: SigningKey,
        subjects: Option<Subjects>,
        redactor: Redactor,
    ) -> Self {
        let (key, redactor) = (RwLock::new(Arc::new(key)), RwLock::new(Arc::new(redactor)));
        Self { log_id, key, subjects, redactor }
    }

    pub(crate) fn log_id(&self) -> &str {
        &self.log_id
    }

    pub(crate) fn origin(&self, org: &Name) -> String {
        format!("lictor/{}/{org}", self.log_id)
    }

    pub(crate) fn key(&self) -> Arc<SigningKey> {
        Arc::clone(&self.key.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_key(&self, key: SigningKey) {
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }

    pub(crate) fn subjects(&self) -> Option<&Subjects> {
        self.subjects.as_ref()
    }

    pub(crate) fn redactor(&self) -> Arc<Redactor> {
        // The lock guards one pointer, so a poisoned one holds a whole value.
        Arc::clone(&self.redactor.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_redactor(&self, redactor: Redactor) {
        *self.redactor.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(redactor);
    }

    /// Does what does not depend on where events will stand: leaves out, seals, and writes.
    pub(crate) fn prepare(&self, events: Vec<Event>) -> Result<PreparedEvents, AppendError> {
        let measured = events.iter().map(Measured::of).collect();
        let redactor = self.redactor();
        let mut keys = Keys { maker: self, last: None };
        let mut orgs: Vec<(Name, Vec<Prepared>)> = Vec::new();
        for event in events {
            let org = event.org().clone();
            let prepared = prepare_one(event, &redactor, &mut keys);
            let prepared = prepared.map_err(|kind| AppendError::new(&org, kind))?;
            match orgs.iter_mut().find(|(known, _)| *known == org) {
                Some((_, own)) => own.push(prepared),
                None => orgs.push((org, vec![prepared])),
            }
        }
        Ok(PreparedEvents { orgs, measured })
    }

    /// Makes the lines of one organisation's events. `first_session_seq` says where a session
    /// goes on; what it and others go on with is left in `sessions`.
    pub(crate) fn lines<'a>(
        cursor: &mut Cursor,
        events: &'a [Prepared],
        sessions: &mut HashMap<String, u64>,
        mut first_session_seq: impl FnMut(&str) -> Result<u64, AppendErrorKind>,
    ) -> Result<Vec<Made<'a>>, AppendErrorKind> {
        let mut lines = Vec::with_capacity(events.len());
        for prepared in events {
            let session = prepared.event.session().id().as_str();
            let next = match sessions.get_mut(session) {
                Some(next) => next,
                None => sessions.entry(session.to_owned()).or_insert(first_session_seq(session)?),
            };
            let place = Place { seq: cursor.tree.size(), session_seq: *next };
            *next += 1;
            let bytes = prepared.line.at(place);
            let leaf = leaf_hash(&bytes);
            cursor.chain = chain_hash(&cursor.chain, &leaf);
            let mut nodes = Vec::new();
            cursor.tree.push_noting(leaf, |node, hash| nodes.push((node, hash)));
            lines.push(Made { prepared, place, bytes, leaf, chain: cursor.chain, nodes });
        }
        Ok(lines)
    }

    /// The signed checkpoint of a log that ends here.
    pub(crate) fn sign(&self, org: &Name, tree: &Tree) -> (String, Checkpoint) {
        let checkpoint = self.checkpoint(org, tree);
        (self.key().sign(&checkpoint), checkpoint)
    }

    /// What such a log says of itself.
    pub(crate) fn checkpoint(&self, org: &Name, tree: &Tree) -> Checkpoint {
        Checkpoint { origin: self.origin(org), size: tree.size(), root: tree.root() }
    }
}

impl fmt::Debug for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maker")
            .field("log_id", &self.log_id)
            .field("key", &self.key())
            .field("subjects", &self.subjects)
            .finish_non_exhaustive()
    }
}

/// The keys of the persons of some events, which are mostly one's.
struct Keys<'a> {
    maker: &'a Maker,
    /// Whose is known, their key, and the log that their events go to.
    last: Option<(Principal, Arc<SubjectKey>, String)>,
}

impl Keys<'_> {
    fn of(
        &mut self,
        principal: &Principal,
    ) -> Result<Option<(&SubjectKey, &str)>, AppendErrorKind> {
        let Some(subjects) = &self.maker.subjects else { return Ok(None) };
        if self.last.as_ref().is_none_or(|(known, ..)| known != principal) {
            let key = subjects.key(&principal.org, &principal.user)?;
            let origin = self.maker.origin(&principal.org);
            self.last = Some((principal.clone(), key, origin));
        }
        Ok(self.last.as_ref().map(|(_, key, origin)| (&**key, origin.as_str())))
    }
}

fn prepare_one(
    event: Event,
    redactor: &Redactor,
    keys: &mut Keys<'_>,
) -> Result<Prepared, AppendErrorKind> {
    if is_own(event.event_type()) {
        return Ok(Prepared::own(event));
    }
    let mut event = redactor.event(event);
    let mut sealed = Vec::new();
    if event.facts().action_params.is_some() || !event.facts().metadata.is_empty() {
        let principal = event.session().principal().clone();
        if let Some((key, origin)) = keys.of(&principal)? {
            let made = seal_event(&mut event, origin, key);
            sealed = made.map_err(|_| AppendErrorKind::Random)?;
        }
    }
    let line = PlacelessLine::of(&event);
    // A line that was too long lost its parameters, and what was sealed in them.
    sealed.retain(|content| {
        let digest = lictor_context::Digest::of(&content.ciphertext).to_string();
        line.contains(&digest)
    });
    Ok(Prepared { event, line, sealed })
}

/// The types of events that only the trail itself writes: verifiers go by what they say, so
/// nothing in them is left out.
pub(crate) fn is_own(kind: EventType) -> bool {
    matches!(
        kind,
        EventType::KeyRotated
            | EventType::AuditPruned
            | EventType::SubjectErased
            | EventType::HoldPlaced
            | EventType::HoldReleased
    )
}

//! The catalogue: what there is to be used, and which of it may be.
//!
//! Two things make one entry: a **document** (a contract, a pack, a facade, as it is now) and a
//! **record** of its life (as people decided it). An entry is active only while both are there and
//! the record's digest is the document's.

mod document;
mod error;
mod life;
mod record;
mod rules;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use lictor_capability::{CapabilityId, Contract};
use lictor_context::Digest;

pub use document::{CatalogueKey, CatalogueKind, Document, DocumentUnreadable};
pub use error::{CatalogueError, Withheld};
pub use life::{LifeEvent, LifeState};
pub use record::CatalogueRecord;
pub use rules::CatalogueRules;
pub(crate) use rules::RawCatalogue;

/// A document in the catalogue, with what is known of its life.
#[derive(Debug, Clone)]
pub struct CatalogueEntry {
    /// The document as it is now.
    pub document: Document,
    /// Where it is in its life.
    pub state: LifeState,
    /// Its life as it was decided; builtins have none, nor has what nobody proposed.
    pub record: Option<CatalogueRecord>,
    /// Whether it is part of the program.
    pub builtin: bool,
}

impl CatalogueEntry {
    fn of(document: Document, record: Option<CatalogueRecord>) -> Self {
        let digest = document.digest();
        let state = match &record {
            Some(record) if record.digest == digest => record.state,
            // Nobody proposed it, or it is not what was proposed: both have it all before them.
            Some(_) | None => LifeState::Proposed,
        };
        Self { document, state, record, builtin: false }
    }

    /// Whether the document is another one than its record speaks of.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.digest != self.document.digest())
    }

    /// Whether somebody proposed the document as it is now.
    #[must_use]
    pub fn is_proposed_by_somebody(&self) -> bool {
        self.record.is_some() && !self.changed()
    }
}

type Entries = BTreeMap<CatalogueKey, CatalogueEntry>;

/// What there is, in memory. Where it comes from is the runtime's matter: it hands over documents
/// and records, and asks.
#[derive(Debug)]
pub struct Catalogue {
    builtins: Entries,
    loaded: RwLock<Arc<Entries>>,
}

impl Catalogue {
    /// A catalogue of the builtins, which are active from the start.
    #[must_use]
    pub fn new(builtins: impl IntoIterator<Item = Arc<Contract>>) -> Self {
        let entry = |contract: Arc<Contract>| {
            let document = Document::Capability(contract);
            let state = LifeState::Active;
            (document.key(), CatalogueEntry { document, state, record: None, builtin: true })
        };
        let builtins = builtins.into_iter().map(entry).collect();
        Self { builtins, loaded: RwLock::default() }
    }

    /// Takes other documents and records in place of those it had. A document that would take a
    /// builtin's place is left out, and named in the answer.
    pub fn load(
        &self,
        documents: impl IntoIterator<Item = Document>,
        records: impl IntoIterator<Item = CatalogueRecord>,
    ) -> Vec<CatalogueError> {
        let mut refused = Vec::new();
        let mut records: BTreeMap<CatalogueKey, CatalogueRecord> =
            records.into_iter().map(|record| (record.key.clone(), record)).collect();
        let mut entries = Entries::new();
        for document in documents {
            match self.acceptable(&document) {
                Ok(()) => {
                    let record = records.remove(&document.key());
                    entries.insert(document.key(), CatalogueEntry::of(document, record));
                }
                Err(error) => refused.push(error),
            }
        }
        // The lock guards one pointer, so a poisoned one holds a whole value.
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(entries);
        refused
    }

    /// Whether a document may stand beside the builtins.
    ///
    /// # Errors
    /// When it is one, claims to be one, or has the id of one.
    pub fn acceptable(&self, document: &Document) -> Result<(), CatalogueError> {
        let Document::Capability(contract) = document else { return Ok(()) };
        let taken = self
            .builtins
            .keys()
            .any(|key| key.kind == CatalogueKind::Capability && key.id == contract.id.as_str());
        if taken || contract.source == "builtin" {
            return Err(CatalogueError::Builtin { id: contract.id.to_string() });
        }
        Ok(())
    }

    fn loaded(&self) -> Arc<Entries> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The contracts that may be used.
    #[must_use]
    pub fn active(&self) -> Vec<Arc<Contract>> {
        let loaded = self.loaded();
        let active = self
            .builtins
            .values()
            .chain(loaded.values())
            .filter(|entry| entry.state == LifeState::Active);
        active.filter_map(|entry| entry.document.contract().cloned()).collect()
    }

    /// Everything of a kind, by id and version.
    #[must_use]
    pub fn list(&self, kind: CatalogueKind) -> Vec<CatalogueEntry> {
        let loaded = self.loaded();
        let mut all: Vec<CatalogueEntry> = self
            .builtins
            .values()
            .chain(loaded.values())
            .filter(|entry| entry.document.kind() == kind)
            .cloned()
            .collect();
        all.sort_by_key(|entry| entry.document.key());
        all
    }

    /// One entry.
    #[must_use]
    pub fn get(&self, key: &CatalogueKey) -> Option<CatalogueEntry> {
        self.builtins.get(key).cloned().or_else(|| self.loaded().get(key).cloned())
    }

    /// The versions of one document, the newest first.
    #[must_use]
    pub fn versions(&self, kind: CatalogueKind, id: &str) -> Vec<CatalogueEntry> {
        let mut found = self.list(kind);
        found.retain(|entry| entry.document.id() == id);
        found.reverse();
        found
    }

    /// Whether a document is part of the program.
    #[must_use]
    pub fn is_builtin(&self, key: &CatalogueKey) -> bool {
        self.builtins.contains_key(key)
    }

    /// Whether a contract may be used, as far as memory tells: it is a builtin, byte for byte, or
    /// it is active and the very contract that was approved.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, contract: &Contract) -> Result<(), Withheld> {
        let key = CatalogueKey::of(contract);
        let id = || key.id.clone();
        let found = contract.digest();
        if let Some(builtin) = self.builtins.get(&key) {
            let approved = builtin.document.digest();
            if approved == found {
                return Ok(());
            }
            return Err(Withheld::Changed { id: id(), approved, found });
        }
        let entry = self.loaded().get(&key).cloned();
        let Some(entry) = entry else { return Err(Withheld::Gone { id: id() }) };
        // The one that is asked about was let in once, and another one lies there now.
        let lies_there = entry.document.digest();
        let asked = if found == lies_there { Ok(()) } else { withheld(&entry, found) };
        asked.and_then(|()| withheld(&entry, lies_there))
    }

    /// Why a session finds no capability of this id, although there is one.
    #[must_use]
    pub fn why_not(&self, id: &CapabilityId) -> Option<Withheld> {
        let newest = self.versions(CatalogueKind::Capability, id.as_str()).into_iter().next()?;
        withheld(&newest, newest.document.digest()).err()
    }
}

fn withheld(entry: &CatalogueEntry, found: Digest) -> Result<(), Withheld> {
    let id = entry.document.id().to_owned();
    match &entry.record {
        // What was active and is another thing now was exchanged; whatever else changed was never
        // let in, and is a proposal like any other.
        Some(record) if record.digest != found && record.was_let_in() => {
            Err(Withheld::Changed { id, approved: record.digest, found })
        }
        Some(record) if record.digest != found => {
            Err(Withheld::NotActive { id, state: LifeState::Proposed })
        }
        Some(record) if record.state == LifeState::Active => Ok(()),
        Some(record) => Err(Withheld::NotActive { id, state: record.state }),
        None => Err(Withheld::NotActive { id, state: LifeState::Proposed }),
    }
}

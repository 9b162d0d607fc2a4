//! The catalogue of a workspace: documents from its folders, lives from its database, and the
//! guard that holds both against each other at every use.

mod failure;
mod files;
mod flows;
mod packs;
mod seal;
mod superseding; // definitions that changed elsewhere

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lictor_capability::{CapabilityId, Contract, WorkflowDocument};
use lictor_context::{
    BoxFuture, CapabilityFacts, Clock, Digest, Event, EventFacts, EventType, Session,
};
use lictor_document::Source;
use lictor_executor::ContractGuard;
use lictor_governance::{
    Catalogue, CatalogueEntry, CatalogueKey, CatalogueKind, CatalogueRecord, CatalogueRules,
    Channel, Document, LifeState, ProvenApprover, Withheld,
};
use lictor_state::{CatalogueRow, CatalogueRows, StateError};
use serde_json::json;

pub use failure::CatalogueFailure;
pub use files::CatalogueProblem;
use files::Files;
use flows::Flows;
pub use packs::PackRefusal;
pub(crate) use seal::Seal;

use crate::agent::Agent;
use crate::runtime::Runtime;

/// A workspace's catalogue, with where it comes from.
#[derive(Debug)]
pub(crate) struct Shelf {
    /// `.lictor` in the workspace.
    root: PathBuf,
    rows: CatalogueRows,
    seal: Seal,
    catalogue: Catalogue,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    files: Files,
    problems: Vec<CatalogueProblem>,
    /// Whose records do not hold.
    unproven: BTreeSet<CatalogueKey>,
    /// The rows that the catalogue was loaded with; nothing when they could not be read.
    rows: Option<Vec<CatalogueRow>>,
    /// How often it was loaded.
    loads: u64,
    /// Rows whose seals were found to hold, with what they say.
    proven: BTreeMap<CatalogueKey, (CatalogueRow, Arc<CatalogueRecord>)>,
}

impl Shelf {
    pub(crate) fn new(
        root: PathBuf,
        rows: CatalogueRows,
        seal: Seal,
        catalogue: Catalogue,
    ) -> Self {
        Self { root, rows, seal, catalogue, inner: Mutex::default() }
    }

    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Looking again makes good whatever a holder that panicked left half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at folders and records again. What cannot be read lets nothing in. Another number than
    /// the last time means that something is another one.
    pub(crate) fn refresh(&self) -> u64 {
        let mut inner = self.inner();
        let changed = inner.files.look(&self.root);
        let (rows, known) = (self.rows.list(), inner.rows.take());
        if !changed && known.is_some() && known.as_ref() == rows.as_ref().ok() {
            inner.rows = known;
            return inner.loads;
        }
        let mut found = inner.files.found().clone();
        let mut unproven = BTreeSet::new();
        let mut records = Vec::new();
        let mut problem = |file: &str, problem: String| {
            found.problems.push(CatalogueProblem { file: file.to_owned(), problem });
        };
        match &rows {
            Ok(rows) => {
                for row in rows {
                    match self.record(row) {
                        Ok(record) => records.push(record),
                        Err(Some(key)) => {
                            problem("lictor.db", format!("the record of the {key} does not hold"));
                            unproven.insert(key);
                        }
                        Err(None) => problem("lictor.db", "a record is not readable".to_owned()),
                    }
                }
            }
            Err(error) => problem("lictor.db", error.to_string()),
        }
        let refused = self.catalogue.load(found.documents, records);
        found.problems.extend(refused.into_iter().map(|error| CatalogueProblem {
            file: ".lictor/capabilities".to_owned(),
            problem: error.to_string(),
        }));
        inner.problems = found.problems;
        inner.unproven = unproven;
        inner.rows = rows.ok();
        inner.loads += 1;
        inner.loads
    }

    /// A record, if its seal holds; else what it claims to be about.
    fn record(&self, row: &CatalogueRow) -> Result<CatalogueRecord, Option<CatalogueKey>> {
        let record: CatalogueRecord = serde_json::from_str(&row.record).map_err(|_| None)?;
        if self.seal.holds(&row.record, &row.seal) { Ok(record) } else { Err(Some(record.key)) }
    }

    /// As [`record`](Self::record), for a row that is used again and again: one that is the same byte
    /// for byte as one whose seal held is not held against it anew.
    fn proven(
        &self,
        key: &CatalogueKey,
        row: CatalogueRow,
    ) -> Result<Arc<CatalogueRecord>, Option<CatalogueKey>> {
        if let Some((_, record)) = self.inner().proven.get(key).filter(|(known, _)| *known == row) {
            return Ok(Arc::clone(record));
        }
        let record = Arc::new(self.record(&row)?);
        self.inner().proven.insert(key.clone(), (row, Arc::clone(&record)));
        Ok(record)
    }

    fn row(&self, record: &CatalogueRecord) -> Result<CatalogueRow, CatalogueFailure> {
        let text = serde_json::to_string(record)
            .map_err(|error| CatalogueFailure::Unavailable(error.to_string()))?;
        Ok(CatalogueRow { seal: self.seal.of(&text), record: text })
    }

    /// The bytes of a workflow that a contract calls.
    pub(crate) fn read_workflow(&self, document: &WorkflowDocument) -> std::io::Result<Vec<u8>> {
        Flows::read(&self.root, &document.file)
    }

    /// Why there is no such capability for a session, although there is one.
    pub(crate) fn why_not(&self, id: &CapabilityId) -> Option<Withheld> {
        let named =
            |key: &&CatalogueKey| key.kind == CatalogueKind::Capability && key.id == id.as_str();
        if self.inner().unproven.iter().any(|key| named(&key)) {
            return Some(Withheld::Unproven { id: id.to_string() });
        }
        self.catalogue.why_not(id)
    }
}

impl ContractGuard for Shelf {
    /// Builtins are held against the program. Everything else is read anew, file and record: what
    /// memory holds may be a second old, and that is long enough.
    fn check(&self, contract: &Contract) -> Result<(), Withheld> {
        let key = Document::key_of_contract(contract);
        if self.catalogue.is_builtin(&key) {
            return self.catalogue.check(contract);
        }
        let id = || key.id.clone();
        let unreadable = |why: String| Withheld::Unreadable { id: id(), why };
        let row = self.rows.get(&key).map_err(|error| unreadable(error.to_string()))?;
        let Some(row) = row else {
            return Err(Withheld::NotActive { id: id(), state: LifeState::Proposed });
        };
        let record = self.proven(&key, row).map_err(|_| Withheld::Unproven { id: id() })?;
        if record.key != key {
            return Err(Withheld::Unproven { id: id() });
        }
        if record.state != LifeState::Active {
            return Err(Withheld::NotActive { id: id(), state: record.state });
        }
        let changed = |found| Withheld::Changed { id: id(), approved: record.digest, found };
        if contract.digest() != record.digest {
            return Err(changed(contract.digest()));
        }
        let now = self.inner().files.digest_now(&self.root, &key);
        match now.map_err(|error| unreadable(error.to_string()))? {
            Some(found) if found == record.digest => Ok(()),
            Some(found) => Err(changed(found)),
            None => Err(Withheld::Gone { id: id() }),
        }
    }
}

/// A document that was proposed.
#[derive(Debug, Clone)]
pub struct Proposed {
    /// It, as it stands in the catalogue now.
    pub entry: CatalogueEntry,
    /// The file that holds it.
    pub file: String,
    /// Whether it had been proposed before, and nothing changed.
    pub already: bool,
}

/// A decision of an approver about a document.
#[derive(Debug)]
pub struct LifeStep<'a> {
    /// The document.
    pub key: &'a CatalogueKey,
    /// What becomes of it.
    pub next: LifeState,
    /// The digest that the approver looked at; that of the document as it is now when `None`.
    pub seen: Option<Digest>,
    /// Who.
    pub by: &'a ProvenApprover,
    /// By which way.
    pub channel: Channel,
    /// Why.
    pub why: &'a str,
}

impl Runtime {
    /// What lies in the catalogue's folders and is none of it, and records that do not hold.
    #[must_use]
    pub fn catalogue_problems(&self) -> Vec<CatalogueProblem> {
        self.parts.shelf.inner().problems.clone()
    }

    /// The file of a document of the catalogue, relative to the workspace.
    #[must_use]
    pub fn catalogue_file(&self, key: &CatalogueKey) -> Option<String> {
        self.parts.shelf.inner().files.place(key)
    }

    /// Looks at the catalogue's folders and records again; every new agent does it as well.
    pub fn refresh_catalogue(&self) {
        self.parts.shelf.refresh();
    }

    /// A document as the catalogue takes it: one that calls a workflow by its id stands for the
    /// document of that workflow as well, and its digest covers it.
    ///
    /// # Errors
    /// When no file of `.lictor/workflows` holds that workflow, or several do.
    pub fn as_used(&self, document: Document) -> Result<Document, CatalogueFailure> {
        let shelf = &self.parts.shelf;
        let used = shelf.inner().files.resolve(&shelf.root, document);
        used.map_err(CatalogueFailure::NoWorkflow)
    }

    fn rules(&self) -> CatalogueRules {
        self.gate().policies().settings().catalogue.clone()
    }

    /// Somebody proposes a document. It is written into the folder of its kind, unless it lies
    /// there already, and becomes a proposal, whatever it says of itself.
    ///
    /// # Errors
    /// When it is no such document, has a builtin's id, or another one lies in its place.
    pub fn propose<'a>(
        &'a self,
        session: &'a Session,
        kind: CatalogueKind,
        source: &'a Source<'a>,
        why: &'a str,
    ) -> BoxFuture<'a, Result<Proposed, CatalogueFailure>> {
        Box::pin(async move {
            let shelf = &self.parts.shelf;
            let document =
                Document::from_yaml(kind, source).map_err(CatalogueFailure::Unreadable)?;
            let document = self.as_used(document)?;
            shelf.catalogue.acceptable(&document)?;
            shelf.refresh();
            let key = document.key();
            let known = self.known(&key)?;
            let rules = self.rules();
            let principal = session.principal();
            let at = self.clock().now();
            let record =
                CatalogueRecord::propose(known.as_ref(), &document, principal, &rules, at, why)?;
            let standing = shelf.catalogue.get(&key);
            match standing {
                Some(standing) if standing.document.digest() != document.digest() => {
                    let place = shelf.inner().files.place(&key).unwrap_or_default();
                    return Err(CatalogueFailure::Occupied { key, place });
                }
                Some(_) => {}
                None => {
                    Files::add(&shelf.root, &key, source.bytes)
                        .map_err(|error| CatalogueFailure::Unavailable(error.to_string()))?;
                }
            }
            self.proposed(session, &document, record).await
        })
    }

    /// A proposal whose file is in its place comes on record, unless it is, and into view.
    async fn proposed(
        &self,
        session: &Session,
        document: &Document,
        record: Option<CatalogueRecord>,
    ) -> Result<Proposed, CatalogueFailure> {
        let already = record.is_none();
        if let Some(record) = record {
            let event = self.life_event(session, document, &record, None);
            self.keep(record, event).await?;
        }
        let (shelf, key) = (&self.parts.shelf, document.key());
        shelf.refresh();
        let entry = shelf.catalogue.get(&key);
        let entry = entry.ok_or_else(|| CatalogueFailure::Unknown(key.clone()))?;
        let file = shelf.inner().files.place(&key).unwrap_or_default();
        Ok(Proposed { entry, file, already })
    }

    /// An approver brings a document to another state.
    ///
    /// # Errors
    /// When they may not, its life has no such step, or it is not what they looked at.
    pub fn step_life<'a>(
        &'a self,
        session: &'a Session,
        step: LifeStep<'a>,
    ) -> BoxFuture<'a, Result<CatalogueEntry, CatalogueFailure>> {
        Box::pin(async move {
            let shelf = &self.parts.shelf;
            shelf.refresh();
            let key = step.key;
            let entry = shelf.catalogue.get(key);
            let entry = entry.ok_or_else(|| CatalogueFailure::Unknown(key.clone()))?;
            if entry.builtin {
                return Err(
                    lictor_governance::CatalogueError::Builtin { id: key.id.clone() }.into()
                );
            }
            let record = self.known(key)?;
            let record = record.ok_or_else(|| CatalogueFailure::NotProposed(key.clone()))?;
            // Letting in is about the document as it is; everything else takes something away, and
            // that has to be possible whatever somebody did to the file.
            let now = entry.document.digest();
            let about = if step.next == LifeState::Active { now } else { record.digest };
            let seen = step.seen.unwrap_or(about);
            if step.next == LifeState::Active && seen != now {
                let proposed = now;
                return Err(
                    lictor_governance::CatalogueError::OtherDocument { seen, proposed }.into()
                );
            }
            let at = self.clock().now();
            let moved = record.transition(step.next, seen, step.by, &self.rules(), at, step.why)?;
            let event =
                self.life_event(session, &entry.document, &moved, Some((&record, step.channel)));
            self.keep(moved, event).await?;
            shelf.refresh();
            shelf.catalogue.get(key).ok_or_else(|| CatalogueFailure::Unknown(key.clone()))
        })
    }

    fn known(&self, key: &CatalogueKey) -> Result<Option<CatalogueRecord>, CatalogueFailure> {
        let shelf = &self.parts.shelf;
        let row = shelf.rows.get(key);
        let row = row.map_err(|error| CatalogueFailure::Unavailable(error.to_string()))?;
        row.map(|row| shelf.record(&row).map_err(|_| CatalogueFailure::Unproven(key.clone())))
            .transpose()
    }

    /// A record and the event that tells of it, in one and durably.
    async fn keep(&self, record: CatalogueRecord, event: Event) -> Result<(), CatalogueFailure> {
        let row = self.parts.shelf.row(&record)?;
        let kept = self.parts.ledger.commit(vec![event], move |tx| {
            CatalogueRows::put_in(tx, &record, &row)?;
            Ok((Vec::new(), ()))
        });
        kept.await.map_err(|error| match error {
            StateError::Stale { .. } => CatalogueFailure::Raced,
            other => CatalogueFailure::Unavailable(other.to_string()),
        })
    }

    fn life_event(
        &self,
        session: &Session,
        document: &Document,
        record: &CatalogueRecord,
        decided: Option<(&CatalogueRecord, Channel)>,
    ) -> Event {
        let kind = match record.state {
            LifeState::Proposed => EventType::CapabilityProposed,
            LifeState::Active => EventType::CapabilityApproved,
            LifeState::Rejected => EventType::CapabilityRejected,
            LifeState::Frozen => EventType::CapabilityFrozen,
            LifeState::Deprecated => EventType::CapabilityDeprecated,
        };
        let last = record.history.last();
        let mut facts = EventFacts {
            action_name: Some(record.key.id.clone()),
            capability: document.contract().map(|contract| contract.facts()),
            success: Some(true),
            ..EventFacts::default()
        };
        let facts_of_bundle = || CapabilityFacts {
            kind: record.key.kind.as_str().to_owned(),
            source: "local".to_owned(),
            version: record.key.version.to_string(),
            mcp_server: None,
        };
        facts.capability.get_or_insert_with(facts_of_bundle);
        let about = json!({
            "kind": record.key.kind, "id": record.key.id, "version": record.key.version,
            "state": record.state, "from": decided.map(|(before, _)| before.state),
            "digest": record.digest, "revision": record.revision,
            "by": last.map(|step| &step.by), "why": last.map(|step| &step.why),
            "channel": decided.map(|(_, channel)| channel),
        });
        facts.metadata.insert("catalogue".to_owned(), about);
        let clock: &dyn Clock = self.clock().as_ref();
        Event::new(session, kind, facts, clock)
    }
}

impl Agent {
    /// The same session, with what it can ask for as the catalogue is now.
    #[must_use]
    pub fn refreshed(&self) -> Self {
        let mut refreshed = self.clone();
        let seen = self.runtime().parts.shelf.refresh();
        if seen != self.seen {
            refreshed.graph = self.runtime().graph(self.session());
            refreshed.seen = seen;
        }
        refreshed
    }
}

/// The contracts that lie in a folder like `.lictor`, let in or not. What is none is left out.
pub(crate) fn documented(root: &std::path::Path) -> Vec<Arc<Contract>> {
    let mut files = Files::default();
    files.look(root);
    let contract = |document: Document| match document {
        Document::Capability(contract) => Some(contract),
        Document::Pack(_) | Document::Facade(_) => None,
    };
    files.found().documents.iter().cloned().filter_map(contract).collect()
}

/// What a runtime needs of the shelf.
pub(crate) fn shelf(
    options: &crate::options::RuntimeOptions,
    store: &lictor_store::Store,
    builtins: Vec<Arc<Contract>>,
) -> Result<Arc<Shelf>, crate::options::OpenError> {
    let seal = Seal::open(&options.keys.folder).map_err(|error| {
        crate::options::OpenError::Audit(format!("the key of the catalogue: {error}"))
    })?;
    let shelf = Shelf::new(
        options.workspace.join(".lictor"),
        CatalogueRows::new(store.clone()),
        seal,
        Catalogue::new(builtins),
    );
    shelf.refresh();
    Ok(Arc::new(shelf))
}

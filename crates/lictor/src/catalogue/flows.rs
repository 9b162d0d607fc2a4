//! The workflows that contracts call: `.lictor/workflows/*.workflow.yaml`, found by the ids that they
//! hold.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use lictor_capability::{Contract, WorkflowDocument};
use lictor_context::{Digest, Name};
use lictor_document::Source;
use lictor_governance::Document;
use lictor_workflow::Workflow;

use super::files::{CatalogueProblem, MAX_FILES, Stamp, read};

const FOLDER: &str = "workflows";
const ENDING: &str = ".workflow.yaml";
/// More candidates than this are counted, not named.
const MAX_NAMED: usize = 8;

/// A file that was read.
#[derive(Debug, Clone)]
struct Seen {
    stamp: Stamp,
    held: Result<Held, String>,
}

/// The workflow that a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    id: Name,
    digest: Digest,
}

/// The folder, as it was when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Flows {
    seen: BTreeMap<String, Seen>,
    problems: Vec<CatalogueProblem>,
    /// How often something was found to be another one than before.
    changes: u64,
}

fn shown(name: &str) -> String {
    format!(".lictor/{FOLDER}/{name}")
}

fn held(name: &str, bytes: &[u8]) -> Result<Held, String> {
    let shown = shown(name);
    let workflow = Workflow::from_yaml(&Source::new(&shown, bytes));
    let workflow = workflow.map_err(|error| error.to_string())?;
    Ok(Held { id: workflow.id.clone(), digest: workflow.digest() })
}

impl Flows {
    /// Looks at the folder below `root` (`.lictor`) again.
    pub(super) fn look(&mut self, root: &Path) {
        let mut before = std::mem::take(&mut self.seen);
        let mut read_any = false;
        let problems = self.folder(root, &mut before, &mut read_any);
        let problems = problems.unwrap_or_else(|error| {
            let problem = format!("the folder cannot be read: {error}");
            vec![CatalogueProblem { file: format!(".lictor/{FOLDER}"), problem }]
        });
        // What is left there has gone.
        if read_any || !before.is_empty() || problems != self.problems {
            self.changes += 1;
        }
        self.problems = problems;
    }

    /// What lies in the folder and is no workflow.
    pub(super) fn problems(&self) -> &[CatalogueProblem] {
        &self.problems
    }

    /// Another number means that something is another one.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// What was read before is taken out of `before`; `read_any` tells whether one was read anew.
    fn folder(
        &mut self,
        root: &Path,
        before: &mut BTreeMap<String, Seen>,
        read_any: &mut bool,
    ) -> io::Result<Vec<CatalogueProblem>> {
        let entries = match std::fs::read_dir(root.join(FOLDER)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut problems = Vec::new();
        for (count, entry) in entries.enumerate() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || !name.ends_with(ENDING) {
                continue;
            }
            let mut odd = |problem: String| {
                problems.push(CatalogueProblem { file: shown(&name), problem });
            };
            if count >= MAX_FILES {
                odd("there are too many files; this one and what follows is left out".to_owned());
                break;
            }
            let metadata = entry.path().symlink_metadata()?;
            if !metadata.is_file() {
                odd("it is no regular file; links are not followed".to_owned());
                continue;
            }
            let stamp = Stamp::of(&metadata);
            let seen = match before.remove(&name).filter(|seen| seen.stamp == stamp) {
                Some(seen) => seen,
                None => {
                    *read_any = true;
                    Seen { stamp, held: held(&name, &read(&entry.path())?) }
                }
            };
            if let Err(problem) = &seen.held {
                odd(problem.clone());
            }
            self.seen.insert(name, seen);
        }
        Ok(problems)
    }

    /// A document as it is used: a contract that calls a workflow over that workflow's own document,
    /// any other as it is.
    pub(super) fn resolve(&self, document: Document) -> Result<Document, String> {
        match self.called_by(&document)? {
            Some(found) => Ok(over(&document, found)),
            None => Ok(document),
        }
    }

    /// The document of the workflow that a contract calls; `None` when it calls none.
    pub(super) fn called_by(
        &self,
        document: &Document,
    ) -> Result<Option<WorkflowDocument>, String> {
        let Some(contract) = document.contract() else { return Ok(None) };
        let Some(id) = contract.calls_workflow() else { return Ok(None) };
        let (line, column) = contract.handler_at();
        let found = self.find(id).map_err(|why| format!("line {line}, column {column}: {why}"))?;
        Ok(Some(found))
    }

    /// The one document that holds a workflow.
    fn find(&self, id: &Name) -> Result<WorkflowDocument, String> {
        let holders: Vec<(&String, &Held)> = self
            .seen
            .iter()
            .filter_map(|(name, seen)| Some((name, seen.held.as_ref().ok()?)))
            .collect();
        let mut of_it = holders.iter().filter(|(_, held)| held.id == *id);
        match (of_it.next(), of_it.next()) {
            (Some((name, held)), None) => {
                Ok(WorkflowDocument { file: shown(name), digest: held.digest })
            }
            (Some(_), Some(_)) => {
                let files = holders.iter().filter(|(_, held)| held.id == *id);
                let files = named(files.map(|(name, _)| format!("`{name}`")));
                Err(format!(
                    "several files in `.lictor/{FOLDER}` hold the workflow `{id}`, and so none \
                     counts: {files}"
                ))
            }
            (None, _) => Err(self.none(id, &holders)),
        }
    }

    fn none(&self, id: &Name, holders: &[(&String, &Held)]) -> String {
        let mut why =
            format!("no file `*{ENDING}` in `.lictor/{FOLDER}` holds the workflow `{id}`");
        if !holders.is_empty() {
            let there = holders.iter().map(|(name, held)| format!("`{}` ({name})", held.id));
            why.push_str(&format!("; there are {}", named(there)));
        }
        let unread = self.seen.iter().filter(|(_, seen)| seen.held.is_err());
        let unread: Vec<String> = unread.map(|(name, _)| format!("`{name}`")).collect();
        if !unread.is_empty() {
            why.push_str(&format!("; no workflow are {}", named(unread.into_iter())));
        }
        why
    }

    /// The same, read at this moment: what was remembered of the file does not count.
    pub(super) fn find_now(&mut self, root: &Path, id: &Name) -> io::Result<WorkflowDocument> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        self.look(root);
        let found = self.find(id).map_err(invalid)?;
        let bytes = Self::read(root, &found.file)?;
        Ok(WorkflowDocument { digest: Digest::of(&bytes), ..found })
    }

    /// The bytes of a document.
    pub(super) fn read(root: &Path, file: &str) -> io::Result<Vec<u8>> {
        let name = file.rsplit('/').next().unwrap_or_default();
        read(&root.join(FOLDER).join(name))
    }
}

/// A contract over the document of its workflow.
pub(super) fn over(document: &Document, found: WorkflowDocument) -> Document {
    match document {
        Document::Capability(contract) => {
            let over: Contract = contract.over_workflow(found);
            Document::Capability(Arc::new(over))
        }
        Document::Pack(_) | Document::Facade(_) => document.clone(),
    }
}

fn named(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(MAX_NAMED);
    names.truncate(MAX_NAMED);
    let mut told = names.join(", ");
    if more > 0 {
        told.push_str(&format!(" and {more} more"));
    }
    told
}

//! What holds of every parser, whatever it is given.
//!
//! A target takes any bytes and asserts what must be true of what comes out; it answers whether
//! they were accepted. `fuzz/` calls the targets with bytes that libFuzzer makes up, and the test
//! of this package calls them with the corpus that `fuzz/` has gathered, so that whatever once
//! went wrong stays an ordinary test.

mod evidence; // what the trail's verifiers are given
mod tree; // a workspace in memory

use std::error::Error;

use lictor_capability::{ChangeDocument, Contract, UnifiedDiff, resolve};
use lictor_context::WorkspacePath;
use lictor_document::{Limits, Source};
use lictor_governance::PolicySet;
use lictor_workflow::Workflow;

pub use evidence::{checkpoint, event_lines};
use tree::Tree;

/// Takes any bytes, and answers whether they were accepted.
pub type Target = fn(&[u8]) -> bool;

/// Every target by the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("policy", policy),
    ("contract", contract),
    ("change_set", change_set),
    ("diff", diff),
    ("workflow", workflow),
    ("event_lines", event_lines),
    ("checkpoint", checkpoint),
];

const NAME: &str = "fuzzed";
/// A message is read by people.
const LONGEST_MESSAGE: usize = 16 * 1024;

/// A policy: what is read once is read again as the same, and hides the state folder however
/// it is worded.
pub fn policy(bytes: &[u8]) -> bool {
    let Some(policies) = accepted(PolicySet::workspace(&Source::new(NAME, bytes))) else {
        return false;
    };
    let again = PolicySet::from_sources(&policies.sources());
    assert_eq!(again.map(|it| it.digest()).ok(), Some(policies.digest()), "kept with a decision");
    let state = WorkspacePath::parse(".lictor/state.db");
    assert!(state.is_ok_and(|path| policies.hides(&path)), "the state folder is open");
    true
}

/// A contract: accepted with its schemas, it judges an input without harm, and its digest is
/// that of what it says.
pub fn contract(bytes: &[u8]) -> bool {
    let source = Source::new(NAME, bytes);
    let Some(contract) = accepted(Contract::from_yaml(&source)) else { return false };
    let lazily = Contract::from_yaml_lazily(&source);
    assert_eq!(lazily.map(|it| it.digest()).ok(), Some(contract.digest()), "one text, one digest");
    let _fits = contract.check_input(&serde_json::json!({ "path": "a", "n": 1 }));
    true
}

/// A change set: what is printed is what was read, and its changes are worked out or refused.
pub fn change_set(bytes: &[u8]) -> bool {
    let source = Source::new(NAME, bytes);
    let Some(document) = accepted(ChangeDocument::from_json(&source, &Limits::default())) else {
        return false;
    };
    reads_as_printed(&document);
    if let Some(resolved) = accepted(resolve(document.change_set.changes(), &Tree)) {
        assert!(
            resolved.changes.count() >= resolved.changes.files().len(),
            "files without an item"
        );
    }
    true
}

/// A unified diff: where it fits the workspace, it is a change set like any other.
pub fn diff(bytes: &[u8]) -> bool {
    let source = Source::new(NAME, bytes);
    let Some(diff) = accepted(UnifiedDiff::parse(&source, &Limits::default())) else {
        return false;
    };
    assert!(diff.paths().len() >= diff.count(), "a file without a path");
    let Some(changes) = accepted(diff.into_changes(&Tree)) else { return true };
    let Some(document) = accepted(ChangeDocument::seal(None, changes)) else { return true };
    reads_as_printed(&document);
    let _resolved = accepted(resolve(document.change_set.changes(), &Tree));
    true
}

/// A workflow: its plan has every step once, after all that it needs.
pub fn workflow(bytes: &[u8]) -> bool {
    let Some(workflow) = accepted(Workflow::from_yaml(&Source::new(NAME, bytes))) else {
        return false;
    };
    let order = &workflow.plan().order;
    assert_eq!(order.len(), workflow.steps.len(), "every step once");
    let place = |index: usize| {
        let id = workflow.steps.get(index).map(|step| &step.id);
        order.iter().position(|it| Some(it) == id)
    };
    for (index, step) in workflow.steps.iter().enumerate() {
        assert!(place(index).is_some(), "`{}` is not in the plan", step.id);
        for need in &step.needs {
            assert!(place(*need) < place(index), "`{}` runs before what it needs", step.id);
        }
    }
    let _fits = workflow.check_input(&serde_json::json!({}));
    true
}

fn reads_as_printed(document: &ChangeDocument) {
    let printed = document.to_json().to_string();
    // Base64 and escapes make a text longer than what it was read from.
    let limits = Limits::default().with_max_bytes(u64::MAX);
    let again = ChangeDocument::from_json(&Source::new(NAME, printed.as_bytes()), &limits);
    let sum = |document: &ChangeDocument| document.change_set.checksum();
    assert_eq!(again.map(|it| sum(&it)).ok(), Some(sum(document)), "printed as {printed}");
}

/// What was accepted; what was refused has to be told in a way that a terminal can show.
fn accepted<T, E: Error>(result: Result<T, E>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let message = error.to_string();
            assert!(!message.is_empty(), "refused without a word");
            assert!(message.len() <= LONGEST_MESSAGE, "{} bytes of message", message.len());
            let hidden = message.chars().find(|it| it.is_control() && *it != '\n');
            assert_eq!(hidden, None, "a control character in {message:?}");
            None
        }
    }
}

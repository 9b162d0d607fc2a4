//! `change seal` and `change from-diff`; and reading what `apply` is given.

use std::path::Path;

use lictor::capability::{
    Change, ChangeDocument, ChangeDocumentError, ChangeSetError, DiffError, DiffErrorKind, Plan,
    UnifiedDiff, WorkspaceView,
};
use lictor::context::{Digest, PlanId};
use lictor::document::{Limits, from_json};
use lictor::workspace::Workspace;
use lictor::{ErrorCode, document_key};
use serde_json::json;

use super::Answer;
use crate::args::Proposal;
use crate::consent::risk;
use crate::context::Context;
use crate::failure::Failure;
use crate::files::{self, Given, MAX_CHANGES};
use crate::output::Output;

/// A proposal as it was given, before it is held against a workspace.
pub(crate) enum Proposed {
    /// A document with changes.
    Document(Box<ChangeDocument>),
    /// A diff, and what is said of it.
    Diff(Box<ProposedDiff>),
}

/// A diff with the plan that belongs to it.
pub(crate) struct ProposedDiff {
    pub(crate) diff: UnifiedDiff,
    plan: Option<Plan>,
    /// Whether a plan file names the plan. Else its id comes from the diff, and says nothing
    /// about intent.
    named: bool,
}

/// What was given, and its key.
pub(crate) struct Read {
    pub(crate) proposed: Proposed,
    /// Of the document's bytes and the plan that was given beside it.
    pub(crate) key: Digest,
}

/// Reads a proposal: a document when it begins like JSON, else a diff.
pub(crate) fn read(proposal: &Proposal) -> Result<Read, Failure> {
    let given = files::read(&proposal.file, MAX_CHANGES)?;
    let plan = proposal.plan.as_deref().map(read_plan).transpose()?;
    let key = document_key(plan.as_ref(), &given.bytes);
    // A byte-order mark is refused by whoever reads the document, and named.
    let text = given.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&given.bytes);
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'{') || first == Some(&b'[') {
        let document = read_document(&given, plan, proposal)?;
        return Ok(Read { proposed: Proposed::Document(Box::new(document)), key });
    }
    let diff = UnifiedDiff::parse(&given.source(), &files::change_limits());
    let diff = diff.map_err(|error| Failure::document(&error))?;
    let named = plan.is_some();
    let plan = said(plan, proposal, || PlanId::from_digest(&key))?;
    Ok(Read { proposed: Proposed::Diff(Box::new(ProposedDiff { diff, plan, named })), key })
}

fn read_plan(path: &Path) -> Result<Plan, Failure> {
    let given = files::read(path, Limits::default().max_bytes)?;
    from_json(&given.source(), &Limits::default()).map_err(|error| Failure::document(&error))
}

fn read_document(
    given: &Given,
    plan: Option<Plan>,
    proposal: &Proposal,
) -> Result<ChangeDocument, Failure> {
    let document = ChangeDocument::from_json(&given.source(), &files::change_limits());
    let mut document = document.map_err(document_failure)?;
    if document.derived_plan_id {
        let id = document.plan.id.clone();
        if let Some(plan) = said(plan, proposal, || id)? {
            let changes = document.change_set.changes().to_vec();
            let named = proposal.plan.is_some();
            document = ChangeDocument::seal(Some(plan), changes).map_err(set_failure)?;
            document.derived_plan_id = !named;
        }
    } else if plan.is_some() || proposal.intent.is_some() || proposal.risk.is_some() {
        return Err(Failure::usage(
            "the document has a plan of its own; --plan, --intent and --risk are for changes without one",
        ));
    }
    Ok(document)
}

/// The plan that the command line speaks of, if it does.
fn said(
    plan: Option<Plan>,
    proposal: &Proposal,
    id: impl FnOnce() -> PlanId,
) -> Result<Option<Plan>, Failure> {
    let risk = risk(proposal.risk.as_deref())?;
    if plan.is_some() && (risk.is_some() || proposal.intent.is_some()) {
        return Err(Failure::usage("--plan says intent and risk; give it, or --intent and --risk"));
    }
    if plan.is_some() || (risk.is_none() && proposal.intent.is_none()) {
        return Ok(plan);
    }
    let mut plan = Plan::bare(id());
    plan.intent = proposal.intent.clone().unwrap_or_default();
    plan.risk = risk.unwrap_or_default();
    Ok(Some(plan))
}

fn document_failure(error: ChangeDocumentError) -> Failure {
    match error {
        ChangeDocumentError::Syntax(error) => Failure::document(&error),
        ChangeDocumentError::Invalid { file, error } => {
            let mut failure = set_failure(error);
            failure.message = format!("{file}: {}", failure.message);
            failure
        }
    }
}

fn set_failure(error: ChangeSetError) -> Failure {
    match &error {
        ChangeSetError::Tampered { stated, actual } => {
            let details = json!({ "stated": stated, "actual": actual });
            Failure::new(ErrorCode::Integrity, error.to_string()).with_details(details)
        }
        ChangeSetError::Operation { .. }
        | ChangeSetError::OtherPlan { .. }
        | ChangeSetError::Empty => Failure::input(error),
    }
}

/// A diff held against a workspace.
pub(crate) fn resolve_diff(
    proposed: ProposedDiff,
    view: &dyn WorkspaceView,
) -> Result<ChangeDocument, Failure> {
    let changes: Vec<Change> = proposed.diff.into_changes(view).map_err(diff_failure)?;
    let mut document = ChangeDocument::seal(proposed.plan, changes).map_err(set_failure)?;
    document.derived_plan_id = !proposed.named;
    Ok(document)
}

fn diff_failure(error: DiffError) -> Failure {
    let at = json!({ "file": error.file(), "line": error.line() });
    match error.kind() {
        DiffErrorKind::Conflict(conflict) => Failure::new(ErrorCode::Conflict, error.to_string())
            .with_details(json!({ "at": at, "conflicts": [conflict] }))
            .recorded_as(format!(
                "{}:{}: `{}` holds something else",
                error.file(),
                error.line(),
                conflict.path
            ))
            .with_step("make the diff again from what the files hold now"),
        _ => Failure::input(&error).with_details(json!({ "at": at })),
    }
}

/// `lictor change seal`.
pub(crate) fn seal(proposal: &Proposal, output: &Output) -> Answer {
    match read(proposal)?.proposed {
        Proposed::Document(document) => show(&document, output),
        Proposed::Diff(..) => Err(Failure::input(
            "this is no JSON document; `lictor change from-diff` turns a diff into one",
        )),
    }
}

/// `lictor change from-diff`.
pub(crate) fn from_diff(proposal: &Proposal, context: &Context, output: &Output) -> Answer {
    match read(proposal)?.proposed {
        Proposed::Diff(diff) => {
            let workspace = Workspace::open(&context.workspace).map_err(Failure::input)?;
            show(&resolve_diff(*diff, &workspace)?, output)
        }
        Proposed::Document(_) => Err(Failure::input(
            "this is a JSON document, not a diff; `lictor change seal` completes one",
        )),
    }
}

fn show(document: &ChangeDocument, output: &Output) -> Answer {
    let json = document.to_json();
    output.result(&json, || serde_json::to_string_pretty(&json).unwrap_or_default());
    Ok(0)
}

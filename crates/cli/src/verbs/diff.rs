//! `diff`: what was done, or is asked about, as a unified diff.

use std::collections::HashMap;
use std::sync::Arc;

use lictor::Records;
use lictor::capability::{FileChange, Item, State};
use lictor::context::{ApprovalId, DecisionId, Digest, ExecutionId, RunId, WorkspacePath};
use lictor::governance::JudgedItem;
use lictor::state::ExecutionFilter;
use lictor::undo_records::{Content, History};
use serde_json::{Value, json};

use super::Answer;
use super::approvals::approval_failure;
use super::patch::patch;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;

/// The prefix of an id says what it names.
pub(crate) async fn diff(id: &str, context: &Context, output: &Output) -> Answer {
    let records = context.records(output).await?;
    let mut changes = Changes::new(&records);
    let usage = |error: lictor::context::IdError| Failure::usage(error.to_string());
    let name = match id.split_once('_').map(|(prefix, _)| prefix) {
        Some(ApprovalId::PREFIX) => {
            changes.asked(&ApprovalId::parse(id).map_err(usage)?)?;
            "approval_id"
        }
        Some(RunId::PREFIX) => {
            changes.of_run(&RunId::parse(id).map_err(usage)?)?;
            "run_id"
        }
        Some(DecisionId::PREFIX) => {
            changes.of_decision(&DecisionId::parse(id).map_err(usage)?)?;
            "decision_id"
        }
        _ => {
            changes.of_execution(&ExecutionId::parse(id).map_err(usage)?)?;
            "execution_id"
        }
    };
    let mut json = json!({ "files": changes.files, "diff": changes.text });
    if let Value::Object(fields) = &mut json {
        fields.insert(name.to_owned(), json!(id));
    }
    output.exact(&json, &changes.text);
    Ok(0)
}

/// What changed, or would: files and their lines.
struct Changes<'a> {
    records: &'a Records,
    files: Vec<FileChange>,
    text: String,
}

impl<'a> Changes<'a> {
    fn new(records: &'a Records) -> Self {
        Self { records, files: Vec::new(), text: String::new() }
    }

    /// Where nobody may look by now is named, and not shown.
    fn add(&mut self, item: &Item, old: &Content, new: &Content) {
        let mut paths = [&item.from, &item.to].into_iter().flatten();
        self.text += &if paths.any(|path| self.records.hides(path)) {
            patch(item, &Content::Gone, &Content::Gone)
        } else {
            patch(item, old, new)
        };
        self.files.push(FileChange::from(item));
    }

    /// What one execution changed; of one that began a run, what that changed.
    fn of_execution(&mut self, id: &ExecutionId) -> Result<(), Failure> {
        let stored = self.records.executions().get(id).map_err(Failure::failed)?;
        if let Some(run) = stored.as_ref().and_then(|stored| stored.record.began.as_ref()) {
            return self.of_run(run);
        }
        if !self.kept(id)? && !stored.is_some_and(|stored| stored.record.changed_nothing()) {
            let why = format!("there is no record of what `{id}` changed");
            return Err(Failure::not_found(why));
        }
        Ok(())
    }

    /// What is kept of an execution; whether anything is.
    fn kept(&mut self, id: &ExecutionId) -> Result<bool, Failure> {
        let history = History::open(self.records.transactions()).map_err(Failure::failed)?;
        let Some(kept) = history.get(id).map_err(Failure::failed)? else { return Ok(false) };
        for (index, item) in kept.items().iter().enumerate() {
            let (old, new) = history.contents(&kept, index).map_err(Failure::failed)?;
            self.add(item, &old, &new);
        }
        Ok(true)
    }

    /// What a run changed, in the order in which it did. What it took back itself is not shown.
    fn of_run(&mut self, id: &RunId) -> Result<(), Failure> {
        if self.records.run(id).map_err(Failure::failed)?.is_none() {
            return Err(Failure::not_found(format!("there is no run `{id}`")));
        }
        let filter = ExecutionFilter { run: Some(id.clone()), ..ExecutionFilter::default() };
        let did = self.records.executions().list(&filter).map_err(Failure::failed)?;
        for stored in did.iter().rev().filter(|stored| stored.record.undo_of.is_empty()) {
            match &stored.record.began {
                Some(run) => self.of_run(run)?,
                None => _ = self.kept(&stored.record.execution_id)?,
            }
        }
        Ok(())
    }

    /// What an execution changed that a decision let through.
    fn of_decision(&mut self, id: &DecisionId) -> Result<(), Failure> {
        let all = self.records.executions().list(&ExecutionFilter::default());
        let all = all.map_err(Failure::failed)?;
        let mut records = all.into_iter().map(|stored| stored.record);
        let Some(record) = records.find(|record| record.decision_id == *id) else {
            let why = format!("nothing that was changed goes back to the decision `{id}`");
            return Err(Failure::not_found(why));
        };
        self.of_execution(&record.execution_id)
    }

    /// What people are asked about, as it is kept with the request.
    fn asked(&mut self, id: &ApprovalId) -> Result<(), Failure> {
        let judged = self.records.judged(id).map_err(approval_failure)?;
        let judged = judged.ok_or_else(|| {
            Failure::not_found(format!("what `{id}` was about is not kept, because it is settled"))
                .with_step(format!("lictor show {id}"))
        })?;
        let action = judged.verify().map_err(|error| approval_failure(error.into()))?;
        let parts: HashMap<Digest, &Arc<[u8]>> = judged.parts().collect();
        let content = |state: Option<State>| match state.and_then(|state| state.digest()) {
            None => Content::Absent,
            Some(digest) => {
                let part = parts.get(&digest);
                part.map_or(Content::Gone, |bytes| Content::Bytes(bytes.to_vec()))
            }
        };
        for item in &action.items {
            self.add(&as_changed(item)?, &content(item.before), &content(item.after));
        }
        Ok(())
    }
}

/// A thing as it was judged, in the words of changes.
fn as_changed(item: &JudgedItem) -> Result<Item, Failure> {
    let path = |text: &Option<String>| {
        let path = text.as_deref().map(WorkspacePath::parse).transpose();
        path.map_err(Failure::failed)
    };
    Ok(Item {
        kind: item.kind,
        from: path(&item.from)?,
        to: path(&item.to)?,
        before: item.before,
        after: item.after,
        content: None,
        implicit: item.implicit,
    })
}

//! Outputs of executions, for whoever asks again under the same key. The record is without what the
//! trail leaves out; the whole output lies beside it, sealed under the key of whoever asked.

use lictor_audit::{AuditLog, ContentError, Redactor};
use lictor_context::Name;
use lictor_executor::{ExecutionRecord, LedgerError};
use lictor_state::Executions;
use lictor_undo::RecordFilter;
use serde_json::Value;

use crate::ledger::redacted;
use crate::run_secrets::RunSecrets;

/// What is there of an output beside its record.
pub(crate) enum Kept {
    /// Nothing: the record has all of it.
    InClear,
    /// The output.
    Output(Value),
    /// It was erased, is too old, or could not be sealed.
    Gone,
}

/// Leaves out of journals what is left out of records.
#[derive(Debug)]
pub(crate) struct Redacting(pub(crate) RunSecrets);

impl RecordFilter for Redacting {
    fn kept(&self, record: ExecutionRecord) -> ExecutionRecord {
        redacted(&self.0.redactor(record.run_id.as_ref()), record)
    }
}

fn purpose(record: &ExecutionRecord) -> String {
    format!("lictor/execution/v1 {}", record.execution_id)
}

fn person(record: &ExecutionRecord) -> (&Name, &Name) {
    (&record.principal.org, &record.principal.user)
}

/// The output of an execution, sealed, when something of it is not kept in clear. Empty when it cannot
/// be sealed: what was done is not taken back for that, and nobody is told half of an answer.
pub(crate) fn seal_output(
    audit: &AuditLog,
    redactor: &Redactor,
    record: &ExecutionRecord,
) -> Option<Vec<u8>> {
    if !redactor.hides(&record.output) {
        return None;
    }
    let text = record.output.to_string();
    let sealed = audit.seal_content(person(record), &purpose(record), text.as_bytes());
    Some(sealed.unwrap_or_else(|error| {
        tracing::warn!(%error, "an output with secrets in it is not kept");
        Vec::new()
    }))
}

/// What is there of the output of an execution that is on record.
pub(crate) fn output_of(
    audit: &AuditLog,
    executions: &Executions,
    record: &ExecutionRecord,
) -> Result<Kept, LedgerError> {
    let failed = |error: &dyn std::fmt::Display| LedgerError(error.to_string());
    let sealed = executions.sealed(&record.execution_id).map_err(|error| failed(&error))?;
    let Some(sealed) = sealed else { return Ok(Kept::InClear) };
    if sealed.is_empty() {
        return Ok(Kept::Gone);
    }
    match audit.open_content(person(record), &purpose(record), &sealed) {
        Ok(text) => serde_json::from_slice(&text).map(Kept::Output).map_err(|error| failed(&error)),
        Err(ContentError::Erased { .. }) => Ok(Kept::Gone),
        Err(error) => Err(failed(&error)),
    }
}

/// A record with its output as it was; without what nobody has any more.
pub(crate) fn whole(
    audit: &AuditLog,
    executions: &Executions,
    mut record: ExecutionRecord,
) -> Result<ExecutionRecord, LedgerError> {
    match output_of(audit, executions, &record)? {
        Kept::Output(output) => record.output = output,
        Kept::InClear | Kept::Gone => {}
    }
    Ok(record)
}

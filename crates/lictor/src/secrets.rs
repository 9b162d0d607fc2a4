//! Declared secrets, where leaving them out of records is not enough: a path that holds one would
//! have to stand in the journal as it is, and an approval keeps what people were shown.

use std::fmt;
use std::sync::Arc;

use lictor_audit::{AuditLog, Redactor};
use lictor_capability::Described;
use lictor_context::{ApprovalId, Digest};
use lictor_governance::{
    Approval, ApprovalStore, ApprovalStoreError, Halt, HaltStore, HaltStoreError, Judged,
    StoredApproval,
};
use lictor_state::SqliteHaltStore;
use serde_json::Value;

use crate::error::ActErrorKind;

/// Refuses what reads or changes a path that holds a declared secret, and what touches a path, a host
/// or a program that was cut out of one.
pub(crate) fn refuse_in_paths(
    described: &Described,
    redactor: &Redactor,
) -> Result<(), ActErrorKind> {
    let effects = described.effects();
    let files = effects.changes.files();
    let changed = files.iter().flat_map(|file| [Some(file.path.as_str()), file.to.as_deref()]);
    let reads = effects.reads.iter().chain(&effects.unchanged);
    let reads = reads.chain(effects.intended.iter().map(|(_, path)| path));
    let mut paths = changed.flatten().chain(reads.map(|path| path.as_str()));
    if paths.any(|path| redactor.declares(path)) {
        let why = "a path holds a declared secret, and paths are kept in clear";
        return Err(ActErrorKind::Denied(why.to_owned()));
    }
    let mut holding = Vec::new();
    texts_with_secrets(described.action().input(), redactor, &mut holding);
    if !holding.is_empty() {
        let all = effects.iter();
        let cut = |target: &str| {
            let target = target.to_lowercase();
            holding.iter().any(|(text, left)| text.contains(&target) && !left.contains(&target))
        };
        if all.iter().any(|effect| cut(effect.target)) {
            let why = "a path, a host or a program is a part of a declared secret, and these are \
                       kept in clear";
            return Err(ActErrorKind::Denied(why.to_owned()));
        }
    }
    Ok(())
}

/// The texts of an input that hold a declared secret, each as it is and without it. What is found in
/// the first only was cut out of the secret, and nobody would know it by that.
fn texts_with_secrets(value: &Value, redactor: &Redactor, found: &mut Vec<(String, String)>) {
    let mut take = |text: &str| {
        if redactor.declares(text) {
            found.push((text.to_lowercase(), redactor.without_declared(text).to_lowercase()));
        }
    };
    match value {
        Value::String(text) => take(text),
        Value::Array(items) => {
            items.iter().for_each(|item| texts_with_secrets(item, redactor, found));
        }
        Value::Object(fields) => {
            fields.keys().for_each(|key| take(key));
            fields.values().for_each(|value| texts_with_secrets(value, redactor, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Keeps approvals without the secrets in what was asked for. What an approval is bound to is a
/// digest, and stays.
pub(crate) struct RedactedApprovals {
    pub(crate) store: Arc<dyn ApprovalStore>,
    pub(crate) audit: AuditLog,
}

impl RedactedApprovals {
    fn redacted(&self, approval: &Approval) -> Result<Approval, ApprovalStoreError> {
        let unavailable =
            |error: serde_json::Error| ApprovalStoreError::Unavailable(error.to_string());
        let mut record = serde_json::to_value(approval).map_err(unavailable)?;
        if let Some(action) = record.get_mut("action") {
            for name in ["input", "intent"] {
                if let Some(value) = action.get_mut(name) {
                    let left = self.audit.redactor().value(value);
                    // An intent is text, and stays one.
                    *value = if left.is_object() && value.is_string() { "".into() } else { left };
                }
            }
        }
        for at in ["/denial/reason", "/cancelled/reason"] {
            if let Some(Value::String(reason)) = record.pointer_mut(at) {
                *reason = self.audit.redactor().text(reason);
            }
        }
        serde_json::from_value(record).map_err(unavailable)
    }
}

impl ApprovalStore for RedactedApprovals {
    fn insert(&self, approval: &Approval, judged: &Judged) -> Result<(), ApprovalStoreError> {
        // What people approve is shown from these bytes, so nothing can be left out of them.
        let redactor = self.audit.redactor();
        let mut parts = judged.parts();
        if parts.any(|(_, bytes)| redactor.declares(&String::from_utf8_lossy(bytes))) {
            let why = "what was asked for holds a declared secret, which is kept nowhere, so nobody \
                       can be shown it";
            return Err(ApprovalStoreError::Unavailable(why.to_owned()));
        }
        self.store.insert(&self.redacted(approval)?, judged)
    }

    fn judged(&self, id: &ApprovalId) -> Result<Option<Judged>, ApprovalStoreError> {
        self.store.judged(id)
    }

    fn get(&self, id: &ApprovalId) -> Result<Option<StoredApproval>, ApprovalStoreError> {
        self.store.get(id)
    }

    fn list(&self, only_open: bool) -> Result<Vec<StoredApproval>, ApprovalStoreError> {
        self.store.list(only_open)
    }

    fn find_open(
        &self,
        action_digest: Digest,
    ) -> Result<Option<StoredApproval>, ApprovalStoreError> {
        self.store.find_open(action_digest)
    }

    fn update(
        &self,
        id: &ApprovalId,
        expected_revision: u64,
        approval: &Approval,
    ) -> Result<(), ApprovalStoreError> {
        self.store.update(id, expected_revision, &self.redacted(approval)?)
    }
}

/// Keeps halts without the secrets in their reasons.
pub(crate) struct RedactedHalts {
    pub(crate) store: SqliteHaltStore,
    pub(crate) audit: AuditLog,
}

impl HaltStore for RedactedHalts {
    fn insert(&self, halt: &Halt) -> Result<(), HaltStoreError> {
        let reason = self.audit.redactor().text(&halt.reason);
        self.store.insert(&Halt { reason, ..halt.clone() })
    }

    fn in_force(&self) -> Result<Vec<Halt>, HaltStoreError> {
        self.store.in_force()
    }

    fn list(&self) -> Result<Vec<Halt>, HaltStoreError> {
        self.store.list()
    }

    fn lift(&self, halt: &Halt) -> Result<bool, HaltStoreError> {
        let mut halt = halt.clone();
        if let Some(lifted) = &mut halt.lifted {
            lifted.reason = self.audit.redactor().text(&lifted.reason);
        }
        self.store.lift(&halt)
    }
}

impl fmt::Debug for RedactedHalts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedactedHalts").finish_non_exhaustive()
    }
}

impl fmt::Debug for RedactedApprovals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedactedApprovals").finish_non_exhaustive()
    }
}

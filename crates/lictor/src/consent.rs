//! Agreeing at once, as whoever asks for an action does who may approve it.

use lictor_context::Digest;
use lictor_governance::{ApprovalError, Channel, JudgedError, ProvenApprover};

use crate::error::ActErrorKind;

/// Somebody who agrees at once to what they are about to see done.
#[derive(Debug)]
pub struct Consent {
    /// Who.
    pub approver: ProvenApprover,
    /// By which way.
    pub channel: Channel,
    /// The action digests of what they looked at, when they agree to nothing else; `None` when they
    /// agree to whatever comes, as to the steps of a workflow that has not begun.
    pub seen: Option<Vec<Digest>>,
}

impl Consent {
    /// Whether it is about an action: something may have changed since it was looked at.
    pub(crate) fn covers(&self, action: Digest) -> Result<(), ActErrorKind> {
        if self.seen.as_ref().is_none_or(|seen| seen.contains(&action)) {
            return Ok(());
        }
        let why = "what it would do now is not what was looked at and agreed to; look at it again";
        Err(ActErrorKind::ApprovalBroken(why.to_owned()))
    }
}

/// Why an answer about an approval does not count, as whoever asked is told.
pub(crate) fn refused(error: ApprovalError) -> ActErrorKind {
    match error {
        ApprovalError::Judged(JudgedError::Damaged { .. }) => {
            ActErrorKind::ApprovalBroken(error.to_string())
        }
        error => ActErrorKind::ApprovalRefused(error.to_string()),
    }
}

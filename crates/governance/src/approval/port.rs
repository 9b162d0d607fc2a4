//! The port behind which requests are put to people, wherever they are.

use lictor_context::{Digest, canonical_json};
use serde::Serialize;
use serde_json::{Value, json};

use super::approver::ProvenApprover;
use super::record::Approval;
use crate::policy::Channel;

/// Somebody whom a request can be put to: a service that asks people, a question on a screen.
///
/// The inbox needs none: every request waits there whoever else is asked. What an implementation
/// answers counts only as far as the [`ProvenApprover`] in it does; one that fails, panics or does
/// not answer leaves the request as it is, and silence ends as a denial.
pub trait Approver: Send + Sync + std::fmt::Debug {
    /// Its name, for the trail.
    fn name(&self) -> &str;

    /// How often it is tried when it cannot be reached.
    fn attempts(&self) -> u32 {
        1
    }

    /// Puts a request to it, or puts it again: a request that was put before is the same question,
    /// with the same digest. May block, within bounds.
    ///
    /// # Errors
    /// When it could not be asked, or its answer does not hold.
    fn ask(&self, request: &ApprovalRequest) -> Result<Reply, AskError>;
}

/// What comes back at once.
#[derive(Debug)]
pub enum Reply {
    /// Nothing yet: the request waits.
    Later,
    /// Some have answered.
    Answers(Vec<Answered>),
}

/// Somebody's answer, by whoever proved to be them.
#[derive(Debug)]
pub struct Answered {
    /// Who.
    pub by: ProvenApprover,
    /// By which way.
    pub channel: Channel,
    /// What they answer.
    pub says: Says,
    /// The action that they answer about.
    pub action_digest: Digest,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// Yes.
    Approve,
    /// No.
    Deny {
        /// Why.
        reason: String,
    },
}

/// Nobody could be asked, or the answer does not hold. The request is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{approver}` gave no answer that counts: {why}")]
pub struct AskError {
    approver: String,
    why: String,
    unreached: bool,
}

impl AskError {
    /// Of an approver, with a reason.
    #[must_use]
    pub fn new(approver: &str, why: impl std::fmt::Display) -> Self {
        Self { approver: approver.to_owned(), why: why.to_string(), unreached: false }
    }

    /// It was not reached, and may be the next time.
    #[must_use]
    pub fn unreached(mut self) -> Self {
        self.unreached = true;
        self
    }

    /// Whether it may be reached the next time.
    #[must_use]
    pub fn is_unreached(&self) -> bool {
        self.unreached
    }
}

/// A request as it is put to people elsewhere: one text, the same however often it is put.
#[derive(Debug, Clone)]
pub struct ApprovalRequest {
    approval: Approval,
    bytes: Vec<u8>,
    digest: Digest,
}

#[derive(Serialize)]
struct Body<'a> {
    v: u32,
    kind: &'static str,
    approval_id: &'a str,
    action_digest: Digest,
    nonce: &'a str,
    requested_by: Value,
    session_id: &'a str,
    requested_at: String,
    expires_at: String,
    approvals_needed: u32,
    risk: Value,
    reasons: Value,
    view: &'a str,
}

impl ApprovalRequest {
    /// A request with what people are shown of it.
    pub(super) fn new(approval: Approval, view: &str) -> Result<Self, AskError> {
        let body = Body {
            v: 1,
            kind: "approval_request",
            approval_id: approval.id().as_str(),
            action_digest: approval.action_digest(),
            nonce: approval.nonce(),
            requested_by: json!(approval.requested_by()),
            session_id: approval.session_id().as_str(),
            requested_at: approval.requested_at().to_string(),
            expires_at: approval.expires_at().to_string(),
            approvals_needed: approval.needed(),
            risk: json!(approval.decision().risk_effective),
            reasons: json!(approval.decision().reasons),
            view,
        };
        let bytes = canonical_json(&body).map_err(|error| AskError::new("the request", error))?;
        let digest = Digest::of(&bytes);
        Ok(Self { approval, bytes, digest })
    }

    /// The approval.
    #[must_use]
    pub fn approval(&self) -> &Approval {
        &self.approval
    }

    /// The request as canonical JSON, with everything that people are shown.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest of these bytes. An answer names it, so that whoever answers has seen these and no
    /// others.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

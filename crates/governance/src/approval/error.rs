//! What can go wrong with approvals.

use lictor_context::{ApprovalId, GrantId};

use super::grant::GrantRefused;
use super::port::AskError;
use super::record::AnswerRefused;
use super::store::ApprovalStoreError;
use crate::decision::Verdict;
use crate::judged::JudgedError;

/// The broker did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// There is no such approval.
    #[error("there is no approval `{id}`")]
    Unknown {
        /// The id.
        id: ApprovalId,
    },
    /// There is no such grant.
    #[error("there is no grant `{id}`")]
    UnknownGrant {
        /// The id.
        id: GrantId,
    },
    /// This broker takes no approvals in advance.
    #[error("approvals in advance are not taken here")]
    NoGrants,
    /// A grant cannot be given.
    #[error(transparent)]
    Grant(#[from] GrantRefused),
    /// The decision does not ask for one.
    #[error("the decision is `{verdict}` and asks for no approval")]
    NotAsked {
        /// What it says.
        verdict: Verdict,
    },
    /// The decision is another gate's, about another action, or expired.
    #[error("the decision is not about this action, or expired")]
    OtherDecision,
    /// The policies were exchanged since people were asked.
    #[error("the policy changed since the request; ask again")]
    PolicyChanged,
    /// The answer does not count.
    #[error(transparent)]
    Refused(#[from] AnswerRefused),
    /// What was judged cannot be shown, or is not what is kept.
    #[error(transparent)]
    Judged(#[from] JudgedError),
    /// An answer from elsewhere does not hold.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ApprovalStoreError),
}

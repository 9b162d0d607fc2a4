//! Approvals: people's answers, bound to exactly one action and good for one use.

mod approver;
mod broker;
mod grant;
mod grant_store;
mod record;
mod store;

pub use approver::{
    Approver, ApproverError, ApproverRecord, ApproverStore, ApproverStoreError, ApproverToken,
    Approvers, MemoryApproverStore, Proof, TerminalChallenge,
};
pub use broker::{Agreement, ApprovalError, Approvals, Consented, SpentApproval};
pub use grant::{Grant, GrantRefused, GrantTerms, Revocation};
pub use grant_store::{GrantStore, MemoryGrantStore, StoredGrant};
pub use record::{
    ActionSummary, Answer, AnswerRefused, Approval, ApprovalState, Cancellation, Denial,
};
pub use store::{ApprovalStore, ApprovalStoreError, MemoryApprovalStore, StoredApproval};

//! Approvals: people's answers, bound to exactly one action and good for one use.

mod approver;
mod broker;
mod record;
mod store;

pub use approver::{
    Approver, ApproverError, ApproverRecord, ApproverStore, ApproverStoreError, ApproverToken,
    Approvers, MemoryApproverStore, Proof, TerminalChallenge,
};
pub use broker::{ApprovalError, Approvals, SpentApproval};
pub use record::{ActionSummary, Answer, AnswerRefused, Approval, ApprovalState, Denial};
pub use store::{ApprovalStore, ApprovalStoreError, MemoryApprovalStore, StoredApproval};

//! Approvals: people's answers, bound to exactly one action and good for one use.

mod approver;
mod broker;
mod elicited;
mod error;
mod grant;
mod grant_store;
mod granting;
mod pin;
mod plan;
mod port;
mod record;
mod signed;
mod store;

pub use approver::{
    ApproverError, ApproverRecord, ApproverStore, ApproverStoreError, ApproverToken, Approvers,
    MemoryApproverStore, Proof, ProvenApprover, TerminalChallenge,
};
pub use broker::{Agreement, Approvals, Consented, SpentApproval};
pub use elicited::ElicitedChallenge;
pub use error::ApprovalError;
pub use grant::{Grant, GrantRefused, GrantTerms, Revocation};
pub use grant_store::{GrantStore, MemoryGrantStore, StoredGrant};
pub use pin::{MemoryPinStore, PinError, PinRecord, PinStore, PinStoreError};
pub use plan::{PlannedCall, PlannedPack, PlannedRun, PlannedStep, RunPlan};
pub use port::{Answered, ApprovalRequest, Approver, AskError, Reply, Says};
pub use record::{
    ActionSummary, Answer, AnswerRefused, Approval, ApprovalState, Cancellation, Denial,
};
pub use signed::{AnswerText, AnswerVerdict, SignedAnswer};
pub use store::{ApprovalStore, ApprovalStoreError, MemoryApprovalStore, StoredApproval};

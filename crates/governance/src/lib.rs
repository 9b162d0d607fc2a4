#![doc = include_str!("../README.md")]

mod approval; // people's answers
mod binding; // what a decision and an approval bind to
mod catalogue; // which contracts may be used
mod decision;
mod gate; // start here
mod policy; // what may be done, as files say it
mod replay; // judging again
mod usage; // how often, and what it cost
mod warrant;

pub use approval::{
    ActionSummary, Answer, AnswerRefused, Approval, ApprovalError, ApprovalState, ApprovalStore,
    ApprovalStoreError, Approvals, Approver, ApproverError, ApproverRecord, ApproverStore,
    ApproverStoreError, ApproverToken, Approvers, Denial, MemoryApprovalStore, MemoryApproverStore,
    Proof, SpentApproval, StoredApproval, TerminalChallenge,
};
pub use catalogue::{
    Catalogue, CatalogueEntry, CatalogueError, CatalogueKey, CatalogueKind, CatalogueRecord,
    CatalogueRules, Document, DocumentUnreadable, LifeEvent, LifeState, Withheld,
};
pub use decision::{Decision, DecisionRecord, Layer, Reason, Verdict};
pub use gate::{GateIdentity, NotAuthorized, NotAuthorizedKind, WriteGate};
pub use policy::{
    ApprovalSettings, Budgets, CaseResult, ChangeLimits, Channel, FrequencyLimit, FuzzReport,
    HealthCheck, LintFinding, LintLevel, OnAuditFailure, Policy, PolicyCases, PolicyError,
    PolicyErrorKind, PolicyLayer, PolicySet, PolicySource, Preset, Probe, Question, QuestionEffect,
    Scope, Settings, Survivor, UnknownPreset, VerificationCommand,
};
pub use replay::{DecisionInputs, Replayed};
pub use usage::{
    Calls, MemoryUsageStore, ReserveError, Subject, Tallies, Tally, UsageCheck, UsageEntry,
    UsageExceeded, UsageMeter, UsageStore, UsageStoreError, UsageWindow,
};
pub use warrant::{Warrant, WarrantParts};

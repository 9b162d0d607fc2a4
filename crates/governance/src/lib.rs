#![doc = include_str!("../README.md")]

mod approval; // people's answers
mod catalogue; // which contracts may be used
mod clients; // programs that come in by a network
mod decision;
mod gate; // start here
mod halt; // the kill switch
mod judged; // what a decision and an approval bind to, and how people are shown it
mod policy; // what may be done, as files say it
mod reason; // why, in people's words
mod replay; // judging again
mod token; // secrets that are shown once
mod undoing; // how much could be taken back, and why not more
mod usage; // how often, and what it cost
mod warrant;

pub use approval::{
    ActionSummary, Agreement, Answer, AnswerRefused, AnswerText, AnswerVerdict, Answered, Approval,
    ApprovalError, ApprovalRequest, ApprovalState, ApprovalStore, ApprovalStoreError, Approvals,
    Approver, ApproverError, ApproverRecord, ApproverStore, ApproverStoreError, ApproverToken,
    Approvers, AskError, Cancellation, Consented, Denial, ElicitedChallenge, Grant, GrantRefused,
    GrantStore, GrantTerms, MemoryApprovalStore, MemoryApproverStore, MemoryGrantStore,
    MemoryPinStore, PinError, PinRecord, PinStore, PinStoreError, PlannedCall, PlannedPack,
    PlannedRun, PlannedStep, Proof, ProvenApprover, Reply, Revocation, RunPlan, Says, SignedAnswer,
    SpentApproval, StoredApproval, StoredGrant, TerminalChallenge,
};
pub use catalogue::{
    Catalogue, CatalogueEntry, CatalogueError, CatalogueKey, CatalogueKind, CatalogueRecord,
    CatalogueRules, Document, DocumentUnreadable, LifeEvent, LifeState, Withheld,
};
pub use clients::{ClientError, ClientRecord, ClientStore, ClientStoreError, ClientToken, Clients};
pub use decision::{Decision, DecisionRecord, Layer, Reason, Verdict};
pub use gate::{GateIdentity, NotAuthorized, NotAuthorizedKind, WriteGate};
pub use halt::{
    Halt, HaltScope, HaltStore, HaltStoreError, Halted, Halts, Lifted, MemoryHaltStore, ResumeError,
};
pub use judged::{
    Judged, JudgedAction, JudgedError, JudgedItem, JudgedPlan, JudgedValue, visible, visible_bytes,
};
pub use policy::{
    ApprovalSettings, ApproverRoles, Budgets, CaseResult, CedarFiles, ChangeDurability,
    ChangeLimits, Channel, FrequencyLimit, FuzzReport, HealthCheck, LintFinding, LintLevel,
    OnAuditFailure, Policy, PolicyCases, PolicyError, PolicyErrorKind, PolicyLanguage, PolicyLayer,
    PolicySet, PolicySource, Preset, Probe, Question, QuestionEffect, RecordDurability,
    ResolvedProgram, Scope, SecretName, Settings, Survivor, Unanswerable, UndoRetention,
    UnknownPreset, VerificationCommand, Verify, Webhook, WebhookKey,
};
pub use replay::{DecisionInputs, Replayed};
pub use usage::{
    Calls, MemoryUsageStore, ReserveError, Subject, Tallies, Tally, UsageCheck, UsageEntry,
    UsageExceeded, UsageMeter, UsageStore, UsageStoreError, UsageWindow,
};
pub use warrant::{Warrant, WarrantParts};

#![doc = include_str!("../README.md")]

mod again; // a folder was made meanwhile: described and judged anew
mod agent; // one session on the road: begin here
mod answer; // what every door says
mod asking; // requests are put to people elsewhere
mod catalogue;
mod cedar; // policies in Cedar
mod checks;
mod compensating; // making up for what was done elsewhere
mod consent; // agreeing at once
mod contents;
mod decisions;
mod describing; // from what is asked for to what it would do
mod error;
mod events;
mod first; // what has to be done before an action
mod going;
mod halting;
mod hiding;
mod itself; // what a session may know of itself
mod keys; // idempotency keys
mod landing; // what commands changed in their copies
mod later; // records that may come a moment later
mod leading; // where packs and facades lead
mod ledger;
mod left; // what a run that failed has left
mod options;
mod outputs;
mod outside;
mod owed; // events before those of an execution
mod owing;
mod own; // skills of the program that embeds this
mod pausing; // letting runs wait
mod pinned; // where the database lies
mod plans; // agreement to whole runs
mod policies;
mod pruning; // old decisions and counts
mod records; // what was done, to read
mod reload;
mod repeats; // what was asked for before
mod replay;
mod requests; // whom requests trust, and where they may go
mod retention; // purging undo records
mod revoking; // approvers who are struck off
mod run_records;
mod run_secrets;
mod runs;
mod runtime;
mod secrets;
mod seen; // what somebody looked at who agrees to a run at once
mod sessions; // their first and last words in the trail
mod shared;
mod subruns; // workflows that are called
mod trailing;
mod under_way;
mod undo;
mod workflows;

pub use agent::{Agent, Checked, Done};
pub use catalogue::{CatalogueFailure, CatalogueProblem, LifeStep, PackRefusal, Proposed};
pub use cedar::{cedar_schema, load_cedar};
pub use consent::{Consent, Seen};
pub use error::{ActError, ActErrorKind, ErrorCode};
pub use keys::{document_key, idempotency_key};
pub use leading::{LeadsNowhere, Led};
pub use lictor_undo::OnConflict;
pub use options::{KeyPlace, OpenError, RuntimeOptions};
pub use outside::EnvironmentSecrets;
pub use own::{OwnSkill, OwnSkillError};
pub use pinned::rebind_state;
pub use policies::{PolicyPlaces, load_policies, load_policies_from, load_policies_with};
pub use records::Records;
pub use replay::{ChangedDecision, PolicyDiff, Proof, ProofStatus};
pub use revoking::Revoked;
pub use runtime::Runtime;
pub use seen::SeenRun;
pub use shared::SharedState;
pub use subruns::{CallRefusal, RunEnded, RunWaits};
pub use undo::{Compensated, UndoDone, UndoRequest, UndoStopped};
pub use workflows::WorkflowRefusal;

pub use lictor_audit as audit;
pub use lictor_capability as capability;
pub use lictor_context as context;
pub use lictor_document as document;
pub use lictor_executor as executor;
pub use lictor_governance as governance;
pub use lictor_handlers as handlers;
pub use lictor_lock as lock;
pub use lictor_skills as skills;
pub use lictor_state as state;
pub use lictor_store as store;
pub use lictor_undo as undo_records;
pub use lictor_workflow as workflow;
pub use lictor_workspace as workspace;

//! The runtime put together: one workspace, its policies, its state and its trail.

use std::sync::Arc;
use std::time::Duration;

use lictor_audit::{AuditLog, AuditOptions, LoggerStats, Redactor, SigningKey};
use lictor_capability::{CapabilityGraph, Contract, ContractError};
use lictor_context::{BoxFuture, Clock, Session};
use lictor_document::HumanDuration;
use lictor_executor::{
    Executor, ExecutorService, Handlers, Ledger as _, LockSettings, Recovered, RunTime, TimeLimits,
};
use lictor_governance::{
    Approvals, Approvers, Catalogue, ChangeDurability, Clients, Halts, PolicySet, WriteGate,
};
use lictor_handlers::CommandHandlers;
use lictor_lock::{Status, WorkspaceLock};
use lictor_skills::SkillSettings;
use lictor_state::{
    Decisions, Executions, Runs, SqliteApprovalStore, SqliteApproverStore, SqliteClientStore,
    SqliteGrantStore, SqliteHaltStore, SqlitePinStore, SqliteUsageStore,
};
use lictor_store::{Store, StoreOptions};
use lictor_undo::{Durability, Transactions, UNDO_CAPABILITY, UndoHandler, undo_contract};
use lictor_workspace::Workspace;

use crate::agent::Agent;
use crate::catalogue::{self, Shelf};
use crate::checks::PolicyChecks;
use crate::error::{ActError, ActErrorKind};
use crate::hiding::{HidingView, KnowingView};
use crate::itself;
use crate::ledger::StateLedger;
use crate::options::{OpenError, RuntimeOptions};
use crate::outputs::Redacting;
use crate::outside::Signs;
use crate::own::{handling, with_own};
use crate::pinned::settle;
use crate::policies::load_policies_for;
use crate::reload::PolicyWatch;
use crate::requests;
use crate::runs::Owners;
use crate::secrets::{RedactedApprovals, RedactedHalts};
use crate::shared::SharedState;
use crate::subruns::WorkflowHandlers;
use crate::workflows::{APPROVAL_CAPABILITY, ApprovalHandler, approval_contracts};

/// A runtime over one workspace. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub(crate) parts: Arc<Parts>,
}

#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) options: RuntimeOptions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) workspace: Arc<Workspace>,
    pub(crate) transactions: Transactions,
    pub(crate) store: Store,
    pub(crate) audit: AuditLog,
    pub(crate) ledger: Arc<StateLedger>,
    pub(crate) executions: Executions,
    pub(crate) runs: Runs,
    pub(crate) owners: Arc<Owners>,
    pub(crate) gate: Arc<WriteGate>,
    pub(crate) approvals: Approvals,
    pub(crate) approvers: Approvers,
    clients: Clients,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) halts: Arc<Halts>,
    pub(crate) signs: Signs,
    pub(crate) executor: Executor,
    pub(crate) service: ExecutorService,
    pub(crate) lock: WorkspaceLock,
    pub(crate) decisions: Decisions,
    pub(crate) watch: PolicyWatch,
    recovered: Vec<Recovered>,
}

/// What an execution may take beyond its own limits before whoever waits is told something.
const GRACE: Duration = Duration::from_secs(60);

/// The contracts that are part of the program.
pub(crate) fn builtins() -> Result<Vec<Arc<Contract>>, ContractError> {
    let mut builtins = lictor_skills::contracts()?;
    builtins.extend(lictor_handlers::contracts()?);
    builtins.push(undo_contract()?);
    builtins.extend(approval_contracts()?);
    builtins.extend(itself::contracts()?);
    Ok(builtins)
}

impl Runtime {
    /// Opens a workspace that was initialised: reads its policies, opens its state and its
    /// trail, and settles what a crash left.
    ///
    /// # Errors
    /// When any of that does not work. Nothing is done then; a runtime that cannot record or
    /// cannot read its policy is no runtime.
    pub fn open(options: RuntimeOptions) -> BoxFuture<'static, Result<Self, OpenError>> {
        Box::pin(async move {
            let workspace = Arc::new(Workspace::open(&options.workspace)?);
            if !options.workspace.join(".lictor").is_dir() {
                return Err(OpenError::NotInitialised(options.workspace.clone()));
            }
            let options = RuntimeOptions { state_dir: settle(&options)?, ..options };
            let clock = Arc::clone(&options.clock);
            let watch = PolicyWatch::new(&options);
            let policies = Arc::new(load_policies_for(&options)?);
            let SharedState { store, audit, owners, .. } = match &options.shared {
                Some(shared) => shared.clone(),
                None => SharedState::open(&options)?,
            };
            let halts =
                RedactedHalts { store: SqliteHaltStore::new(store.clone()), audit: audit.clone() };
            let halts = Arc::new(Halts::new(Arc::new(halts), Arc::clone(&clock)));
            let (rules, time) = (Arc::clone(&policies), Arc::clone(&clock));
            let usage = Arc::new(SqliteUsageStore::new(store.clone()));
            let gate = WriteGate::with_stores(rules, time, usage, Some(Arc::clone(&halts)));
            let gate = Arc::new(gate);
            audit.set_redactor(redactor(&options, &policies)?);
            let signs = Signs::new(&options.state_folder());
            let ledger = StateLedger::new(store.clone(), audit.clone(), Arc::clone(&clock))
                .with_signs(signs.clone());
            ledger.trailing().follow(&policies);
            let untold =
                audit.untold_gaps().map_err(|error| OpenError::Audit(error.to_string()))?;
            if !untold.is_empty() {
                ledger.trailing().untold();
            }
            let ledger = Arc::new(ledger);
            let changes = options.changes.unwrap_or(match policies.settings().change_durability {
                ChangeDurability::Strict => Durability::Strict,
                ChangeDurability::Lazy => Durability::Lazy,
            });
            let transactions = Transactions::new(Arc::clone(&workspace))
                .durability(changes)
                .filter(Arc::new(Redacting(ledger.secrets().clone())));
            let lock = WorkspaceLock::new(options.workspace.join(".lictor/lock"));
            let settings = policies.settings();
            let shelf =
                catalogue::shelf(&options, &store, with_own(builtins()?, &options.own_skills)?)?;
            let executor = Executor::builder(
                gate.identity(),
                Arc::clone(&clock),
                itself::with_handlers(
                    handlers(&options, &clock, &transactions, &gate)?,
                    &store,
                    &audit,
                    (&ledger, &clock),
                ),
                Arc::new(KnowingView {
                    workspace: Arc::clone(&workspace),
                    gate: Arc::clone(&gate),
                }),
                Arc::new(transactions.clone()),
                Arc::<StateLedger>::clone(&ledger),
                LockSettings {
                    lock: lock.clone(),
                    timeout: settings.lock_timeout.as_duration(),
                    holder: options.holder.clone(),
                },
            )
            .run_view(Arc::new(HidingView {
                workspace: Arc::clone(&workspace),
                gate: Arc::clone(&gate),
            }))
            .guard(Arc::<Shelf>::clone(&shelf))
            .checks(Arc::new(PolicyChecks {
                gate: Arc::clone(&gate),
                workspace: Arc::clone(&workspace),
            }))
            .halts(Arc::clone(&halts))
            .idempotency_ttl(settings.idempotency_ttl.as_duration())
            .time_limits(TimeLimits {
                execution: settings.limits.max_execution_time.map(HumanDuration::as_duration),
                step: settings.limits.max_step_time.map(HumanDuration::as_duration),
                answer: settings
                    .limits
                    .max_execution_time
                    .map(|limit| limit.as_duration() + settings.lock_timeout.as_duration() + GRACE)
                    // A person may be asked in between.
                    .map(|limit| limit + RunTime::MOST_HELD),
            })
            .build();
            let recovered = recover_if_needed(&lock, &executor).await?;
            let approval_store = RedactedApprovals {
                store: Arc::new(SqliteApprovalStore::new(store.clone())),
                audit: audit.clone(),
            };
            let decisions = Decisions::new(store.clone());
            let parts = Parts {
                service: executor.service(options.at_once.max(1)),
                approvals: Approvals::new(&gate, Arc::new(approval_store))
                    .with_grants(Arc::new(SqliteGrantStore::new(store.clone())))
                    .with_approvers(Arc::new(SqliteApproverStore::new(store.clone()))),
                approvers: Approvers::new(
                    Arc::new(SqliteApproverStore::new(store.clone())),
                    Arc::clone(&clock),
                )
                .with_pins(Arc::new(SqlitePinStore::new(store.clone()))),
                clients: Clients::new(
                    Arc::new(SqliteClientStore::new(store.clone())),
                    Arc::clone(&clock),
                ),
                shelf,
                halts,
                signs,
                executions: Executions::new(store.clone()),
                runs: Runs::new(store.clone()),
                owners,
                options,
                clock,
                workspace,
                transactions,
                store,
                audit,
                ledger,
                gate,
                executor,
                lock,
                decisions,
                watch,
                recovered,
            };
            let runtime = Self { parts: Arc::new(parts) };
            runtime.look_at_old_runs()?;
            let doubted = runtime.doubt_abandoned().await;
            doubted.map_err(|error| OpenError::Recovery(error.to_string()))?;
            Ok(runtime)
        })
    }

    /// Opens only the database of a workspace: for setting one up, before there is a policy.
    ///
    /// # Errors
    /// When it cannot be opened or made.
    pub fn open_store(options: &RuntimeOptions) -> Result<Store, OpenError> {
        let options = RuntimeOptions { state_dir: settle(options)?, ..options.clone() };
        Ok(open_state(&options)?.0)
    }

    /// One session on the road.
    #[must_use]
    pub fn agent(&self, session: &Session) -> Agent {
        let seen = self.parts.shelf.refresh();
        Agent::new(self.clone(), session.clone(), (self.graph(session), seen))
    }

    /// What a session can ask for, by the catalogue as it was last looked at.
    pub(crate) fn graph(&self, session: &Session) -> Arc<CapabilityGraph> {
        let active = self.parts.shelf.catalogue().active();
        Arc::new(CapabilityGraph::build(session, &active))
    }

    /// What the opening of this runtime had to settle.
    #[must_use]
    pub fn recovered(&self) -> &[Recovered] {
        &self.parts.recovered
    }

    /// Settles what a crash left, whether or not there is a sign of one.
    ///
    /// # Errors
    /// When the lock is not had, or what was left cannot be settled.
    pub fn recover(&self) -> BoxFuture<'_, Result<Vec<Recovered>, ActError>> {
        Box::pin(async move {
            let recovered = self.parts.executor.recover().await;
            recovered.map_err(|error| ActErrorKind::Execution(Box::new(error)).into())
        })
    }

    /// How often something was moved to a thread that may be blocked: see
    /// [`Executor::n_moved`](lictor_executor::Executor::n_moved).
    #[must_use]
    pub fn n_moved(&self) -> u64 {
        self.parts.executor.n_moved()
    }

    /// The decisions on record.
    #[must_use]
    pub fn decisions(&self) -> &Decisions {
        &self.parts.decisions
    }

    /// The executions on record.
    #[must_use]
    pub fn executions(&self) -> &Executions {
        &self.parts.executions
    }

    /// The workflow runs on record.
    #[must_use]
    pub fn runs(&self) -> &Runs {
        &self.parts.runs
    }

    /// The trail.
    #[must_use]
    pub fn audit(&self) -> &AuditLog {
        &self.parts.audit
    }

    /// The gate.
    #[must_use]
    pub fn gate(&self) -> &WriteGate {
        &self.parts.gate
    }

    /// What people are asked.
    #[must_use]
    pub fn approvals(&self) -> &Approvals {
        &self.parts.approvals
    }

    /// Who may approve.
    #[must_use]
    pub fn approvers(&self) -> &Approvers {
        &self.parts.approvers
    }

    /// The programs that may come in by a network.
    #[must_use]
    pub fn clients(&self) -> &Clients {
        &self.parts.clients
    }

    /// The capabilities, in every state.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        self.parts.shelf.catalogue()
    }

    /// The workspace, to look at.
    #[must_use]
    pub fn workspace(&self) -> &Arc<Workspace> {
        &self.parts.workspace
    }

    /// The undo records.
    #[must_use]
    pub fn transactions(&self) -> &Transactions {
        &self.parts.transactions
    }

    /// The workspace's lock.
    #[must_use]
    pub fn lock(&self) -> &WorkspaceLock {
        &self.parts.lock
    }

    /// The database.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.parts.store
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.parts.clock
    }

    /// What became of the events of this runtime: recorded, refused, or dropped where the policy
    /// lets work go on without them.
    #[must_use]
    pub fn trail_stats(&self) -> LoggerStats {
        self.parts.ledger.trailing().tally().stats()
    }

    /// Records events that no action of the road owes: a door's own.
    ///
    /// # Errors
    /// When they cannot be recorded.
    pub fn record(
        &self,
        events: Vec<lictor_context::Event>,
    ) -> BoxFuture<'_, Result<(), ActError>> {
        Box::pin(async move {
            let settled = self.parts.ledger.settle(None, events).await;
            settled.map_err(|error| ActErrorKind::NotRecorded(error.to_string()).into())
        })
    }
}

pub(crate) fn redactor(
    options: &RuntimeOptions,
    policies: &PolicySet,
) -> Result<Redactor, OpenError> {
    let redactor = Redactor::new(&policies.settings().audit_redact, &options.declared_secrets);
    redactor.map_err(|error| OpenError::Audit(error.to_string()))
}

fn handlers(
    options: &RuntimeOptions,
    clock: &Arc<dyn Clock>,
    transactions: &Transactions,
    gate: &Arc<WriteGate>,
) -> Result<Handlers, OpenError> {
    let settings =
        SkillSettings { clock: Arc::clone(clock), env_allow: std::collections::BTreeSet::new() };
    let handlers = lictor_skills::handlers(settings)
        .with(UNDO_CAPABILITY, Arc::new(UndoHandler::new(transactions.clone())))
        .with(APPROVAL_CAPABILITY, Arc::new(ApprovalHandler))
        .with_factory(Arc::new(WorkflowHandlers { clock: Arc::clone(clock) }))
        .with_factory(Arc::new(requests::handlers(options, gate)?));
    let handlers = handling(handlers, &options.own_skills);
    let handlers = match &options.launcher {
        None => handlers,
        Some(launcher) => handlers.with_factory(Arc::new(CommandHandlers::new(
            launcher.clone(),
            options.state_folder().join("staging"),
            Arc::clone(&options.secrets),
        ))),
    };
    let more = options.handlers.iter().cloned();
    Ok(more.fold(handlers, |handlers, factory| handlers.with_factory(factory)))
}

/// Opens the database and the trail of a workspace.
pub(crate) fn open_state(options: &RuntimeOptions) -> Result<(Store, AuditLog), OpenError> {
    let migrations: Vec<_> =
        lictor_audit::migrations().iter().chain(lictor_state::migrations()).copied().collect();
    let mut how = StoreOptions::default().durability(options.durability);
    if let Some(guard) = &options.store_guard {
        how = how.guard(Arc::clone(guard));
    }
    let store = Store::open(&options.state_folder().join("lictor.db"), how, &migrations)?;
    let folder = &options.keys.folder;
    let audit = |error: &dyn std::fmt::Display| OpenError::Audit(error.to_string());
    std::fs::create_dir_all(folder.join("heads")).map_err(|error| audit(&error))?;
    let key =
        SigningKey::load_or_create(&folder.join("audit.key")).map_err(|error| audit(&error))?;
    let audited = AuditOptions::default()
        .guard_dir(folder.join("heads"))
        .subjects_dir(folder.join("subjects"));
    let log = AuditLog::open(store.clone(), key, audited).map_err(|error| audit(&error))?;
    Ok((store, log))
}

/// A free lock that was not given back, or was held before the machine was started anew, is the
/// sign of a crash.
async fn recover_if_needed(
    lock: &WorkspaceLock,
    executor: &Executor,
) -> Result<Vec<Recovered>, OpenError> {
    let fail = |error: &dyn std::fmt::Display| OpenError::Recovery(error.to_string());
    let crashed = match lock.status().map_err(|error| fail(&error))? {
        Status::Held { .. } | Status::Free { last: None } => false,
        Status::Free { last: Some(last) } => {
            !last.released || last.broken || last.boot_id != lictor_lock::boot_id()
        }
    };
    if !crashed {
        return Ok(Vec::new());
    }
    executor.recover().await.map_err(|error| fail(&error))
}

//! Undo and redo of executions, sessions and runs: each execution by an action of its own.

use lictor_capability::{Action, CapabilityId, Conflict, Effects, FileChange, LeftAlone};
use lictor_context::{BoxFuture, Event, EventFacts, EventType, ExecutionId, RunId, SessionId};
use lictor_executor::{ExecutionRecord, ExecutionStatus};
use lictor_governance::{DecisionRecord, Verdict};
use lictor_state::{ExecutionFilter, StateError, StoredExecution};
use lictor_undo::{OnConflict, UNDO_CAPABILITY, plan_undo_or};
use serde_json::json;

use crate::agent::{Agent, Checked};
use crate::compensating::WayBack;
use crate::consent::Consent;
use crate::error::{ActError, ActErrorKind};

/// What to undo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UndoRequest {
    /// The last so many executions that stand.
    Last(u32),
    /// One execution.
    Execution(ExecutionId),
    /// Every execution of a session that stands.
    Session(SessionId),
    /// Every execution of a workflow run that stands.
    Run(RunId),
}

/// Executions were undone.
#[derive(Debug, Clone, PartialEq)]
pub struct UndoDone {
    /// What was undone, in this order.
    pub undo_of: Vec<ExecutionId>,
    /// The executions that did it.
    pub executions: Vec<ExecutionId>,
    /// What was put back.
    pub files: Vec<FileChange>,
    /// What was left as somebody has made it since, and what went beside it.
    pub kept: Vec<LeftAlone>,
    /// What was merged with what somebody has made of it since.
    pub merged: Vec<String>,
    /// What was made up for.
    pub compensated: Vec<Compensated>,
    /// The decisions.
    pub decisions: Vec<DecisionRecord>,
}

/// Several executions were to be undone, and only some were.
#[derive(Debug)]
pub struct UndoStopped {
    /// Those that are undone.
    pub undone: Vec<ExecutionId>,
    /// Those that are not.
    pub left: Vec<ExecutionId>,
    /// Why it stopped.
    pub error: ActError,
}

/// An execution is made up for: what it did elsewhere stays done, and something else is done.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Compensated {
    /// The execution.
    pub execution: ExecutionId,
    /// The capability that is called.
    pub by: CapabilityId,
}

impl Agent {
    /// The executions that a request means, the newest first.
    ///
    /// # Errors
    /// When there is none, or one that cannot be undone.
    pub fn to_undo(&self, request: &UndoRequest) -> Result<Vec<ExecutionId>, ActError> {
        let mut filter = ExecutionFilter { undoable: true, ..ExecutionFilter::default() };
        match request {
            UndoRequest::Last(n) => filter.limit = Some(*n),
            UndoRequest::Execution(id) => {
                let id = self.one_to_undo(id)?;
                return match self.stored(&id)?.record.began {
                    // What a call of a workflow did is what its run did.
                    Some(run) => self.to_undo(&UndoRequest::Run(run)),
                    None => Ok(vec![id]),
                };
            }
            UndoRequest::Session(session) => filter.session = Some(session.clone()),
            UndoRequest::Run(run) => filter.run = Some(run.clone()),
        }
        let found = self.runtime().executions().list(&filter).map_err(unreadable)?;
        let mut ids = Vec::with_capacity(found.len());
        for stored in found {
            match stored.record.began {
                // Of a run that did nothing there is nothing to undo.
                Some(run) if self.has_standing(&run)? => {
                    ids.extend(self.to_undo(&UndoRequest::Run(run))?)
                }
                Some(_) => {}
                None => ids.push(stored.record.execution_id),
            }
        }
        let short = matches!(request, UndoRequest::Last(n) if ids.len() < *n as usize && *n > 1);
        if ids.is_empty() || short {
            let there_is = ids.len();
            let why =
                format!("there is nothing to undo: {there_is} execution(s) stand that could be");
            return Err(ActErrorKind::NotFound(why).into());
        }
        Ok(ids)
    }

    /// Whether something stands that a run did.
    fn has_standing(&self, run: &RunId) -> Result<bool, ActError> {
        let filter = ExecutionFilter {
            undoable: true,
            run: Some(run.clone()),
            ..ExecutionFilter::default()
        };
        Ok(!self.runtime().executions().list(&filter).map_err(unreadable)?.is_empty())
    }

    fn one_to_undo(&self, id: &ExecutionId) -> Result<ExecutionId, ActError> {
        let stored = self.stored(id)?;
        match (stored.record.status, stored.undone_by) {
            (ExecutionStatus::Applied, _) if stored.record.changed_nothing() => {
                Err(ActErrorKind::Invalid(nothing_to_take_back(&stored.record)).into())
            }
            (ExecutionStatus::Applied, _) => Ok(id.clone()),
            (ExecutionStatus::Undone, by) => {
                let by = by.map_or_else(String::new, |by| format!(" by `{by}`"));
                Err(ActErrorKind::Invalid(format!("`{id}` was undone already{by}")).into())
            }
            (ExecutionStatus::RolledBack, _) => Err(ActErrorKind::Invalid(format!(
                "`{id}` failed and was rolled back; there is nothing of it to undo"
            ))
            .into()),
            (ExecutionStatus::Incomplete, _) => Err(ActErrorKind::Invalid(format!(
                "`{id}` is not settled; `lictor recover` comes first"
            ))
            .into()),
        }
    }

    pub(crate) fn stored(&self, id: &ExecutionId) -> Result<StoredExecution, ActError> {
        let stored = self.runtime().executions().get(id).map_err(unreadable)?;
        stored.ok_or_else(|| {
            let why = format!("there is no execution `{id}` that changed anything");
            ActErrorKind::NotFound(why).into()
        })
    }

    /// The undo that a redo takes back: the last one, or the one of an execution.
    ///
    /// # Errors
    /// When there is none.
    pub fn to_redo(&self, execution: Option<&ExecutionId>) -> Result<ExecutionId, ActError> {
        let Some(id) = execution else {
            let filter = ExecutionFilter { undos: true, ..ExecutionFilter::default() };
            for undo in self.runtime().executions().list(&filter).map_err(unreadable)? {
                // A redo stands as an undo, too: of an undo. Taking that back would undo again. And
                // one that came second has not undone it.
                let undoes = undo.record.undo_of.iter().all(|undone| {
                    self.stored(undone).is_ok_and(|stored| {
                        stored.record.undo_of.is_empty()
                            && stored.undone_by.as_ref() == Some(&undo.record.execution_id)
                    })
                });
                if undoes {
                    return self.one_to_undo(&undo.record.execution_id);
                }
            }
            return Err(ActErrorKind::NotFound("there is no undo to take back".to_owned()).into());
        };
        let stored = self.stored(id)?;
        if !stored.record.undo_of.is_empty() {
            return self.one_to_undo(id);
        }
        let undone_by = stored.undone_by.ok_or_else(|| {
            ActErrorKind::Invalid(format!("`{id}` was not undone, so there is nothing to redo"))
        })?;
        self.one_to_undo(&undone_by)
    }

    /// The action that undoes one execution.
    ///
    /// # Errors
    /// Never, in a build whose tests have passed: the capability is part of the program.
    pub fn undo_action(
        &self,
        execution: &ExecutionId,
        on_conflict: OnConflict,
    ) -> Result<Action, ActError> {
        let capability = CapabilityId::parse(UNDO_CAPABILITY)
            .map_err(|error| ActErrorKind::Invalid(error.to_string()))?;
        let input = match on_conflict {
            OnConflict::Refuse => json!({ "execution": execution }),
            OnConflict::KeepBoth | OnConflict::Merge => {
                json!({ "execution": execution, "on_conflict": on_conflict })
            }
        };
        Ok(self.action(capability, input))
    }

    /// Undoes executions, in this order: calls what makes up for what was done elsewhere, and puts
    /// files back. Before the first of them all are planned together: when somebody has changed any of
    /// the files since, something would stay done, or one is not what `consent` is about, nothing at all
    /// is done.
    ///
    /// # Errors
    /// When one cannot be undone. Those before it are undone then, and stand in the trail
    /// ([`ActErrorKind::UndoStopped`] names them).
    pub fn undo<'a>(
        &'a self,
        executions: &'a [ExecutionId],
        on_conflict: OnConflict,
        consent: Option<&'a Consent>,
    ) -> BoxFuture<'a, Result<UndoDone, ActError>> {
        Box::pin(async move {
            let ways = match self.ways_back(executions) {
                Ok(ways) => ways,
                // There is no action yet that could be refused.
                Err(error) => {
                    self.record_refusal(UNDO_CAPABILITY, &error.to_string()).await?;
                    return Err(error);
                }
            };
            if let [_, _, ..] = executions {
                self.plan_all(executions, on_conflict).await?;
                if let Some(consent) = consent {
                    self.all_seen(executions, on_conflict, consent).await?;
                }
            }
            let mut done = UndoDone {
                undo_of: Vec::new(),
                executions: Vec::new(),
                files: Vec::new(),
                kept: Vec::new(),
                merged: Vec::new(),
                compensated: Vec::new(),
                decisions: Vec::new(),
            };
            let mut left = ways.len();
            for way in ways {
                left = left.saturating_sub(1);
                if let Err(error) =
                    self.before(left).undo_one(way, on_conflict, consent, &mut done).await
                {
                    return Err(stopped(&done, executions, error));
                }
            }
            Ok(done)
        })
    }

    async fn undo_one(
        &self,
        WayBack { executions, compensation, files }: WayBack,
        on_conflict: OnConflict,
        consent: Option<&Consent>,
        done: &mut UndoDone,
    ) -> Result<(), ActError> {
        let mut by = None;
        if let Some(action) = compensation {
            let capability = action.capability().clone();
            let made_up = self.before(usize::from(files)).act(action, consent).await?;
            done.compensated.extend(compensated(&executions, &capability));
            done.decisions.push(made_up.record.decision);
            by = Some(made_up.record.execution_id);
        }
        let mut left = executions.len();
        for execution in executions {
            left = left.saturating_sub(1);
            if files {
                let action = self.undo_action(&execution, on_conflict)?;
                let undone = self.before(left).act(action, consent).await?;
                done.files.extend(undone.record.files);
                done.kept.extend(told(&undone.record.output, "kept"));
                done.merged.extend(told(&undone.record.output, "merged"));
                done.decisions.push(undone.record.decision);
                by = Some(undone.record.execution_id);
            }
            done.undo_of.push(execution);
            done.executions.extend(by.clone());
        }
        Ok(())
    }

    /// What undoing executions would make up for, and by which capabilities. Changes nothing.
    ///
    /// # Errors
    /// When one of them cannot be undone.
    pub fn made_up_for(&self, executions: &[ExecutionId]) -> Result<Vec<Compensated>, ActError> {
        let ways = self.ways_back(executions)?;
        let of = |way: &WayBack| {
            let by = way.compensation.as_ref().map(|action| action.capability().clone());
            by.map(|by| compensated(&way.executions, &by))
        };
        Ok(ways.iter().filter_map(of).flatten().collect())
    }

    /// What the gate would say to these undos, in this order, to each as it will be when it is its
    /// turn: what those before it leave is what it finds. Changes nothing.
    ///
    /// # Errors
    /// When one of them cannot be planned or judged.
    pub fn check_undo(
        &self,
        executions: &[ExecutionId],
        on_conflict: OnConflict,
    ) -> Result<Vec<Checked>, ActError> {
        let ways = self.ways_back(executions)?;
        let mut plans = self.plans(&ways, on_conflict)?.into_iter();
        let mut checked = Vec::with_capacity(ways.len());
        for WayBack { executions, compensation, files } in ways {
            if let Some(action) = compensation {
                checked.push(self.check(action)?);
            }
            for (execution, effects) in executions.iter().filter(|_| files).zip(&mut plans) {
                let action = self.undo_action(execution, on_conflict)?;
                let admitted =
                    self.graph.admit(action).map_err(|error| self.not_admitted(error))?;
                let described = self.runtime().parts.executor.describe_planned(admitted, effects);
                checked.push(self.checked(described.map_err(ActErrorKind::NotDescribed)?)?);
            }
        }
        Ok(checked)
    }

    /// Whether all of them are what somebody looked at who agrees to them.
    async fn all_seen(
        &self,
        executions: &[ExecutionId],
        on_conflict: OnConflict,
        consent: &Consent,
    ) -> Result<(), ActError> {
        let checked = self.check_undo(executions, on_conflict)?;
        let asked = checked.iter().filter(|one| one.decision.verdict == Verdict::NeedApproval);
        for one in asked {
            if let Err(kind) = consent.covers(&one.described, &one.decision, &[]) {
                self.record_refusal(UNDO_CAPABILITY, &kind.to_string()).await?;
                return Err(ActError::from(kind).with_decision(&one.decision));
            }
        }
        Ok(())
    }

    /// What these undos, in this order, would do to files, and where somebody has changed what they
    /// would put back.
    ///
    /// # Errors
    /// When one of them cannot be planned.
    pub fn undo_plans(
        &self,
        executions: &[ExecutionId],
        on_conflict: OnConflict,
    ) -> Result<Vec<Effects>, ActError> {
        self.plans(&self.ways_back(executions)?, on_conflict)
    }

    fn plans(&self, ways: &[WayBack], on_conflict: OnConflict) -> Result<Vec<Effects>, ActError> {
        let with_files = ways.iter().filter(|way| way.files);
        let executions: Vec<_> =
            with_files.flat_map(|way| way.executions.iter().cloned()).collect();
        plan_undo_or(self.runtime().transactions(), &executions, on_conflict)
            .map_err(|error| ActErrorKind::Invalid(error.to_string()).into())
    }

    /// The executions that stand, were done after this one, and touch what its undo finds changed:
    /// undoing them first makes way for it. The newest first.
    ///
    /// # Errors
    /// When the history cannot be read.
    pub fn in_the_way(
        &self,
        execution: &ExecutionId,
        conflicts: &[Conflict],
    ) -> Result<Vec<ExecutionId>, ActError> {
        let filter = ExecutionFilter { undoable: true, ..ExecutionFilter::default() };
        let found = self.runtime().executions().list(&filter).map_err(unreadable)?;
        let newer = found.iter().take_while(|stored| stored.record.execution_id != *execution);
        let touches = |stored: &&StoredExecution| {
            stored.record.files.iter().any(|file| {
                let ends = [Some(file.path.as_str()), file.to.as_deref()];
                let mut ends = ends.into_iter().flatten();
                ends.any(|end| conflicts.iter().any(|conflict| conflict.path == end))
            })
        };
        Ok(newer.filter(touches).map(|stored| stored.record.execution_id.clone()).collect())
    }

    async fn plan_all(
        &self,
        executions: &[ExecutionId],
        on_conflict: OnConflict,
    ) -> Result<(), ActError> {
        let plans = self.undo_plans(executions, on_conflict)?;
        let conflicts: Vec<_> = plans.into_iter().flat_map(|plan| plan.conflicts).collect();
        if conflicts.is_empty() {
            return Ok(());
        }
        let mut facts = EventFacts {
            action_name: Some(UNDO_CAPABILITY.to_owned()),
            success: Some(false),
            ..EventFacts::default()
        };
        facts.metadata.insert("conflicts".to_owned(), json!(conflicts));
        facts.metadata.insert("undo_of".to_owned(), json!(executions));
        let clock = self.runtime().clock().as_ref();
        let event = Event::new(self.session(), EventType::UndoConflict, facts, clock);
        self.runtime().record(vec![event]).await?;
        Err(ActErrorKind::Conflict(conflicts).into())
    }
}

/// Why not all of several were undone: when some were, these are named.
fn stopped(done: &UndoDone, asked: &[ExecutionId], error: ActError) -> ActError {
    if done.undo_of.is_empty() {
        return error;
    }
    let undone = done.undo_of.clone();
    let left = asked.iter().filter(|id| !undone.contains(id)).cloned().collect();
    let decision = error.decision().cloned();
    let error =
        ActError::from(ActErrorKind::UndoStopped(Box::new(UndoStopped { undone, left, error })));
    match &decision {
        Some(decision) => error.with_decision(decision),
        None => error,
    }
}

fn compensated(executions: &[ExecutionId], by: &CapabilityId) -> Vec<Compensated> {
    executions.iter().map(|id| Compensated { execution: id.clone(), by: by.clone() }).collect()
}

/// Why there is nothing to take back of an execution that changed nothing.
fn nothing_to_take_back(record: &ExecutionRecord) -> String {
    let id = &record.execution_id;
    match record.undo_of.first() {
        None => format!("`{id}` changed nothing, so there is nothing of it to undo"),
        Some(undone) => format!(
            "`{id}` found what `{undone}` had changed as it was before already, and changed \
             nothing, so there is nothing to redo; to have it again, make the change anew"
        ),
    }
}

/// A list that the undo's output tells.
fn told<T: serde::de::DeserializeOwned>(output: &serde_json::Value, key: &str) -> Vec<T> {
    let list = output.get(key).cloned().unwrap_or_default();
    serde_json::from_value(list).unwrap_or_default()
}

pub(crate) fn unreadable(error: StateError) -> ActError {
    ActErrorKind::NotRecorded(error.to_string()).into()
}

//! A world in memory: what calls have done there, how often, and in which order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use lictor_capability::UndoScope;
use lictor_context::{Clock, Digest, ExecutionId};
use lictor_workflow::{
    ApprovalCall, ApprovalState, FailureKind, PlanCall, PlanState, Purpose, Recalled, Road,
    StepCall, StepDone, StepFailure, UndoCall, UndoFailure,
};
use serde_json::{Value, json};

/// What calls give, and which of them only look.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) outputs: HashMap<String, Value>,
    pub(crate) looks: BTreeSet<String>,
    /// Steps with a compensation: what they do is outside of the workspace.
    pub(crate) outside: BTreeSet<String>,
}

/// What goes wrong.
#[derive(Debug, Default, Clone)]
pub(crate) struct Faults {
    pub(crate) step: Option<String>,
    pub(crate) back: Option<String>,
}

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How often each step's effect happened, and each was taken back.
    pub(crate) done: BTreeMap<String, usize>,
    pub(crate) taken_back: BTreeMap<String, usize>,
    /// The steps in the order in which they were taken back.
    pub(crate) order: Vec<String>,
    answers: HashMap<Digest, StepDone>,
    executions: HashMap<ExecutionId, (String, bool)>,
}

impl Seen {
    /// What is left of a step, or was taken back too often.
    pub(crate) fn left(&self, step: &str) -> isize {
        let count = |map: &BTreeMap<String, usize>| {
            isize::try_from(map.get(step).copied().unwrap_or_default()).unwrap_or(isize::MAX)
        };
        count(&self.done) - count(&self.taken_back)
    }
}

/// A road to that world. The world outlives the engines that use it.
pub(crate) struct World {
    script: Arc<Script>,
    clock: Arc<dyn Clock>,
    faults: Mutex<Faults>,
    seen: Mutex<Seen>,
}

impl World {
    pub(crate) fn new(script: Arc<Script>, clock: Arc<dyn Clock>, faults: Faults) -> Self {
        Self { script, clock, faults: Mutex::new(faults), seen: Mutex::default() }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What kept the rollback from its end is repaired.
    pub(crate) fn repair(&self) {
        self.faults().back = None;
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fails(&self, call: &StepCall) -> bool {
        let faults = self.faults();
        let named = match call.purpose {
            Purpose::Step => &faults.step,
            Purpose::Compensation => &faults.back,
        };
        named.as_ref() == Some(&call.step_id)
    }

    fn done(&self, call: &StepCall) -> StepDone {
        let mut seen = self.seen();
        let key = call.idempotency_key();
        if let Some(answer) = seen.answers.get(&key) {
            return answer.clone();
        }
        let output = self.script.outputs.get(call.capability.as_str());
        let mut done = StepDone {
            execution_id: None,
            output: output.cloned().unwrap_or_else(|| json!({})),
            changed: false,
            undo: UndoScope::Full,
            decision: Value::Null,
            owed: Vec::new(),
        };
        if call.purpose == Purpose::Compensation {
            *seen.taken_back.entry(call.step_id.clone()).or_default() += 1;
            seen.order.push(call.step_id.clone());
        } else if self.only_looks(call) {
            return done;
        } else {
            *seen.done.entry(call.step_id.clone()).or_default() += 1;
            if self.script.outside.contains(base(&call.step_id)) {
                done.undo = UndoScope::None;
            } else {
                let execution = ExecutionId::generate(self.clock.as_ref());
                seen.executions.insert(execution.clone(), (call.step_id.clone(), false));
                done.execution_id = Some(execution);
                done.changed = true;
            }
        }
        seen.answers.insert(key, done.clone());
        done
    }
}

/// The step of the document that an item is of.
pub(crate) fn base(step: &str) -> &str {
    step.split('[').next().unwrap_or(step)
}

#[async_trait]
impl Road for World {
    async fn act(&self, call: StepCall) -> Result<StepDone, StepFailure> {
        if self.fails(&call) {
            return Err(StepFailure {
                kind: FailureKind::Denied,
                message: "it was to fail".to_owned(),
                retryable: false,
                execution_id: None,
                decision: Value::Null,
            });
        }
        Ok(self.done(&call))
    }

    fn only_looks(&self, call: &StepCall) -> bool {
        call.purpose == Purpose::Step && self.script.looks.contains(call.capability.as_str())
    }

    async fn check(&self, _call: StepCall) -> Result<Value, StepFailure> {
        Ok(Value::Null)
    }

    async fn undo(&self, call: UndoCall) -> Result<(), UndoFailure> {
        if self.faults().back.as_ref() == Some(&call.step_id) {
            return Err(UndoFailure::lasting("it was to fail"));
        }
        let mut seen = self.seen();
        let Some((step, undone)) = seen.executions.get_mut(&call.execution_id) else {
            return Err(UndoFailure::lasting("there is no such execution"));
        };
        if !std::mem::replace(undone, true) {
            let step = step.clone();
            *seen.taken_back.entry(step.clone()).or_default() += 1;
            seen.order.push(step);
        }
        Ok(())
    }

    async fn request_approval(&self, _call: ApprovalCall) -> Result<ApprovalState, String> {
        Ok(ApprovalState::Granted)
    }

    async fn request_plan(&self, _call: PlanCall) -> Result<PlanState, String> {
        Ok(PlanState::NotNeeded)
    }

    async fn recall(&self, call: &StepCall) -> Recalled {
        match self.seen().answers.get(&call.idempotency_key()) {
            Some(done) => Recalled::Done(done.clone()),
            None => Recalled::NothingDone,
        }
    }
}

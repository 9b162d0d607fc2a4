//! Dry runs: what would be decided about each step, as far as that can be known.

use lictor_capability::Risk;
use lictor_context::{BoxFuture, Name, RunId, Session};
use minijinja::value::Value as Any;
use serde::Serialize;
use serde_json::Value;

use super::Engine;
use super::begin::asked;
use crate::error::EngineError;
use crate::port::{FailureKind, Purpose, StepCall, StepFailure, UndoBy};
use crate::record::Failure;
use crate::spec::{ApprovalStep, Call, Step, Work, Workflow};
use crate::stopping::Stopping;
use crate::template::{Scope, Tree};

/// What is known of a step before anything runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// The step.
    pub step: String,
    /// Which group it is in, from 0: those of one group go side by side.
    pub group: usize,
    /// How much is at stake at least, by the contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
    /// How it would be taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<UndoBy>,
    /// What people are asked in an approval step, where that does not depend on the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The decision, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Value>,
    /// Why there is none: its input depends on what other steps will give.
    pub open: bool,
    /// Why the step would not be judged at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

impl Engine {
    /// Decides about every step whose input does not depend on other steps, in the order in
    /// which they would run. Nothing is done and nothing is saved.
    ///
    /// # Errors
    /// When the input does not fit the workflow.
    pub fn dry_run<'a>(
        &'a self,
        session: &'a Session,
        workflow: &'a Workflow,
        input: &'a Value,
    ) -> BoxFuture<'a, Result<Vec<Preview>, EngineError>> {
        Box::pin(async move {
            if let Err(findings) = workflow.check_input(input) {
                return Err(EngineError::Input { workflow: workflow.id.to_string(), findings });
            }
            let run_id = RunId::generate(self.clock.as_ref());
            let about = Scope::object([
                ("id", Any::from(workflow.id.as_str())),
                ("version", Any::from(workflow.version.to_string())),
            ]);
            let scope = Scope::new([
                ("input", Scope::value(input)),
                ("run_id", Any::from(run_id.as_str())),
                ("workflow", about),
            ]);
            let mut previews = Vec::with_capacity(workflow.steps.len());
            for position in &workflow.schedule.positions {
                let Some(step) = workflow.steps.get(*position) else { continue };
                let mut preview = self.outlined(session, workflow, step);
                match (&step.work, &step.foreach) {
                    (Work::Call(call), None) => {
                        let about = (&run_id, workflow.pack.as_ref());
                        self.judge(session, about, call, &scope, &mut preview).await;
                    }
                    (Work::Approval(approval), None) => {
                        preview.open = true;
                        preview.question = question(approval, &scope);
                    }
                    _ => preview.open = true,
                }
                previews.push(preview);
            }
            Ok(previews)
        })
    }

    /// What is known of a step by the document and by contracts.
    fn outlined(&self, session: &Session, workflow: &Workflow, step: &Step) -> Preview {
        let groups = &workflow.schedule.levels;
        let group = groups.iter().position(|group| group.contains(&step.id)).unwrap_or_default();
        let (risk, undo) = match &step.work {
            Work::Approval(approval) => (Some(approval.risk), Some(UndoBy::Nothing)),
            Work::Wait(_) => (None, Some(UndoBy::Nothing)),
            Work::Call(call) => {
                let version = call.version.as_ref();
                let known = self.road.outline(session, &call.capability, version);
                let undo = match known.map(|known| known.undo) {
                    Some(UndoBy::Nothing) => Some(UndoBy::Nothing),
                    _ if call.compensate.is_some() => Some(UndoBy::Compensation),
                    other => other,
                };
                (known.map(|known| known.risk), undo)
            }
        };
        let step = step.id.clone();
        Preview {
            step,
            group,
            risk,
            undo,
            question: None,
            decision: None,
            open: false,
            error: None,
        }
    }

    async fn judge(
        &self,
        session: &Session,
        (run_id, pack): (&RunId, Option<&Name>),
        call: &Call,
        scope: &Scope,
        preview: &mut Preview,
    ) {
        let depends = |tree| Tree::references(tree).iter().any(|(it, _)| it.root == "steps");
        if depends(&call.with) {
            preview.open = true;
            return;
        }
        let input = match call.with.value.evaluate(scope) {
            Ok(input) => input,
            Err(error) => {
                let kind = FailureKind::Invalid;
                preview.error = Some(Failure { kind, message: format!("`with`: {error}") });
                return;
            }
        };
        let asked = StepCall {
            session: session.clone(),
            run_id: run_id.clone(),
            pack: pack.cloned(),
            step_id: preview.step.clone(),
            purpose: Purpose::Step,
            attempt: 1,
            capability: call.capability.clone(),
            version: call.version.clone(),
            input,
            timeout: None,
            takes_back: Vec::new(),
            plan: None,
            stopping: Stopping::default(),
        };
        match self.road.check(asked).await {
            Ok(decision) => preview.decision = Some(decision),
            Err(StepFailure { kind, message, .. }) => {
                preview.error = Some(Failure { kind, message });
            }
        }
    }
}

/// What people are asked, when the input alone says so.
fn question(approval: &ApprovalStep, scope: &Scope) -> Option<String> {
    let later = |root: &str| matches!(root, "steps" | "run_id");
    if approval.message.references().any(|it| later(&it.root)) {
        return None;
    }
    approval.message.evaluate(scope).ok().map(asked)
}

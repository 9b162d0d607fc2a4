//! Agreement to a run as a whole, looked for before its steps begin.

use std::sync::Arc;

use super::driver::{Driver, Stop};
use crate::error::EngineError;
use crate::port::{AgreedPlan, FailureKind, PlanCall, PlanState};
use crate::record::PlanRecord;
use crate::spec::AskFor;

impl Driver<'_> {
    /// Whether the run may go on with its steps; else why not. What people agreed to has to be what
    /// the run is now, so it is looked at each time.
    pub(super) async fn agreed(&mut self) -> Result<Option<Stop>, EngineError> {
        if !self.may_need_agreement() {
            return Ok(None);
        }
        let call = self.plan_call();
        let engine = self.engine;
        let state = self.attend(engine.road.request_plan(call)).await?;
        let known = self.run.plan.take();
        let (plan, stop) = match state {
            Ok(PlanState::NotNeeded) => (None, None),
            Ok(PlanState::Granted { digest, approval_id }) => {
                let approval_id = approval_id.or(known.clone().map(|known| known.approval_id));
                let approval_id = approval_id.unwrap_or_default();
                (Some(PlanRecord { granted: Some(digest), approval_id, waits: false }), None)
            }
            Ok(PlanState::Pending { approval_id }) => {
                let plan = PlanRecord { granted: None, approval_id, waits: true };
                (Some(plan), Some(Stop::Pause))
            }
            Ok(PlanState::Denied { reason }) => {
                self.fail(
                    None,
                    FailureKind::Denied,
                    format!("the run is not let through: {reason}"),
                );
                (None, Some(Stop::Failed))
            }
            Err(reason) => {
                let message = format!("nobody could be asked about the run: {reason}");
                self.fail(None, FailureKind::Denied, message);
                (None, Some(Stop::Failed))
            }
        };
        if plan != known {
            self.touched();
        }
        self.run.plan = plan;
        Ok(stop)
    }

    /// Whether the run waits for people's agreement to it as a whole, and still does.
    pub(super) async fn plan_still_waits(&mut self) -> bool {
        if self.run.plan_waits_for().is_none() {
            return false;
        }
        let state = self.engine.road.request_plan(self.plan_call()).await;
        let waits = self.run.plan_waits_for();
        // Another question than the one that is known has to be noted.
        matches!(state, Ok(PlanState::Pending { approval_id }) if waits == Some(&*approval_id))
    }

    /// What may answer for people when a step needs their agreement.
    pub(super) fn agreed_plan(&self) -> Option<Arc<AgreedPlan>> {
        let plan = self.run.plan.as_ref().filter(|plan| plan.granted.is_some());
        let plan = plan.filter(|_| self.workflow.approvals == AskFor::Plan)?;
        let approval_id = plan.approval_id.clone();
        Some(Arc::new(AgreedPlan { approval_id, call: self.plan_call() }))
    }

    fn may_need_agreement(&self) -> bool {
        self.workflow.approvals == AskFor::Plan
            || self.workflow.pack.is_some()
            || self.engine.road.looks_at_runs()
    }

    fn plan_call(&self) -> PlanCall {
        PlanCall {
            session: self.session.clone(),
            run_id: self.run.run_id.clone(),
            workflow: Arc::clone(&self.workflow),
            input: self.run.input.clone(),
            granted: self.run.plan.as_ref().and_then(|plan| plan.granted),
        }
    }
}

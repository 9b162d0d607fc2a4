//! The end of the road: what a warrant allows is done, and settled.

use std::future::poll_fn;
use std::sync::Arc;

use lictor_capability::Action;
use lictor_context::Event;
use lictor_executor::{
    Begun, Committed, ExecuteError, ExecuteErrorKind, Executed, Ledger, Outcome, Rollback,
};
use lictor_governance::{Decision, Warrant};
use tokio::sync::oneshot::Sender;
use tower::Service as _;

use crate::agent::{Agent, Done};
use crate::error::{ActError, ActErrorKind};
use crate::events;
use crate::owing::Owing;
use crate::sessions::Closing;

/// An action that was let through, with the events that are owed before its own.
pub(crate) struct Going {
    pub(crate) agent: Agent,
    pub(crate) action: Action,
    pub(crate) warrant: Warrant,
    pub(crate) decision: Decision,
    pub(crate) before: Vec<Event>,
    /// Who keeps the events of what changes nothing, when that is asked for.
    pub(crate) owing: Option<Arc<Owing>>,
    /// Until it has come to its end.
    pub(crate) under_way: Begun,
}

impl Going {
    /// Does it, settles it, and answers; takes it back when nobody waits for the answer.
    pub(crate) async fn go(self, mut answer: Sender<Result<Done, ActError>>) {
        let Self { agent, action, warrant, decision, before, owing, under_way: _under_way } = self;
        let mut service = agent.runtime().parts.service.clone();
        // Of what reaches outside something is recorded before it ends, and these come before that.
        let debt = agent.runtime().parts.ledger.owe(decision.id(), before);
        let execution = async {
            poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(warrant).await
        };
        let outcome = tokio::select! {
            outcome = execution => outcome,
            () = answer.closed() => {
                // The executor takes back what it had begun, and records that by itself.
                let mut before = debt.events().await;
                let owed = std::mem::take(&mut *before);
                return unrecorded(agent.runtime().record(owed).await);
            }
        };
        let before = std::mem::take(&mut *debt.events().await);
        let owing = owing.as_deref();
        let settling = Settling { agent: &agent, action: &action, decision: &decision, owing };
        match outcome {
            // What was done elsewhere is not taken back by anybody: it is recorded as done.
            Ok(Outcome::Executed(executed)) if answer.is_closed() && executed.changed() => {
                settling.take_back(executed, before).await;
            }
            Ok(Outcome::Executed(executed)) => {
                reply(answer, settling.commit(executed, before).await);
            }
            Ok(Outcome::Duplicate(record)) => {
                let recorded = agent.record_duplicate(&action, &record, before).await;
                let done = Done::before(*record);
                reply(answer, recorded.map(|()| done));
            }
            Err(error) => reply(answer, Err(settling.failed(error, before).await)),
        }
    }
}

fn reply(answer: Sender<Result<Done, ActError>>, outcome: Result<Done, ActError>) {
    // Nobody waits for it any more; it is settled and recorded all the same.
    if answer.send(outcome).is_err() {
        tracing::debug!("an outcome was not waited for");
    }
}

fn unrecorded(recorded: Result<(), ActError>) {
    if let Err(error) = recorded {
        tracing::error!(%error, "events of an abandoned action could not be recorded");
    }
}

struct Settling<'a> {
    agent: &'a Agent,
    action: &'a Action,
    decision: &'a Decision,
    owing: Option<&'a Owing>,
}

impl Settling<'_> {
    async fn commit(&self, executed: Executed, before: Vec<Event>) -> Result<Done, ActError> {
        let closing;
        let ledger: &dyn Ledger = match self.owing {
            Some(owing) => owing,
            None => {
                closing = self.agent.before(usize::from(self.is_followed(&executed)));
                &Closing(&closing)
            }
        };
        match executed.commit_once(ledger, self.agent.clock(), before).await {
            Ok(Committed::Stands(receipt)) => Ok(Done {
                record: receipt.record,
                duplicate: false,
                checks: receipt.checks,
                staged: receipt.staged.map(Box::new),
            }),
            Ok(Committed::Known { record, before }) => {
                self.agent.record_duplicate(self.action, &record, before).await?;
                Ok(Done::before(*record))
            }
            Err(error) => {
                let incomplete = !error.report().is_complete();
                let kind = if incomplete {
                    ActErrorKind::LeftUnrecorded(error.report().clone())
                } else {
                    ActErrorKind::NotRecorded(error.to_string())
                };
                Err(ActError::from(kind).with_decision(self.decision.record()))
            }
        }
    }

    /// Whether more of the session is recorded when it is settled, beside what is asked for next: that
    /// its changes land, what its run does, what is purged after it.
    fn is_followed(&self, executed: &Executed) -> bool {
        executed.is_followed() || (executed.changed() && self.agent.purge_is_due())
    }

    async fn take_back(&self, executed: Executed, before: Vec<Event>) {
        let ledger = self.agent.runtime().parts.ledger.as_ref();
        let reason = "whoever asked for it stopped waiting";
        let rolled_back = executed.roll_back(ledger, self.agent.clock(), before, reason).await;
        if let Err((report, error)) = rolled_back {
            tracing::error!(?report, %error, "an abandoned execution could not be recorded");
        }
    }

    /// Records a failed execution with what became of it.
    async fn failed(&self, mut error: ExecuteError, mut before: Vec<Event>) -> ActError {
        let clock = self.agent.clock();
        let kept = error.record_failure(self.agent.session(), clock, &mut before);
        if kept.is_none() {
            let (why, conflicts) = (error.to_string(), error.conflicts());
            before.push(match error.kind() {
                ExecuteErrorKind::NoAnswer { .. } => events::unknown(self.action, &why, clock),
                _ => {
                    let record = Some(self.decision.record());
                    events::rejected(self.action, None, record, &why, conflicts, clock)
                }
            });
        }
        let begun = error.is_on_record() || !matches!(error.rollback(), Rollback::NotBegun);
        let kept = kept.filter(|_| begun);
        let (unsettled, at_work) = (error.take_unsettled(), error.take_at_work());
        let outcome = ActError::from(ActErrorKind::Execution(Box::new(error)))
            .with_decision(self.decision.record());
        match Closing(self.agent).settle(kept, before).await {
            Ok(()) => {
                if let Some(unsettled) = unsettled {
                    unsettled.settle().await;
                }
                if let Some(at_work) = at_work {
                    at_work.ended();
                }
            }
            // What happened stands in the answer all the same, and stays open in the journal: the
            // next recovery records it.
            Err(error) => tracing::error!(%error, "a failed execution could not be recorded"),
        }
        outcome
    }
}

//! Agreeing at once, as whoever asks for an action does who may approve it.

use lictor_capability::Described;
use lictor_context::Digest;
use lictor_governance::{ApprovalError, Channel, DecisionRecord, JudgedError, ProvenApprover};

use crate::error::ActErrorKind;
use crate::seen::SeenRun;

/// Somebody who agrees at once to what they are about to see done.
#[derive(Debug)]
pub struct Consent {
    /// Who.
    pub approver: ProvenApprover,
    /// By which way.
    pub channel: Channel,
    /// What they looked at. They agree to nothing else.
    pub seen: Seen,
}

/// What somebody looked at who agrees at once.
#[derive(Debug)]
pub enum Seen {
    /// Actions, by their digests ([`crate::Agent::check`], [`crate::Agent::check_undo`]). Any other that
    /// asks for people is refused: something has changed since they looked.
    Actions(Vec<Digest>),
    /// A run, before it began or before it goes on ([`crate::Runtime::look_at_run`]), with the runs that
    /// its steps begin. About anything else that it turns out to do people are asked when it comes.
    Run(Box<SeenRun>),
}

impl Consent {
    /// Whether it is about an action of a run to which these steps lead; `false`: people are asked as
    /// if nobody had agreed.
    pub(crate) fn covers(
        &self,
        described: &Described,
        decision: &DecisionRecord,
        way: &[String],
    ) -> Result<bool, ActErrorKind> {
        match &self.seen {
            Seen::Actions(seen) if seen.contains(&decision.action_digest) => Ok(true),
            Seen::Actions(_) => {
                let why = "what it would do now is not what was looked at and agreed to; look at it again";
                Err(ActErrorKind::ApprovalBroken(why.to_owned()))
            }
            Seen::Run(run) => Ok(run.covers(described, decision, way)),
        }
    }
}

/// Why an answer about an approval does not count, as whoever asked is told.
pub(crate) fn refused(error: ApprovalError) -> ActErrorKind {
    match error {
        ApprovalError::Judged(JudgedError::Damaged { .. }) => {
            ActErrorKind::ApprovalBroken(error.to_string())
        }
        error => ActErrorKind::ApprovalRefused(error.to_string()),
    }
}

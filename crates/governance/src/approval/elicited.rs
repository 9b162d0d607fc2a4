//! Answers by way of an MCP client: a code that goes with the question, to be typed back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lictor_context::{Clock, Name, Timestamp};

use super::approver::{ApproverError, Approvers, Proof, ProvenApprover, code};
use super::port::ApprovalRequest;
use super::record::Approval;
use crate::policy::{ApprovalSettings, Channel};

/// How long a code may be typed.
const OPEN: Duration = Duration::from_secs(300);

/// A code that goes with one question by way of an MCP client: one try.
///
/// It keeps a client that agrees to everything unread from approving. It is no proof of a person:
/// who can read the question can type the code, and the client also runs the model. That is why
/// the channel is capped.
pub struct ElicitedChallenge {
    code: String,
    until: Timestamp,
    clock: Arc<dyn Clock>,
    approver: ProvenApprover,
}

impl Approvers {
    /// A code for an enrolled approver, for a request that an MCP client is given to show.
    ///
    /// # Errors
    /// When there is no such approver, or they were struck off.
    pub fn elicited(
        &self,
        name: &Name,
        request: &ApprovalRequest,
    ) -> Result<ElicitedChallenge, ApproverError> {
        let record = self.active(name)?;
        let asked = request.approval();
        Ok(ElicitedChallenge {
            code: code()?,
            until: self.now().plus(OPEN).min(asked.expires_at()),
            clock: self.clock(),
            approver: ProvenApprover::by(record, Proof::Elicited),
        })
    }
}

impl ElicitedChallenge {
    /// The code to show: six letters and digits.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Takes what was typed; letter case and blanks around it do not matter.
    ///
    /// # Errors
    /// When it is not the code, or came too late.
    pub fn answer(self, typed: &str) -> Result<ProvenApprover, ApproverError> {
        if !typed.trim().eq_ignore_ascii_case(&self.code) || self.clock.now() >= self.until {
            return Err(ApproverError::WrongCode);
        }
        Ok(self.approver)
    }
}

impl fmt::Debug for ElicitedChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // INVARIANT: never the code.
        f.debug_struct("ElicitedChallenge")
            .field("approver", self.approver.name())
            .finish_non_exhaustive()
    }
}

impl Approval {
    /// Whether an answer by a channel that takes no PIN could count, as far as the risk goes.
    #[must_use]
    pub fn may_come_by(&self, channel: Channel, settings: &ApprovalSettings) -> bool {
        let risk = self.decision().risk_effective;
        let pin = settings.pin_from.is_some_and(|from| risk >= from);
        risk <= settings.cap(channel) && !pin
    }
}

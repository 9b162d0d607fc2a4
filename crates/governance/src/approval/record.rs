//! What a person is asked, and what became of it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lictor_capability::{Described, FileChange, UndoScope};
use lictor_context::{ApprovalId, Digest, Name, Principal, RunId, SessionId, Timestamp, seal};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::approver::{Proof, ProvenApprover};
use super::store::ApprovalStoreError;
use crate::decision::DecisionRecord;
use crate::judged::Hidden;
use crate::policy::{ApprovalSettings, Channel};
use crate::reason::kept;

/// What is shown to whoever is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionSummary {
    /// The capability.
    pub capability: String,
    /// Its version.
    pub version: String,
    /// What it is for, as the contract says.
    pub title: String,
    /// What the plan says it wants; nobody vouches for it.
    pub intent: String,
    /// The input; contents by their digests, secrets left out.
    pub input: Value,
    /// The files that it changes.
    pub files: Vec<FileChange>,
    /// The paths that it reads.
    pub reads: Vec<String>,
    /// The hosts that it talks to.
    pub hosts: Vec<String>,
    /// The programs that it starts.
    pub programs: Vec<String>,
    /// The tools of MCP servers that it calls.
    pub tools: Vec<String>,
    /// How much could be taken back.
    pub undo: UndoScope,
}

impl ActionSummary {
    fn new(described: &Described, undo: UndoScope, hidden: &Hidden) -> Self {
        let (action, contract, effects) =
            (described.action(), described.contract(), described.effects());
        Self {
            capability: contract.id.to_string(),
            version: contract.version.to_string(),
            title: contract.title.clone(),
            intent: action.plan().map(|plan| plan.intent.clone()).unwrap_or_default(),
            input: seal(&hidden.without(None, action.input())),
            files: effects.changes.files(),
            reads: effects.reads.iter().map(ToString::to_string).collect(),
            hosts: effects.hosts.clone(),
            programs: effects.programs.clone(),
            tools: effects.tools.clone(),
            undo,
        }
    }
}

/// Where an approval is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    /// People are asked.
    Pending,
    /// Enough people agreed.
    Granted,
    /// Somebody refused.
    Denied,
    /// It was used.
    Spent,
    /// Time ran out.
    Expired,
    /// It was withdrawn.
    Cancelled,
}

impl ApprovalState {
    /// The word that files and messages use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::Spent => "spent",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether something can still come of it.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Granted)
    }
}

/// One person's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Who.
    pub approver: Name,
    /// By which way.
    pub channel: Channel,
    /// When.
    pub at: Timestamp,
}

/// Why an approval was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denial {
    /// Who refused.
    pub approver: Name,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// Why a request was withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancellation {
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// One question to people, bound to one action digest, good for one use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    id: ApprovalId,
    action_digest: Digest,
    decision: DecisionRecord,
    action: ActionSummary,
    requested_by: Principal,
    session_id: SessionId,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    run_id: Option<RunId>,
    requested_at: Timestamp,
    expires_at: Timestamp,
    /// So that no answer to one question is one to another.
    #[serde(default)]
    nonce: String,
    needed: u32,
    granted_by: Vec<Answer>,
    state: ApprovalState,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    denial: Option<Denial>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    cancelled: Option<Cancellation>,
}

impl Approval {
    pub(super) fn new(
        (id, nonce): (ApprovalId, String),
        described: &Described,
        hidden: &Hidden,
        decision: &DecisionRecord,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Self {
        Self {
            id,
            action_digest: decision.action_digest,
            action: ActionSummary::new(described, decision.undo, hidden),
            requested_by: described.action().session().principal().clone(),
            session_id: described.action().session().id().clone(),
            run_id: described.action().origin().run_id.clone(),
            requested_at: now,
            nonce,
            expires_at,
            needed: decision.approvals_needed.max(1),
            granted_by: Vec::new(),
            state: ApprovalState::Pending,
            denial: None,
            cancelled: None,
            decision: decision.clone(),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &ApprovalId {
        &self.id
    }

    /// What is agreed to.
    #[must_use]
    pub fn action_digest(&self) -> Digest {
        self.action_digest
    }

    /// The decision that asks.
    #[must_use]
    pub fn decision(&self) -> &DecisionRecord {
        &self.decision
    }

    /// What is shown.
    #[must_use]
    pub fn action(&self) -> &ActionSummary {
        &self.action
    }

    /// Who wants it.
    #[must_use]
    pub fn requested_by(&self) -> &Principal {
        &self.requested_by
    }

    /// The session that asked.
    #[must_use]
    pub fn session_id(&self) -> &SessionId {
        &self.session_id
    }

    /// The workflow run that asked.
    #[must_use]
    pub fn run_id(&self) -> Option<&RunId> {
        self.run_id.as_ref()
    }

    /// When people were asked.
    #[must_use]
    pub fn requested_at(&self) -> Timestamp {
        self.requested_at
    }

    /// When it is denied by itself.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The nonce that an answer from elsewhere repeats.
    #[must_use]
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// How many people have to agree.
    #[must_use]
    pub fn needed(&self) -> u32 {
        self.needed
    }

    /// Who agreed so far.
    #[must_use]
    pub fn granted_by(&self) -> &[Answer] {
        &self.granted_by
    }

    /// Where it is in its life, as it was last written down; see [`Approval::state_at`].
    #[must_use]
    pub fn state(&self) -> ApprovalState {
        self.state
    }

    /// Where it is in its life at a moment: an open one is expired when its time is over.
    #[must_use]
    pub fn state_at(&self, now: Timestamp) -> ApprovalState {
        if self.state.is_open() && now >= self.expires_at {
            ApprovalState::Expired
        } else {
            self.state
        }
    }

    /// Who refused it, and why.
    #[must_use]
    pub fn denial(&self) -> Option<&Denial> {
        self.denial.as_ref()
    }

    /// Why it was withdrawn.
    #[must_use]
    pub fn cancelled(&self) -> Option<&Cancellation> {
        self.cancelled.as_ref()
    }

    /// Whether an answer still counts.
    ///
    /// # Errors
    /// When nobody is asked any more.
    pub(super) fn waits(&self, now: Timestamp) -> Result<(), AnswerRefused> {
        self.must_be(&[ApprovalState::Pending, ApprovalState::Granted], now)
    }

    /// Somebody agrees.
    ///
    /// # Errors
    /// When it is not pending any more, or this person by this way does not count.
    pub(super) fn grant(
        &mut self,
        approver: &ProvenApprover,
        channel: Channel,
        settings: &ApprovalSettings,
        now: Timestamp,
    ) -> Result<(), AnswerRefused> {
        self.not_before(now)?;
        self.must_be(&[ApprovalState::Pending], now)?;
        if !approver.proof().fits(channel) {
            return Err(AnswerRefused::OtherChannel { channel });
        }
        let risk = self.decision.risk_effective;
        let without_pin = matches!(approver.proof(), Proof::Terminal | Proof::Elicited);
        if without_pin && settings.pin_from.is_some_and(|from| risk >= from) {
            return Err(AnswerRefused::NoPin { approver: approver.name().clone(), risk });
        }
        if let Some(roles) = settings.missing_role(&self.action.capability, risk, approver.roles())
        {
            let (approver, roles) = (approver.name().clone(), roles.to_vec());
            return Err(AnswerRefused::Role { approver, roles, risk });
        }
        if !settings.requester_may_approve && same(approver.name(), &self.requested_by.user) {
            return Err(AnswerRefused::Requester { approver: approver.name().clone() });
        }
        if self.granted_by.iter().any(|answer| same(&answer.approver, approver.name())) {
            return Err(AnswerRefused::Twice { approver: approver.name().clone() });
        }
        let cap = settings.cap(channel);
        if risk > cap {
            return Err(AnswerRefused::Channel { channel, cap, risk });
        }
        self.granted_by.push(Answer { approver: approver.name().clone(), channel, at: now });
        if u32::try_from(self.granted_by.len()).unwrap_or(u32::MAX) >= self.needed {
            self.state = ApprovalState::Granted;
        }
        Ok(())
    }

    /// Somebody refuses: one is enough, also after others agreed, until it is spent.
    ///
    /// # Errors
    /// When it is neither pending nor granted any more.
    pub(super) fn deny(
        &mut self,
        approver: &ProvenApprover,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), AnswerRefused> {
        self.must_be(&[ApprovalState::Pending, ApprovalState::Granted], now)?;
        self.state = ApprovalState::Denied;
        let approver = approver.name().clone();
        self.denial = Some(Denial { approver, reason: kept(reason), at: now });
        Ok(())
    }

    /// It is used.
    ///
    /// # Errors
    /// When it is not granted, or its time is over.
    pub(super) fn spend(&mut self, now: Timestamp) -> Result<(), AnswerRefused> {
        self.not_before(now)?;
        self.must_be(&[ApprovalState::Granted], now)?;
        self.state = ApprovalState::Spent;
        Ok(())
    }

    /// It is withdrawn.
    ///
    /// # Errors
    /// When nothing can come of it any more.
    pub(super) fn cancel(&mut self, reason: &str, now: Timestamp) -> Result<(), AnswerRefused> {
        self.must_be(&[ApprovalState::Pending, ApprovalState::Granted], now)?;
        self.state = ApprovalState::Cancelled;
        self.cancelled = Some(Cancellation { reason: kept(reason), at: now });
        Ok(())
    }

    /// Writes down that its time is over.
    pub(super) fn expire(&mut self) {
        self.state = ApprovalState::Expired;
    }

    pub(super) fn into_spent_parts(self) -> (ApprovalId, Digest, Arc<[Answer]>, Timestamp) {
        (self.id, self.action_digest, Arc::from(self.granted_by), self.expires_at)
    }

    /// A clock that went back would give it more time than it has. To refuse and to withdraw is fine
    /// at any time.
    fn not_before(&self, now: Timestamp) -> Result<(), AnswerRefused> {
        let answers = self.granted_by.iter().map(|answer| answer.at);
        let last = answers.fold(self.requested_at, Timestamp::max);
        if now < last { Err(AnswerRefused::ClockWentBack { last, now }) } else { Ok(()) }
    }

    fn must_be(&self, states: &[ApprovalState], now: Timestamp) -> Result<(), AnswerRefused> {
        let state = self.state_at(now);
        if states.contains(&state) {
            return Ok(());
        }
        Err(match state {
            ApprovalState::Expired => AnswerRefused::Expired { at: self.expires_at },
            other => AnswerRefused::Settled { state: other.as_str() },
        })
    }
}

/// Roles in words.
pub(super) fn any_of(roles: &[Name]) -> String {
    let quoted: Vec<String> = roles.iter().map(|role| format!("`{role}`")).collect();
    quoted.join(" or ")
}

/// An answer does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerRefused {
    /// Time ran out.
    #[error("the request expired at {at}, and so it is denied")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// It is earlier than when something happened to it: nothing that expires can be trusted.
    #[error("the clock went back: the request is from {last}, and now it is {now}")]
    ClockWentBack {
        /// When people were asked, or answered last.
        last: Timestamp,
        /// What the clock says.
        now: Timestamp,
    },
    /// Whoever agrees, or has agreed, may not approve any more.
    #[error(
        "`{approver}` may not approve any more, so that their answer does not count; `lictor approvals cancel` withdraws a request"
    )]
    NoLonger {
        /// Who.
        approver: Name,
    },
    /// The approver has none of the roles that the policy wants.
    #[error(
        "the policy lets only {} approve this ({risk} risk), and `{approver}` is none of them",
        any_of(roles)
    )]
    Role {
        /// Who.
        approver: Name,
        /// The roles, of which one is enough.
        roles: Vec<Name>,
        /// The risk of the action.
        risk: lictor_capability::Risk,
    },
    /// It is in a state in which nobody is asked.
    #[error("the request is {state}")]
    Settled {
        /// The state.
        state: &'static str,
    },
    /// Who asks may not answer.
    #[error("`{approver}` asked for it, and the policy wants another person to approve")]
    Requester {
        /// Who.
        approver: Name,
    },
    /// The same person again.
    #[error("`{approver}` has approved already; several approvals are several people")]
    Twice {
        /// Who.
        approver: Name,
    },
    /// The channel may not approve such a risk.
    #[error("by {channel} at most {cap} risk may be approved, and this is {risk}")]
    Channel {
        /// The channel.
        channel: Channel,
        /// Its cap.
        cap: lictor_capability::Risk,
        /// The risk of the action.
        risk: lictor_capability::Risk,
    },
    /// At a terminal, a code that is shown and typed is not enough for such a risk.
    #[error(
        "the policy wants a PIN at a terminal for {risk} risk, and `{approver}` has none; `lictor approvers pin` sets one"
    )]
    NoPin {
        /// Who.
        approver: Name,
        /// The risk of the action.
        risk: lictor_capability::Risk,
    },
    /// The person proved who they are by another way than the one they claim to answer by.
    #[error("the approver was not authenticated for the channel `{channel}`")]
    OtherChannel {
        /// The channel.
        channel: Channel,
    },
}

/// Whether two names are one person's: letter case makes no other one.
pub(super) fn same(one: &Name, other: &Name) -> bool {
    one.as_str().eq_ignore_ascii_case(other.as_str())
}

/// What nobody can guess.
pub(super) fn nonce() -> Result<String, ApprovalStoreError> {
    let mut bytes = [0_u8; 24];
    getrandom::fill(&mut bytes)
        .map_err(|error| ApprovalStoreError::Unavailable(format!("no randomness: {error}")))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

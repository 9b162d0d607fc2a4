//! Decisions: the gate's answer, with every rule that spoke.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lictor_capability::{Risk, UndoScope};
use lictor_context::{ActionId, DecisionId, Digest, Timestamp};
use serde::{Deserialize, Serialize};

use crate::gate::GateIdentity;
use crate::policy::PolicySet;
use crate::usage::Tallies;

/// What the gate says. Where several rules speak, the strictest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may be done.
    Allow,
    /// It may be done when people agree.
    NeedApproval,
    /// It may not be done.
    Deny,
}

impl Verdict {
    /// The word that files and messages use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::NeedApproval => "need_approval",
            Self::Deny => "deny",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who speaks in a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// What holds whatever the policies say.
    Builtin,
    /// The contract of the capability.
    Contract,
    /// The policy of whoever manages the machine.
    Managed,
    /// The policy of the user.
    User,
    /// The policy of the workspace.
    Workspace,
}

impl Layer {
    /// The word that files and messages use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::Contract => "contract",
            Self::Managed => "managed",
            Self::User => "user",
            Self::Workspace => "workspace",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One rule that spoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Who speaks.
    pub layer: Layer,
    /// The rule: its name, or its place in the file (`escalate[0]`, `paths.forbidden`).
    pub rule: Arc<str>,
    /// What it says.
    pub verdict: Verdict,
    /// The path that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Arc<str>>,
    /// Why, for people.
    pub message: Arc<str>,
    /// Where the rule stands: file, line, column.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub place: Option<Arc<str>>,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.verdict, self.layer, self.rule)?;
        if let Some(path) = &self.path {
            write!(f, " `{}`", path.escape_debug())?;
        }
        write!(f, ": {}", self.message)?;
        match &self.place {
            Some(place) => write!(f, " ({place})"),
            None => Ok(()),
        }
    }
}

/// A decision as it is stored and shown. It opens nothing: only a [`Decision`] does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionRecord {
    /// Its id.
    pub id: DecisionId,
    /// The answer.
    pub verdict: Verdict,
    /// The risk as the action or its contract states it.
    pub risk_proposed: Risk,
    /// The risk after what policy found.
    pub risk_effective: Risk,
    /// Every rule that spoke.
    pub reasons: Vec<Reason>,
    /// What would help.
    pub required_actions: Vec<String>,
    /// How many people have to agree; 0 unless the answer is `need_approval`.
    pub approvals_needed: u32,
    /// What was judged: input, contract, effects, principal, policy.
    pub action_digest: Digest,
    /// The policies that judged.
    pub policy_digest: Digest,
    /// When the answer is no longer one.
    pub expires_at: Timestamp,
    /// How much could be taken back.
    pub undo: UndoScope,
    /// Why not all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo_because: Vec<Arc<str>>,
}

impl DecisionRecord {
    /// The decision in words, the strictest reasons first.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut text = format!("{}: {}", self.id, self.verdict);
        // Writing to a string cannot fail.
        let mut say = |line: fmt::Arguments<'_>| text.write_fmt(line).unwrap_or_default();
        if self.approvals_needed > 0 {
            say(format_args!(" ({} approval(s) needed)", self.approvals_needed));
        }
        say(format_args!("\nrisk: {}", self.risk_effective));
        if self.risk_effective != self.risk_proposed {
            say(format_args!(" (proposed: {})", self.risk_proposed));
        }
        let undo = match self.undo {
            UndoScope::Full => "everything",
            UndoScope::Partial => "the file changes, but not everything else",
            UndoScope::None => "nothing",
        };
        say(format_args!("\ncan be undone: {undo}"));
        for why in &self.undo_because {
            say(format_args!("\n  {why}"));
        }
        say(format_args!("\nbecause:"));
        let mut reasons: Vec<&Reason> = self.reasons.iter().collect();
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.verdict));
        for reason in reasons {
            say(format_args!("\n  {reason}"));
        }
        if !self.required_actions.is_empty() {
            say(format_args!("\nwhat would help:"));
            for action in &self.required_actions {
                say(format_args!("\n  {action}"));
            }
        }
        say(format_args!("\npolicy: {}\naction: {}\n", self.policy_digest, self.action_digest));
        text
    }
}

/// The gate's answer to one action. Only a [`crate::WriteGate`] makes one, and it gives at most
/// one warrant, however often it is cloned.
#[derive(Debug, Clone)]
pub struct Decision {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    record: DecisionRecord,
    action_id: ActionId,
    gate: GateIdentity,
    basis: Basis,
    used: AtomicBool,
}

/// What a decision was made from, beside the action.
#[derive(Debug)]
pub(crate) struct Basis {
    pub(crate) decided_at: Timestamp,
    pub(crate) tallies: Tallies,
    pub(crate) policies: Arc<PolicySet>,
    pub(crate) notice: Option<Arc<str>>,
}

impl Decision {
    pub(crate) fn new(
        record: DecisionRecord,
        action_id: ActionId,
        gate: GateIdentity,
        basis: Basis,
    ) -> Self {
        let used = AtomicBool::new(false);
        Self { inner: Arc::new(Inner { record, action_id, gate, basis, used }) }
    }

    /// When it was made.
    #[must_use]
    pub fn decided_at(&self) -> Timestamp {
        self.inner.basis.decided_at
    }

    /// The policies that judged.
    #[must_use]
    pub fn policies(&self) -> &Arc<PolicySet> {
        &self.inner.basis.policies
    }

    /// What was wrong with the policy files, when something was.
    #[must_use]
    pub fn notice(&self) -> Option<&str> {
        self.inner.basis.notice.as_deref()
    }

    /// What was known of usage.
    #[must_use]
    pub fn tallies(&self) -> &Tallies {
        &self.inner.basis.tallies
    }

    /// Everything that it says, to be stored or shown.
    #[must_use]
    pub fn record(&self) -> &DecisionRecord {
        &self.inner.record
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &DecisionId {
        &self.inner.record.id
    }

    /// The answer.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.inner.record.verdict
    }

    /// Every rule that spoke.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        &self.inner.record.reasons
    }

    /// What was judged.
    #[must_use]
    pub fn action_digest(&self) -> Digest {
        self.inner.record.action_digest
    }

    /// How many people have to agree.
    #[must_use]
    pub fn approvals_needed(&self) -> u32 {
        self.inner.record.approvals_needed
    }

    /// The risk after what policy found.
    #[must_use]
    pub fn risk_effective(&self) -> Risk {
        self.inner.record.risk_effective
    }

    /// When it is no longer an answer.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.inner.record.expires_at
    }

    /// The decision in words.
    #[must_use]
    pub fn explain(&self) -> String {
        self.inner.record.explain()
    }

    /// The action that was judged.
    #[must_use]
    pub fn action_id(&self) -> &ActionId {
        &self.inner.action_id
    }

    pub(crate) fn is_from(&self, gate: &GateIdentity) -> bool {
        self.inner.gate == *gate
    }

    /// Marks it used; false when it was already.
    pub(crate) fn take(&self) -> bool {
        !self.inner.used.swap(true, Ordering::AcqRel)
    }
}

impl Serialize for Decision {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner.record.serialize(serializer)
    }
}

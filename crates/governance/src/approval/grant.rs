//! Grants: an approval in advance, for a narrow pattern, with an end.

use std::collections::BTreeSet;
use std::time::Duration;

use globset::{GlobSet, GlobSetBuilder};
use lictor_capability::{ChangeKind, Described, EffectKind, Risk};
use lictor_context::{ApprovalId, Clock, Digest, GrantId, Name, Principal, Timestamp};
use serde::{Deserialize, Serialize};

use super::record::{Answer, Approval};
use crate::decision::{DecisionRecord, Layer, Verdict};
use crate::judged::JudgedAction;
use crate::policy::path_globs;

/// No grant holds longer.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// What a person agrees to in advance, beside what the request that they look at says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantTerms {
    /// Globs, as in a policy: every path that is read or changed fits one of them. None for actions
    /// that touch no path.
    pub paths: Vec<String>,
    /// How long it holds; 30 days at most.
    pub lasts: Duration,
    /// How often it may be used; as often as there is time when `None`.
    pub uses: Option<u32>,
}

/// An approval in advance. It only ever answers a decision that asks for approval, of the
/// principal and under the policies that it was given for, for the capability by its contract, for
/// effects of the kinds and risks that the person looked at, on paths that fit its pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    pub(super) id: GrantId,
    pub(super) capability: String,
    pub(super) contract: Digest,
    pub(super) principal: Principal,
    pub(super) policy_digest: Digest,
    pub(super) paths: Vec<String>,
    pub(super) effects: BTreeSet<EffectKind>,
    pub(super) elsewhere: BTreeSet<(EffectKind, String)>,
    pub(super) max_risk: Risk,
    pub(super) created_at: Timestamp,
    pub(super) until: Timestamp,
    pub(super) max_uses: Option<u32>,
    pub(super) uses: u32,
    pub(super) granted_by: Answer,
    pub(super) from: ApprovalId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revoked: Option<Revocation>,
}

/// How a grant was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Who took it back, as they call themselves: to take back is never dangerous.
    pub by: Name,
    /// When.
    pub at: Timestamp,
}

/// Why a grant does not answer a decision, or cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefused {
    /// A pattern is none, or fits everything.
    #[error("`{}` is no pattern for a grant: {why}", .glob.escape_debug())]
    Pattern {
        /// The pattern.
        glob: String,
        /// Why.
        why: String,
    },
    /// It would hold too long, or not at all.
    #[error(
        "a grant ends; it holds for a moment at least and 30 days at most, and is used once at least"
    )]
    NoEnd,
    /// Several people, or a person each time, have to agree.
    #[error("{0}, and a grant is no such answer")]
    EachTime(String),
    /// It has ended.
    #[error("the grant is {0}")]
    Ended(&'static str),
    /// Something is not what the grant is about.
    #[error("the grant is about another {0}")]
    Other(&'static str),
    /// An effect is outside of it.
    #[error("`{}` is outside of the grant", .0.escape_debug())]
    Outside(String),
}

impl Grant {
    pub(super) fn new(
        approval: &Approval,
        described: &Facts<'_>,
        granted_by: Answer,
        terms: &GrantTerms,
        clock: &dyn Clock,
    ) -> Result<Self, GrantRefused> {
        let now = clock.now();
        if terms.lasts.is_zero() || terms.lasts > LONGEST || terms.uses == Some(0) {
            return Err(GrantRefused::NoEnd);
        }
        for glob in &terms.paths {
            narrow(glob)?;
        }
        let decision = approval.decision();
        let grant = Self {
            id: GrantId::generate(clock),
            capability: described.capability.to_owned(),
            contract: described.contract,
            principal: approval.requested_by().clone(),
            policy_digest: decision.policy_digest,
            paths: terms.paths.clone(),
            effects: described.effects.iter().map(|(kind, _)| *kind).collect(),
            elsewhere: described
                .elsewhere
                .iter()
                .map(|(kind, name)| (*kind, (*name).to_owned()))
                .collect(),
            max_risk: decision.risk_effective,
            created_at: now,
            until: now.plus(terms.lasts),
            max_uses: terms.uses,
            uses: 0,
            granted_by,
            from: approval.id().clone(),
            revoked: None,
        };
        // What is agreed to in advance is at least what is being looked at.
        grant.answers(described, approval.requested_by(), decision, now)?;
        Ok(grant)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &GrantId {
        &self.id
    }

    /// Who gave it, and by which way.
    #[must_use]
    pub fn granted_by(&self) -> &Answer {
        &self.granted_by
    }

    /// When it ends by itself.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// How often it was used.
    #[must_use]
    pub fn uses(&self) -> u32 {
        self.uses
    }

    /// How often it may be used.
    #[must_use]
    pub fn max_uses(&self) -> Option<u32> {
        self.max_uses
    }

    /// The capability.
    #[must_use]
    pub fn capability(&self) -> &str {
        &self.capability
    }

    /// The globs that paths have to fit.
    #[must_use]
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// For whom.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// When it was given.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// Where it is in its life, in a word: `open`, `revoked`, `expired`, `used_up` or
    /// `policy_changed`.
    #[must_use]
    pub fn state(&self, now: Timestamp, policy: Digest) -> &'static str {
        if self.revoked.is_some() {
            "revoked"
        } else if self.max_uses.is_some_and(|most| self.uses >= most) {
            "used_up"
        } else if now >= self.until || now < self.created_at {
            // A clock that runs backwards gives no more time.
            "expired"
        } else if self.policy_digest != policy {
            "policy_changed"
        } else {
            "open"
        }
    }

    /// Whether it answers a decision.
    pub(super) fn answers(
        &self,
        action: &Facts<'_>,
        principal: &Principal,
        decision: &DecisionRecord,
        now: Timestamp,
    ) -> Result<(), GrantRefused> {
        use GrantRefused as No;
        match self.state(now, decision.policy_digest) {
            "open" => {}
            ended => return Err(No::Ended(ended)),
        }
        each_time(decision)?;
        if action.rolls_back {
            return Err(No::EachTime("a rollback is what a failure brings".to_owned()));
        }
        for (same, what) in [
            (self.principal == *principal, "principal"),
            (self.capability == action.capability, "capability"),
            (self.contract == action.contract, "contract"),
            (decision.risk_effective <= self.max_risk, "risk"),
        ] {
            if !same {
                return Err(No::Other(what));
            }
        }
        let globs = globs(&self.paths)?;
        for (kind, path) in &action.effects {
            if !self.effects.contains(kind) || !globs.is_match(path) {
                return Err(No::Outside((*path).to_owned()));
            }
        }
        let known = |(kind, name): &(EffectKind, &str)| {
            self.elsewhere.iter().any(|(one, other)| one == kind && other == name)
        };
        match action.elsewhere.iter().find(|one| !known(one)) {
            Some((_, outside)) => Err(No::Outside((*outside).to_owned())),
            None => Ok(()),
        }
    }
}

/// Whether a decision takes more than one person who agreed in advance.
fn each_time(decision: &DecisionRecord) -> Result<(), GrantRefused> {
    let fail = |why: String| Err(GrantRefused::EachTime(why));
    if decision.verdict != Verdict::NeedApproval {
        return fail(format!("the decision is `{}`", decision.verdict));
    }
    if decision.approvals_needed > 1 {
        return fail(format!("{} people have to agree", decision.approvals_needed));
    }
    let asks = |reason: &&crate::decision::Reason| {
        reason.verdict == Verdict::NeedApproval && reason.layer == Layer::Contract
    };
    match decision.reasons.iter().find(asks) {
        Some(reason) => fail(reason.message.to_string()),
        None => Ok(()),
    }
}

/// What of an action a grant looks at.
pub(super) struct Facts<'a> {
    pub(super) capability: &'a str,
    pub(super) contract: Digest,
    /// What is read, written and deleted.
    pub(super) effects: Vec<(EffectKind, &'a str)>,
    /// What is done elsewhere, by hosts, programs and tools; and reading the root's names.
    pub(super) elsewhere: BTreeSet<(EffectKind, &'a str)>,
    pub(super) rolls_back: bool,
}

impl<'a> Facts<'a> {
    pub(super) fn of(described: &'a Described) -> Self {
        let effects = described.effects();
        let mut facts = Self {
            capability: described.contract().id.as_str(),
            contract: described.contract().digest(),
            effects: Vec::new(),
            elsewhere: BTreeSet::new(),
            rolls_back: described.action().origin().rolls_back.is_some()
                || !effects.takes_back.is_empty(),
        };
        // A parent that is made because something goes into it is part of that.
        let implicit: BTreeSet<&str> = (effects.changes.items.iter())
            .filter(|item| item.implicit && item.kind == ChangeKind::Mkdir)
            .map(lictor_capability::Item::path)
            .collect();
        for effect in effects.iter() {
            match effect.kind {
                EffectKind::FsRead | EffectKind::FsWrite | EffectKind::FsDelete => {
                    if !(effect.kind == EffectKind::FsWrite && implicit.contains(effect.target)) {
                        facts.effects.push((effect.kind, effect.target));
                    }
                }
                kind @ (EffectKind::Net | EffectKind::Process | EffectKind::Mcp) => {
                    facts.elsewhere.insert((kind, effect.target));
                }
            }
        }
        if effects.reads_root {
            facts.elsewhere.insert((EffectKind::FsRead, "."));
        }
        facts
    }

    /// The same of what is kept with a request.
    pub(super) fn of_judged(judged: &'a JudgedAction) -> Self {
        let mut effects: Vec<(EffectKind, &str)> =
            judged.reads.iter().map(|path| (EffectKind::FsRead, path.as_str())).collect();
        for item in &judged.items {
            if item.implicit && item.kind == ChangeKind::Mkdir {
                continue;
            }
            let goes = matches!(item.kind, ChangeKind::Delete | ChangeKind::Rmdir);
            let kind = if goes { EffectKind::FsDelete } else { EffectKind::FsWrite };
            let ends = [&item.from, &item.to];
            effects.extend(ends.into_iter().flatten().map(|path| (kind, path.as_str())));
        }
        let JudgedAction { hosts, programs, tools, .. } = judged;
        let of = |kind: EffectKind, names: &'a [String]| {
            names.iter().map(move |name| (kind, name.as_str())).collect::<Vec<_>>()
        };
        let mut elsewhere: BTreeSet<(EffectKind, &str)> = of(EffectKind::Net, hosts)
            .into_iter()
            .chain(of(EffectKind::Process, programs))
            .chain(of(EffectKind::Mcp, tools))
            .collect();
        if judged.reads_root {
            elsewhere.insert((EffectKind::FsRead, "."));
        }
        Self {
            capability: &judged.capability,
            contract: judged.contract,
            effects,
            elsewhere,
            rolls_back: judged.rolls_back.is_some() || !judged.takes_back.is_empty(),
        }
    }
}

/// A pattern that says something: a first part without wildcards, so that it names a place.
fn narrow(glob: &str) -> Result<(), GrantRefused> {
    let refuse = |why: String| Err(GrantRefused::Pattern { glob: glob.to_owned(), why });
    if let Err(why) = path_globs(glob, false) {
        return refuse(why);
    }
    let first = glob.split('/').next().unwrap_or_default();
    if first.contains(['*', '?', '[', '{', '!', '\\']) {
        return refuse("it begins with a wildcard; begin with a folder or a file".to_owned());
    }
    Ok(())
}

fn globs(paths: &[String]) -> Result<GlobSet, GrantRefused> {
    let mut builder = GlobSetBuilder::new();
    for path in paths {
        let refuse = |why| GrantRefused::Pattern { glob: path.clone(), why };
        for glob in path_globs(path, false).map_err(refuse)? {
            builder.add(glob);
        }
    }
    builder
        .build()
        .map_err(|error| GrantRefused::Pattern { glob: paths.join(", "), why: error.to_string() })
}

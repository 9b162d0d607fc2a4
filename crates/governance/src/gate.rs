//! The write gate: judges effects, and makes warrants.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lictor_capability::Described;
use lictor_context::{Clock, DecisionId, Digest, Timestamp, WarrantId, WorkspacePath};

use crate::approval::SpentApproval;
use crate::decision::{Basis, Decision, DecisionRecord, Verdict};
use crate::halt::{Halted, Halts};
use crate::judged::{Hidden, Judged, JudgedError, action_digest};
use crate::policy::{Asked, PolicySet};
use crate::undoing::Undoing;
use crate::usage::{
    MemoryUsageStore, ReserveError, Tallies, UsageEntry, UsageExceeded, UsageMeter, UsageStore,
    UsageStoreError,
};
use crate::warrant::Warrant;

/// How long a decision without approvals is an answer, and how long a warrant opens something.
const SHORT: Duration = Duration::from_secs(60);

/// Which gate. Compared by identity: no two gates are equal.
#[derive(Clone)]
pub struct GateIdentity(Arc<()>);

impl PartialEq for GateIdentity {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for GateIdentity {}

impl fmt::Debug for GateIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GateIdentity({:p})", Arc::as_ptr(&self.0))
    }
}

/// Judges what actions will do, by policies, and makes warrants for what may be done.
///
/// It does no I/O and waits for nobody; a gate with a kill switch asks that for halts. Whatever goes wrong inside it is a denial.
#[derive(Debug)]
pub struct WriteGate {
    shared: Arc<Shared>,
}

/// What the gate shares with the approvals broker: a reload reaches both.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) identity: GateIdentity,
    pub(crate) clock: Arc<dyn Clock>,
    usage: Arc<dyn UsageStore>,
    in_force: RwLock<InForce>,
    halts: Option<Arc<Halts>>,
}

/// The policies in force, and what they keep out of sight.
#[derive(Debug, Clone)]
pub(crate) struct InForce {
    pub(crate) policies: Arc<PolicySet>,
    pub(crate) hidden: Arc<Hidden>,
    /// What is wrong with their files, when something is.
    pub(crate) notice: Option<Arc<str>>,
}

impl InForce {
    fn new(policies: Arc<PolicySet>) -> Self {
        Self { hidden: Arc::new(Hidden::by(&policies)), policies, notice: None }
    }

    /// No policy, which denies everything.
    fn nobodys() -> Self {
        let why = "the lock around the policies is poisoned, so none of them counts";
        Self { notice: Some(Arc::from(why)), ..Self::new(Arc::new(PolicySet::empty())) }
    }

    /// What an action is bound to under these policies.
    pub(crate) fn digest(&self, described: &Described) -> Digest {
        action_digest(
            described,
            self.undoing(described).scope,
            self.policies.digest(),
            &self.hidden,
        )
    }

    /// The bytes that this is the digest of.
    pub(crate) fn bytes(&self, described: &Described) -> Vec<u8> {
        let (undo, policies) = (self.undoing(described).scope, self.policies.digest());
        crate::judged::action_bytes(described, undo, policies, &self.hidden)
    }

    fn undoing(&self, described: &Described) -> Undoing {
        Undoing::of(described, &self.policies.settings().undo_retention)
    }
}

impl Shared {
    pub(crate) fn policies(&self) -> Arc<PolicySet> {
        self.in_force().policies
    }

    pub(crate) fn in_force(&self) -> InForce {
        // Whoever exchanged the policies panicked half-way: nobody can say which of them are meant.
        self.in_force.read().map_or_else(|_| InForce::nobodys(), |in_force| in_force.clone())
    }
}

impl WriteGate {
    /// A gate that judges by these policies.
    #[must_use]
    pub fn new(policies: Arc<PolicySet>, clock: Arc<dyn Clock>) -> Self {
        Self::with_usage(policies, clock, Arc::new(MemoryUsageStore::default()))
    }

    /// A gate that counts use in a store; [`WriteGate::new`] counts in memory.
    #[must_use]
    pub fn with_usage(
        policies: Arc<PolicySet>,
        clock: Arc<dyn Clock>,
        usage: Arc<dyn UsageStore>,
    ) -> Self {
        Self::with_stores(policies, clock, usage, None)
    }

    /// A gate that judges by these policies, and makes no warrant for whoever is halted.
    #[must_use]
    pub fn with_halts(policies: Arc<PolicySet>, clock: Arc<dyn Clock>, halts: Arc<Halts>) -> Self {
        let usage = Arc::new(MemoryUsageStore::default());
        Self::with_stores(policies, clock, usage, Some(halts))
    }

    /// A gate that counts use in a store and, where it is told who is halted, makes no warrant
    /// for them.
    #[must_use]
    pub fn with_stores(
        policies: Arc<PolicySet>,
        clock: Arc<dyn Clock>,
        usage: Arc<dyn UsageStore>,
        halts: Option<Arc<Halts>>,
    ) -> Self {
        let identity = GateIdentity(Arc::new(()));
        let in_force = RwLock::new(InForce::new(policies));
        Self { shared: Arc::new(Shared { identity, clock, usage, in_force, halts }) }
    }

    /// Which gate this is.
    #[must_use]
    pub fn identity(&self) -> GateIdentity {
        self.shared.identity.clone()
    }

    /// The policies that it judges by at present.
    #[must_use]
    pub fn policies(&self) -> Arc<PolicySet> {
        self.shared.policies()
    }

    /// Judges by other policies from now on. Decisions and approvals by the old ones open nothing
    /// any more, unless the files are the same byte for byte.
    pub fn reload(&self, policies: Arc<PolicySet>) {
        let in_force = InForce::new(policies);
        *self.shared.in_force.write().unwrap_or_else(PoisonError::into_inner) = in_force;
        // A whole value is in its place.
        self.shared.in_force.clear_poison();
    }

    /// Whether nobody may look into a path: see [`PolicySet::hides`]. Everything, when nobody can
    /// say which policies are in force.
    #[must_use]
    pub fn hides(&self, path: &WorkspacePath) -> bool {
        self.shared.in_force.read().map_or(true, |in_force| in_force.policies.hides(path))
    }

    /// Goes on judging by the present policies although their files are something else by now,
    /// and says so in every decision: a file that is no policy never counts as none.
    pub fn keep_although(&self, why: &str) {
        let mut in_force = self.shared.in_force.write().unwrap_or_else(PoisonError::into_inner);
        in_force.notice = Some(Arc::from(format!("the last good policy stays in force: {why}")));
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Judges. Nothing is done, nothing is written; the same question gets the same answer.
    #[must_use]
    pub fn decide(&self, described: &Described) -> Decision {
        let in_force = self.shared.in_force();
        let (policies, notice) = (Arc::clone(&in_force.policies), in_force.notice.clone());
        let now = self.shared.clock.now();
        let asked = Asked::of(described);
        let tallies = self.tallies(&policies, &asked, now);
        let mut judgement = policies.judge(&asked, &tallies, now);
        judgement.note(notice.as_deref());
        let lifetime = match judgement.verdict {
            Verdict::NeedApproval => policies.settings().approvals.timeout.as_duration().max(SHORT),
            Verdict::Allow | Verdict::Deny => SHORT,
        };
        let Undoing { scope: undo, because: undo_because } = in_force.undoing(described);
        let record = DecisionRecord {
            id: DecisionId::generate(&*self.shared.clock),
            verdict: judgement.verdict,
            risk_proposed: judgement.risk_proposed,
            risk_effective: judgement.risk_effective,
            reasons: judgement.reasons,
            required_actions: judgement.required_actions,
            approvals_needed: judgement.approvals_needed,
            action_digest: in_force.digest(described),
            policy_digest: policies.digest(),
            expires_at: now.plus(lifetime),
            undo,
            undo_because,
        };
        let basis = Basis { decided_at: now, tallies, policies, notice };
        Decision::new(record, described.action().id().clone(), self.shared.identity.clone(), basis)
    }

    /// What was used so far, where the policies ask for it.
    fn tallies(&self, policies: &PolicySet, asked: &Asked<'_>, now: Timestamp) -> Tallies {
        let windows = policies.usage_windows(asked);
        if windows.is_empty() {
            return Tallies::default();
        }
        let tallies = self.shared.usage.tally(&asked.subject(), &windows, now);
        tallies.unwrap_or_else(|error| Tallies {
            windows: Vec::new(),
            problem: Some(error.to_string()),
        })
    }

    /// What would be judged, in canonical bytes, with the contents that people are to be shown:
    /// those that the action brings, and of `contents` those that it names.
    ///
    /// # Errors
    /// When it is too much to be shown, or new content is missing.
    pub fn judged(
        &self,
        described: &Described,
        contents: impl IntoIterator<Item = Arc<[u8]>>,
    ) -> Result<Judged, JudgedError> {
        Judged::new(described, self.shared.in_force().bytes(described), contents)
    }

    /// Makes the warrant for an action that was let through.
    ///
    /// # Errors
    /// When the decision is not about exactly this action by exactly these policies, is too old,
    /// was used already, says no, or asks for an approval that is missing or about something else.
    pub fn authorize(
        &self,
        described: Described,
        decision: &Decision,
        approval: Option<SpentApproval>,
    ) -> Result<Warrant, NotAuthorized> {
        let now = self.shared.clock.now();
        let fail = |kind| Err(NotAuthorized { kind });
        if let Err(kind) = self.check(&described, decision, approval.as_ref(), now) {
            return fail(kind);
        }
        if !decision.take() {
            return fail(NotAuthorizedKind::DecisionUsed);
        }
        if let Err(kind) = self.reserve(&described, now) {
            return fail(kind);
        }
        let mut expires_at = now.plus(SHORT);
        if let Some(approval) = &approval {
            expires_at = expires_at.min(approval.expires_at());
        }
        let meter =
            UsageMeter::new(Arc::clone(&self.shared.usage), described.action().id().clone());
        Ok(Warrant::new(
            WarrantId::generate(&*self.shared.clock),
            described,
            decision.clone(),
            approval,
            self.shared.identity.clone(),
            meter,
            (now, expires_at),
        ))
    }

    /// Writes the use down, if the limits still leave room for it: others may have been faster.
    fn reserve(&self, described: &Described, now: Timestamp) -> Result<(), NotAuthorizedKind> {
        let policies = self.shared.policies();
        let asked = Asked::of(described);
        let windows = policies.usage_windows(&asked);
        if windows.is_empty() {
            return Ok(());
        }
        let entry = UsageEntry::of(described, now);
        let reserved = self.shared.usage.reserve(entry, windows, policies.usage_check(&asked));
        reserved.map_err(|error| match error {
            ReserveError::Exceeded(exceeded) => NotAuthorizedKind::UsageExceeded(exceeded),
            ReserveError::Store(error) => NotAuthorizedKind::NotCounted(error),
        })
    }

    fn check(
        &self,
        described: &Described,
        decision: &Decision,
        approval: Option<&SpentApproval>,
        now: Timestamp,
    ) -> Result<(), NotAuthorizedKind> {
        use NotAuthorizedKind as Kind;
        if !decision.is_from(&self.shared.identity) {
            return Err(Kind::OtherGate);
        }
        let in_force = self.shared.in_force();
        if decision.record().policy_digest != in_force.policies.digest() {
            return Err(Kind::PolicyChanged);
        }
        let found = in_force.digest(described);
        if found != decision.action_digest() || decision.action_id() != described.action().id() {
            return Err(Kind::ActionChanged { judged: decision.action_digest(), found });
        }
        if now < decision.decided_at() {
            return Err(Kind::ClockWentBack { decided_at: decision.decided_at(), now });
        }
        if now >= decision.expires_at() {
            return Err(Kind::Expired { at: decision.expires_at() });
        }
        if let Some(halts) = &self.shared.halts {
            let session = described.action().session();
            halts.check(session.principal(), session.id()).map_err(Kind::Halted)?;
        }
        match decision.verdict() {
            Verdict::Allow => Ok(()),
            Verdict::Deny => Err(Kind::Denied),
            Verdict::NeedApproval => self.check_approval(decision, approval, now),
        }
    }

    fn check_approval(
        &self,
        decision: &Decision,
        approval: Option<&SpentApproval>,
        now: Timestamp,
    ) -> Result<(), NotAuthorizedKind> {
        use NotAuthorizedKind as Kind;
        let needed = decision.approvals_needed();
        let Some(approval) = approval else {
            return Err(Kind::ApprovalMissing { needed });
        };
        if !approval.is_from(&self.shared.identity) {
            return Err(Kind::OtherGate);
        }
        if approval.action_digest() != decision.action_digest() {
            return Err(Kind::ApprovalForSomethingElse { approved: approval.action_digest() });
        }
        if now >= approval.expires_at() {
            return Err(Kind::Expired { at: approval.expires_at() });
        }
        let given = u32::try_from(approval.granted_by().len()).unwrap_or(u32::MAX);
        if given < needed {
            return Err(Kind::TooFewApprovals { given, needed });
        }
        Ok(())
    }
}

/// There is no warrant for an action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not authorized: {kind}")]
pub struct NotAuthorized {
    kind: NotAuthorizedKind,
}

impl NotAuthorized {
    /// Why.
    #[must_use]
    pub fn kind(&self) -> &NotAuthorizedKind {
        &self.kind
    }

    /// Whether something was exchanged between the decision and now; else it is a plain refusal.
    #[must_use]
    pub fn is_integrity(&self) -> bool {
        use NotAuthorizedKind as Kind;
        match self.kind {
            Kind::OtherGate
            | Kind::PolicyChanged
            | Kind::ActionChanged { .. }
            | Kind::DecisionUsed
            | Kind::ApprovalForSomethingElse { .. } => true,
            Kind::Expired { .. }
            | Kind::Halted(_)
            | Kind::ClockWentBack { .. }
            | Kind::UsageExceeded(_)
            | Kind::NotCounted(_)
            | Kind::Denied
            | Kind::ApprovalMissing { .. }
            | Kind::TooFewApprovals { .. } => false,
        }
    }
}

/// Why there is no warrant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAuthorizedKind {
    /// The decision or the approval is another gate's.
    #[error("the decision or the approval comes from another gate")]
    OtherGate,
    /// The policies were exchanged since.
    #[error("the policy changed since the decision was made")]
    PolicyChanged,
    /// The action, its input, contract, effects or principal are not those that were judged.
    #[error("this is not the action that was judged: judged was {judged}, found {found}")]
    ActionChanged {
        /// What was judged.
        judged: Digest,
        /// What was found.
        found: Digest,
    },
    /// The decision has given its warrant.
    #[error("the decision was used already; one decision gives one warrant")]
    DecisionUsed,
    /// The decision or the approval is too old.
    #[error("the decision or the approval expired at {at}")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// Nothing new may begin.
    #[error(transparent)]
    Halted(Halted),
    /// It is earlier than when the decision was made: nothing that expires can be trusted.
    #[error("the clock went back: decided at {decided_at}, and now it is {now}")]
    ClockWentBack {
        /// When the decision was made.
        decided_at: Timestamp,
        /// What the clock says.
        now: Timestamp,
    },
    /// Somebody else was faster, and a limit leaves no room any more.
    #[error("{0}")]
    UsageExceeded(UsageExceeded),
    /// What has to be counted cannot be.
    #[error("{0}")]
    NotCounted(UsageStoreError),
    /// The answer is no.
    #[error("the policy denies it")]
    Denied,
    /// People have to agree first.
    #[error("{needed} approval(s) are needed")]
    ApprovalMissing {
        /// How many people.
        needed: u32,
    },
    /// Fewer people agreed than have to.
    #[error("{needed} approvals are needed, and {given} were given")]
    TooFewApprovals {
        /// How many agreed.
        given: u32,
        /// How many have to.
        needed: u32,
    },
    /// What people agreed to is something else.
    #[error("the approval is about something else: {approved}")]
    ApprovalForSomethingElse {
        /// What they agreed to.
        approved: Digest,
    },
}

#[cfg(test)]
mod tests {
    use lictor_context::{ManualClock, WorkspacePath};
    use lictor_document::Source;

    use super::*;

    /// Nothing public panics while the policies are exchanged; should anything ever, the gate closes.
    #[test]
    fn a_poisoned_lock_denies_and_hides_everything_until_policies_are_put_in_force() {
        let open = b"version: 1\npaths: {allowed: ['**']}\n";
        let open = || Arc::new(PolicySet::workspace(&Source::new("p.yaml", open)).unwrap());
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
        let gate = WriteGate::new(open(), clock);
        let path = WorkspacePath::parse("a").unwrap();
        assert!(!gate.hides(&path));
        let shared = gate.shared();
        let panicked = std::thread::spawn(move || {
            let _held = shared.in_force.write();
            panic!("half-way");
        });
        panicked.join().unwrap_err();
        assert!(gate.hides(&path));
        assert_eq!(gate.policies().digest(), PolicySet::empty().digest());
        let notice = gate.shared.in_force().notice.unwrap();
        assert!(notice.contains("poisoned"), "{notice}");
        gate.keep_although("a file is broken");
        assert!(gate.hides(&path), "a notice opens nothing");
        gate.reload(open());
        assert!(!gate.hides(&path));
    }
}

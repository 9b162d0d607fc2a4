//! Grants and halts: `grant_is_narrow`, `halt_stops_everything_new`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lictor_capability::{EffectKind, Risk};
use lictor_context::{Clock, ManualClock};
use lictor_governance::{
    ApprovalError, ApprovalState, Approvals, Approvers, Channel, Consented, Grant, GrantRefused,
    GrantTerms, HaltScope, Halted, Halts, MemoryApprovalStore, MemoryApproverStore,
    MemoryGrantStore, MemoryHaltStore, NotAuthorizedKind, ProvenApprover, ResumeError, WriteGate,
};
use proptest::prelude::*;

use crate::common::{Ask, clock, minutes, name, policies};

const ASKS: &str = "version: 1\npaths: {protected: [\"**\"], forbidden: [\"src/no/**\"]}\n";

struct House {
    gate: WriteGate,
    clock: Arc<ManualClock>,
    approvals: Approvals,
    halts: Arc<Halts>,
    root: ProvenApprover,
}

impl House {
    fn new(policy: &str) -> Self {
        let clock = clock();
        let time: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let halts = Halts::new(Arc::new(MemoryHaltStore::default()), Arc::clone(&time));
        let halts = Arc::new(halts);
        let gate = WriteGate::with_halts(policies(policy), time, Arc::clone(&halts));
        let requests = Arc::new(MemoryApprovalStore::default());
        let grants = Arc::new(MemoryGrantStore::new(Arc::clone(&requests)));
        let approvals = Approvals::new(&gate, requests).with_grants(grants);
        let approvers = Approvers::new(Arc::new(MemoryApproverStore::default()), clock.clone());
        let (_, token) = approvers.bootstrap(name("root"), Vec::new()).unwrap();
        let root = approvers.authenticate(token.expose()).unwrap();
        Self { gate, clock, approvals, halts, root }
    }

    fn grant(&self, ask: &Ask, terms: &GrantTerms) -> Result<Grant, ApprovalError> {
        let described = ask.describe();
        let decision = self.gate.decide(&described);
        let asked = self.approvals.request(&described, &decision, [])?;
        let done =
            self.approvals.grant_in_advance(asked.id(), &self.root, Channel::Token, terms)?;
        // The request itself is answered as well; used, it is out of the way of the grant.
        assert_eq!(done.0.state(), ApprovalState::Granted);
        assert!(self.approvals.spend(decision.action_digest())?.is_some());
        Ok(done.1)
    }

    /// Whether a grant lets an action through, to a warrant.
    fn passes(&self, ask: &Ask) -> bool {
        let described = ask.describe();
        let decision = self.gate.decide(&described);
        let Some((spent, _)) = self.approvals.spend_grant(&described, &decision).unwrap() else {
            return false;
        };
        assert!(matches!(spent.by(), Consented::Grant(_)));
        let warrant = self.gate.authorize(described, &decision, Some(spent)).unwrap();
        assert_eq!(warrant.approval().unwrap().granted_by()[0].approver.as_str(), "root");
        true
    }
}

fn terms(paths: &[&str]) -> GrantTerms {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    GrantTerms { paths, lasts: Duration::from_secs(3_600), uses: None }
}

fn write(path: &str) -> Ask {
    Ask::new("fs.write").write(path)
}

#[test]
fn a_grant_lets_through_what_fits_its_pattern_and_nothing_else() {
    let house = House::new(ASKS);
    house.grant(&write("src/a/1"), &terms(&["src/a/**"])).unwrap();
    assert!(house.passes(&write("src/a/2")));
    assert!(house.passes(&write("src/a/b/c").write("src/a/d")));
    for other in [
        write("src/b"),
        write("src/a/2").write("docs/x"),
        write("src/a/2").read("src/b"),
        write("src/a/2").read("src/a/3"),
        Ask::new("fs.write").delete("src/a/2"),
        Ask::new("fs.copy").write("src/a/2"),
        Ask { agent: "other".to_owned(), ..write("src/a/2") },
        Ask { user: "bob".to_owned(), ..write("src/a/2") },
        Ask { risk: Some(Risk::High), ..write("src/a/2") },
        Ask { version: "1.0.1".to_owned(), ..write("src/a/2") },
        Ask { rolls_back: true, ..write("src/a/2") },
        Ask { confirm: "always".to_owned(), ..write("src/a/2") },
    ] {
        assert!(!house.passes(&other), "{other:?}");
    }
}

#[test]
fn a_grant_never_answers_a_denial() {
    let house = House::new(ASKS);
    house.grant(&write("src/a"), &terms(&["src/**"])).unwrap();
    assert!(house.passes(&write("src/b")));
    assert!(!house.passes(&write("src/no/b")));
}

#[test]
fn a_grant_ends_by_time_by_uses_by_revocation_and_with_the_policy() {
    let house = House::new(ASKS);
    let state = |grant: &Grant| {
        let all = house.approvals.grants().unwrap();
        all.into_iter().find(|(one, _)| one.id() == grant.id()).unwrap().1
    };
    let grant = house.grant(&write("src/a"), &terms(&["src/**"])).unwrap();
    house.clock.advance(minutes(59));
    assert!(house.passes(&write("src/b")));
    house.clock.advance(minutes(1));
    assert!(!house.passes(&write("src/b")));
    assert_eq!(state(&grant), "expired");

    let twice = GrantTerms { uses: Some(2), ..terms(&["src/**"]) };
    let grant = house.grant(&write("src/a"), &twice).unwrap();
    assert_eq!([(); 4].map(|()| house.passes(&write("src/b"))), [true, true, false, false]);
    assert_eq!(state(&grant), "used_up");

    let grant = house.grant(&write("src/a"), &terms(&["src/**"])).unwrap();
    house.approvals.revoke_grant(grant.id(), &name("bob")).unwrap();
    assert!(!house.passes(&write("src/b")));
    assert_eq!(state(&grant), "revoked");

    let grant = house.grant(&write("src/a"), &terms(&["src/**"])).unwrap();
    house.gate.reload(policies(&format!("{ASKS}# changed\n")));
    assert!(!house.passes(&write("src/b")));
    assert_eq!(state(&grant), "policy_changed");
}

#[test]
fn a_grant_is_not_used_more_often_than_it_may_be_by_fifty_at_once() {
    let house = House::new(ASKS);
    let once = GrantTerms { uses: Some(7), ..terms(&["src/**"]) };
    house.grant(&write("src/a"), &once).unwrap();
    let passed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for n in 0..50 {
            let (house, passed) = (&house, &passed);
            scope.spawn(move || {
                if house.passes(&write(&format!("src/{n}"))) {
                    passed.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(passed.load(Ordering::SeqCst), 7);
}

#[test]
fn what_is_no_narrow_pattern_or_has_no_end_is_refused_and_approves_nothing() {
    let house = House::new(ASKS);
    let ask = write("src/a");
    let day = Duration::from_secs(86_400);
    for bad in [
        terms(&["**"]),
        terms(&["*"]),
        terms(&["*/a"]),
        terms(&["{src,docs}/**"]),
        terms(&["/src/**"]),
        terms(&["src/../**"]),
        terms(&[""]),
        terms(&["docs/**"]),
        terms(&[]),
        GrantTerms { lasts: Duration::ZERO, ..terms(&["src/**"]) },
        GrantTerms { lasts: day * 31, ..terms(&["src/**"]) },
        GrantTerms { uses: Some(0), ..terms(&["src/**"]) },
    ] {
        let error = house.grant(&ask, &bad).unwrap_err();
        assert!(matches!(error, ApprovalError::Grant(_)), "{bad:?}: {error}");
    }
    let open = house.approvals.list(true).unwrap();
    assert_eq!(open.len(), 1);
    assert!(open[0].granted_by().is_empty());
    assert!(house.approvals.grants().unwrap().is_empty());
}

#[test]
fn what_takes_several_people_or_a_person_each_time_takes_no_grant() {
    let two = "version: 1\nrules: [{name: r, when: {capability: '*'}, verdict: need_approval, approvals: 2}]\n";
    let refused = |house: &House, ask: &Ask| {
        let error = house.grant(ask, &terms(&["src/**"])).unwrap_err();
        assert!(matches!(error, ApprovalError::Grant(GrantRefused::EachTime(_))), "{error}");
    };
    refused(&House::new(two), &write("src/a"));
    let always = Ask { confirm: "always".to_owned(), ..write("src/a") };
    refused(&House::new(ASKS), &always);
}

/// Whether a path fits one of the patterns that the property below uses, by hand.
fn fits(glob: &str, path: &str) -> bool {
    match glob {
        "src/**" => path == "src" || path.starts_with("src/"),
        "src/*.rs" => path
            .strip_prefix("src/")
            .is_some_and(|rest| !rest.contains('/') && rest.ends_with(".rs")),
        "docs/a" => path == "docs/a",
        _ => false,
    }
}

proptest! {
    #[test]
    fn a_grant_never_lets_pass_what_differs_from_its_pattern(
        globs in prop::collection::btree_set(
            prop::sample::select(vec!["src/**", "src/*.rs", "docs/a"]), 1..3),
        effects in prop::collection::vec((
            prop::sample::select(vec![EffectKind::FsRead, EffectKind::FsWrite, EffectKind::FsDelete]),
            prop::sample::select(vec![
                "src/a.rs", "src/b/c.rs", "src/x", "srcs/a.rs", "docs/a", "docs/b", "Src/a.rs",
                "src2", "a/src/a.rs",
            ])), 0..4),
        agent in prop::sample::select(vec!["planner", "Planner", "other"]),
        capability in prop::sample::select(vec!["fs.write", "fs.copy"]),
        risk in prop::sample::select(vec![None, Some(Risk::Low), Some(Risk::Medium), Some(Risk::High)]),
    ) {
        let house = House::new(ASKS);
        // What the person looked at: a write, of low risk, that fits the first pattern.
        let first = match *globs.first().unwrap() {
            "docs/a" => "docs/a",
            _ => "src/z.rs",
        };
        let list: Vec<&str> = globs.iter().copied().collect();
        house.grant(&write(first), &terms(&list)).unwrap();
        let mut ask = Ask { agent: agent.to_owned(), risk, ..Ask::new(capability) };
        let mut known = BTreeSet::new();
        for (kind, path) in &effects {
            if known.insert(*path) {
                ask = match kind {
                    EffectKind::FsRead => ask.read(path),
                    EffectKind::FsWrite => ask.write(path),
                    _ => ask.delete(path),
                };
            }
        }
        let mut seen = BTreeSet::new();
        let inside = effects.iter().filter(|(_, path)| seen.insert(*path)).all(|(kind, path)| {
            *kind == EffectKind::FsWrite && globs.iter().any(|glob| fits(glob, path))
        });
        let same = agent == "planner" && capability == "fs.write" && risk.is_none_or(|risk| risk == Risk::Low);
        let passes = house.passes(&ask);
        prop_assert!(!passes || (inside && same), "{ask:?} passes {globs:?}");
        // And what fits does pass, or the property would hold of nothing.
        if inside && same && !effects.is_empty() {
            prop_assert!(passes, "{ask:?} does not pass {globs:?}");
        }
    }
}

#[test]
fn a_halt_stops_whom_it_covers_until_a_person_lifts_it() {
    let house = House::new("version: 1\npaths: {allowed: [\"**\"]}\n");
    let goes = |ask: &Ask| {
        let described = ask.describe();
        let decision = house.gate.decide(&described);
        match house.gate.authorize(described, &decision, None) {
            Ok(_) => true,
            Err(error) => {
                assert!(
                    matches!(error.kind(), NotAuthorizedKind::Halted(Halted::By(_))),
                    "{error}"
                );
                assert!(!error.is_integrity());
                false
            }
        }
    };
    let (ann, bob) = (write("a"), Ask { user: "bob".to_owned(), ..write("a") });
    let by = ann.action().session().principal().clone();
    let scope = HaltScope { user: Some(name("ANN")), ..HaltScope::default() };
    assert!(goes(&ann));
    let halt = house.halts.halt(scope, "stop", &by).unwrap();
    assert!(!goes(&ann), "a name in other letters is covered as well");
    assert!(goes(&bob));
    let everybody = house.halts.halt(HaltScope::default(), "all", &by).unwrap();
    assert!(!goes(&bob));
    let refused = house.halts.resume(&halt.id, &house.root, Channel::Webhook, "");
    assert!(matches!(refused, Err(ResumeError::NotInPerson { .. })));
    house.halts.resume(&everybody.id, &house.root, Channel::Token, "fine").unwrap();
    assert!(!goes(&ann) && goes(&bob));
    house.halts.resume(&halt.id, &house.root, Channel::Token, "fine").unwrap();
    assert!(goes(&ann));
    let again = house.halts.resume(&halt.id, &house.root, Channel::Token, "");
    assert!(matches!(again, Err(ResumeError::NotInForce { .. })));
    assert_eq!(house.halts.list().unwrap().len(), 2);
}

/// A store that is full, or gone.
#[derive(Debug)]
struct Broken;

impl lictor_governance::HaltStore for Broken {
    fn insert(&self, _: &lictor_governance::Halt) -> Result<(), lictor_governance::HaltStoreError> {
        Err(broken())
    }
    fn in_force(&self) -> Result<Vec<lictor_governance::Halt>, lictor_governance::HaltStoreError> {
        Err(broken())
    }
    fn list(&self) -> Result<Vec<lictor_governance::Halt>, lictor_governance::HaltStoreError> {
        Err(broken())
    }
    fn lift(&self, _: &lictor_governance::Halt) -> Result<bool, lictor_governance::HaltStoreError> {
        Err(broken())
    }
}

fn broken() -> lictor_governance::HaltStoreError {
    lictor_governance::HaltStoreError("database or disk is full".to_owned())
}

impl lictor_governance::GrantStore for Broken {
    fn insert(
        &self,
        _: &Grant,
        _: &lictor_governance::StoredApproval,
    ) -> Result<(), lictor_governance::ApprovalStoreError> {
        Err(unavailable())
    }
    fn list(
        &self,
    ) -> Result<Vec<lictor_governance::StoredGrant>, lictor_governance::ApprovalStoreError> {
        Err(unavailable())
    }
    fn update(&self, _: u64, _: &Grant) -> Result<(), lictor_governance::ApprovalStoreError> {
        Err(unavailable())
    }
}

fn unavailable() -> lictor_governance::ApprovalStoreError {
    lictor_governance::ApprovalStoreError::Unavailable("database or disk is full".to_owned())
}

#[test]
fn a_store_that_fails_lets_nothing_through() {
    let clock = clock();
    let halts = Arc::new(Halts::new(Arc::new(Broken), clock.clone()));
    let open = policies("version: 1\npaths: {allowed: [\"**\"]}\n");
    let gate = WriteGate::with_halts(open, clock, halts);
    let described = write("a").describe();
    let decision = gate.decide(&described);
    let error = gate.authorize(described, &decision, None).unwrap_err();
    assert!(matches!(error.kind(), NotAuthorizedKind::Halted(Halted::Unknown(_))), "{error}");

    let house = House::new(ASKS);
    let approvals = Approvals::new(&house.gate, Arc::new(MemoryApprovalStore::default()))
        .with_grants(Arc::new(Broken));
    let described = write("src/a").describe();
    let decision = house.gate.decide(&described);
    assert!(approvals.spend_grant(&described, &decision).is_err());
    let asked = approvals.request(&described, &decision, []).unwrap();
    let given =
        approvals.grant_in_advance(asked.id(), &house.root, Channel::Token, &terms(&["src/**"]));
    assert!(given.is_err());
    // Who agreed to both agreed to neither.
    assert_eq!(approvals.get(asked.id()).unwrap().state(), ApprovalState::Pending);
    assert!(approvals.spend(decision.action_digest()).unwrap().is_none());
}

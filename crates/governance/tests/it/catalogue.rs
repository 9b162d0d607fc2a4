//! The catalogue: what is let in, by whom, and that nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lictor_capability::{Contract, Risk};
use lictor_context::{Digest, Principal, Timestamp};
use lictor_governance::{
    Approvers, Catalogue, CatalogueError, CatalogueKey, CatalogueKind, CatalogueRecord,
    CatalogueRules, Document, LifeState, MemoryApproverStore, ProvenApprover, Withheld,
};
use proptest::prelude::*;

use crate::common::{Ask, clock, name, policies};

fn approver(who: &str, roles: &[&str]) -> ProvenApprover {
    let approvers = Approvers::new(Arc::new(MemoryApproverStore::default()), clock());
    let roles = roles.iter().map(|role| name(role)).collect();
    let (_, token) = approvers.bootstrap(name(who), roles).unwrap();
    approvers.authenticate(token.expose()).unwrap()
}

fn principal(user: &str) -> Principal {
    Principal { org: name("acme"), user: name(user), agent: name("bot") }
}

fn now() -> Timestamp {
    Timestamp::from_micros(1_795_168_800_000_000)
}

fn local(id: &str, version: &str, risk: Risk) -> Arc<Contract> {
    let mut ask = Ask::new(id);
    ask.source = "local".to_owned();
    ask.version = version.to_owned();
    ask.contract_risk = risk;
    ask.contract()
}

fn proposed(contract: &Arc<Contract>, by: &str) -> CatalogueRecord {
    let document = Document::Capability(Arc::clone(contract));
    let rules = CatalogueRules::default();
    CatalogueRecord::propose(None, &document, &principal(by), &rules, now(), "").unwrap().unwrap()
}

fn step(
    record: &CatalogueRecord,
    next: LifeState,
    by: &ProvenApprover,
    rules: &CatalogueRules,
) -> Result<CatalogueRecord, CatalogueError> {
    record.transition(next, record.digest, by, rules, now(), "because")
}

fn load(catalogue: &Catalogue, contracts: &[&Arc<Contract>], records: &[&CatalogueRecord]) {
    let documents = contracts.iter().map(|one| Document::Capability(Arc::clone(one)));
    let refused = catalogue.load(documents, records.iter().map(|one| (*one).clone()));
    assert_eq!(refused, []);
}

#[test]
fn only_what_was_let_in_is_active() {
    let builtin = Ask::new("fs.write").contract();
    let catalogue = Catalogue::new([Arc::clone(&builtin)]);
    let contract = local("tickets.open", "1.0.0", Risk::Low);
    let (ann, rules) = (approver("ann", &[]), CatalogueRules::default());
    let n_active = || catalogue.active().len();

    load(&catalogue, &[&contract], &[]);
    assert_eq!(n_active(), 1, "a file that nobody proposed is nothing");
    let record = proposed(&contract, "bob");
    load(&catalogue, &[&contract], &[&record]);
    assert_eq!(n_active(), 1, "a proposal is nothing");
    let active = step(&record, LifeState::Active, &ann, &rules).unwrap();
    load(&catalogue, &[&contract], &[&active]);
    assert_eq!(n_active(), 2);
    catalogue.check(&contract).unwrap();
    let frozen = step(&active, LifeState::Frozen, &ann, &rules).unwrap();
    load(&catalogue, &[&contract], &[&frozen]);
    let state = LifeState::Frozen;
    let withheld = Withheld::NotActive { id: "tickets.open".to_owned(), state };
    assert_eq!(catalogue.check(&contract), Err(withheld));
    let active = step(&frozen, LifeState::Active, &ann, &rules).unwrap();
    let gone = step(&active, LifeState::Deprecated, &ann, &rules).unwrap();
    assert_eq!(
        step(&gone, LifeState::Active, &ann, &rules),
        Err(CatalogueError::NoSuchStep { from: LifeState::Deprecated, to: LifeState::Active })
    );
    assert_eq!((gone.history.len(), gone.revision), (5, 5));
}

#[test]
fn a_changed_contract_falls_back_to_proposed() {
    let catalogue = Catalogue::new([]);
    let (ann, rules) = (approver("ann", &[]), CatalogueRules::default());
    let contract = local("tickets.open", "1.0.0", Risk::Low);
    let other = local("tickets.open", "1.0.0", Risk::High);
    let active = step(&proposed(&contract, "bob"), LifeState::Active, &ann, &rules).unwrap();
    load(&catalogue, &[&other], &[&active]);
    assert_eq!(catalogue.active().len(), 0);
    let entry = catalogue.list(CatalogueKind::Capability).remove(0);
    assert_eq!((entry.state, entry.changed()), (LifeState::Proposed, true));
    let withheld = catalogue.check(&other).unwrap_err();
    assert!(withheld.is_integrity(), "{withheld}");
    // The approver is shown the new one, and what was proposed is the old one.
    let error = active.transition(LifeState::Frozen, other.digest(), &ann, &rules, now(), "");
    assert!(matches!(error, Err(CatalogueError::OtherDocument { .. })));
    let document = Document::Capability(Arc::clone(&other));
    let by = principal("bob");
    let again = CatalogueRecord::propose(Some(&active), &document, &by, &rules, now(), "");
    let again = again.unwrap().unwrap();
    assert_eq!((again.state, again.revision), (LifeState::Proposed, 3));
    assert!(!again.was_let_in(), "what was let in is another one");
    let same = CatalogueRecord::propose(Some(&again), &document, &by, &rules, now(), "");
    assert_eq!(same.unwrap(), None);
}

#[test]
fn nobody_lets_in_what_they_proposed() {
    let (ann, rules) = (approver("ann", &[]), CatalogueRules::default());
    let record = proposed(&local("tickets.open", "1.0.0", Risk::Low), "Ann");
    let refused = step(&record, LifeState::Active, &ann, &rules);
    assert_eq!(refused, Err(CatalogueError::OwnProposal { who: name("ann") }));
    // Turning it down is no favour to oneself.
    step(&record, LifeState::Rejected, &ann, &rules).unwrap();
    let may = "version: 1\ncatalogue: { proposer_may_approve: true }\n";
    let rules = policies(may).settings().catalogue.clone();
    step(&record, LifeState::Active, &ann, &rules).unwrap();
}

#[test]
fn roles_are_asked_for_by_the_policy() {
    let policy = "version: 1\ncatalogue:\n  proposers: [dev-*, \"agent:bot\"]\n  \
                  approve_roles: [lead, security]\n  freeze_roles: [oncall]\n";
    let rules = policies(policy).settings().catalogue.clone();
    let contract = local("tickets.open", "1.0.0", Risk::Low);
    let document = Document::Capability(contract);
    let propose = |by: &Principal| {
        CatalogueRecord::propose(None, &document, by, &rules, now(), "").map(Option::unwrap)
    };
    let mut stranger = principal("eve");
    propose(&stranger).expect("the agent is named");
    stranger.agent = name("other");
    assert_eq!(propose(&stranger), Err(CatalogueError::MayNotPropose { who: name("eve") }));
    stranger.user = name("dev-7");
    let record = propose(&stranger).unwrap();
    let none = approver("ann", &[]);
    let refused = step(&record, LifeState::Active, &none, &rules);
    let needed = vec![name("lead"), name("security")];
    assert_eq!(refused, Err(CatalogueError::MissingRole { who: name("ann"), needed }));
    let active = step(&record, LifeState::Active, &approver("sec", &["security"]), &rules).unwrap();
    assert!(step(&active, LifeState::Frozen, &approver("sec", &["security"]), &rules).is_err());
    step(&active, LifeState::Frozen, &approver("joe", &["oncall"]), &rules).unwrap();
}

#[test]
fn builtins_stay_as_they_are() {
    let builtin = Ask::new("fs.write").contract();
    let catalogue = Catalogue::new([Arc::clone(&builtin)]);
    let other = local("fs.write", "9.0.0", Risk::Low);
    let pretender = Ask::new("a.b").contract();
    for contract in [&other, &pretender] {
        let document = Document::Capability(Arc::clone(contract));
        assert!(matches!(catalogue.acceptable(&document), Err(CatalogueError::Builtin { .. })));
        assert_eq!(catalogue.load([document], []).len(), 1);
        assert_eq!(catalogue.active().len(), 1);
    }
    catalogue.check(&builtin).unwrap();
    let mut ask = Ask::new("fs.write");
    ask.contract_risk = Risk::High;
    assert!(matches!(catalogue.check(&ask.contract()), Err(Withheld::Changed { .. })));
}

/// What may happen to a catalogue, and to the file of one contract in it.
#[derive(Debug, Clone)]
enum Happens {
    /// The file comes to hold one of three contracts.
    Edit(usize),
    /// It goes.
    Remove,
    Propose {
        by: usize,
        crash: bool,
    },
    /// Somebody decides; they looked at one of three contracts.
    Decide {
        next: LifeState,
        by: usize,
        looked_at: usize,
        crash: bool,
    },
    /// The process starts anew and reads what there is.
    Restart,
}

fn happens() -> impl Strategy<Value = Happens> {
    let state = prop::sample::select(LifeState::ALL.to_vec());
    prop_oneof![
        3 => (0..3_usize).prop_map(Happens::Edit),
        1 => Just(Happens::Remove),
        3 => (0..2_usize, any::<bool>()).prop_map(|(by, crash)| Happens::Propose { by, crash }),
        5 => (state, 0..2_usize, 0..3_usize, any::<bool>())
            .prop_map(|(next, by, looked_at, crash)| Happens::Decide { next, by, looked_at, crash }),
        1 => Just(Happens::Restart),
    ]
}

/// The catalogue with its files and its database, both of which survive a crash.
struct World {
    contracts: [Arc<Contract>; 3],
    people: [ProvenApprover; 2],
    file: Option<usize>,
    stored: BTreeMap<CatalogueKey, CatalogueRecord>,
    catalogue: Catalogue,
    /// By the model: what is approved at this moment.
    approved: BTreeSet<Digest>,
}

impl World {
    fn new() -> Self {
        let contract = |risk| local("tickets.open", "1.0.0", risk);
        Self {
            contracts: [contract(Risk::Low), contract(Risk::Medium), contract(Risk::High)],
            people: [approver("ann", &[]), approver("bob", &[])],
            file: None,
            stored: BTreeMap::new(),
            catalogue: Catalogue::new([]),
            approved: BTreeSet::new(),
        }
    }

    fn reload(&self) {
        let file = self.file.map(|at| Document::Capability(Arc::clone(&self.contracts[at])));
        self.catalogue.load(file, self.stored.values().cloned());
    }

    fn do_it(&mut self, what: &Happens) {
        let rules = CatalogueRules::default();
        match what {
            Happens::Edit(to) => self.file = Some(*to),
            Happens::Remove => self.file = None,
            Happens::Propose { by, crash } => {
                let Some(at) = self.file else { return };
                let document = Document::Capability(Arc::clone(&self.contracts[at]));
                let by = principal(["ann", "bob"][*by]);
                let known = self.stored.get(&document.key());
                let record =
                    CatalogueRecord::propose(known, &document, &by, &rules, now(), "").unwrap();
                if let (Some(record), false) = (record, *crash) {
                    self.approved.clear();
                    self.stored.insert(document.key(), record);
                }
            }
            Happens::Decide { next, by, looked_at, crash } => {
                let seen = self.contracts[*looked_at].digest();
                let Some(record) = self.stored.values().next() else { return };
                let person = &self.people[*by];
                let moved = record.transition(*next, seen, person, &rules, now(), "");
                let (Ok(moved), false) = (moved, *crash) else { return };
                self.approved.clear();
                if moved.state == LifeState::Active {
                    assert_ne!(person.name(), &moved.proposed_by.user);
                    self.approved.insert(seen);
                }
                self.stored.insert(moved.key.clone(), moved);
            }
            Happens::Restart => {
                self.catalogue = Catalogue::new([]);
            }
        }
        self.reload();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever happens in whatever order, with crashes: what may be used is what the file holds
    /// and somebody else than its proposer approved, and nothing but that.
    #[test]
    fn no_life_lets_an_unapproved_digest_run(all in prop::collection::vec(happens(), 1..40)) {
        let mut world = World::new();
        for what in &all {
            world.do_it(what);
            let on_file = world.file.map(|at| world.contracts[at].digest());
            let active = world.catalogue.active();
            for contract in &active {
                prop_assert_eq!(Some(contract.digest()), on_file);
                prop_assert!(world.approved.contains(&contract.digest()));
            }
            for contract in &world.contracts {
                let usable = world.catalogue.check(contract).is_ok();
                let let_in = world.approved.contains(&contract.digest());
                prop_assert_eq!(usable, let_in && on_file == Some(contract.digest()));
            }
        }
    }
}

//! What happens to a request between two looks at the store: whoever reads that it is open, and finds
//! it settled right after, was slower than somebody else, and nothing is damaged.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lictor_context::{ApprovalId, Digest, ManualClock};
use lictor_governance::{
    AnswerRefused, Approval, ApprovalError, ApprovalState, ApprovalStore, ApprovalStoreError,
    Approvals, Approvers, Channel, GrantTerms, Judged, JudgedError, MemoryApprovalStore,
    MemoryApproverStore, MemoryGrantStore, ProvenApprover, StoredApproval,
};

use crate::common::{Ask, gate, name};

/// Lets somebody act right before what was judged is read, once.
struct Between {
    store: Arc<MemoryApprovalStore>,
    act: Mutex<Option<Act>>,
    /// What somebody does right before an open request is looked for.
    before_finding: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// What somebody does right before one is read by its id.
    before_getting: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

/// What somebody does; the answer is what is found of what was judged, or what is in the store.
type Act = Box<dyn FnOnce() -> Option<Option<Judged>> + Send>;

impl std::fmt::Debug for Between {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Between").finish_non_exhaustive()
    }
}

impl ApprovalStore for Between {
    fn judged(&self, id: &ApprovalId) -> Result<Option<Judged>, ApprovalStoreError> {
        let act = self.act.lock().unwrap().take();
        match act.and_then(|act| act()) {
            Some(found) => Ok(found),
            None => self.store.judged(id),
        }
    }

    fn insert(&self, approval: &Approval, judged: &Judged) -> Result<(), ApprovalStoreError> {
        self.store.insert(approval, judged)
    }

    fn get(&self, id: &ApprovalId) -> Result<Option<StoredApproval>, ApprovalStoreError> {
        let act = self.before_getting.lock().unwrap().take();
        if let Some(act) = act {
            act();
        }
        self.store.get(id)
    }

    fn list(&self, only_open: bool) -> Result<Vec<StoredApproval>, ApprovalStoreError> {
        self.store.list(only_open)
    }

    fn find_open(&self, digest: Digest) -> Result<Option<StoredApproval>, ApprovalStoreError> {
        let act = self.before_finding.lock().unwrap().take();
        if let Some(act) = act {
            act();
        }
        self.store.find_open(digest)
    }

    fn update(
        &self,
        id: &ApprovalId,
        expected_revision: u64,
        approval: &Approval,
    ) -> Result<(), ApprovalStoreError> {
        self.store.update(id, expected_revision, approval)
    }
}

/// Two people are asked.
const TWO: &str = "version: 1\nrules: [{name: r, when: {capability: '*'}, verdict: need_approval, approvals: 2}]\n";

/// One request that was granted, and two brokers of the same store: one that is used, and one whose
/// reading is watched.
struct Scene {
    other: Arc<Approvals>,
    watched: Approvals,
    between: Arc<Between>,
    approvers: Approvers,
    root: ProvenApprover,
    clock: Arc<ManualClock>,
    id: ApprovalId,
    digest: Digest,
}

impl Scene {
    fn new() -> Self {
        Self::about("src/a")
    }

    fn about(path: &str) -> Self {
        Self::by_policy("version: 1\npaths: {protected: [\"**\"]}\n", path)
    }

    fn by_policy(policy: &str, path: &str) -> Self {
        let (gate, clock) = gate(policy);
        let store = Arc::new(MemoryApprovalStore::default());
        let between = Arc::new(Between {
            store: Arc::clone(&store),
            act: Mutex::default(),
            before_finding: Mutex::default(),
            before_getting: Mutex::default(),
        });
        let grants = Arc::new(MemoryGrantStore::new(Arc::clone(&store)));
        let other = Arc::new(Approvals::new(&gate, store));
        let watched = Approvals::new(&gate, Arc::<Between>::clone(&between)).with_grants(grants);
        let approvers =
            Approvers::new(Arc::new(MemoryApproverStore::default()), Arc::clone(&clock) as _);
        let (_, token) = approvers.bootstrap(name("root"), Vec::new()).unwrap();
        let root = approvers.authenticate(token.expose()).unwrap();
        let described = Ask::new("fs.write").write(path).describe();
        let decision = gate.decide(&described);
        let asked = other.request(&described, &decision, []).unwrap();
        let digest = asked.action_digest();
        let id = asked.id().clone();
        Self { other, watched, between, approvers, root, clock, id, digest }
    }

    /// Another approver.
    fn also(&self, who: &str) -> ProvenApprover {
        let (_, token) = self.approvers.enroll(name(who), Vec::new(), &self.root).unwrap();
        self.approvers.authenticate(token.expose()).unwrap()
    }

    fn granted() -> Self {
        let scene = Self::new();
        scene.other.grant(&scene.id, &scene.root, Channel::Token).unwrap();
        scene
    }

    fn meanwhile(&self, act: impl FnOnce() -> Option<Option<Judged>> + Send + 'static) {
        *self.between.act.lock().unwrap() = Some(Box::new(act));
    }

    /// Somebody else uses it in the moment in which it is read.
    fn is_used_meanwhile(&self) {
        let (other, digest) = (Arc::clone(&self.other), self.digest);
        self.meanwhile(move || {
            assert!(other.spend(digest).unwrap().is_some(), "the other one was first");
            None
        });
    }

    fn is_withdrawn_meanwhile(&self) {
        let (other, id) = (Arc::clone(&self.other), self.id.clone());
        self.meanwhile(move || {
            other.cancel(&id, "not wanted any more").unwrap();
            None
        });
    }

    #[track_caller]
    fn was_watched(&self) {
        assert!(self.between.act.lock().unwrap().is_none(), "nobody looked at what was judged");
    }
}

#[test]
fn an_approval_that_is_used_while_it_is_read_is_used_and_not_damaged() {
    let scene = Scene::granted();
    scene.is_used_meanwhile();
    assert!(scene.watched.spend(scene.digest).unwrap().is_none());
    scene.was_watched();
    assert_eq!(scene.watched.get(&scene.id).unwrap().state(), ApprovalState::Spent);
}

#[test]
fn whoever_shows_a_request_that_is_settled_meanwhile_has_nothing_to_show() {
    let scene = Scene::granted();
    scene.is_used_meanwhile();
    assert!(scene.watched.view(&scene.id).unwrap().is_none());
    scene.was_watched();
    let scene = Scene::new();
    scene.is_withdrawn_meanwhile();
    assert!(scene.watched.judged(&scene.id).unwrap().is_none());
    scene.was_watched();
}

#[test]
fn whoever_answers_a_request_that_is_settled_meanwhile_is_told_so() {
    #[track_caller]
    fn is_settled<T: std::fmt::Debug>(answer: Result<T, ApprovalError>) {
        let error = answer.unwrap_err();
        let is_settled =
            matches!(error, ApprovalError::Refused(AnswerRefused::Settled { state: "cancelled" }));
        assert!(is_settled, "{error:?}");
    }
    let scene = Scene::new();
    scene.is_withdrawn_meanwhile();
    is_settled(scene.watched.question(&scene.id));
    scene.was_watched();
    let scene = Scene::new();
    scene.is_withdrawn_meanwhile();
    let paths = vec!["src/**".to_owned()];
    let terms = GrantTerms { paths, lasts: Duration::from_secs(60), uses: None };
    let (id, root) = (&scene.id, &scene.root);
    is_settled(scene.watched.grant_in_advance(id, root, Channel::Token, &terms));
    scene.was_watched();
}

#[test]
fn an_open_request_of_which_nothing_is_kept_is_damaged() {
    let scene = Scene::granted();
    scene.meanwhile(|| Some(None));
    let error = scene.watched.spend(scene.digest).unwrap_err();
    assert!(is_damaged(&error), "{error:?}");
    // What was judged of another request is no better.
    let (one, other) = (Scene::granted(), Scene::about("src/b"));
    let foreign = other.other.judged(&other.id).unwrap();
    assert!(foreign.is_some());
    one.meanwhile(move || Some(foreign));
    let error = one.watched.spend(one.digest).unwrap_err();
    assert!(is_damaged(&error), "{error:?}");
}

fn is_damaged(error: &ApprovalError) -> bool {
    matches!(error, ApprovalError::Judged(JudgedError::Damaged { .. }))
}

/// It was refused as one from the future, with the clock to blame.
#[test]
fn what_is_granted_in_the_moment_in_which_it_is_looked_for_is_not_of_the_future() {
    let Scene { other, watched, between, root, clock, id, digest, .. } = Scene::new();
    let grant = move || {
        clock.advance(Duration::from_millis(66));
        other.grant(&id, &root, Channel::Token).unwrap();
    };
    *between.before_finding.lock().unwrap() = Some(Box::new(grant));
    assert!(watched.spend(digest).unwrap().is_some(), "it was granted");
}

/// The second of two people answers in the moment in which the first one does, a little later by the
/// clock: their answer was refused as one from before the other, and lost.
#[test]
fn what_one_grants_in_the_moment_in_which_another_does_counts() {
    let scene = Scene::by_policy(TWO, "src/a");
    let ann = scene.also("ann");
    let Scene { other, watched, between, root, clock, id, digest, .. } = scene;
    let (asked, first) = (id.clone(), Arc::clone(&other));
    let grant = move || {
        clock.advance(Duration::from_millis(66));
        first.grant(&asked, &root, Channel::Token).unwrap();
    };
    *between.before_getting.lock().unwrap() = Some(Box::new(grant));
    let granted = watched.grant(&id, &ann, Channel::Token).unwrap();
    assert!(between.before_getting.lock().unwrap().is_none(), "nobody looked at the request");
    assert_eq!(granted.state(), ApprovalState::Granted);
    assert_eq!(granted.granted_by().len(), 2);
    assert!(other.spend(digest).unwrap().is_some(), "two people agreed");
}

//! Approvers that crash, hang, answer late, or answer what nobody asked: the request is as it was, and
//! nothing is done.
#![expect(clippy::disallowed_methods, reason = "a workspace of its own")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use lictor::context::{Clock as _, Digest, ManualClock, Principal, Session, SystemClock};
use lictor::governance::{
    Answered, ApprovalRequest, ApprovalState, Approver, AskError, Channel, Reply, Says,
};
use lictor::{ErrorCode, Runtime, RuntimeOptions};
use serde_json::json;

use crate::rig::name;

const POLICY: &str = "version: 1\ndefault: deny\npaths: { protected: [\"**\"] }\n\
                      approvals: { timeout: 10m, channels: { inbox: low } }\nrules:\n\
                      - { name: two, when: { effect: fs.write }, verdict: need_approval, approvals: 2 }\n";

/// What an approver answers, with everything that it could use to do harm.
type Answer = Box<dyn Fn(&World, &ApprovalRequest) -> Result<Reply, AskError> + Send + Sync>;

/// What an approver knows.
#[derive(Debug)]
struct World {
    runtime: OnceLock<Runtime>,
    tokens: Mutex<Vec<String>>,
    clock: Arc<ManualClock>,
}

impl World {
    /// Yes, by the approver with this number.
    fn yes(&self, number: usize, request: &ApprovalRequest) -> Answered {
        let token = self.tokens.lock().unwrap()[number].clone();
        let by = self.runtime.get().unwrap().approvers().authenticate(&token).unwrap();
        let action_digest = request.approval().action_digest();
        Answered { by, channel: Channel::Token, says: Says::Approve, action_digest }
    }
}

struct Odd {
    world: Arc<World>,
    answer: Answer,
}

impl std::fmt::Debug for Odd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Odd")
    }
}

impl Approver for Odd {
    fn name(&self) -> &str {
        "odd"
    }

    fn attempts(&self) -> u32 {
        2
    }

    fn ask(&self, request: &ApprovalRequest) -> Result<Reply, AskError> {
        (self.answer)(&self.world, request)
    }
}

struct Place {
    _dir: tempfile::TempDir,
    root: PathBuf,
    runtime: Runtime,
}

impl Place {
    async fn asking(policy: &str, answer: Answer) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("workspace");
        std::fs::create_dir_all(root.join(".lictor")).unwrap();
        std::fs::write(root.join(".lictor/policy.yaml"), policy).unwrap();
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let world =
            World { runtime: OnceLock::new(), tokens: Mutex::default(), clock: Arc::clone(&clock) };
        let world = Arc::new(world);
        let mut options = RuntimeOptions::new(&root, dir.path().join("keys"));
        options.clock = clock;
        options.approvers = vec![Arc::new(Odd { world: Arc::clone(&world), answer })];
        let runtime = Runtime::open(options).await.unwrap();
        let (_, first) = runtime.approvers().bootstrap(name("ann"), Vec::new()).unwrap();
        let ann = runtime.approvers().authenticate(first.expose()).unwrap();
        let (_, second) = runtime.approvers().enroll(name("bob"), Vec::new(), &ann).unwrap();
        let tokens = [first, second].map(|token| token.expose().to_owned());
        *world.tokens.lock().unwrap() = tokens.to_vec();
        world.runtime.set(runtime.clone()).unwrap();
        Self { _dir: dir, root, runtime }
    }

    async fn write(&self) -> Result<(), lictor::ActError> {
        let principal = Principal { org: name("acme"), user: name("eve"), agent: name("bot") };
        let agent = self.runtime.agent(&Session::new(principal, &SystemClock));
        agent.call("fs.write", json!({ "path": "a", "content": "x" })).await.map(drop)
    }

    fn wrote(&self) -> bool {
        self.root.join("a").exists()
    }
}

#[tokio::test]
async fn an_approver_that_does_anything_but_agree_in_time_opens_nothing() {
    let odd: Vec<(&str, Answer)> = vec![
        ("crashes", Box::new(|_, _| panic!("the approver crashed"))),
        ("fails", Box::new(|_, _| Err(AskError::new("odd", "no")))),
        ("is never reached", Box::new(|_, _| Err(AskError::new("odd", "away").unreached()))),
        ("says later", Box::new(|_, _| Ok(Reply::Later))),
        ("says nothing", Box::new(|_, _| Ok(Reply::Answers(Vec::new())))),
        (
            "is one of the two",
            Box::new(|world, request| Ok(Reply::Answers(vec![world.yes(0, request)]))),
        ),
        (
            "is one of the two, twice",
            Box::new(|world, request| {
                Ok(Reply::Answers(vec![world.yes(0, request), world.yes(0, request)]))
            }),
        ),
        (
            "means another action",
            Box::new(|world, request| {
                let all = [0, 1].map(|number| Answered {
                    action_digest: Digest::of(b"another"),
                    ..world.yes(number, request)
                });
                Ok(Reply::Answers(all.into()))
            }),
        ),
        (
            "claims another channel",
            Box::new(|world, request| {
                let all = [0, 1].map(|number| Answered {
                    channel: Channel::Terminal,
                    ..world.yes(number, request)
                });
                Ok(Reply::Answers(all.into()))
            }),
        ),
        (
            "uses a channel beyond its cap",
            Box::new(|world, request| {
                let all = [0, 1].map(|number| Answered {
                    channel: Channel::Inbox,
                    ..world.yes(number, request)
                });
                Ok(Reply::Answers(all.into()))
            }),
        ),
        (
            "answers late",
            Box::new(|world, request| {
                let all = [0, 1].map(|number| world.yes(number, request));
                world.clock.advance(Duration::from_secs(600));
                Ok(Reply::Answers(all.into()))
            }),
        ),
        (
            "agrees and denies",
            Box::new(|world, request| {
                let no = Says::Deny { reason: "after all".to_owned() };
                let all = [
                    world.yes(0, request),
                    Answered { says: no, ..world.yes(1, request) },
                    world.yes(1, request),
                ];
                Ok(Reply::Answers(all.into()))
            }),
        ),
        (
            "agrees, of people who are struck off",
            Box::new(|world, request| {
                let all = [0, 1].map(|number| world.yes(number, request));
                let (approvers, by) = (world.runtime.get().unwrap().approvers(), &all[0].by);
                approvers.revoke(&name("bob"), by).unwrap();
                Ok(Reply::Answers(all.into()))
            }),
        ),
    ];
    for (what, answer) in odd {
        let place = Place::asking(POLICY, answer).await;
        let refused = place.write().await.expect_err(what);
        assert!(!place.wrote(), "{what}");
        let expected = [ErrorCode::ApprovalRequired, ErrorCode::Denied];
        assert!(expected.contains(&refused.code()), "{what}: {refused}");
        let requests = place.runtime.approvals().list(false).unwrap();
        let spent = requests.iter().any(|one| one.state() == ApprovalState::Spent);
        assert!(!spent && requests.len() == 1, "{what}: {requests:?}");
    }
    // Without this, refusing everything would pass.
    let both: Answer = Box::new(|world, request| {
        Ok(Reply::Answers([0, 1].map(|number| world.yes(number, request)).into()))
    });
    let place = Place::asking(POLICY, both).await;
    place.write().await.unwrap();
    assert!(place.wrote());
}

#[tokio::test]
async fn an_approver_that_hangs_is_not_waited_for_longer_than_the_request_stands() {
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let hangs: Answer = Box::new(move |_, _| {
        held.lock().unwrap().recv().unwrap_err();
        Ok(Reply::Later)
    });
    let policy = POLICY.replace("timeout: 10m", "timeout: 20ms");
    let place = Place::asking(&policy, hangs).await;
    let refused = place.write().await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::ApprovalRequired, "{refused}");
    assert!(!place.wrote());
    let asked = lictor::audit::Filter {
        types: vec![lictor::context::EventType::ApprovalDelivered],
        ..lictor::audit::Filter::default()
    };
    assert_eq!(place.runtime.audit().count(&name("acme"), &asked).unwrap(), 1);
    drop(release);
}

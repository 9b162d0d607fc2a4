//! The life of a capability that calls a workflow: whatever becomes of the document, of the record and of
//! the process, what runs is a document that somebody let in, and the one that lies there.

use std::path::{Path, PathBuf};

use lictor::context::Session;
use lictor::document::Source;
use lictor::governance::{CatalogueKind, Channel, LifeState};
use lictor::{LifeStep, Runtime, RuntimeOptions};
use proptest::prelude::*;
use serde_json::json;

use crate::rig::{self, name};

const POLICY: &str = "version: 1\ndefault: deny\npaths: { allowed: [\"**\"] }\nrisk: { low: allow, medium: allow }\n";

const CONTRACT: &str = "id: flow.write\nversion: 1.0.0\ntitle: F\ndescription: D\nkind: workflow\nsource: local\n\
    input: { type: object }\noutput: {}\nrisk: low\nhandler: { workflow: write }\n";

/// Documents of one id that write different things.
fn document(variant: usize) -> String {
    format!(
        "id: write\nversion: 1.0.0\ntitle: W\ninput: {{ type: object }}\nsteps:\n  \
         - {{ id: a, use: fs.write, with: {{ path: out.txt, content: \"{variant}\" }} }}\n"
    )
}

#[derive(Debug, Clone)]
enum Happens {
    /// The document becomes another one; (3) is none, (4) takes it away.
    Edit(usize),
    /// A second file of that id comes (true) or goes.
    Twin(bool),
    /// Somebody proposes the contract over the document as it lies there.
    Propose,
    Decide(LifeState),
    Crash,
}

fn happens() -> impl Strategy<Value = Happens> {
    let next = prop::sample::select(LifeState::ALL.to_vec());
    prop_oneof![
        4 => (0..5_usize).prop_map(Happens::Edit),
        1 => any::<bool>().prop_map(Happens::Twin),
        4 => Just(Happens::Propose),
        5 => prop_oneof![4 => Just(LifeState::Active), 1 => next].prop_map(Happens::Decide),
        1 => Just(Happens::Crash),
    ]
}

fn session(user: &str) -> Session {
    rig::session_of(user, "bot")
}

struct World {
    dir: tempfile::TempDir,
    runtime: Runtime,
    token: String,
    /// Every variant that somebody let in.
    agreed: Vec<usize>,
    there: Option<usize>,
    twin: bool,
}

async fn open(dir: &Path) -> Runtime {
    Runtime::open(RuntimeOptions::new(dir.join("workspace"), dir.join("keys"))).await.unwrap()
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("workspace/.lictor/workflows")).unwrap();
        std::fs::write(dir.path().join("workspace/.lictor/policy.yaml"), POLICY).unwrap();
        let runtime = open(dir.path()).await;
        let (_, token) = runtime.approvers().bootstrap(name("ann"), Vec::new()).unwrap();
        let token = token.expose().to_owned();
        Self { dir, runtime, token, agreed: Vec::new(), there: None, twin: false }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("workspace").join(name)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path(&format!(".lictor/workflows/{name}.workflow.yaml"))
    }

    async fn happens(&mut self, what: &Happens) {
        match what {
            Happens::Edit(4) => {
                drop(std::fs::remove_file(self.file("write")));
                self.there = None;
            }
            Happens::Edit(3) => {
                std::fs::write(self.file("write"), "id: write\n").unwrap();
                self.there = None;
            }
            Happens::Edit(variant) => {
                std::fs::write(self.file("write"), document(*variant)).unwrap();
                self.there = Some(*variant);
            }
            Happens::Twin(true) => {
                std::fs::write(self.file("twin"), document(7)).unwrap();
                self.twin = true;
            }
            Happens::Twin(false) => {
                drop(std::fs::remove_file(self.file("twin")));
                self.twin = false;
            }
            Happens::Propose => {
                let source = Source::new("c.yaml", CONTRACT.as_bytes());
                let kind = CatalogueKind::Capability;
                drop(self.runtime.propose(&session("bob"), kind, &source, "").await);
            }
            Happens::Decide(next) => {
                let by = self.runtime.approvers().authenticate(&self.token).unwrap();
                let source = Source::new("c.yaml", CONTRACT.as_bytes());
                let contract = lictor::capability::Contract::from_yaml(&source).unwrap();
                let key = lictor::governance::Document::key_of_contract(&contract);
                let channel = Channel::Token;
                let step =
                    LifeStep { key: &key, next: *next, seen: None, by: &by, channel, why: "" };
                let let_in = *next == LifeState::Active;
                if self.runtime.step_life(&session("ann"), step).await.is_ok() && let_in {
                    // Of two documents of one id neither is there.
                    assert!(self.there.is_none() || !self.twin, "one of two was let in");
                    let one = self.there.unwrap_or(7);
                    assert!(one != 7 || self.twin, "what does not lie there was let in");
                    self.agreed.push(one);
                }
            }
            Happens::Crash => self.runtime = open(self.dir.path()).await,
        }
    }

    /// Whether a call ran, and that it was allowed to.
    async fn check(&self, agents: &[lictor::Agent], all: &[Happens]) -> bool {
        let mut ran = false;
        for agent in agents {
            drop(std::fs::remove_file(self.path("out.txt")));
            let called = agent.call("flow.write", json!({})).await;
            let wrote = std::fs::read_to_string(self.path("out.txt")).ok();
            assert_eq!(called.is_ok(), wrote.is_some(), "{all:?}: {called:?}");
            let Some(wrote) = wrote else { continue };
            let wrote: usize = wrote.parse().unwrap();
            let lies_there =
                if self.twin { (self.there.is_none()).then_some(7) } else { self.there };
            assert_eq!(Some(wrote), lies_there, "another document ran than lies there: {all:?}");
            assert!(self.agreed.contains(&wrote), "what nobody let in ran: {all:?}");
            ran = true;
        }
        ran
    }
}

fn run(all: &[Happens]) -> bool {
    let threads =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    threads.unwrap().block_on(async {
        let mut world = World::new().await;
        let mut ran = false;
        for (index, what) in all.iter().enumerate() {
            // One session that has its graph from before, and one that is new.
            let before = world.runtime.agent(&session("bob"));
            world.happens(what).await;
            let agents = match what {
                Happens::Crash => vec![world.runtime.agent(&session("bob"))],
                _ => vec![before, world.runtime.agent(&session("bob"))],
            };
            ran |= world.check(&agents, &all[..=index]).await;
        }
        ran
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn no_life_of_a_called_workflow_runs_a_document_that_nobody_let_in(
        all in prop::collection::vec(happens(), 1..16),
    ) {
        run(&all);
    }
}

#[test]
fn the_life_above_does_run_what_was_let_in() {
    // Without this, refusing everything would pass.
    use Happens::{Crash, Decide, Edit, Propose};
    assert!(run(&[Edit(1), Propose, Decide(LifeState::Active)]));
    assert!(run(&[
        Edit(1),
        Propose,
        Decide(LifeState::Active),
        Edit(2),
        Crash,
        Propose,
        Decide(LifeState::Active)
    ]));
}

//! Folders that others make or remove between the judgement and the change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use lictor::capability::{Body, Change, Effects};
use lictor::context::{EventType, Session, WorkspacePath};
use lictor::document::Source;
use lictor::executor::{Granted, Handler, HandlerError, Request};
use lictor::governance::Channel;
use lictor::workflow::{RunStatus, Workflow};
use lictor::{ActErrorKind, OnConflict, OwnSkill, Runtime, RuntimeOptions, UndoRequest};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::rig::{self, name};

const POLICY: &str = "version: 1\ndefault: deny\n\
    paths: { protected: [\"ask/**\"], allowed: [\"**\"] }\nrisk: { low: allow, medium: allow }\n";

async fn open(root: &Path, change: impl FnOnce(&mut RuntimeOptions)) -> Runtime {
    rig::open((&root.join("ws"), &root.join("keys")), POLICY, change).await
}

fn session() -> Session {
    rig::session_of("ann", "cli")
}

/// What somebody does once, after the judgement and before the change.
type Meanwhile = Arc<Mutex<Vec<Happening>>>;

/// Writes one file, and lets somebody act in between.
struct Put {
    root: PathBuf,
    meanwhile: Meanwhile,
}

#[async_trait]
impl Handler for Put {
    fn describe(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let path = request.input()["path"].as_str().unwrap_or_default();
        let path = WorkspacePath::parse(path).map_err(|e| HandlerError::input(e.to_string()))?;
        let create = Change::Create { path, content: Body::new(b"x".to_vec()), mode: None };
        Ok(Effects::changing(&[create], request.view)?)
    }

    async fn run(&self, _: Granted<'_>) -> Result<Value, HandlerError> {
        let act = self.meanwhile.lock().unwrap().pop();
        if let Some(act) = act {
            act(&self.root);
        }
        Ok(json!({}))
    }
}

const PUT: &str = r#"
id: test.put
version: 1.0.0
title: Put
description: Writes a file.
kind: skill
source: builtin
input: { type: object, properties: { path: { type: string } }, required: [path] }
output: { type: object }
risk: low
effects: { fs: { write: ["**"] } }
handler: { builtin: test.put }
"#;

/// Something that happens in the workspace while a call is described.
type Happening = Box<dyn FnOnce(&Path) + Send>;

/// A workspace with the skill, and what happens in its calls: the last first.
async fn putting(dir: &Path, meanwhile: Vec<Happening>) -> Runtime {
    let meanwhile = Arc::new(Mutex::new(meanwhile));
    let put = Put { root: dir.join("ws"), meanwhile };
    let skill = OwnSkill::new(&Source::new("put.yaml", PUT.as_bytes()), put).unwrap();
    open(dir, |options| options.own_skills = vec![skill]).await
}

fn make(path: &'static str) -> Happening {
    Box::new(move |root| std::fs::create_dir_all(root.join(path)).unwrap())
}

fn remove(path: &'static str) -> Happening {
    Box::new(move |root| std::fs::remove_dir_all(root.join(path)).unwrap())
}

fn n_events(runtime: &Runtime, kind: EventType) -> u64 {
    let filter = lictor::audit::Filter { types: vec![kind], ..lictor::audit::Filter::default() };
    runtime.audit().count(&name("acme"), &filter).unwrap()
}

#[tokio::test]
async fn a_folder_that_somebody_makes_or_removes_meanwhile_is_judged_anew() {
    let dir = tempfile::tempdir().unwrap();
    // Made level by level, then all of it is gone again, then it is there at last.
    let acts = vec![make("new/a/b"), remove("new"), make("new/a"), make("new")];
    let runtime = putting(dir.path(), acts).await;
    let agent = runtime.agent(&session());
    let done = agent.call("test.put", json!({ "path": "new/a/b/file" })).await.unwrap();
    assert_eq!(std::fs::read(dir.path().join("ws/new/a/b/file")).unwrap(), b"x");
    let files: Vec<_> = done.record.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["new/a/b/file"], "the record says what was done by this one");
    assert_eq!(n_events(&runtime, EventType::DecisionMade), 5, "each attempt has its decision");
    assert_eq!(n_events(&runtime, EventType::ActionCompleted), 1);
    agent.undo(&[done.record.execution_id], OnConflict::Refuse, None).await.unwrap();
    assert!(dir.path().join("ws/new/a/b").is_dir(), "folders that somebody else made stay");
    assert!(!dir.path().join("ws/new/a/b/file").exists());
}

#[tokio::test]
async fn what_is_no_folder_is_a_conflict_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let file: Happening = Box::new(|root| std::fs::write(root.join("new"), "theirs").unwrap());
    let runtime = putting(dir.path(), vec![file]).await;
    let refused = runtime.agent(&session()).call("test.put", json!({ "path": "new/file" })).await;
    let refused = refused.unwrap_err();
    let conflicts = match refused.kind() {
        ActErrorKind::Execution(error) => error.conflicts(),
        _ => &[],
    };
    assert_eq!(conflicts.len(), 1, "{refused}");
    assert_eq!(std::fs::read(dir.path().join("ws/new")).unwrap(), b"theirs");

    let dir = tempfile::tempdir().unwrap();
    let both: Happening = Box::new(|root| {
        std::fs::create_dir(root.join("new")).unwrap();
        std::fs::write(root.join("new/file"), "theirs").unwrap();
    });
    let runtime = putting(dir.path(), vec![both]).await;
    let refused = runtime.agent(&session()).call("test.put", json!({ "path": "new/file" })).await;
    assert!(refused.is_err());
    assert_eq!(std::fs::read(dir.path().join("ws/new/file")).unwrap(), b"theirs");
}

#[tokio::test]
async fn an_agreement_is_to_what_was_judged_and_people_are_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = putting(dir.path(), vec![make("ask/new")]).await;
    let agent = runtime.agent(&session());
    let ask = || agent.call("test.put", json!({ "path": "ask/new/file" }));
    let waits = |error: lictor::ActError| match error.kind() {
        ActErrorKind::ApprovalRequired(approval) => {
            Some((approval.id().clone(), approval.action_digest()))
        }
        _ => None,
    };
    let (id, first) = waits(ask().await.unwrap_err()).expect("people are asked");
    let eve = name("eve");
    let (_, token) = runtime.approvers().bootstrap(eve, Vec::new()).unwrap();
    let eve = runtime.approvers().authenticate(token.expose()).unwrap();
    runtime.approvals().grant(&id, &eve, Channel::Token).unwrap();
    let (_, second) = waits(ask().await.unwrap_err()).expect("people are asked again");
    assert_ne!(first, second);
    assert!(!dir.path().join("ws/ask/new/file").exists());
}

/// A step: the folder that it writes into, which earlier ones it waits for, and how it fails.
#[derive(Debug, Clone)]
struct Step {
    folder: &'static str,
    needs: Vec<prop::sample::Index>,
    fails: Fails,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fails {
    Not,
    /// And the run goes on.
    Tolerated,
    /// And the run with it.
    Fatally,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let folder =
        prop::sample::select(vec!["a", "a/b", "a/b/c", "a/d", "e/f", "theirs", "theirs/g"]);
    let fails = prop_oneof![
        12 => Just(Fails::Not), 2 => Just(Fails::Tolerated), 1 => Just(Fails::Fatally)
    ];
    let step = (folder, prop::collection::vec(any::<prop::sample::Index>(), 0..2), fails);
    let step = step.prop_map(|(folder, needs, fails)| Step { folder, needs, fails });
    prop::collection::vec(step, 2..9)
}

fn document(steps: &[Step]) -> Workflow {
    let mut text = "id: dag\nversion: 1.0.0\nsteps:\n".to_owned();
    for (n, Step { folder, needs, fails }) in steps.iter().enumerate() {
        // Half of what is drawn: most steps run side by side.
        let needs = needs.iter().filter(|_| n > 1).map(|need| need.index(2 * n));
        let needs: Vec<String> = needs.filter(|need| *need < n).map(|n| format!("s{n}")).collect();
        let (what, more) = match fails {
            Fails::Not => ("use: fs.write".to_owned(), ""),
            Fails::Tolerated => ("use: fs.read".to_owned(), ", on_error: continue"),
            Fails::Fatally => ("use: fs.read".to_owned(), ""),
        };
        let with = match fails {
            Fails::Not => format!("{{ path: {folder}/s{n}, content: '{n}' }}"),
            _ => format!("{{ path: {folder}/none }}"),
        };
        text += &format!(
            "  - {{ id: s{n}, {what}, needs: [{}], with: {with}{more} }}\n",
            needs.join(", ")
        );
    }
    Workflow::from_yaml(&Source::new("dag.workflow.yaml", text.as_bytes())).unwrap()
}

fn tree(root: &Path, into: &mut Vec<(String, Option<Vec<u8>>)>) {
    let mut names: Vec<_> =
        std::fs::read_dir(root).unwrap().map(|one| one.unwrap().path()).collect();
    names.sort();
    for path in names.into_iter().filter(|path| !path.ends_with(".lictor")) {
        let content = path.is_file().then(|| std::fs::read(&path).unwrap());
        into.push((path.to_string_lossy().into_owned(), content));
        if path.is_dir() {
            tree(&path, into);
        }
    }
}

fn tree_of(root: &Path) -> Vec<(String, Option<Vec<u8>>)> {
    let mut all = Vec::new();
    tree(root, &mut all);
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 40, ..ProptestConfig::default() })]

    /// Steps side by side that write into folders of each other: all of it is there, or nothing, and
    /// an undo of the run leaves no folder of it either.
    #[test]
    fn whatever_runs_write_into_new_folders_the_tree_is_old_or_new(graphs in prop::collection::vec(steps(), 1..4)) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("ws/theirs")).unwrap();
        let root = dir.path().join("ws");
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        threads.block_on(async {
            let runtime = open(dir.path(), |_| {}).await;
            let old = tree_of(&root);
            for graph in &graphs {
                let run = runtime.engine(None).run(&session(), &document(graph), json!({})).await.unwrap();
                let fails = graph.iter().any(|step| step.fails == Fails::Fatally);
                let expected = if fails { RunStatus::RolledBack } else { RunStatus::Completed };
                prop_assert_eq!(run.status(), expected, "{:?} {:?}", run.error, run.steps);
                let written: Vec<_> = graph.iter().enumerate().filter(|(_, step)| step.fails == Fails::Not).collect();
                if !fails {
                    for (n, step) in &written {
                        let file = root.join(format!("{}/s{n}", step.folder));
                        prop_assert_eq!(std::fs::read(file).ok(), Some(n.to_string().into_bytes()));
                    }
                }
                if !fails && !written.is_empty() {
                    let agent = runtime.agent(&session());
                    let all = agent.to_undo(&UndoRequest::Run(run.run_id.clone())).unwrap();
                    prop_assert_eq!(all.len(), written.len());
                    let undone = agent.undo(&all, OnConflict::Refuse, None).await;
                    prop_assert!(undone.is_ok(), "{:?}", undone);
                }
                prop_assert_eq!(&tree_of(&root), &old);
            }
            Ok(())
        })?;
    }
}

//! No file skill describes a path that its input did not name.

use std::fs;
use std::path::Path;

use lictor_capability::{Action, CapabilityId, Effects};
use lictor_context::{Name, Principal, Session, SystemClock, WorkspacePath};
use lictor_executor::Request;
use lictor_skills::{SkillSettings, contracts, handlers};
use lictor_workspace::Workspace;
use proptest::prelude::*;
use serde_json::{Value, json};

struct Rig {
    _dir: tempfile::TempDir,
    workspace: Workspace,
}

impl Rig {
    /// Files at every path that does not run into another one.
    fn new(files: &[String], dirs: &[String], links: &[(String, String)]) -> Self {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let root = dir.path().join("ws");
        fs::create_dir(&root).expect("mkdir");
        fs::create_dir(dir.path().join("outside")).expect("mkdir");
        fs::write(dir.path().join("outside/a"), "canary").expect("write");
        for path in dirs {
            ignore(fs::create_dir_all(root.join(path)));
        }
        for (path, target) in links {
            ignore(parent(&root.join(path)));
            ignore(std::os::unix::fs::symlink(target, root.join(path)));
        }
        for path in files {
            ignore(parent(&root.join(path)));
            ignore(fs::write(root.join(path), path));
        }
        let workspace = Workspace::open(root).expect("open");
        Self { _dir: dir, workspace }
    }

    /// The effects, held against the contract's ceiling.
    fn describe(&self, capability: &str, input: Value) -> Option<Effects> {
        let principal = Principal {
            org: Name::parse("o").expect("name"),
            user: Name::parse("u").expect("name"),
            agent: Name::parse("a").expect("name"),
        };
        let session = Session::new(principal, &SystemClock);
        let id = CapabilityId::parse(capability).expect("id");
        let action = Action::new(&session, id, input, &SystemClock);
        let all = contracts().expect("contracts");
        let contract = all.iter().find(|c| c.id.as_str() == capability).expect("contract");
        let handlers = handlers(SkillSettings::default());
        let handler = handlers.of(contract).expect("handler");
        let effects = handler.describe(Request { action: &action, view: &self.workspace }).ok()?;
        assert_eq!(effects.beyond(&contract.effects), None);
        Some(effects)
    }
}

fn ignore<T>(result: std::io::Result<T>) {
    drop(result);
}

fn parent(path: &Path) -> std::io::Result<()> {
    fs::create_dir_all(path.parent().expect("parent"))
}

/// Whether a path is one of the named, or below one of them.
fn named(path: &WorkspacePath, roots: &[&str]) -> bool {
    roots.iter().any(|root| WorkspacePath::parse(root).is_ok_and(|root| path.is_within(&root)))
}

fn check(effects: &Effects, changed: &[&str], read: &[&str]) {
    for item in &effects.changes.items {
        for path in [&item.from, &item.to].into_iter().flatten() {
            let above =
                |root: &&str| WorkspacePath::parse(root).is_ok_and(|root| root.is_within(path));
            let fine = if item.implicit { changed.iter().any(above) } else { named(path, changed) };
            assert!(fine, "{item:?} with {changed:?}");
        }
    }
    for path in &effects.reads {
        assert!(named(path, read), "{path} with {read:?}");
    }
    assert!(effects.hosts.is_empty() && effects.programs.is_empty() && effects.tools.is_empty());
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(|s| s.join("/"))
}

/// Paths as a model might write them: mostly fine ones.
fn wild() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        "..",
        "../outside/a",
        "a/../b",
        "./a",
        "a//b",
        "/etc/passwd",
        "a/",
        "a\\b",
        "a ",
        "a.",
        "C:a",
        "",
        "a\0b",
        "e\u{301}",
        ".lictor/policy.yaml",
    ]);
    prop_oneof![6 => path(), 1 => odd.prop_map(str::to_owned), 1 => any::<String>()]
}

fn rig() -> impl Strategy<Value = Rig> {
    let link = (path(), prop::sample::select(vec!["../outside", "b", "../a", "/etc", "c/x"]));
    (
        prop::collection::vec(path(), 0..8),
        prop::collection::vec(path(), 0..3),
        prop::collection::vec(link.prop_map(|(path, target)| (path, target.to_owned())), 0..3),
    )
        .prop_map(|(files, dirs, links)| Rig::new(&files, &dirs, &links))
}

impl std::fmt::Debug for Rig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rig")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn writing_stays_at_its_path(rig in rig(), path in wild(), content in any::<String>(), create_only in any::<bool>()) {
        let input = json!({ "path": path, "content": content, "create_only": create_only });
        if let Some(effects) = rig.describe("fs.write", input) {
            check(&effects, &[&path], &[]);
            prop_assert!(effects.changes.count() <= 1);
        }
    }

    #[test]
    fn deleting_stays_at_its_path(rig in rig(), path in wild(), recursive in any::<bool>()) {
        let input = json!({ "path": path, "recursive": recursive });
        if let Some(effects) = rig.describe("fs.delete", input) {
            check(&effects, &[&path], &[]);
            prop_assert!(recursive || effects.changes.count() <= 1);
        }
    }

    #[test]
    fn moving_stays_at_its_ends(rig in rig(), from in wild(), to in wild()) {
        if let Some(effects) = rig.describe("fs.move", json!({ "from": from, "to": to })) {
            check(&effects, &[&from, &to], &[]);
        }
    }

    #[test]
    fn copying_reads_one_end_and_writes_the_other(rig in rig(), from in wild(), to in wild()) {
        if let Some(effects) = rig.describe("fs.copy", json!({ "from": from, "to": to })) {
            check(&effects, &[&to], &[&from]);
        }
    }

    #[test]
    fn looking_reads_its_path(rig in rig(), path in wild(), recursive in any::<bool>()) {
        for (capability, input) in [
            ("fs.read", json!({ "path": path })),
            ("fs.hash", json!({ "path": path })),
            ("fs.list", json!({ "path": path, "recursive": recursive })),
        ] {
            if let Some(effects) = rig.describe(capability, input) {
                check(&effects, &[], &[&path]);
                prop_assert!(effects.is_read_only());
            }
        }
    }
}

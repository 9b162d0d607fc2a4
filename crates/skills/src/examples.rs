//! Runs `tests/data/examples.yaml` against real files: every skill's effects, its ceiling, its
//! output against its schema, and the files as they will be.
#![expect(clippy::disallowed_methods, reason = "the tests make the files that they look at")]

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lictor_capability::{
    Action, Change, ChangeSet, Content, Contract, Effects, Plan, State, WorkspaceView,
};
use lictor_context::{
    ChangeSetId, Digest, ManualClock, Name, PlanId, Principal, Session, Timestamp, WorkspacePath,
};
use lictor_document::{Limits, Source, StrictValue, from_yaml};
use lictor_executor::{HandlerError, Request};
use lictor_workspace::{RestrictedView, Workspace};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::catalogue::{SkillSettings, contracts, skills};
use crate::skill::Skill;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    name: String,
    capability: String,
    #[serde(default)]
    files: BTreeMap<String, StrictValue>,
    input: StrictValue,
    output: Option<StrictValue>,
    error: Option<String>,
    error_without: Option<String>,
    #[serde(default)]
    conflicts: Vec<String>,
    #[serde(default)]
    violations: Vec<String>,
    changes: Option<Vec<String>>,
    reads: Option<Vec<String>>,
    after: Option<BTreeMap<String, StrictValue>>,
}

/// What a path holds: enough to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    File(Vec<u8>, u32),
    Link(String),
    Directory,
}

pub(crate) type Tree = BTreeMap<String, Held>;

fn held(value: &Value) -> Held {
    let mode = |value: &Value| {
        let text = value.get("mode").and_then(Value::as_str).unwrap_or("0644");
        u32::from_str_radix(text, 8).expect("octal")
    };
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    match value {
        Value::Null => Held::Directory,
        Value::String(text) => Held::File(text.clone().into_bytes(), 0o644),
        _ => match (text("link"), text("text"), text("base64")) {
            (Some(target), ..) => Held::Link(target.to_owned()),
            (_, Some(content), _) => Held::File(content.as_bytes().to_vec(), mode(value)),
            (.., Some(content)) => Held::File(BASE64.decode(content).expect("base64"), mode(value)),
            _ => panic!("not a file: {value}"),
        },
    }
}

fn tree(files: &BTreeMap<String, StrictValue>) -> Tree {
    files.iter().map(|(path, value)| (path.clone(), held(value.as_value()))).collect()
}

fn make(root: &Path, tree: &Tree) -> io::Result<()> {
    for (path, held) in tree {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("in the root"))?;
        match held {
            Held::Directory => fs::create_dir_all(&path)?,
            Held::Link(target) => symlink(target, &path)?,
            Held::File(bytes, mode) => {
                fs::write(&path, bytes)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
            }
        }
    }
    Ok(())
}

/// What the workspace holds, read through the very port that the skills use.
pub(crate) fn look(view: &dyn WorkspaceView, dir: Option<&WorkspacePath>, into: &mut Tree) {
    for listed in view.list(dir).expect("list") {
        let path = match dir {
            Some(dir) => dir.join(&listed.name).expect("path"),
            None => WorkspacePath::parse(&listed.name).expect("path"),
        };
        use lictor_capability::EntryKind as Kind;
        let held = match listed.kind {
            Kind::Directory => {
                look(view, Some(&path), into);
                Held::Directory
            }
            Kind::Symlink => Held::Link(view.read_link(&path).expect("link")),
            Kind::File => {
                let mode = view.entry(&path).expect("entry").expect("there").mode;
                Held::File(view.read(&path, 1 << 30).expect("read"), mode)
            }
            Kind::Special => panic!("special"),
        };
        into.insert(path.to_string(), held);
    }
}

/// The tree after the effects, and that every `after` state is what is really there then.
pub(crate) fn applied(before: &Tree, effects: &Effects) -> Tree {
    let mut after = before.clone();
    let items = &effects.changes.items;
    for path in items.iter().filter_map(|item| item.from.as_ref()) {
        after.remove(path.as_str());
    }
    for item in items {
        let Some(to) = &item.to else { continue };
        let old = item.from.as_ref().and_then(|from| before.get(from.as_str()));
        let mode = item.after.and_then(|state| state.mode()).map_or(0, |mode| mode.bits());
        let bytes = |path: &WorkspacePath| match before.get(path.as_str()) {
            Some(Held::File(bytes, _)) => bytes.clone(),
            other => panic!("no file at {path}: {other:?}"),
        };
        let held = match (&item.content, old) {
            (Some(Content::Inline(bytes)), _) => Held::File(bytes.to_vec(), mode),
            (Some(Content::CopyOf(path)), _) => Held::File(bytes(path), mode),
            (Some(Content::Target(target)), _) => Held::Link(target.clone()),
            (Some(Content::Kept(_) | Content::Streamed(_)), _) => {
                panic!("no skill keeps or streams anything")
            }
            (None, Some(Held::File(bytes, _))) => Held::File(bytes.clone(), mode),
            (None, Some(old)) => old.clone(),
            (None, None) => Held::Directory,
        };
        match (&held, item.after.expect("a state")) {
            (Held::File(content, _), State::File { digest, bytes, .. }) => {
                assert_eq!((Digest::of(content), content.len() as u64), (digest, bytes));
            }
            (Held::Link(target), State::Symlink { digest }) => {
                assert_eq!(Digest::of(target.as_bytes()), digest);
            }
            (Held::Directory, State::Directory { .. }) => {}
            other => panic!("{other:?}"),
        }
        assert!(after.insert(to.to_string(), held).is_none(), "nothing is overwritten");
    }
    after
}

/// `digest(text)` becomes the digest of the text.
fn spelled_out(value: &mut Value) {
    match value {
        Value::String(text) => {
            let inner = text.strip_prefix("digest(").and_then(|rest| rest.strip_suffix(')'));
            if let Some(digest) = inner.map(|inner| Digest::of(inner.as_bytes())) {
                *text = digest.to_string();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(spelled_out),
        Value::Object(fields) => fields.values_mut().for_each(spelled_out),
        _ => {}
    }
}

pub(crate) struct Rig {
    _dir: tempfile::TempDir,
    workspace: Workspace,
    clock: Arc<ManualClock>,
    session: Session,
}

impl Rig {
    pub(crate) fn new(files: &Tree) -> Self {
        let dir = tempfile::tempdir().expect("a scratch folder");
        make(dir.path(), files).expect("files");
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_795_168_800_000_001)));
        let name = |name: &str| Name::parse(name).expect("name");
        let principal = Principal { org: name("o"), user: name("u"), agent: name("a") };
        let session = Session::new(principal, clock.as_ref());
        let workspace = Workspace::open(dir.path()).expect("workspace");
        Self { _dir: dir, workspace, clock, session }
    }

    pub(crate) fn view(&self) -> &dyn WorkspaceView {
        &self.workspace
    }

    pub(crate) fn root(&self) -> &Path {
        self.workspace.path()
    }

    fn settings(&self) -> SkillSettings {
        let allowed = ["CARGO_PKG_NAME", "LICTOR_NEVER_SET", "LICTOR_SECRET_X"];
        SkillSettings {
            clock: self.clock.clone(),
            env_allow: allowed.into_iter().map(str::to_owned).collect(),
        }
    }

    pub(crate) fn skill(&self, name: &str) -> Box<dyn Skill> {
        let found = skills(self.settings()).into_iter().find(|(id, _)| *id == name);
        found.expect(name).1
    }

    pub(crate) fn action(&self, capability: &str, input: Value) -> Action {
        let id = capability.parse().expect("id");
        Action::new(&self.session, id, input, self.clock.as_ref())
    }

    pub(crate) fn effects(
        &self,
        skill: &dyn Skill,
        action: &Action,
    ) -> Result<Effects, HandlerError> {
        skill.effects(Request { action, view: &self.workspace })
    }

    /// As the executor runs it: only what was declared can be seen.
    pub(crate) fn output(
        &self,
        skill: &dyn Skill,
        input: &Value,
        effects: &Effects,
    ) -> Result<Value, HandlerError> {
        let view = RestrictedView::new(&self.workspace, &effects.reads, effects.reads_root);
        skill.output(input, effects, &view)
    }
}

pub(crate) fn contract(id: &str) -> Arc<Contract> {
    let all = contracts().expect("the contracts that are shipped");
    all.into_iter().find(|contract| contract.id.as_str() == id).expect(id)
}

fn run(example: &Example) {
    let name = &example.name;
    let rig = Rig::new(&tree(&example.files));
    let mut before = Tree::new();
    look(&rig.workspace, None, &mut before);
    let contract = contract(&example.capability);
    let mut input = example.input.as_value().clone();
    spelled_out(&mut input);
    contract.check_input(&input).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let skill = rig.skill(&example.capability);
    let action = rig.action(&example.capability, input.clone());

    let described = rig.effects(skill.as_ref(), &action);
    let refused = !(example.conflicts.is_empty() && example.violations.is_empty());
    if let Ok(effects) = &described {
        assert_eq!(effects.beyond(&contract.effects), None, "{name}");
        let conflicts: Vec<String> = effects
            .conflicts
            .iter()
            .map(|conflict| {
                let reason = json!(conflict.reason);
                format!("{} {}", reason.as_str().expect("word"), conflict.path)
            })
            .collect();
        assert_eq!(conflicts, example.conflicts, "{name}");
        let mut violations: Vec<&str> =
            effects.violations.iter().map(|violation| violation.path.as_str()).collect();
        violations.dedup();
        assert_eq!(violations, example.violations, "{name}");
        if let Some(expected) = &example.changes {
            let changes: Vec<String> = effects
                .changes
                .items
                .iter()
                .map(|item| format!("{} {}", json!(item.kind).as_str().expect("word"), item.path()))
                .collect();
            assert_eq!(&changes, expected, "{name}");
        }
        if let Some(expected) = &example.reads {
            let mut reads: Vec<&str> = effects.reads.iter().map(WorkspacePath::as_str).collect();
            reads.sort_unstable();
            assert_eq!(&reads, expected, "{name}");
        }
    }
    if refused {
        return;
    }
    let outcome = described.and_then(|effects| {
        let output = rig.output(skill.as_ref(), &input, &effects)?;
        Ok((output, effects))
    });
    match (outcome, &example.error) {
        (Err(error), Some(expected)) => {
            let error = error.to_string();
            assert!(error.contains(expected), "{name}: {error}");
            if let Some(hidden) = &example.error_without {
                assert!(!error.contains(hidden), "{name}: {error}");
            }
        }
        (Ok((output, effects)), None) => {
            contract.check_output(&output).unwrap_or_else(|e| panic!("{name}: {e:?}: {output}"));
            let expected = example.output.as_ref().expect("an output or an error");
            let mut expected = expected.as_value().clone();
            spelled_out(&mut expected);
            assert_eq!(output, expected, "{name}");
            let after = example.after.as_ref().map_or_else(|| before.clone(), tree);
            assert_eq!(applied(&before, &effects), after, "{name}");
        }
        (Ok((output, _)), Some(error)) => panic!("{name}: {output} instead of {error}"),
        (Err(error), None) => panic!("{name}: {error}"),
    }
    let mut now = Tree::new();
    look(&rig.workspace, None, &mut now);
    assert_eq!(now, before, "{name}: a skill changes nothing by itself");
}

fn examples() -> Vec<Example> {
    let text = include_bytes!("../tests/data/examples.yaml");
    let source = Source::new("tests/data/examples.yaml", text);
    from_yaml(&source, &Limits::default()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_examples_hold() {
    // All of them are run, so that one look shows what a change broke.
    let fails = |example: &&Example| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(example))).is_err()
    };
    let examples = examples();
    let failed: Vec<&str> = examples.iter().filter(fails).map(|e| e.name.as_str()).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn every_skill_has_an_example() {
    let examples = examples();
    for contract in contracts().unwrap() {
        // A change set does not fit into an input; its examples are below.
        let found = examples
            .iter()
            .any(|example| example.capability == contract.id.as_str() && example.output.is_some());
        assert!(found || contract.id.as_str() == "change.apply", "{}", contract.id);
    }
}

fn change_set(rig: &Rig) -> (Action, Value) {
    let path = |text: &str| WorkspacePath::parse(text).expect(text);
    let plan =
        Plan { intent: "tidy up".to_owned(), ..Plan::bare(PlanId::parse("pln_1").expect("id")) };
    let delete = |name: &str| Change::Delete { path: path(name), before: Digest::of(b"x") };
    let set = ChangeSet::seal(
        ChangeSetId::parse("chg_1").expect("id"),
        plan.id.clone(),
        vec![
            delete("a"),
            Change::Rename { path: path("b"), to: path("c"), before: Digest::of(b"y") },
        ],
    )
    .expect("sealed");
    let input = json!({
        "plan": plan,
        "change_set": { "id": "chg_1", "plan_id": "pln_1", "checksum": set.checksum() },
    });
    (rig.action("change.apply", input.clone()).with_change_set(plan, set), input)
}

fn two_files() -> Tree {
    [("a", "x"), ("b", "y")]
        .map(|(path, text)| (path.to_owned(), Held::File(text.as_bytes().to_vec(), 0o644)))
        .into()
}

#[test]
fn a_change_set_is_described_and_reported() {
    let rig = Rig::new(&two_files());
    let (action, input) = change_set(&rig);
    let skill = rig.skill("change.apply");
    let contract = contract("change.apply");
    contract.check_input(&input).unwrap();
    let effects = rig.effects(skill.as_ref(), &action).unwrap();
    assert_eq!(effects.beyond(&contract.effects), None);
    assert!(effects.conflicts.is_empty() && effects.violations.is_empty());
    let output = rig.output(skill.as_ref(), &input, &effects).unwrap();
    contract.check_output(&output).unwrap();
    let (x, y) = (Digest::of(b"x"), Digest::of(b"y"));
    let expected = json!({ "change_set_id": "chg_1", "files": [
        { "path": "a", "op": "delete", "before": x, "after": null },
        { "path": "b", "op": "rename", "before": y, "after": y, "to": "c" },
    ]});
    assert_eq!(output, expected);
}

#[test]
fn a_change_set_that_the_input_does_not_name_is_refused() {
    let rig = Rig::new(&two_files());
    let (action, input) = change_set(&rig);
    let skill = rig.skill("change.apply");
    let (plan, set) = (action.plan().unwrap().clone(), action.change_set().unwrap().clone());
    let changes: [(&str, Value); 6] = [
        ("/change_set/id", json!("chg_2")),
        ("/change_set/plan_id", json!("pln_2")),
        ("/change_set/checksum", json!(Digest::of(b"other"))),
        ("/plan/id", json!("pln_2")),
        ("/plan/intent", json!("something else")),
        ("/plan", json!({ "id": "pln_1" })),
    ];
    for (pointer, value) in changes {
        let mut input = input.clone();
        *input.pointer_mut(pointer).unwrap() = value;
        let action = rig.action("change.apply", input).with_change_set(plan.clone(), set.clone());
        let error = rig.effects(skill.as_ref(), &action).unwrap_err();
        assert!(error.to_string().contains("not the one that the action brings"), "{error}");
    }
    let bare = rig.action("change.apply", input);
    let error = rig.effects(skill.as_ref(), &bare).unwrap_err();
    assert!(error.to_string().contains("brings no change set"), "{error}");
}

#[test]
fn a_change_set_conflict_is_an_effect_and_not_an_error() {
    let rig = Rig::new(&Tree::new());
    let (action, _) = change_set(&rig);
    let effects = rig.effects(rig.skill("change.apply").as_ref(), &action).unwrap();
    assert_eq!(effects.conflicts.len(), 2);
    assert!(effects.changes.items.is_empty());
}

#[test]
fn a_large_file_is_copied_without_being_held() {
    let rig = Rig::new(&Tree::new());
    let root = rig.workspace.path();
    let file = fs::File::create(root.join("large")).unwrap();
    file.set_len(64 << 20).unwrap();
    let skill = rig.skill("fs.copy");
    let input = json!({ "from": "large", "to": "d/copy" });
    let effects = rig.effects(skill.as_ref(), &rig.action("fs.copy", input.clone())).unwrap();
    let item = effects.changes.items.last().unwrap();
    assert!(matches!(&item.content, Some(Content::CopyOf(path)) if path.as_str() == "large"));
    let digest = rig.workspace.digest(&WorkspacePath::parse("large").unwrap()).unwrap();
    assert!(matches!(item.after, Some(State::File { digest: copied, bytes, .. })
        if copied == digest && bytes == 64 << 20));
    assert_eq!(effects.changes.bytes, 64 << 20, "limits on bytes see it");
    let output = rig.output(skill.as_ref(), &input, &effects).unwrap();
    assert_eq!(output["digest"], json!(digest));
    assert_eq!(output["bytes"], json!(64 << 20));
}

#[test]
fn a_mode_that_would_reach_other_names_is_a_violation() {
    let rig = Rig::new(&two_files());
    let root = rig.workspace.path();
    fs::hard_link(root.join("a"), root.join("other")).unwrap();
    let input = json!({ "path": "a", "content": "x", "mode": "0600" });
    let action = rig.action("fs.write", input);
    let effects = rig.effects(rig.skill("fs.write").as_ref(), &action).unwrap();
    assert_eq!(effects.violations.len(), 1);
}

#[test]
fn a_huge_answer_is_cut_and_says_so() {
    let rig = Rig::new(&Tree::new());
    let skill = rig.skill("regex.match");
    let input = json!({ "pattern": "((((((.*))))))", "text": "a".repeat(1 << 20) });
    let output = rig.output(skill.as_ref(), &input, &Effects::default()).unwrap();
    assert_eq!(output, json!({ "matched": true, "matches": [], "truncated": true }));
}

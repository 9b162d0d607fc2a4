//! The process that is killed: this very program, run again for one step on one workspace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lictor_capability::Change;
use lictor_context::{Clock as _, ExecutionId, SystemClock};
use lictor_executor::{Recovered, Recovery};
use lictor_lock::Claim;
use lictor_undo::{Purged, Retention};

use crate::choices::{Choice, changes};
use crate::support::World;
use crate::tree::{
    Tree, chmod, create, delete, file, mixed_changes, mixed_tree, model, modify, read_tree, rename,
    rmdir, write_tree,
};

const STEP: &str = "LICTOR_TEST_STEP";
const ROOT: &str = "LICTOR_TEST_ROOT";

/// What the child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Apply,
    /// With a check that looks at the change.
    ApplyChecked,
    /// With a check that is not passed.
    ApplyRefused,
    /// With a check of the staged tree.
    ApplyStaged,
    /// Acknowledged behind the first barrier.
    ApplyLazy,
    /// The same, with a check that looks at the change.
    CheckedLazy,
    /// Another one behind that, over what it made, acknowledged as early.
    NextLazy,
    Undo,
    Redo,
    /// Takes back what was done last, acknowledged as early.
    UndoLazy,
    Recover,
    /// Purges everything.
    Purge,
    /// One of each, to change.
    Small,
    /// What some random choices mean for the tree that is there.
    Random,
    /// Takes that back.
    UndoRandom,
}

impl Step {
    pub(crate) const CHANGING: [Self; 5] =
        [Self::Apply, Self::ApplyChecked, Self::ApplyRefused, Self::Undo, Self::Redo];

    /// How many of the first points another step passes just the same.
    pub(crate) fn skipped(self, lacks: &'static str) -> usize {
        if self == Self::ApplyRefused { count_lacking(Self::Apply, lacks).len() - 2 } else { 0 }
    }
}

/// One workspace before a step, and what the step makes of it.
pub(crate) struct Case {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) step: Step,
    pub(crate) old: Tree,
    pub(crate) new: Tree,
    /// The executions of the preparation.
    before: Vec<String>,
    /// The calls that the file system seems not to have.
    lacks: &'static str,
}

impl Case {
    pub(crate) fn new(step: Step) -> Self {
        Self::lacking(step, "")
    }

    /// On a file system without some calls.
    pub(crate) fn lacking(step: Step, lacks: &'static str) -> Self {
        let dir = scratch();
        let (old, new, before) = (Tree::new(), Tree::new(), Vec::new());
        let case = Self { dir, step, old, new, before, lacks };
        let root = case.root();
        fs::create_dir(&root).expect("a workspace");
        let changes = if step == Step::Small { small_changes() } else { mixed_changes() };
        let first = if step == Step::Small { small_tree() } else { mixed_tree() };
        write_tree(&root, &first);
        let second = model(&first, &changes);
        let (old, new) = match step {
            Step::Random | Step::UndoRandom => unreachable!("see `random`"),
            Step::Small
            | Step::Apply
            | Step::ApplyChecked
            | Step::ApplyRefused
            | Step::ApplyStaged
            | Step::ApplyLazy
            | Step::CheckedLazy => (first, second),
            Step::Undo
            | Step::UndoLazy
            | Step::NextLazy
            | Step::Redo
            | Step::Recover
            | Step::Purge => {
                assert_eq!(case.run_step(Step::Apply, "none@0").as_deref(), Some("ok"));
                if step == Step::Redo {
                    assert_eq!(case.run_step(Step::Undo, "none@0").as_deref(), Some("ok"));
                }
                case.points();
                if step == Step::Redo { (first, second) } else { (second, first) }
            }
        };
        let before = World::at(&root).folders();
        Self { old, new, before, ..case }
    }

    /// What `first` means in an empty workspace was done; the step does, or takes back, what
    /// `second` means there. Nothing where that is nothing.
    pub(crate) fn random(step: Step, first: &[Choice], second: &[Choice]) -> Option<Self> {
        let dir = scratch();
        let (old, new, before) = (Tree::new(), Tree::new(), Vec::new());
        let case = Self { dir, step, old, new, before, lacks: "" };
        let root = case.root();
        fs::create_dir(&root).expect("a workspace");
        let made = case.chooses(first);
        if made != Tree::new() {
            assert_eq!(case.run_step(Step::Random, "none@0").as_deref(), Some("ok"));
        }
        assert_eq!(read_tree(&root), made);
        let changed = case.chooses(second);
        if changed == made {
            return None;
        }
        let (old, new) = match step {
            Step::UndoRandom => {
                assert_eq!(case.run_step(Step::Random, "none@0").as_deref(), Some("ok"));
                assert_eq!(read_tree(&root), changed);
                (changed, made)
            }
            _ => (made, changed),
        };
        case.points();
        let before = World::at(&root).folders();
        Some(Self { old, new, before, ..case })
    }

    /// Leaves choices to the next child; what they make of the tree that is there.
    fn chooses(&self, choices: &[Choice]) -> Tree {
        let text = serde_json::to_string(choices).expect("a text");
        fs::write(self.dir.path().join("choices"), text).expect("choices");
        let tree = read_tree(&self.root());
        model(&tree, &changes(&tree, choices))
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("ws")
    }

    /// Runs the step in a child with a fault, and says what became of it: nothing if it died.
    pub(crate) fn run(&self, fault: &str) -> Option<String> {
        self.run_step(self.step, fault)
    }

    pub(crate) fn run_step(&self, step: Step, fault: &str) -> Option<String> {
        self.run_with(step, fault, "none")
    }

    /// With a path that somebody saves at, when the fault is that.
    pub(crate) fn run_with(&self, step: Step, fault: &str, saved: &str) -> Option<String> {
        let answer = self.dir.path().join("answer");
        fs::remove_file(&answer).unwrap_or_default();
        let status = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child::a_step_of_another_test", "--test-threads=1", "--quiet"])
            .env(STEP, format!("{step:?}"))
            .env(ROOT, self.dir.path())
            .env("LICTOR_FAULT", fault)
            .env("LICTOR_LACKS", self.lacks)
            .env("LICTOR_FAULT_PATH", self.root().join(saved))
            .env("LICTOR_FAULT_COUNT", self.dir.path().join("points"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("a child");
        let answer = fs::read_to_string(answer).ok();
        assert!(answer.is_some() || !status.success(), "the child said nothing");
        answer
    }

    /// The names of the points that the last child passed.
    pub(crate) fn points(&self) -> Vec<String> {
        let points = self.dir.path().join("points");
        let text = fs::read_to_string(&points).unwrap_or_default();
        fs::remove_file(&points).unwrap_or_default();
        let names = text.lines().filter_map(|line| line.split_once(' '));
        names.map(|(_, name)| name.to_owned()).collect()
    }

    /// The executions that the ledger has or a folder lies of, beside those of the preparation.
    fn executions(&self, world: &World) -> Vec<String> {
        let ledger = fs::read_to_string(world.path(".lictor/ledger")).unwrap_or_default();
        let recorded = ledger.lines().filter_map(|line| line.split_once(' ')).map(|(id, _)| id);
        let mut all: Vec<String> = recorded.map(ToOwned::to_owned).collect();
        all.extend(world.folders().into_iter().filter(|name| name.starts_with("exe_")));
        all.sort();
        all.dedup();
        all.retain(|id| !self.before.contains(id));
        all
    }

    /// Whether the last child has touched anything in the workspace.
    fn touched(&self) -> bool {
        let points = fs::read_to_string(self.dir.path().join("points")).unwrap_or_default();
        let effects = ["put.after", "take.after", "swap.after", "chmod.after"];
        // In a staged tree the same is done, and nobody sees it.
        let begun = if points.contains("view.mkdir") { "view.made" } else { "" };
        let in_the_workspace = points.split_once(begun).map_or("", |(_, rest)| rest);
        effects.iter().any(|effect| in_the_workspace.contains(effect))
    }

    /// `recorded_before_acknowledged`, after a crash: what stands is on record as standing, and
    /// what was begun and put back is on record as that.
    #[track_caller]
    fn is_recorded(&self, world: &World, tree: &Tree, touched: bool, context: &str) {
        let executions = self.executions(world);
        let words: Vec<_> = executions.iter().map(|id| world.recorded(id)).collect();
        let stands = words.iter().any(|word| word.as_deref() == Some("Applied"));
        assert_eq!(stands, *tree == self.new, "{context}: the ledger says {words:?}");
        if touched {
            assert!(words.iter().any(Option::is_some), "{context}: nothing is on record");
        }
    }

    /// Recovers as a new process would, and checks that nothing is mixed, nothing is left, and
    /// work goes on.
    #[track_caller]
    pub(crate) fn recovers(&self, context: &str) -> Vec<Recovered> {
        let root = self.root();
        let world = World::at(&root);
        let touched = self.touched();
        let recovered = world.recover();
        let tree = read_tree(&root);
        let whole = tree == self.old || tree == self.new;
        let told: Vec<_> = recovered.iter().map(|one| (one.recovery, &one.stuck)).collect();
        assert!(whole, "{context}: a mixture after {told:?}:\n{}", self.mixture(&tree));
        for one in &recovered {
            let says = match one.recovery {
                Recovery::Discarded | Recovery::PutBack => tree == self.old,
                Recovery::Finished => tree == self.new,
                Recovery::Incomplete => false,
            };
            let (told, stuck) = (one.recovery, &one.stuck);
            assert!(says, "{context}: the tree is not what the recovery says: {told:?} {stuck:?}");
        }
        assert_eq!(world.unsettled(), Vec::<String>::new(), "{context}");
        self.is_recorded(&world, &tree, touched, context);
        assert!(world.recover().is_empty(), "{context}: a second recovery finds something");
        let next = world.apply(vec![crate::tree::create("after-the-fault", "fine\n")]);
        world.undo(&next);
        assert_eq!(read_tree(&root), tree, "{context}");
        recovered
    }

    pub(crate) fn mixture(&self, tree: &Tree) -> String {
        let keys: std::collections::BTreeSet<&String> =
            self.old.keys().chain(self.new.keys()).chain(tree.keys()).collect();
        let lines = keys.into_iter().filter_map(|key| {
            let (old, new, found) = (self.old.get(key), self.new.get(key), tree.get(key));
            (old != new || found != old).then(|| {
                let side = match (found == old, found == new) {
                    (true, true) => "same",
                    (true, false) => "old",
                    (false, true) => "new",
                    (false, false) => "NEITHER",
                };
                format!("  {key}: {side} ({found:?})")
            })
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// In memory where there is such a place: a killed process loses no more there than on a disk,
/// and hundreds of them wait for no other program's flushes.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let dir = match std::env::var_os("LICTOR_TEST_DIR") {
        Some(dir) => tempfile::tempdir_in(dir),
        None if memory.is_dir() => tempfile::tempdir_in(memory),
        None => tempfile::tempdir(),
    };
    dir.expect("a directory")
}

/// Purges everything, in the order in which it was planned.
pub(crate) fn purge_all(world: &World) -> Purged {
    let all = Retention { count: Some(0), ..Retention::default() };
    let lease = world.lock.try_acquire(Claim::new("test", "purge")).expect("the lock");
    let plan = world.transactions.plan_purge(&all, SystemClock.now(), usize::MAX, &|_| None);
    let purged = world.transactions.purge(&lease, plan.expect("a plan")).expect("a purge");
    lease.release().expect("released");
    purged
}

fn small_tree() -> Tree {
    ["modified", "deleted", "renamed"]
        .into_iter()
        .map(|name| (name.to_owned(), file(0o644, format!("{name}\n"))))
        .collect()
}

fn small_changes() -> Vec<Change> {
    vec![
        create("created", "new\n"),
        modify("modified", "modified\n", "changed\n"),
        delete("deleted", "deleted\n"),
        rename("renamed", "target", "renamed\n"),
    ]
}

/// What comes behind the mixed changes: other things are made of what these have made.
pub(crate) fn next_changes() -> Vec<Change> {
    vec![
        rename("new.txt", "s/c", "new\n"),
        delete("n/e/s/t/ed.txt", "nested\n"),
        rmdir("n/e/s/t"),
        modify("a/modify.txt", "new\n", "newer\n"),
        rename("r/2", "r/1", "one\n"),
        rename("r/4", "r/2", "three\n"),
        rename("s/a", "s/b", "b\n"),
        rename("s/b", "s/a", "a\n"),
        chmod("m/file", 0o600, 0o640),
        chmod("m/dir", 0o700, 0o755),
        chmod("made/sealed", 0o555, 0o755),
        delete("made/sealed/inside", "inside\n"),
        delete("k/file/inside", "inside\n"),
        rmdir("k/file"),
        create("k/file", "a file again\n"),
    ]
}

/// How many points a step passes.
pub(crate) fn count(step: Step) -> Vec<String> {
    count_lacking(step, "")
}

/// The same on a file system without some calls.
pub(crate) fn count_lacking(step: Step, lacks: &'static str) -> Vec<String> {
    let case = Case::lacking(step, lacks);
    case.run("none@0").expect("it was not to die");
    case.points()
}

/// Not a test of its own: what the others run, in a process that may die of it.
#[test]
fn a_step_of_another_test() {
    let (Ok(step), Some(root)) = (std::env::var(STEP), std::env::var_os(ROOT)) else { return };
    let dir = Path::new(&root);
    let ws = dir.join("ws");
    let execution = || {
        let id = fs::read_to_string(dir.join("execution")).expect("an id");
        ExecutionId::parse(&id).expect("an id")
    };
    let outcome = match step.as_str() {
        "Random" => {
            let text = fs::read_to_string(dir.join("choices")).expect("choices");
            let choices: Vec<Choice> = serde_json::from_str(&text).expect("choices");
            World::at(&ws).try_apply(changes(&read_tree(&ws), &choices))
        }
        "Small" => World::at(&ws).try_apply(small_changes()),
        "Apply" => World::at(&ws).try_apply(mixed_changes()),
        "ApplyStaged" => World::staged(&ws, &[], |_| true).try_apply(mixed_changes()),
        "ApplyLazy" => World::lazy(&ws).try_apply(mixed_changes()),
        "CheckedLazy" => World::checked_lazily(&ws).try_apply(mixed_changes()),
        "ApplyChecked" => World::checked(&ws, true).try_apply(mixed_changes()),
        "ApplyRefused" => World::checked(&ws, false).try_apply(mixed_changes()),
        "Purge" => {
            purge_all(&World::at(&ws));
            fs::write(dir.join("answer"), "ok").expect("an answer");
            return;
        }
        "NextLazy" => World::lazy(&ws).try_apply(next_changes()),
        "UndoLazy" => World::lazy(&ws).try_undo(&execution()),
        "Undo" | "Redo" | "UndoRandom" => World::at(&ws).try_undo(&execution()),
        _ => {
            let recovered = World::at(&ws).try_recover();
            let answer = recovered.map_or_else(
                |error| format!("refused: {error}"),
                |all| all.iter().map(|one| format!("{:?} {:?}", one.recovery, one.stuck)).collect(),
            );
            fs::write(dir.join("answer"), format!("recovered: {answer}")).expect("an answer");
            return;
        }
    };
    let answer = match outcome {
        Ok(id) => {
            fs::write(dir.join("execution"), id.as_str()).expect("an id");
            "ok".to_owned()
        }
        Err(failure) => format!("{}: {}", failure.left(), failure.why()),
    };
    fs::write(dir.join("answer"), answer).expect("an answer");
}

//! Fuzzing a policy: each thing that it stands against is asked for again in every other way that
//! leads to the same thing. What gets a milder answer is a survivor: a hole.

use std::collections::BTreeMap;

use lictor_capability::{Body, Change, EffectKind, Effects, FileMode, UnifiedDiff, WorkspaceView};
use lictor_context::{Digest, Timestamp, WorkspacePath};
use lictor_document::{Limits, Source};
use serde::Serialize;
use serde_json::Value;

use super::asked::{Question, QuestionEffect};
use super::evaluate::Judgement;
use super::fuzz_view::FuzzView;
use super::load::Saying;
use super::set::PolicySet;
use super::spellings::{hosts, paths, programs};
use super::witness;
use crate::decision::Verdict;
use crate::usage::{Tallies, Tally};

/// A way around a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Survivor {
    /// The rule.
    pub rule: String,
    /// Where it stands.
    #[serde(rename = "where")]
    pub place: String,
    /// What the rule stands against.
    pub witness: String,
    /// How it was got around.
    pub mutation: String,
    /// What was asked for.
    pub attempt: String,
    /// What the policy says to the witness.
    pub wanted: Verdict,
    /// What it says to the attempt.
    pub got: Verdict,
}

/// What fuzzing found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct FuzzReport {
    /// How many things were asked for that the policy stands against.
    pub witnesses: usize,
    /// In how many other ways.
    pub attempts: usize,
    /// The ways, and how often each was tried.
    pub ways: BTreeMap<&'static str, usize>,
    /// Those that got through.
    pub survivors: Vec<Survivor>,
    /// Rules of which no example was found; an example under `match` helps.
    pub untested: Vec<String>,
}

/// Another way to the same thing.
struct Attempt {
    mutation: &'static str,
    what: String,
    /// What is asked for, one after the other; `None` where it is refused before the gate.
    asks: Option<Vec<Question>>,
}

impl PolicySet {
    /// Looks for ways around everything that the policies stand against, as at `now`.
    #[must_use]
    pub fn fuzz(&self, now: Timestamp) -> FuzzReport {
        let mut report = FuzzReport::default();
        for (list, glob, place) in self.listed_globs() {
            let kinds: &[EffectKind] = match list {
                "paths.forbidden" => &[
                    EffectKind::FsRead,
                    EffectKind::FsWrite,
                    EffectKind::FsDelete,
                    EffectKind::Process,
                ],
                "paths.protected" => &[EffectKind::FsWrite, EffectKind::FsDelete],
                _ => continue,
            };
            let Some(target) = witness::of_glob(&glob) else {
                report.untested.push(format!("{list} `{glob}` ({place})"));
                continue;
            };
            for target in [Some(target), witness::accented(&glob)].into_iter().flatten() {
                for kind in kinds {
                    let question = witness::asking(*kind, &target);
                    self.fuzz_one((list, &place), &question, now, &mut report);
                }
            }
        }
        for index in 0..self.statements.len() {
            let Some((_, statement)) = self.statement(index) else { continue };
            let strict = match &statement.saying {
                Saying::Verdict { verdict, .. } => *verdict > Verdict::Allow,
                Saying::Escalate(_) => true,
                Saying::Window(_) => false,
            };
            if !strict {
                continue;
            }
            let spoken = witness::of_statement(statement).into_iter().filter(|question| {
                let judged = self.unused(question, now);
                judged.reasons.iter().any(|reason| reason.rule == statement.name)
            });
            let questions: Vec<Question> = spoken.collect();
            if questions.is_empty() {
                report.untested.push(format!("{} ({})", statement.name, statement.place));
            }
            for question in questions {
                self.fuzz_one((&statement.name, &statement.place), &question, now, &mut report);
            }
        }
        // What no rule speaks about is denied; that has to hold for every way to it as well.
        for kind in [EffectKind::FsRead, EffectKind::FsWrite, EffectKind::FsDelete] {
            let question = witness::asking(kind, "nobody-spoke-of-this/file.txt");
            self.fuzz_one(("default", "-"), &question, now, &mut report);
        }
        report
    }

    /// What is said to a question as long as nothing was used yet: a limit that is reached would
    /// hide every hole.
    fn unused(&self, question: &Question, now: Timestamp) -> Judgement {
        let asked = question.asked();
        let windows = self.usage_windows(&asked).into_iter();
        let tallies = Tallies {
            windows: windows.map(|window| (window, Tally::default())).collect(),
            problem: None,
        };
        self.judge(&asked, &tallies, now)
    }

    fn fuzz_one(
        &self,
        (rule, place): (&str, &str),
        question: &Question,
        now: Timestamp,
        report: &mut FuzzReport,
    ) {
        let verdict =
            |question: &Question| self.judge(&question.asked(), &Tallies::default(), now).verdict;
        let wanted = verdict(question);
        if wanted == Verdict::Allow {
            return;
        }
        report.witnesses += 1;
        for attempt in attempts(question, wanted == Verdict::Deny) {
            report.attempts += 1;
            *report.ways.entry(attempt.mutation).or_default() += 1;
            let Some(asks) = &attempt.asks else { continue };
            let got = asks.iter().map(verdict).max().unwrap_or(Verdict::Deny);
            if got < wanted {
                report.survivors.push(Survivor {
                    rule: rule.to_owned(),
                    place: place.to_owned(),
                    witness: shown(question),
                    mutation: attempt.mutation.to_owned(),
                    attempt: attempt.what,
                    wanted,
                    got,
                });
            }
        }
    }
}

fn shown(question: &Question) -> String {
    let effects: Vec<String> =
        question.effects.iter().map(|one| format!("{} {}", one.effect, one.target)).collect();
    if effects.is_empty() {
        return format!("{} {}", question.capability, question.input);
    }
    effects.join(", ")
}

/// Other letters for the same name are tried where something is denied: what only asks for approval
/// is compared as it is written, by the formats.
fn attempts(question: &Question, denied: bool) -> Vec<Attempt> {
    let mut all = inputs(question);
    let [effect] = question.effects.as_slice() else { return all };
    match effect.effect {
        EffectKind::Net => {
            all.extend(hosts(&effect.target).into_iter().map(|it| respelled(question, it)));
        }
        EffectKind::Process => {
            all.extend(programs(&effect.target).into_iter().map(|it| respelled(question, it)));
        }
        EffectKind::Mcp => {}
        EffectKind::FsRead | EffectKind::FsWrite | EffectKind::FsDelete => {
            for (mutation, target) in paths(&effect.target, denied) {
                let mut attempt = respelled(question, (mutation, target));
                if WorkspacePath::parse(&attempt.what).is_err() {
                    attempt.asks = None;
                }
                all.push(attempt);
            }
            if let Ok(path) = WorkspacePath::parse(&effect.target) {
                all.extend(changes(question, effect.effect, &path));
            }
        }
    }
    all
}

fn respelled(question: &Question, (mutation, target): (&'static str, String)) -> Attempt {
    let mut asked = question.clone();
    for effect in &mut asked.effects {
        effect.target.clone_from(&target);
    }
    Attempt { mutation, what: target, asks: Some(vec![asked]) }
}

/// The same values in other types and wrappings.
fn inputs(question: &Question) -> Vec<Attempt> {
    let Value::Object(map) = &question.input else { return Vec::new() };
    let mut all = Vec::new();
    for (key, value) in map {
        let other = match value {
            Value::Number(number) => vec![
                ("number as text", Value::String(number.to_string())),
                ("number with a fraction", float(number)),
                ("in a list", Value::Array(vec![value.clone()])),
            ],
            Value::Bool(flag) => vec![("flag as text", Value::String(flag.to_string()))],
            Value::String(_) => vec![("in a list", Value::Array(vec![value.clone()]))],
            _ => Vec::new(),
        };
        for (mutation, value) in other {
            let mut asked = question.clone();
            if let Value::Object(map) = &mut asked.input {
                map.insert(key.clone(), value);
            }
            all.push(Attempt { mutation, what: asked.input.to_string(), asks: Some(vec![asked]) });
        }
    }
    all
}

fn float(number: &serde_json::Number) -> Value {
    let float = number.as_f64().and_then(serde_json::Number::from_f64);
    float.map_or(Value::Null, Value::Number)
}

/// Whole changes that reach a path: worked out as the real ones are, over a view that holds it.
fn changes(question: &Question, kind: EffectKind, path: &WorkspacePath) -> Vec<Attempt> {
    let content = b"one\n";
    let before = Digest::of(content);
    let Ok(other) = WorkspacePath::parse("lictor-fuzz.txt") else { return Vec::new() };
    let with = FuzzView::default().file(path.as_str(), content).file("lictor-fuzz-b", content);
    let without = FuzzView::default().file("lictor-fuzz-b", content);
    let Ok(beside) = WorkspacePath::parse("lictor-fuzz-b") else { return Vec::new() };
    let (p, body) = (path.clone(), || Body::new(*b"two\n"));
    let moved = Change::Rename { path: p.clone(), to: other.clone(), before };
    let deleted = Change::Delete { path: p.clone(), before };
    let mut all = Vec::new();
    let mut add = |mutation, view: &FuzzView, changes: Vec<Change>| {
        all.push(Attempt {
            mutation,
            what: format!("{path}"),
            asks: resolved(question, view, &changes).map(|one| vec![one]),
        });
    };
    add("deleted by a change set", &with, vec![deleted.clone()]);
    add(
        "deleted by a patch",
        &with,
        patch(
            &with,
            &format!(
                "diff --git a/{p} b/{p}\ndeleted file mode 100644\n--- a/{p}\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n"
            ),
        ),
    );
    if kind == EffectKind::FsDelete {
        return all;
    }
    if kind == EffectKind::FsWrite {
        add(
            "modified by a change set",
            &with,
            vec![Change::Modify { path: p.clone(), before, content: body(), mode: None }],
        );
        add(
            "unpacked from an archive",
            &without,
            vec![Change::Create { path: p.clone(), content: body(), mode: None }],
        );
        add(
            "renamed onto",
            &without,
            vec![Change::Rename { path: beside.clone(), to: p.clone(), before }],
        );
        add(
            "mode changed",
            &with,
            vec![Change::Chmod {
                path: p.clone(),
                before_mode: FileMode::FILE,
                mode: FileMode::from_bits(0o755),
            }],
        );
        // Writing makes a new file under one name. Modes belong to the file, under all of them.
        add(
            "mode changed by its other name",
            &FuzzView::default().hard_link(path.as_str(), other.as_str(), content),
            vec![Change::Chmod {
                path: other.clone(),
                before_mode: FileMode::FILE,
                mode: FileMode::from_bits(0o755),
            }],
        );
        add(
            "replaced by a link",
            &with,
            vec![deleted, Change::Symlink { path: p.clone(), target: "lictor-fuzz-b".to_owned() }],
        );
        add(
            "swapped",
            &with,
            vec![moved.clone(), Change::Rename { path: beside, to: p.clone(), before }],
        );
        for (mutation, name) in
            [("patched", format!("{p}")), ("patched, name in quotes", octal(path))]
        {
            let (a, b) = match name.starts_with('\\') {
                true => (format!("\"a/{name}\""), format!("\"b/{name}\"")),
                false => (format!("a/{name}"), format!("b/{name}")),
            };
            add(
                mutation,
                &with,
                patch(
                    &with,
                    &format!("diff --git {a} {b}\n--- {a}\n+++ {b}\n@@ -1 +1 @@\n-one\n+two\n"),
                ),
            );
        }
        add(
            "moved away by a patch",
            &with,
            patch(
                &with,
                &format!(
                    "diff --git a/{p} b/lictor-fuzz.txt\nsimilarity index 100%\nrename from {p}\nrename to lictor-fuzz.txt\n"
                ),
            ),
        );
    }
    // Written or read through a folder that is a link to the real one.
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    let parent = path.parent().map_or_else(|| ".".to_owned(), |parent| parent.to_string());
    if let Ok(through) = WorkspacePath::parse(&format!("lictor-fuzz-link/{name}")) {
        let linked =
            FuzzView::default().file(path.as_str(), content).link("lictor-fuzz-link", &parent);
        let change = Change::Modify { path: through.clone(), before, content: body(), mode: None };
        add("through a linked folder", &linked, vec![change]);
        if kind == EffectKind::FsRead {
            let reads = linked.read(&through, 1 << 20).is_ok();
            let asked = reads.then(|| witness::asking(kind, through.as_str()));
            all.push(Attempt {
                mutation: "read through a linked folder",
                what: through.to_string(),
                asks: asked.map(|one| vec![one]),
            });
        }
    }
    if kind == EffectKind::FsRead {
        all.extend(other_ways_to_read(question, path, &other, &with, moved));
    }
    all
}

/// What is read under another name was read.
fn other_ways_to_read(
    question: &Question,
    path: &WorkspacePath,
    other: &WorkspacePath,
    with: &FuzzView,
    moved: Change,
) -> Vec<Attempt> {
    let link = Change::Symlink { path: other.clone(), target: path.to_string() };
    let then_read = |first: Change| {
        let first = resolved(question, with, &[first])?;
        Some(vec![first, witness::asking(EffectKind::FsRead, other.as_str())])
    };
    let copied = {
        let mut asked = witness::asking(EffectKind::FsWrite, other.as_str());
        let read = QuestionEffect {
            effect: EffectKind::FsRead,
            target: path.to_string(),
            implicit: false,
        };
        asked.effects.push(read);
        Some(vec![asked])
    };
    let attempt = |mutation, asks| Attempt { mutation, what: path.to_string(), asks };
    vec![
        attempt("moved, then read", then_read(moved)),
        attempt("linked, then read", then_read(link)),
        attempt("copied", copied),
    ]
}

/// The question that a set of changes is; `None` where it is refused before the gate.
fn resolved(question: &Question, view: &FuzzView, changes: &[Change]) -> Option<Question> {
    if changes.is_empty() {
        return None;
    }
    let effects = Effects::changing(changes, view).ok()?;
    effects.conflicts.is_empty().then(|| question.clone().instead(&effects))
}

fn patch(view: &FuzzView, text: &str) -> Vec<Change> {
    let parsed = UnifiedDiff::parse(&Source::new("patch", text.as_bytes()), &Limits::default());
    let changes = parsed.ok().and_then(|diff| diff.into_changes(view).ok());
    changes.unwrap_or_default()
}

/// Every byte of a path as git quotes it.
fn octal(path: &WorkspacePath) -> String {
    path.as_str().bytes().map(|byte| format!("\\{byte:03o}")).collect()
}

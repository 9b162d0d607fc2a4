//! Witnesses: requests that a rule certainly speaks about, made from the rule itself.

use lictor_capability::{CapabilityKind, EffectKind, Risk};
use serde_json::{Map, Value};

use super::PolicySet;
use super::asked::{Question, QuestionEffect};
use super::compare::{Comparison, InputTest, Literal, Num, Test, Wanted};
use super::load::Statement;
use super::when::{Key, Kinds, Target, When};

/// A text that a glob matches; `None` where none is found.
pub(super) fn of_glob(glob: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = glob.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.peek() == Some(&'*') => {
                chars.next();
                out.push_str(if chars.peek().is_none() { "d/f" } else { "d" });
            }
            '*' | '?' => out.push('x'),
            '\\' => out.push(chars.next()?),
            '[' => {
                let inside: String = chars.by_ref().take_while(|c| *c != ']').collect();
                let negated = inside.starts_with(['!', '^']);
                let listed = inside.trim_start_matches(['!', '^']);
                let free = ('a'..='z').chain('0'..='9').find(|c| !listed.contains(*c));
                out.push(if negated { free? } else { listed.chars().next()? });
            }
            '{' => {
                let inside: String = chars.by_ref().take_while(|c| *c != '}').collect();
                out.push_str(&of_glob(inside.split(',').next()?)?);
            }
            c => out.push(c),
        }
    }
    let matches = super::pattern::glob(glob, false).ok()?.compile_matcher().is_match(&out);
    matches.then_some(out)
}

/// The same with a letter that has more than one Unicode form, where a glob leaves room for one.
pub(super) fn accented(glob: &str) -> Option<String> {
    let below = glob.strip_suffix("/**").and_then(|folder| of_glob(&format!("{folder}/caf\u{e9}")));
    let above = glob.strip_prefix("**/").and_then(|rest| of_glob(&format!("caf\u{e9}/{rest}")));
    let text = below.or(above)?;
    let matches = super::pattern::glob(glob, false).ok()?.compile_matcher().is_match(&text);
    matches.then_some(text)
}

/// The effect kinds that a set of kinds names.
pub(super) fn kinds(kinds: Kinds) -> impl Iterator<Item = EffectKind> {
    EffectKind::ALL.into_iter().filter(move |kind| kinds.has(*kind))
}

/// A question about one effect.
pub(super) fn asking(kind: EffectKind, target: &str) -> Question {
    let capability = match kind {
        EffectKind::FsRead => "fs.read",
        EffectKind::FsWrite => "fs.write",
        EffectKind::FsDelete => "fs.delete",
        EffectKind::Net => "http.get",
        EffectKind::Process => "process.run",
        EffectKind::Mcp => "mcp.call",
    };
    Question { capability: capability.to_owned(), ..Question::default() }.doing(kind, target)
}

impl Question {
    /// The same question with one more effect.
    #[must_use]
    pub fn doing(mut self, effect: EffectKind, target: &str) -> Self {
        if matches!(effect, EffectKind::FsWrite | EffectKind::FsDelete) {
            self.files += 1;
        }
        self.effects.push(QuestionEffect { effect, target: target.to_owned(), implicit: false });
        self
    }
}

/// Questions that a statement speaks about, one for each kind of effect and each pattern of it.
pub(super) fn of_statement(statement: &Statement) -> Vec<Question> {
    let when = &statement.when;
    let mut bases: Vec<Question> = Vec::new();
    if when.is_about_effects() {
        for target in targets(when) {
            let reach = if when.kinds_named { when.kinds } else { when.kinds.both(natural(when)) };
            bases.extend(kinds(reach).map(|kind| asking(kind, target_of(kind, &target))));
        }
    } else {
        bases.push(Question::default());
    }
    bases.into_iter().filter_map(|base| meeting(when, base)).collect()
}

fn natural(when: &When) -> Kinds {
    match when.target {
        Target::Host(_) => Kinds::NET,
        Target::Program(_) => Kinds::PROCESS,
        Target::Paths(_) | Target::PathTest(_) => Kinds::FS,
        Target::Any => Kinds::ALL,
    }
}

fn target_of(kind: EffectKind, target: &str) -> &str {
    match (target, kind) {
        ("", EffectKind::Net) => "example.org",
        ("", EffectKind::Process) => "program",
        ("", EffectKind::Mcp) => "server/tool",
        ("", _) => "folder/file.txt",
        (target, _) => target,
    }
}

fn targets(when: &When) -> Vec<String> {
    match &when.target {
        Target::Any => vec![String::new()],
        Target::Paths(globs) => globs.iter().filter_map(|glob| of_glob(glob.glob())).collect(),
        Target::PathTest(test) | Target::Host(test) | Target::Program(test) => {
            texts(test).into_iter().collect()
        }
    }
}

fn texts(test: &Test) -> Option<String> {
    match value(test)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// The question, changed so that the action side of a condition holds.
fn meeting(when: &When, mut question: Question) -> Option<Question> {
    for (key, test) in &when.action {
        let value = value(test)?;
        match (key, value) {
            (Key::Capability, Value::String(text)) => question.capability = text,
            (Key::Kind, Value::String(text)) => {
                question.kind = match text.as_str() {
                    "tool" => CapabilityKind::Tool,
                    "mcp" => CapabilityKind::Mcp,
                    "workflow" => CapabilityKind::Workflow,
                    _ => CapabilityKind::Skill,
                }
            }
            (Key::Source, Value::String(text)) => question.source = text,
            (Key::Agent, Value::String(text)) => question.agent = text,
            (Key::User, Value::String(text)) => question.user = text,
            (Key::Org, Value::String(text)) => question.org = text,
            (Key::Session, Value::String(text)) => question.session = text,
            (Key::Lines, Value::Number(number)) => question.lines = number.as_u64()?,
            (Key::Files, Value::Number(number)) => question.files = number.as_u64()?,
            (Key::Risk, Value::Number(number)) => {
                let level = usize::try_from(number.as_u64()?).ok()?;
                question.risk = Some(*Risk::ALL.get(level)?);
            }
            _ => return None,
        }
    }
    if let Some(test) = &when.input {
        question.input = input(test)?;
    }
    Some(question)
}

fn input(test: &InputTest) -> Option<Value> {
    match test {
        InputTest::Value(test) => value(test),
        InputTest::Keys(keys) => {
            let mut map = Map::new();
            for (key, test) in keys {
                map.insert(key.to_string(), input(test)?);
            }
            Some(Value::Object(map))
        }
    }
}

/// Whole numbers near those that a test names.
pub(super) fn numbers(test: &Test) -> Vec<u64> {
    tries(test).iter().filter_map(Value::as_u64).collect()
}

/// A value that satisfies a test; found by trying what the test itself names.
fn value(test: &Test) -> Option<Value> {
    let holds = |value: &Value| test.outcome(value.into()) == super::compare::Outcome::Yes;
    tries(test).into_iter().find(holds)
}

fn tries(test: &Test) -> Vec<Value> {
    match test {
        Test::Any(wanted) => wanted.iter().filter_map(of_wanted).collect(),
        Test::All(comparisons) => comparisons.iter().flat_map(of_comparison).collect(),
    }
}

fn of_wanted(wanted: &Wanted) -> Option<Value> {
    match wanted {
        Wanted::Literal(literal) => of_literal(literal, 0),
        Wanted::Pattern(pattern) => of_glob(&pattern.text()).map(Value::String),
    }
}

fn of_comparison(comparison: &Comparison) -> Vec<Value> {
    let near = |literal: &Literal| {
        [-1, 0, 1].into_iter().filter_map(|by| of_literal(literal, by)).collect::<Vec<_>>()
    };
    match comparison {
        Comparison::Eq(literal) => of_literal(literal, 0).into_iter().collect(),
        Comparison::Ne(Literal::Text(_)) => vec![Value::String("somebody-else".to_owned())],
        Comparison::Ne(literal)
        | Comparison::Gt(literal)
        | Comparison::Gte(literal)
        | Comparison::Lt(literal)
        | Comparison::Lte(literal) => near(literal),
        Comparison::In(literals) => {
            literals.iter().filter_map(|literal| of_literal(literal, 0)).collect()
        }
        Comparison::Matches(regex) => {
            // The longest plain stretch of the expression often is an example of it.
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-/@ ".contains(c);
            let stretches = regex.as_str().split(|c| !plain(c));
            let longest = stretches.max_by_key(|text| text.len()).unwrap_or_default();
            vec![Value::String(longest.to_owned())]
        }
    }
}

fn of_literal(literal: &Literal, by: i64) -> Option<Value> {
    match literal {
        Literal::Null => Some(Value::Null),
        Literal::Bool(value) => Some(Value::Bool(*value ^ (by > 0))),
        Literal::Text(text) => Some(Value::String(text.to_string())),
        Literal::Num(Num::Int(int)) => {
            Some(Value::Number(i64::try_from(*int).ok()?.checked_add(by)?.into()))
        }
        #[expect(clippy::cast_precision_loss, reason = "one, none, or minus one")]
        Literal::Num(Num::Float(float)) => {
            serde_json::Number::from_f64(float + by as f64).map(Value::Number)
        }
    }
}

impl PolicySet {
    /// Every pattern over paths of the lists of `paths`, with its list and its place.
    pub(super) fn listed_globs(&self) -> Vec<(&'static str, String, String)> {
        let mut all = Vec::new();
        for policy in &self.layers {
            let lists = [
                ("paths.forbidden", &policy.forbidden),
                ("paths.protected", &policy.protected),
                ("paths.allowed", &policy.allowed),
            ];
            for (list, entries) in lists {
                for entry in entries {
                    let globs = entry.globs.iter().map(|glob| glob.glob().to_owned());
                    all.extend(globs.map(|glob| (list, glob, entry.place.to_string())));
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_of_a_glob_matches_it() {
        for (glob, witness) in [
            ("**/.env", "d/.env"),
            ("src/**", "src/d/f"),
            ("*.pem", "x.pem"),
            ("{a,b}/?.rs", "a/x.rs"),
            ("[!ab]c", "cc"),
            ("**", "d/f"),
            (".git", ".git"),
        ] {
            assert_eq!(of_glob(glob).as_deref(), Some(witness), "{glob}");
        }
    }
}

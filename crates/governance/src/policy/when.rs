//! Conditions: the `when` of a rule, compiled, with every mistake refused at its place.

use globset::Glob;
use lictor_capability::{CapabilityKind, EffectKind, Risk};
use lictor_document::Located;
use regex::RegexBuilder;
use serde_json::Value;

use super::compare::{Comparison, InputTest, Literal, Num, OPERATORS, Outcome, Scalar, Test, Wanted};
use super::load::{Loader, PolicyError};
use super::pattern::{Pattern, path_globs};
use super::raw::{RawTest, RawWhen, Sample};

/// Most bytes that one regular expression may take when compiled.
const REGEX_SIZE: usize = 1 << 20;
/// Most levels of a dotted key.
const MAX_DOTS: usize = 16;

/// What a condition looks at beside effects. `None` satisfies no test.
#[derive(Debug, Default)]
pub(super) struct Facts<'a> {
    pub(super) capability: Option<&'a str>,
    pub(super) kind: Option<&'a str>,
    pub(super) source: Option<&'a str>,
    pub(super) agent: Option<&'a str>,
    pub(super) user: Option<&'a str>,
    pub(super) org: Option<&'a str>,
    pub(super) session: Option<&'a str>,
    pub(super) lines: Option<u64>,
    pub(super) files: Option<u64>,
    pub(super) risk: Option<Risk>,
    pub(super) input: Option<&'a Value>,
}

#[derive(Debug, Clone, Copy)]
enum Key {
    Capability,
    Kind,
    Source,
    Agent,
    User,
    Org,
    Session,
    Lines,
    Files,
    Risk,
}

/// A set of kinds of effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const ALL: Self = Self(0b11_1111);
    pub(super) const FS: Self = Self(0b00_0111);
    const NET: Self = Self(0b00_1000);
    const PROCESS: Self = Self(0b01_0000);

    pub(super) fn one(kind: EffectKind) -> Self {
        Self(1 << kind as u8)
    }

    pub(super) fn has(self, kind: EffectKind) -> bool {
        self.0 & Self::one(kind).0 != 0
    }

    fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// What a condition asks of the target of an effect.
#[derive(Debug)]
pub(super) enum Target {
    Any,
    /// Globs over paths; the set puts them all into one automaton.
    Paths(Vec<Glob>),
    PathTest(Test),
    Host(Test),
    Program(Test),
}

/// A compiled condition: its action side, and, if it names effects, its effect side.
#[derive(Debug)]
pub(super) struct When {
    action: Vec<(Key, Test)>,
    input: Option<InputTest>,
    /// The kinds of effect that it speaks about.
    pub(super) kinds: Kinds,
    kinds_named: bool,
    pub(super) target: Target,
}

impl When {
    /// Whether it speaks about single effects; else about the action as a whole.
    pub(super) fn is_about_effects(&self) -> bool {
        self.kinds_named || !matches!(self.target, Target::Any)
    }

    /// The action side.
    pub(super) fn action(&self, facts: &Facts<'_>) -> Outcome {
        let mut all = Outcome::Yes;
        for (key, test) in &self.action {
            let actual = match key {
                Key::Capability => facts.capability.map(Scalar::Text),
                Key::Kind => facts.kind.map(Scalar::Text),
                Key::Source => facts.source.map(Scalar::Text),
                Key::Agent => facts.agent.map(Scalar::Text),
                Key::User => facts.user.map(Scalar::Text),
                Key::Org => facts.org.map(Scalar::Text),
                Key::Session => facts.session.map(Scalar::Text),
                Key::Lines => facts.lines.map(whole),
                Key::Files => facts.files.map(whole),
                Key::Risk => facts.risk.map(|risk| whole(risk as u64)),
            };
            all = all.and(actual.map_or(Outcome::No, |actual| test.outcome(actual)));
            if all == Outcome::No {
                return all;
            }
        }
        match (&self.input, facts.input) {
            (None, _) => all,
            (Some(_), None) => Outcome::No,
            (Some(test), Some(input)) => all.and(test.outcome(input)),
        }
    }

    /// The target of an effect whose kind fits, where that is not for the automaton.
    pub(super) fn target(&self, target: &str) -> Outcome {
        match &self.target {
            Target::Any => Outcome::Yes,
            Target::Paths(_) => Outcome::No,
            Target::PathTest(test) | Target::Program(test) => test.outcome(Scalar::Text(target)),
            Target::Host(test) => host(test, target),
        }
    }

    /// Whether a request of a self-test satisfies it.
    pub(super) fn fits(&self, sample: &Sample) -> Outcome {
        let facts = Facts {
            capability: sample.capability.as_deref(),
            kind: sample.kind.as_deref(),
            source: sample.source.as_deref(),
            agent: sample.agent.as_deref(),
            user: sample.user.as_deref(),
            org: sample.org.as_deref(),
            session: sample.session.as_deref(),
            lines: sample.lines,
            files: sample.files,
            risk: sample.risk,
            input: sample.input.as_ref().map(|input| input.as_value()),
        };
        let kind = match sample.effect {
            Some(kind) => Outcome::of(self.kinds.has(kind)),
            None => Outcome::of(!self.kinds_named),
        };
        let on = |target: Option<&String>| {
            target.map_or(Outcome::No, |target| match &self.target {
                Target::Paths(globs) => Outcome::of(
                    globs.iter().any(|glob| glob.compile_matcher().is_match(target.as_str())),
                ),
                _ => self.target(target),
            })
        };
        let target = match &self.target {
            Target::Any => Outcome::Yes,
            Target::Paths(_) | Target::PathTest(_) => on(sample.path.as_ref()),
            Target::Host(_) => on(sample.host.as_ref()),
            Target::Program(_) => on(sample.program.as_ref()),
        };
        self.action(&facts).and(kind).and(target)
    }
}

fn whole(number: u64) -> Scalar<'static> {
    Scalar::Num(Num::Int(i128::from(number)))
}

/// Hosts are compared in lower case and without a final dot; a pattern fits `host:port` as well as
/// the host alone.
fn host(test: &Test, target: &str) -> Outcome {
    let target = target.to_ascii_lowercase();
    let (host, port) = match target.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            (host, Some(port))
        }
        _ => (target.as_str(), None),
    };
    let host = host.trim_end_matches('.');
    let alone = test.outcome(Scalar::Text(host));
    match port {
        Some(port) if alone != Outcome::Yes => {
            test.outcome(Scalar::Text(&format!("{host}:{port}")))
        }
        _ => alone,
    }
}

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Globs, and comparisons of texts for equality.
    Text,
    /// The same, of a few known words.
    Words(&'static [&'static str]),
    /// Whole numbers.
    Number,
    /// Words that are ordered.
    Risk,
    /// Anything.
    Input,
}

const KIND_WORDS: &[&str] = &[
    CapabilityKind::Skill.as_str(),
    CapabilityKind::Tool.as_str(),
    CapabilityKind::Mcp.as_str(),
    CapabilityKind::Workflow.as_str(),
];
const EFFECT_WORDS: &[&str] = &["fs.read", "fs.write", "fs.delete", "net", "process", "mcp"];

impl Loader<'_> {
    /// Compiles a condition.
    pub(super) fn when(&mut self, raw: &Located<RawWhen>) -> Result<When, PolicyError> {
        let mut action = Vec::new();
        let value = &raw.value;
        let keys = [
            (Key::Capability, &value.capability, Takes::Text),
            (Key::Kind, &value.kind, Takes::Words(KIND_WORDS)),
            (Key::Source, &value.source, Takes::Text),
            (Key::Agent, &value.agent, Takes::Text),
            (Key::User, &value.user, Takes::Text),
            (Key::Org, &value.org, Takes::Text),
            (Key::Session, &value.session, Takes::Text),
            (Key::Lines, &value.lines, Takes::Number),
            (Key::Files, &value.files, Takes::Number),
            (Key::Risk, &value.risk, Takes::Risk),
        ];
        for (key, test, takes) in keys {
            if let Some(test) = test {
                action.push((key, self.test(test, takes)?));
            }
        }
        let input = value.input.as_ref().map(|input| self.input(input)).transpose()?;
        let mut kinds = Kinds::ALL;
        if let Some(effect) = &value.effect {
            let test = self.test(effect, Takes::Words(EFFECT_WORDS))?;
            let fits =
                |kind: &EffectKind| test.outcome(Scalar::Text(kind.as_str())) == Outcome::Yes;
            kinds = Kinds(EffectKind::ALL.iter().filter(|kind| fits(kind)).fold(0, |set, kind| {
                set | Kinds::one(*kind).0
            }));
        }
        let (target, reach) = self.target(raw)?;
        kinds = kinds.both(reach);
        if kinds.0 == 0 {
            return self.refuse(raw, "the effect and its target never go together; `path` goes with fs.read, fs.write and fs.delete, `host` with net, `program` with process");
        }
        let when = When { action, input, kinds, kinds_named: value.effect.is_some(), target };
        if when.action.is_empty() && when.input.is_none() && !when.is_about_effects() {
            return self.refuse(
                raw,
                "an empty `when` would speak about everything; write `capability: \"*\"` if that is meant",
            );
        }
        Ok(when)
    }

    fn target(&mut self, raw: &Located<RawWhen>) -> Result<(Target, Kinds), PolicyError> {
        let RawWhen { path, host, program, .. } = &raw.value;
        match (path, host, program) {
            (None, None, None) => Ok((Target::Any, Kinds::ALL)),
            (Some(path), None, None) => Ok((self.paths(path)?, Kinds::FS)),
            (None, Some(host), None) => {
                let test = self.test(host, Takes::Text)?;
                Ok((Target::Host(test), Kinds::NET))
            }
            (None, None, Some(program)) => {
                let test = self.test(program, Takes::Text)?;
                Ok((Target::Program(test), Kinds::PROCESS))
            }
            _ => self.refuse(raw, "no effect has two of `path`, `host` and `program`; write a rule for each"),
        }
    }

    fn paths(&mut self, path: &Located<RawTest>) -> Result<Target, PolicyError> {
        match &path.value {
            RawTest::Map(_) => Ok(Target::PathTest(self.test(path, Takes::Text)?)),
            RawTest::Scalar(_) => Ok(Target::Paths(self.path_globs(path, false)?)),
            RawTest::List(items) if items.is_empty() => self.test(path, Takes::Text).map(Target::PathTest),
            RawTest::List(items) => {
                let mut all = Vec::new();
                for item in items {
                    all.extend(self.path_globs(item, false)?);
                }
                Ok(Target::Paths(all))
            }
        }
    }

    fn path_globs(
        &mut self,
        raw: &Located<RawTest>,
        any_case: bool,
    ) -> Result<Vec<Glob>, PolicyError> {
        match &raw.value {
            RawTest::Scalar(Value::String(text)) => self.globs_at(raw, text, any_case),
            _ => self.refuse(raw, "accepted here: a glob such as `src/**`"),
        }
    }

    /// The globs of a pattern over paths that stands at a place.
    pub(super) fn globs_at<T>(
        &mut self,
        at: &Located<T>,
        text: &str,
        any_case: bool,
    ) -> Result<Vec<Glob>, PolicyError> {
        self.count_pattern(at)?;
        path_globs(text, any_case).or_else(|problem| self.refuse(at, &problem))
    }

    /// A list of patterns over ids.
    pub(super) fn capability_test(&mut self, raw: &Located<RawTest>) -> Result<Test, PolicyError> {
        self.test(raw, Takes::Text)
    }

    fn input(&mut self, raw: &Located<RawTest>) -> Result<InputTest, PolicyError> {
        match &raw.value {
            // The keys of the input itself may be called like operators.
            RawTest::Map(entries) if !entries.is_empty() => self.input_keys(entries),
            _ => self.refuse(raw, "accepted here: a mapping from keys of the input to what they are compared with"),
        }
    }

    fn input_keys(
        &mut self,
        entries: &[(String, Located<RawTest>)],
    ) -> Result<InputTest, PolicyError> {
        let mut keys = Vec::with_capacity(entries.len());
        for (key, raw) in entries {
            if key.is_empty() || key.matches('.').count() > MAX_DOTS {
                return self.refuse(raw, "accepted as a key: a name, or names joined by at most 16 dots");
            }
            let test = match &raw.value {
                RawTest::Map(nested) if nested.is_empty() => {
                    return self.refuse(raw, "an empty mapping compares with nothing");
                }
                RawTest::Map(nested)
                    if !nested.iter().any(|(key, _)| OPERATORS.contains(&key.as_str())) =>
                {
                    self.input_keys(nested)?
                }
                _ => InputTest::Value(self.test(raw, Takes::Input)?),
            };
            keys.push((key.as_str().into(), test));
        }
        Ok(InputTest::Keys(keys))
    }

    fn test(&mut self, raw: &Located<RawTest>, takes: Takes) -> Result<Test, PolicyError> {
        match &raw.value {
            RawTest::Scalar(value) => Ok(Test::Any(vec![self.wanted(raw, value, takes)?])),
            RawTest::List(items) => {
                if items.is_empty() {
                    return self.refuse(raw, "an empty list matches nothing; accepted here: at least one item");
                }
                let mut wanted = Vec::with_capacity(items.len());
                for item in items {
                    match &item.value {
                        RawTest::Scalar(value) => wanted.push(self.wanted(item, value, takes)?),
                        _ => return self.refuse(item, "accepted in a list: plain values"),
                    }
                }
                Ok(Test::Any(wanted))
            }
            RawTest::Map(entries) => {
                if entries.is_empty() {
                    return self.refuse(raw, "an empty mapping compares with nothing; accepted here: eq, ne, gt, gte, lt, lte, in, matches");
                }
                let mut all = Vec::with_capacity(entries.len());
                for (operator, operand) in entries {
                    all.push(self.comparison(operator, operand, takes)?);
                }
                Ok(Test::All(all))
            }
        }
    }

    fn wanted(
        &mut self,
        at: &Located<RawTest>,
        value: &Value,
        takes: Takes,
    ) -> Result<Wanted, PolicyError> {
        let (Value::String(text), Takes::Text | Takes::Words(_) | Takes::Input) = (value, takes)
        else {
            return Ok(Wanted::Literal(self.literal(at, value, takes)?));
        };
        self.count_pattern(at)?;
        let pattern = Pattern::new(text).or_else(|problem| self.refuse(at, &problem))?;
        if let Takes::Words(words) = takes {
            match pattern.literal() {
                Some(word) => self.known_word(at, word, words)?,
                None if words.iter().any(|word| pattern.is_match(word)) => {}
                None => return self.refuse(at, &format!("`{}` matches none of {}", text.escape_debug(), words.join(", "))),
            }
        }
        Ok(Wanted::Pattern(pattern))
    }

    fn known_word(
        &self,
        at: &Located<RawTest>,
        word: &str,
        words: &[&str],
    ) -> Result<(), PolicyError> {
        if words.contains(&word) {
            return Ok(());
        }
        self.refuse(
            at,
            &format!("unknown value `{}`; accepted here: {}", word.escape_debug(), words.join(", ")),
        )
    }

    fn literal(
        &self,
        at: &Located<RawTest>,
        value: &Value,
        takes: Takes,
    ) -> Result<Literal, PolicyError> {
        match (takes, value) {
            (Takes::Input, Value::Null) => Ok(Literal::Null),
            (Takes::Input, Value::Bool(value)) => Ok(Literal::Bool(*value)),
            (Takes::Number | Takes::Input, Value::Number(number)) => {
                Ok(Literal::Num(Num::of(number)))
            }
            (Takes::Words(words), Value::String(text)) => {
                self.known_word(at, text, words)?;
                Ok(Literal::Text(text.as_str().into()))
            }
            (Takes::Text | Takes::Input, Value::String(text)) => {
                Ok(Literal::Text(text.as_str().into()))
            }
            (Takes::Risk, Value::String(text)) => match text.parse::<Risk>() {
                Ok(risk) => Ok(Literal::Num(Num::Int(risk as i128))),
                Err(error) => self.refuse(at, &error.to_string()),
            },
            (Takes::Number, _) => self.refuse(at, "accepted here: a number, or a comparison such as {gt: 500}"),
            (Takes::Risk, _) => self.refuse(at, "accepted here: low, medium, high, critical"),
            (Takes::Text | Takes::Words(_), _) => self.refuse(at, "accepted here: text"),
            (Takes::Input, _) => self.refuse(at, "accepted here: a plain value"),
        }
    }

    fn comparison(
        &mut self,
        operator: &str,
        raw: &Located<RawTest>,
        takes: Takes,
    ) -> Result<Comparison, PolicyError> {
        let ordering = matches!(operator, "gt" | "gte" | "lt" | "lte");
        let known = OPERATORS.contains(&operator);
        let fits = match takes {
            Takes::Text | Takes::Words(_) => !ordering,
            Takes::Number | Takes::Risk => operator != "matches",
            Takes::Input => true,
        };
        if !known || !fits {
            let accepted: Vec<&str> = OPERATORS
                .into_iter()
                .filter(|name| match takes {
                    Takes::Text | Takes::Words(_) => !matches!(*name, "gt" | "gte" | "lt" | "lte"),
                    Takes::Number | Takes::Risk => *name != "matches",
                    Takes::Input => true,
                })
                .collect();
            return self.refuse(raw, &format!("unknown operator `{}`; accepted here: {}", operator.escape_debug(), accepted.join(", ")));
        }
        match (operator, &raw.value) {
            ("in", RawTest::List(items)) if !items.is_empty() => {
                let mut literals = Vec::with_capacity(items.len());
                for item in items {
                    match &item.value {
                        RawTest::Scalar(value) => literals.push(self.literal(item, value, takes)?),
                        _ => return self.refuse(item, "accepted in a list: plain values"),
                    }
                }
                Ok(Comparison::In(literals))
            }
            ("in", _) => self.refuse(raw, "accepted with `in`: a list of at least one value"),
            ("matches", RawTest::Scalar(Value::String(text))) => self.regex(raw, text).map(Comparison::Matches),
            ("matches", _) => self.refuse(raw, "accepted with `matches`: a regular expression"),
            (operator, RawTest::Scalar(value)) => {
                let literal = self.literal(raw, value, takes)?;
                if ordering && matches!(literal, Literal::Null | Literal::Bool(_)) {
                    return self.refuse(raw, &format!("accepted with `{operator}`: a number or a text"));
                }
                Ok(match operator {
                    "eq" => Comparison::Eq(literal),
                    "ne" => Comparison::Ne(literal),
                    "gt" => Comparison::Gt(literal),
                    "gte" => Comparison::Gte(literal),
                    "lt" => Comparison::Lt(literal),
                    _ => Comparison::Lte(literal),
                })
            }
            (operator, _) => self.refuse(raw, &format!("accepted with `{operator}`: a plain value")),
        }
    }

    /// A regular expression; it matches anywhere in a text unless it is anchored.
    pub(super) fn regex<T>(
        &mut self,
        at: &Located<T>,
        text: &str,
    ) -> Result<regex::Regex, PolicyError> {
        self.count_regex(at)?;
        RegexBuilder::new(text)
            .size_limit(REGEX_SIZE)
            .dfa_size_limit(REGEX_SIZE)
            .nest_limit(64)
            .build()
            .or_else(|error| {
                let error = error.to_string();
                let last = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
                self.refuse(
                    at,
                    &format!("`{}` is not a regular expression that is accepted here: {last}", text.escape_debug()),
                )
            })
    }
}

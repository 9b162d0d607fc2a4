//! From what is written under `when` to a condition; every mistake is refused at its place.

use globset::Glob;
use lictor_capability::{CapabilityKind, EffectKind, Risk, host_spelling};
use lictor_document::Located;
use regex::RegexBuilder;
use serde_json::Value;

use super::compare::{
    Comparison, InputTest, Literal, Num, OPERATORS, Outcome, Scalar, Test, Wanted,
};
use super::error::PolicyError;
use super::load::Loader;
use super::pattern::{Pattern, path_globs};
use super::raw::{RawTest, RawWhen};
use super::when::{Key, Kinds, Target, When};

/// Most bytes that one regular expression may take when compiled.
const REGEX_SIZE: usize = 1 << 20;
/// Most levels of a dotted key.
const MAX_DOTS: usize = 16;

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Globs, and comparisons of texts for equality.
    Text,
    /// The same, of hosts.
    Host,
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
            kinds = Kinds(
                EffectKind::ALL
                    .iter()
                    .filter(|kind| fits(kind))
                    .fold(0, |set, kind| set | Kinds::one(*kind).0),
            );
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
                let test = self.test(host, Takes::Host)?;
                Ok((Target::Host(test), Kinds::NET))
            }
            (None, None, Some(program)) => {
                let test = self.test(program, Takes::Text)?;
                Ok((Target::Program(test), Kinds::PROCESS))
            }
            _ => self.refuse(
                raw,
                "no effect has two of `path`, `host` and `program`; write a rule for each",
            ),
        }
    }

    fn paths(&mut self, path: &Located<RawTest>) -> Result<Target, PolicyError> {
        match &path.value {
            RawTest::Map(_) => Ok(Target::PathTest(self.test(path, Takes::Text)?)),
            RawTest::Scalar(_) => Ok(Target::Paths(self.path_globs(path, false)?)),
            RawTest::List(items) if items.is_empty() => {
                self.test(path, Takes::Text).map(Target::PathTest)
            }
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
            _ => self.refuse(
                raw,
                "accepted here: a mapping from keys of the input to what they are compared with",
            ),
        }
    }

    fn input_keys(
        &mut self,
        entries: &[(String, Located<RawTest>)],
    ) -> Result<InputTest, PolicyError> {
        let mut keys = Vec::with_capacity(entries.len());
        for (key, raw) in entries {
            if key.is_empty() || key.matches('.').count() > MAX_DOTS {
                return self
                    .refuse(raw, "accepted as a key: a name, or names joined by at most 16 dots");
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
                    return self.refuse(
                        raw,
                        "an empty list matches nothing; accepted here: at least one item",
                    );
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
        let (Value::String(text), Takes::Text | Takes::Host | Takes::Words(_) | Takes::Input) =
            (value, takes)
        else {
            return Ok(Wanted::Literal(self.literal(at, value, takes)?));
        };
        self.count_pattern(at)?;
        let pattern = match takes {
            Takes::Host => Pattern::of_host(text),
            _ => Pattern::new(text),
        };
        let pattern = pattern.or_else(|problem| self.refuse(at, &problem))?;
        if let Takes::Words(words) = takes {
            match pattern.literal() {
                Some(word) => self.known_word(at, word, words)?,
                None if words.iter().any(|word| pattern.is_match(word)) => {}
                None => {
                    return self.refuse(
                        at,
                        &format!("`{}` matches none of {}", text.escape_debug(), words.join(", ")),
                    );
                }
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
            &format!(
                "unknown value `{}`; accepted here: {}",
                word.escape_debug(),
                words.join(", ")
            ),
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
            (Takes::Host, Value::String(text)) => match host_spelling(text) {
                Ok(host) => Ok(Literal::Text(host.trim_end_matches('.').into())),
                Err(problem) => self.refuse(at, &problem),
            },
            (Takes::Risk, Value::String(text)) => match text.parse::<Risk>() {
                Ok(risk) => Ok(Literal::Num(Num::Int(risk as i128))),
                Err(error) => self.refuse(at, &error.to_string()),
            },
            (Takes::Number, _) => {
                self.refuse(at, "accepted here: a number, or a comparison such as {gt: 500}")
            }
            (Takes::Risk, _) => self.refuse(at, "accepted here: low, medium, high, critical"),
            (Takes::Text | Takes::Host | Takes::Words(_), _) => {
                self.refuse(at, "accepted here: text")
            }
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
            Takes::Text | Takes::Host | Takes::Words(_) => !ordering,
            Takes::Number | Takes::Risk => operator != "matches",
            Takes::Input => true,
        };
        if !known || !fits {
            let accepted: Vec<&str> = OPERATORS
                .into_iter()
                .filter(|name| match takes {
                    Takes::Text | Takes::Host | Takes::Words(_) => {
                        !matches!(*name, "gt" | "gte" | "lt" | "lte")
                    }
                    Takes::Number | Takes::Risk => *name != "matches",
                    Takes::Input => true,
                })
                .collect();
            return self.refuse(
                raw,
                &format!(
                    "unknown operator `{}`; accepted here: {}",
                    operator.escape_debug(),
                    accepted.join(", ")
                ),
            );
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
            ("matches", RawTest::Scalar(Value::String(text))) => {
                self.regex(raw, text).map(Comparison::Matches)
            }
            ("matches", _) => self.refuse(raw, "accepted with `matches`: a regular expression"),
            (operator, RawTest::Scalar(value)) => {
                let literal = self.literal(raw, value, takes)?;
                if ordering && matches!(literal, Literal::Null | Literal::Bool(_)) {
                    return self
                        .refuse(raw, &format!("accepted with `{operator}`: a number or a text"));
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
            (operator, _) => {
                self.refuse(raw, &format!("accepted with `{operator}`: a plain value"))
            }
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
                    &format!(
                        "`{}` is not a regular expression that is accepted here: {last}",
                        text.escape_debug()
                    ),
                )
            })
    }
}

//! Conditions: the `when` of a rule, compiled, and what satisfies it.

use globset::Glob;
use lictor_capability::{EffectKind, Risk};
use serde_json::Value;

use super::asked::host_and_port;
use super::compare::{InputTest, Num, Outcome, Scalar, Test};
use super::raw::Sample;

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
pub(super) enum Key {
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
pub(super) struct Kinds(pub(super) u8);

impl Kinds {
    pub(super) const ALL: Self = Self(0b11_1111);
    pub(super) const FS: Self = Self(0b00_0111);
    pub(super) const NET: Self = Self(0b00_1000);
    pub(super) const PROCESS: Self = Self(0b01_0000);

    pub(super) fn one(kind: EffectKind) -> Self {
        Self(1 << kind as u8)
    }

    pub(super) fn has(self, kind: EffectKind) -> bool {
        self.0 & Self::one(kind).0 != 0
    }

    pub(super) fn both(self, other: Self) -> Self {
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
    pub(super) action: Vec<(Key, Test)>,
    pub(super) input: Option<InputTest>,
    /// The kinds of effect that it speaks about.
    pub(super) kinds: Kinds,
    pub(super) kinds_named: bool,
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

    /// The target of an effect whose kind fits, where that is not for the automaton. A program fits
    /// by its other names as well, where the caller gives any.
    pub(super) fn target(&self, target: &str, other_names: &[String]) -> Outcome {
        match &self.target {
            Target::Any => Outcome::Yes,
            Target::Paths(_) => Outcome::No,
            Target::PathTest(test) => test.outcome(Scalar::Text(target)),
            Target::Program(test) => {
                let own = test.outcome(Scalar::Text(target));
                let others = other_names.iter();
                others.fold(own, |found, text| found.or(test.outcome(Scalar::Text(text))))
            }
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
                _ => self.target(target, &[]),
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
    let (host, port) = host_and_port(target);
    let alone = test.outcome(Scalar::Text(&host));
    match port {
        Some(port) if alone != Outcome::Yes => {
            test.outcome(Scalar::Text(&format!("{host}:{port}")))
        }
        _ => alone,
    }
}

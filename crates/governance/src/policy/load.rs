//! Reading a policy file: everything in it is checked before anything of it counts.

use std::collections::BTreeSet;
use std::sync::Arc;

use globset::Glob;
use lictor_capability::Risk;
use lictor_document::{Limits, Located, Source, from_yaml};
use serde_json::Value;

use super::asking::Asking;
use super::compare::{Outcome, Test};
use super::error::PolicyError;
use super::raw::{
    RawEscalate, RawFrequency, RawHealthCheck, RawPolicy, RawRiskTable, RawRule, RawTest,
    RawWindow, Sample,
};
use super::settings::{ChangeLimits, FrequencyLimit, HealthCheck};
use super::when::When;
use super::window::Window;
use super::{Policy, PolicyLayer};
use crate::decision::Verdict;

/// Most globs and patterns of one file.
const MAX_PATTERNS: usize = 10_000;
/// Most regular expressions of one file; they bound its memory.
const MAX_REGEXES: usize = 256;
/// Most people that a rule may ask for.
const MAX_APPROVALS: i64 = 16;

/// What a rule of any kind says when it speaks.
#[derive(Debug)]
pub(super) enum Saying {
    Verdict { verdict: Verdict, approvals: u32 },
    Escalate(Risk),
    Window(Box<Window>),
}

impl Saying {
    /// Whether it also speaks about what it cannot compare.
    pub(super) fn is_strict(&self) -> bool {
        !matches!(self, Self::Verdict { verdict: Verdict::Allow, .. })
    }
}

/// A rule, an escalation or a window.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) name: Arc<str>,
    pub(super) place: Arc<str>,
    pub(super) message: Arc<str>,
    pub(super) when: When,
    pub(super) saying: Saying,
}

/// A glob of one of the lists of `paths`.
#[derive(Debug)]
pub(super) struct PathGlob {
    pub(super) globs: Vec<Glob>,
    pub(super) place: Arc<str>,
    pub(super) message: Arc<str>,
}

/// What a layer says about a level of risk.
#[derive(Debug, Clone)]
pub(super) struct RiskSaying {
    pub(super) verdict: Verdict,
    pub(super) approvals: u32,
    pub(super) place: Option<Arc<str>>,
}

/// A frequency limit with its compiled pattern.
#[derive(Debug)]
pub(super) struct Frequency {
    pub(super) capability: Arc<Test>,
    pub(super) rule: Arc<str>,
    pub(super) place: Arc<str>,
}

/// Reads one file.
pub(super) struct Loader<'a> {
    source: &'a Source<'a>,
    n_patterns: usize,
    n_regexes: usize,
}

impl Loader<'_> {
    /// An error at a place.
    pub(super) fn refuse<T, U>(&self, at: &Located<T>, message: &str) -> Result<U, PolicyError> {
        Err(at.error(self.source.name, message).with_excerpt_of(self.source).into())
    }

    pub(super) fn count_pattern<T>(&mut self, at: &Located<T>) -> Result<(), PolicyError> {
        self.n_patterns += 1;
        if self.n_patterns > MAX_PATTERNS {
            return self.refuse(
                at,
                &format!("more patterns than the {MAX_PATTERNS} that are accepted in a file"),
            );
        }
        Ok(())
    }

    pub(super) fn count_regex<T>(&mut self, at: &Located<T>) -> Result<(), PolicyError> {
        self.n_regexes += 1;
        if self.n_regexes > MAX_REGEXES {
            return self.refuse(
                at,
                &format!(
                    "more regular expressions than the {MAX_REGEXES} that are accepted in a file"
                ),
            );
        }
        Ok(())
    }

    pub(super) fn place<T>(&self, at: &Located<T>) -> Arc<str> {
        Arc::from(at.place_in(self.source.name))
    }

    fn approvals<T>(
        &self,
        at: &Located<T>,
        verdict: Verdict,
        approvals: Option<i64>,
    ) -> Result<u32, PolicyError> {
        match (verdict, approvals) {
            (Verdict::NeedApproval, None) => Ok(1),
            (Verdict::NeedApproval, Some(n)) if (1..=MAX_APPROVALS).contains(&n) => {
                Ok(u32::try_from(n).unwrap_or(1))
            }
            (Verdict::NeedApproval, Some(_)) => {
                self.refuse(at, "`approvals` is out of range; 1 to 16 are accepted")
            }
            (_, None) => Ok(0),
            (_, Some(_)) => {
                self.refuse(at, "`approvals` goes with the verdict `need_approval` only")
            }
        }
    }

    fn list(
        &mut self,
        raw: &[Located<String>],
        any_case: bool,
        what: &str,
    ) -> Result<Vec<PathGlob>, PolicyError> {
        let mut list = Vec::with_capacity(raw.len());
        for pattern in raw {
            list.push(PathGlob {
                globs: self.globs_at(pattern, &pattern.value, any_case)?,
                place: self.place(pattern),
                message: Arc::from(format!("`{}` is {what}", pattern.value.escape_debug())),
            });
        }
        Ok(list)
    }

    fn rule(&mut self, raw: Located<RawRule>) -> Result<Statement, PolicyError> {
        let when = self.when(&raw.value.when)?;
        let rule = &raw.value;
        if rule.name.value.is_empty() || rule.name.value.chars().any(char::is_control) {
            return self.refuse(&rule.name, "a rule's name is a text of at least one character");
        }
        let approvals = match &rule.approvals {
            Some(at) => self.approvals(at, rule.verdict, Some(at.value))?,
            None => self.approvals(&raw, rule.verdict, None)?,
        };
        let statement = Statement {
            place: self.place(&raw),
            message: Arc::from(rule.reason.as_deref().unwrap_or("the rule matches")),
            name: Arc::from(rule.name.value.as_str()),
            when,
            saying: Saying::Verdict { verdict: rule.verdict, approvals },
        };
        self.self_tests(&statement, &rule.matches, true)?;
        self.self_tests(&statement, &rule.not_match, false)?;
        Ok(statement)
    }

    /// Runs the examples that stand beside a rule.
    fn self_tests(
        &self,
        statement: &Statement,
        samples: &[Located<Sample>],
        expected: bool,
    ) -> Result<(), PolicyError> {
        for sample in samples {
            let outcome = statement.when.fits(&sample.value);
            if outcome.speaks(statement.saying.is_strict()) != expected {
                let why = match outcome {
                    Outcome::Incomparable => {
                        " (a value has another type than what it is compared with)"
                    }
                    Outcome::Yes | Outcome::No => "",
                };
                let said = if expected {
                    "`match`, but the rule does not"
                } else {
                    "`not_match`, but the rule does"
                };
                return self.refuse(sample, &format!("self-test of rule `{}` fails: the example stands under {said} match it{why}", statement.name.escape_debug()));
            }
        }
        Ok(())
    }

    /// What a layer says by level: what is written, and for levels that are not written what is
    /// written for a lower one, if that is stricter than `allow`.
    fn risk(&self, raw: &RawRiskTable) -> Result<[Option<RiskSaying>; 4], PolicyError> {
        let mut table: [Option<RiskSaying>; 4] = [const { None }; 4];
        let mut below: Option<RiskSaying> = None;
        let entries = [&raw.low, &raw.medium, &raw.high, &raw.critical];
        for (slot, entry) in table.iter_mut().zip(entries) {
            let Some(entry) = entry else {
                *slot = below.clone().filter(|below| below.verdict > Verdict::Allow);
                continue;
            };
            let verdict = entry.value.verdict;
            if below.as_ref().is_some_and(|below| verdict < below.verdict) {
                return self.refuse(
                    entry,
                    "a higher risk would be judged more leniently than a lower one",
                );
            }
            let saying = RiskSaying {
                verdict,
                approvals: self.approvals(entry, verdict, entry.value.approvals)?,
                place: Some(self.place(entry)),
            };
            below = Some(saying.clone());
            *slot = Some(saying);
        }
        Ok(table)
    }

    fn statements(
        &mut self,
        rules: Vec<Located<RawRule>>,
        escalate: Vec<Located<RawEscalate>>,
        windows: Vec<Located<RawWindow>>,
    ) -> Result<Vec<Statement>, PolicyError> {
        let mut statements = Vec::with_capacity(rules.len() + escalate.len() + windows.len());
        let mut names = BTreeSet::new();
        for rule in rules {
            let name = &rule.value.name;
            if !names.insert(name.value.clone()) {
                let name_text = name.value.escape_debug();
                return self.refuse(name, &format!("there are two rules named `{name_text}`"));
            }
            statements.push(self.rule(rule)?);
        }
        for (index, raw) in escalate.into_iter().enumerate() {
            statements.push(Statement {
                when: self.when(&raw.value.when)?,
                name: Arc::from(format!("escalate[{index}]")),
                place: self.place(&raw),
                message: Arc::from(raw.value.reason.as_deref().unwrap_or("the risk is higher")),
                saying: Saying::Escalate(raw.value.risk),
            });
        }
        for (index, raw) in windows.into_iter().enumerate() {
            statements.push(self.window(index, raw)?);
        }
        Ok(statements)
    }

    fn frequencies(
        &mut self,
        raw: Vec<Located<RawFrequency>>,
    ) -> Result<(Vec<Frequency>, Vec<FrequencyLimit>), PolicyError> {
        let (mut compiled, mut limits) = (Vec::new(), Vec::new());
        for (index, raw) in raw.into_iter().enumerate() {
            let limit = &raw.value;
            if limit.per.as_millis() == 0 {
                return self.refuse(&raw, "`per` is 0; a longer time is accepted");
            }
            let text = |value: &RawTest| match value {
                RawTest::Scalar(Value::String(text)) => Some(text.clone()),
                _ => None,
            };
            let patterns: Option<Vec<String>> = match &limit.capability.value {
                RawTest::List(items) => items.iter().map(|item| text(&item.value)).collect(),
                one => text(one).map(|one| vec![one]),
            };
            let Some(capability) = patterns else {
                return self.refuse(
                    &limit.capability,
                    "accepted here: a glob over capability ids, or a list of them",
                );
            };
            compiled.push(Frequency {
                capability: Arc::new(self.capability_test(&limit.capability)?),
                rule: Arc::from(format!("frequency[{index}]")),
                place: self.place(&raw),
            });
            let (scope, per, max) = (limit.scope, limit.per, limit.max);
            limits.push(FrequencyLimit { capability, scope, per, max });
        }
        Ok((compiled, limits))
    }

    fn health_checks(
        &self,
        raw: &[Located<RawHealthCheck>],
    ) -> Result<Vec<HealthCheck>, PolicyError> {
        let mut checks: Vec<HealthCheck> = Vec::with_capacity(raw.len());
        for check in raw {
            if checks.iter().any(|other| other.name == check.value.name.value) {
                return self.refuse(&check.value.name, "there are two health checks of this name");
            }
            checks.push(self.health_check(check)?);
        }
        Ok(checks)
    }
}

/// Reads and checks a policy file.
pub(super) fn load(layer: PolicyLayer, source: &Source<'_>) -> Result<Policy, PolicyError> {
    let raw: RawPolicy = from_yaml(source, &Limits::default())?;
    let mut loader = Loader { source, n_patterns: 0, n_regexes: 0 };
    if raw.version.value != 1 {
        return loader.refuse(
            &raw.version,
            &format!("unknown version {}; 1 is accepted here", raw.version.value),
        );
    }
    let says_something = says_something(&raw);
    let statements = loader.statements(raw.rules, raw.escalate, raw.windows)?;
    let paths = raw.paths.unwrap_or_default();
    let (frequency, frequency_limits) = loader.frequencies(raw.frequency)?;
    for (name, command) in &raw.verification {
        loader.verification(name, command)?;
    }
    let health_checks = loader.health_checks(&raw.health_checks)?;
    let audit = raw.audit.unwrap_or_default();
    let durability = raw.durability.unwrap_or_default();
    for pattern in &audit.redact {
        loader.regex(pattern, &pattern.value)?;
    }
    let risk = raw.risk.as_ref().map(|table| loader.risk(table)).transpose()?;
    let limits_place = raw.limits.as_ref().map(|limits| loader.place(limits));
    let require = raw.require.unwrap_or_default();
    Ok(Policy {
        layer,
        name: source.name.to_owned(),
        bytes: source.bytes.to_vec(),
        default: raw.default.map(|default| (default.value, loader.place(&default))),
        says_something,
        forbidden: loader.list(&paths.forbidden, true, "forbidden")?,
        protected: loader.list(&paths.protected, false, "protected")?,
        allowed: loader.list(&paths.allowed, false, "allowed")?,
        limits: raw.limits.map_or_else(ChangeLimits::default, |limits| limits.value),
        limits_place,
        statements,
        risk: risk.unwrap_or([const { None }; 4]),
        require: [require.verification, require.rollback_plan, require.health_checks],
        frequency,
        frequency_limits,
        verification: raw.verification.into_iter().map(|(name, at)| (name, at.value)).collect(),
        health_checks,
        budgets_place: raw.budgets.as_ref().map(|budgets| loader.place(budgets)),
        budgets: raw
            .budgets
            .as_ref()
            .map(|raw| loader.budgets(&raw.value))
            .transpose()?
            .unwrap_or_default(),
        approvals: raw.approvals.map(|raw| Asking::read(raw, &loader)).transpose()?,
        lock_timeout: raw.concurrency.and_then(|raw| raw.lock_timeout),
        idempotency_ttl: raw.idempotency.and_then(|raw| raw.ttl),
        retention: raw
            .retention
            .map_or((None, None), |raw| (raw.undo.map(|undo| undo.0), raw.audit)),
        change_durability: durability.changes,
        record_durability: durability.records,
        audit_on_failure: audit.on_failure,
        audit_redact: audit.redact.into_iter().map(|pattern| pattern.value).collect(),
        catalogue: raw.catalogue.unwrap_or_default(),
        private_hosts: raw.network.map(|raw| raw.read(&loader)).transpose()?,
    })
}

/// Whether a file says more than its version and its default: then the usual table of risks is
/// meant where it holds none.
fn says_something(raw: &RawPolicy) -> bool {
    let paths = raw.paths.as_ref();
    paths.is_some_and(|p| {
        !(p.forbidden.is_empty() && p.protected.is_empty() && p.allowed.is_empty())
    }) || raw.limits.is_some()
        || !raw.rules.is_empty()
        || !raw.escalate.is_empty()
        || raw.risk.is_some()
        || raw.require.is_some()
}

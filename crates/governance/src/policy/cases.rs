//! Cases: files of requests with the verdict that a policy has to give, `*.policy-test.yaml`.

use lictor_capability::{CapabilityKind, Confirm, EffectKind, Risk, Violation};
use lictor_context::{Timestamp, Usage, WorkspacePath};
use lictor_document::{HumanDuration, Limits, Located, Source, StrictValue, from_yaml};
use serde::{Deserialize, Serialize};

use super::asked::{Asked, Question, QuestionEffect};
use super::error::PolicyError;
use super::set::PolicySet;
use crate::decision::Verdict;
use crate::replay::DecisionInputs;
use crate::usage::{Tallies, Tally};

/// A file of cases.
#[derive(Debug)]
pub struct PolicyCases {
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCases {
    cases: Vec<Located<Case>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: Option<String>,
    #[serde(default)]
    ask: Request,
    verdict: Verdict,
    rule: Option<String>,
    approvals: Option<u32>,
    risk: Option<Risk>,
    says: Option<String>,
    #[serde(skip)]
    place: String,
}

/// A request, as people write it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Request {
    capability: Option<String>,
    kind: Option<CapabilityKind>,
    source: Option<String>,
    contract_risk: Option<Risk>,
    risk: Option<Risk>,
    confirm: Option<Confirm>,
    org: Option<String>,
    user: Option<String>,
    agent: Option<String>,
    session: Option<String>,
    input: Option<StrictValue>,
    read: Vec<String>,
    root: bool,
    write: Vec<String>,
    implicit: Vec<String>,
    delete: Vec<String>,
    rename: Vec<Ends>,
    host: Vec<String>,
    program: Vec<String>,
    tool: Vec<String>,
    lines: u64,
    bytes: u64,
    verification: Vec<String>,
    rollback_plan: Option<String>,
    health_checks: Vec<String>,
    rolls_back: bool,
    approvals: u32,
    cost_usd: Option<f64>,
    tokens: u64,
    used: Vec<Used>,
    at: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ends {
    from: String,
    to: String,
}

/// What was used before.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Used {
    capability: String,
    #[serde(default = "once")]
    times: u32,
    #[serde(default)]
    ago: HumanDuration,
    #[serde(default)]
    cost_usd: f64,
    #[serde(default)]
    tokens: u64,
}

fn once() -> u32 {
    1
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseResult {
    /// Its name, or its number.
    pub name: String,
    /// Where it stands.
    #[serde(rename = "where")]
    pub place: String,
    /// Whether the policy says what the case expects.
    pub passed: bool,
    /// The verdict that it expects.
    pub expected: Verdict,
    /// The verdict that the policy gives.
    pub verdict: Verdict,
    /// What is not as expected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// The rules that spoke.
    pub reasons: Vec<String>,
}

impl PolicyCases {
    /// Reads a file of cases.
    ///
    /// # Errors
    /// When anything in it is unknown or wrong, with file, line, column and what is accepted.
    pub fn from_yaml(source: &Source<'_>) -> Result<Self, PolicyError> {
        let raw: RawCases = from_yaml(source, &Limits::default())?;
        let cases = raw.cases.into_iter().map(|located| {
            let place = located.place_in(source.name);
            Case { place, ..located.value }
        });
        Ok(Self { cases: cases.collect() })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.cases.len()
    }

    /// Puts every case to a policy. Cases that name no time are asked at `now`.
    #[must_use]
    pub fn run(&self, policies: &PolicySet, now: Timestamp) -> Vec<CaseResult> {
        let run = |(index, case): (usize, &Case)| case.run(index, policies, now);
        self.cases.iter().enumerate().map(run).collect()
    }
}

impl Case {
    fn run(&self, index: usize, policies: &PolicySet, now: Timestamp) -> CaseResult {
        let now = self.ask.at.unwrap_or(now);
        let question = self.ask.question();
        let tallies = self.ask.tallies(policies, &question.asked(), now);
        let inputs = DecisionInputs { decided_at: now, question, tallies, notice: None };
        let replayed = inputs.replay(policies);
        let mut problems = Vec::new();
        if replayed.verdict != self.verdict {
            problems.push(format!("expected {}, got {}", self.verdict, replayed.verdict));
        }
        if let Some(rule) = &self.rule {
            let gave = replayed
                .reasons
                .iter()
                .any(|reason| *reason.rule == **rule && reason.verdict == self.verdict);
            if !gave {
                problems.push(format!("`{rule}` did not say {}", self.verdict));
            }
        }
        if let Some(n) = self.approvals.filter(|n| *n != replayed.approvals_needed) {
            problems.push(format!("expected {n} approval(s), got {}", replayed.approvals_needed));
        }
        if let Some(risk) = self.risk.filter(|risk| *risk != replayed.risk_effective) {
            problems.push(format!("expected {risk} risk, got {}", replayed.risk_effective));
        }
        let reasons: Vec<String> = replayed.reasons.iter().map(ToString::to_string).collect();
        if let Some(says) = &self.says {
            let said = reasons.iter().chain(&replayed.required_actions);
            if !{ said }.any(|text| text.contains(says)) {
                problems.push(format!("nothing says `{says}`"));
            }
        }
        CaseResult {
            name: self.name.clone().unwrap_or_else(|| format!("case {}", index + 1)),
            place: self.place.clone(),
            passed: problems.is_empty(),
            expected: self.verdict,
            verdict: replayed.verdict,
            problems,
            reasons,
        }
    }
}

impl Request {
    fn question(&self) -> Question {
        let mut question = Question::default();
        let set = |slot: &mut String, value: &Option<String>| {
            if let Some(value) = value {
                slot.clone_from(value);
            }
        };
        set(&mut question.capability, &self.capability);
        set(&mut question.source, &self.source);
        set(&mut question.org, &self.org);
        set(&mut question.user, &self.user);
        set(&mut question.agent, &self.agent);
        set(&mut question.session, &self.session);
        question.kind = self.kind.unwrap_or(question.kind);
        question.contract_risk = self.contract_risk.unwrap_or(question.contract_risk);
        question.confirm = self.confirm.unwrap_or(question.confirm);
        question.risk = self.risk;
        if let Some(input) = &self.input {
            question.input = input.as_value().clone();
        }
        self.effects(&mut question);
        question.lines = self.lines;
        question.bytes = self.bytes;
        question.verification.clone_from(&self.verification);
        question.health_checks.clone_from(&self.health_checks);
        question.rollback_plan =
            self.rollback_plan.as_ref().is_some_and(|text| !text.trim().is_empty());
        question.rolls_back = self.rolls_back;
        question.approvals = self.approvals;
        question.usage = spent(self.cost_usd.unwrap_or(0.0), self.tokens);
        question
    }

    fn effects(&self, question: &mut Question) {
        // What is moved is read.
        let moved = self.rename.iter().map(|ends| &ends.from);
        let ends = self.rename.iter().flat_map(|ends| [&ends.from, &ends.to]);
        let paths = [
            (EffectKind::FsRead, self.read.iter().chain(moved).collect::<Vec<_>>(), false),
            (EffectKind::FsWrite, self.implicit.iter().collect(), true),
            (EffectKind::FsWrite, self.write.iter().chain(ends).collect(), false),
            (EffectKind::FsDelete, self.delete.iter().collect(), false),
        ];
        for (effect, targets, implicit) in paths {
            for target in targets {
                // A path that is not normal never becomes an effect: it is refused before.
                if let Err(error) = WorkspacePath::parse(target) {
                    question.violations.push(Violation::new(target, "path", error.to_string()));
                }
                question.files += u64::from(effect != EffectKind::FsRead && !implicit);
                let target = target.clone();
                question.effects.push(QuestionEffect { effect, target, implicit });
            }
        }
        if self.root {
            question.effects.push(QuestionEffect {
                effect: EffectKind::FsRead,
                target: ".".to_owned(),
                implicit: false,
            });
        }
        for (effect, targets) in [
            (EffectKind::Net, &self.host),
            (EffectKind::Process, &self.program),
            (EffectKind::Mcp, &self.tool),
        ] {
            let one = |target: &String| QuestionEffect {
                effect,
                target: target.clone(),
                implicit: false,
            };
            question.effects.extend(targets.iter().map(one));
        }
    }

    /// What was used before, in every window that the policy looks at: by whoever asks now.
    fn tallies(&self, policies: &PolicySet, asked: &Asked<'_>, now: Timestamp) -> Tallies {
        let windows = policies.usage_windows(asked).into_iter().map(|window| {
            let mut tally = Tally::default();
            for used in &self.used {
                let ago = i64::try_from(used.ago.as_millis()).unwrap_or(i64::MAX);
                let at = now.as_micros().saturating_sub(ago.saturating_mul(1_000));
                let at = Timestamp::from_micros(at);
                if at <= window.since(now) {
                    continue;
                }
                for _ in 0..used.times {
                    tally.add(&used.capability, at, spent(used.cost_usd, used.tokens));
                }
            }
            (window, tally)
        });
        Tallies { windows: windows.collect(), problem: None }
    }
}

/// What is no amount is more than any budget.
fn spent(cost_usd: f64, tokens: u64) -> Usage {
    Usage::new(cost_usd, tokens).unwrap_or(Usage { cost_microusd: u64::MAX, tokens })
}

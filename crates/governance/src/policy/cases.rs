//! Cases: files of requests with the verdict that a policy has to give, `*.policy-test.yaml`. They are put
//! to the policies that are in force, or to those that a group of them brings along.

use lictor_capability::{CapabilityKind, Confirm, EffectKind, Risk, Violation};
use lictor_context::{Timestamp, Usage, WorkspacePath};
use lictor_document::{
    DocumentError, HumanDuration, Limits, Located, Source, StrictValue, from_yaml,
};
use serde::{Deserialize, Serialize};

use super::asked::{Asked, Question, QuestionEffect, ResolvedProgram, led_to};
use super::error::PolicyError;
use super::set::PolicySet;
use super::{Policy, PolicyLayer};
use crate::decision::{Layer, Verdict};
use crate::replay::DecisionInputs;
use crate::usage::{Tallies, Tally};

/// A file of cases.
#[derive(Debug)]
pub struct PolicyCases {
    groups: Vec<Group>,
}

/// Cases that are put to the same policies.
#[derive(Debug)]
struct Group {
    name: Option<String>,
    /// Those in force when `None`.
    policies: Option<PolicySet>,
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    cases: Option<Vec<Located<Case>>>,
    groups: Option<Vec<RawGroup>>,
}

/// A group: policies by their layers, and the cases that are put to them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    name: Option<String>,
    managed: Option<Located<String>>,
    user: Option<Located<String>>,
    /// The workspace's.
    policy: Option<Located<String>>,
    /// When they are asked that name no time.
    at: Option<Timestamp>,
    cases: Vec<Located<Case>>,
}

impl RawGroup {
    fn read(self, source: &Source<'_>) -> Result<Group, PolicyError> {
        let texts = [
            (PolicyLayer::Managed, self.managed, "managed.yaml"),
            (PolicyLayer::User, self.user, "user.yaml"),
            (PolicyLayer::Workspace, self.policy, "policy.yaml"),
        ];
        let mut policies = Vec::new();
        for (layer, text, name) in texts {
            let Some(text) = text else { continue };
            let read = Policy::from_yaml(layer, &Source::new(name, text.value.as_bytes()));
            let refuse = |error| text.error(source.name, format!("this is no policy: {error}"));
            policies.push(read.map_err(refuse)?);
        }
        let policies = Some(PolicySet::new(policies)?);
        Ok(Group { name: self.name, policies, cases: located(self.cases, self.at, source) })
    }
}

fn located(cases: Vec<Located<Case>>, at: Option<Timestamp>, source: &Source<'_>) -> Vec<Case> {
    let one = |located: Located<Case>| {
        let place = located.place_in(source.name);
        let mut case = Case { place, ..located.value };
        case.ask.at = case.ask.at.or(at);
        case
    };
    cases.into_iter().map(one).collect()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: Option<String>,
    #[serde(default)]
    ask: Request,
    verdict: Verdict,
    rule: Option<String>,
    layer: Option<Layer>,
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
    copy: Vec<Ends>,
    symlink: Vec<Link>,
    host: Vec<String>,
    program: Vec<String>,
    resolved: Vec<ResolvedProgram>,
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    path: String,
    target: String,
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
        let raw: RawFile = from_yaml(source, &Limits::default())?;
        if raw.cases.is_none() && raw.groups.is_none() {
            let why = "accepted here: `cases` for the policy in force, `groups` with policies of their own";
            return Err(DocumentError::at(source.name, 1, 1, why).into());
        }
        let cases = raw.cases.map(|cases| located(cases, None, source));
        let in_force = cases.map(|cases| Ok(Group { name: None, policies: None, cases }));
        let groups = raw.groups.into_iter().flatten().map(|group| group.read(source));
        Ok(Self { groups: in_force.into_iter().chain(groups).collect::<Result<_, _>>()? })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.groups.iter().map(|group| group.cases.len()).sum()
    }

    /// Puts every case to the policies that its group brings, or else to these. Cases that name no
    /// time are asked at `now`.
    #[must_use]
    pub fn run(&self, policies: &PolicySet, now: Timestamp) -> Vec<CaseResult> {
        self.groups.iter().flat_map(|group| group.run(policies, now)).collect()
    }
}

impl Group {
    fn run(&self, in_force: &PolicySet, now: Timestamp) -> Vec<CaseResult> {
        let policies = self.policies.as_ref().unwrap_or(in_force);
        let run = |(index, case): (usize, &Case)| {
            let mut result = case.run(index, policies, now);
            if let Some(name) = &self.name {
                result.name = format!("{name}: {}", result.name);
            }
            result
        };
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
            let gave = replayed.reasons.iter().any(|reason| {
                *reason.rule == **rule
                    && reason.verdict == self.verdict
                    && self.layer.is_none_or(|layer| reason.layer == layer)
            });
            if !gave {
                let of = self.layer.map_or("", Layer::as_str);
                let of =
                    if of.is_empty() { String::new() } else { format!(" of the layer `{of}`") };
                problems.push(format!("`{rule}`{of} did not say {}", self.verdict));
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
        question.resolved.clone_from(&self.resolved);
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
        // What is moved or copied is read, and so is what a link leads to.
        let from = self.rename.iter().chain(&self.copy).map(|ends| &ends.from);
        let led: Vec<String> =
            self.symlink.iter().filter_map(|link| led_to(&link.path, &link.target)).collect();
        let ends = self.rename.iter().flat_map(|ends| [&ends.from, &ends.to]);
        let made = self.copy.iter().map(|ends| &ends.to);
        let made = made.chain(self.symlink.iter().map(|link| &link.path));
        let reads = self.read.iter().chain(from).chain(&led);
        let paths = [
            (EffectKind::FsRead, reads.collect::<Vec<_>>(), false),
            (EffectKind::FsWrite, self.implicit.iter().collect(), true),
            (EffectKind::FsWrite, self.write.iter().chain(ends).chain(made).collect(), false),
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

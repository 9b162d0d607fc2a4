//! What a decision looks at: borrowed from an action, or from the record of one.
//!
//! Everything that a verdict depends on beside the policy, the counters and the time is a field
//! here, so that a recorded question can be judged again.

use std::collections::HashSet;

use lictor_capability::{
    CapabilityKind, ChangeKind, Confirm, Content, Described, Effect, EffectKind, Effects,
    HostNumber, Item, Risk, Violation,
};
use lictor_context::{Budget, Usage, WorkspacePath};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::usage::Subject;

/// A question to a policy, borrowed.
#[derive(Debug, Clone)]
pub(crate) struct Asked<'a> {
    pub(super) capability: &'a str,
    pub(super) kind: CapabilityKind,
    pub(super) source: &'a str,
    pub(super) contract_risk: Risk,
    pub(super) confirm: Confirm,
    pub(super) risk: Option<Risk>,
    pub(super) org: &'a str,
    pub(super) user: &'a str,
    pub(super) agent: &'a str,
    pub(super) session: &'a str,
    pub(super) input: &'a Value,
    pub(super) effects: Vec<Effect<'a>>,
    /// What links that are made lead to: read, as far as a policy is concerned.
    pub(super) linked: Vec<String>,
    /// Programs, and the files that they were found to be.
    pub(super) resolved: Vec<(&'a str, &'a str)>,
    /// Directories that nobody asked for; what is put into them is judged.
    pub(super) implicit: HashSet<&'a str>,
    pub(super) violations: &'a [Violation],
    pub(super) files: u64,
    pub(super) lines: u64,
    pub(super) bytes: u64,
    pub(super) verification: &'a [String],
    pub(super) rollback_plan: bool,
    pub(super) health_checks: &'a [String],
    pub(super) rolls_back: bool,
    pub(super) approvals: u32,
    pub(super) usage: Usage,
    pub(super) budget: Budget,
}

/// The effects one by one, the directories that nobody asked for, and what links lead to.
fn listed(all: &Effects) -> (Vec<Effect<'_>>, HashSet<&str>, Vec<String>) {
    let mut effects = all.iter();
    if all.reads_root {
        effects.push(Effect { kind: EffectKind::FsRead, target: "." });
    }
    let (mut implicit, mut linked) = (HashSet::new(), Vec::new());
    for item in &all.changes.items {
        match &item.content {
            // What is copied is read, whether the handler said so or not.
            Some(Content::CopyOf(from)) => {
                effects.push(Effect { kind: EffectKind::FsRead, target: from.as_str() });
            }
            Some(Content::Target(target)) => {
                linked.extend(item.to.as_ref().and_then(|link| led_to(link.as_str(), target)));
            }
            Some(Content::Inline(_) | Content::Kept(_) | Content::Streamed(_)) | None => {}
        }
        // What is moved can be read under another name from then on.
        if item.kind == ChangeKind::Rename
            && let Some(from) = &item.from
        {
            effects.push(Effect { kind: EffectKind::FsRead, target: from.as_str() });
        }
        if item.implicit
            && let Some(to) = &item.to
        {
            implicit.insert(to.as_str());
        }
    }
    implicit.extend(emptied(&all.changes.items));
    (effects, implicit, linked)
}

/// The directories that an undo removes because what was in them goes, and that nobody asked to remove:
/// as with making them, that is part of what happens to the things in them.
fn emptied(items: &[Item]) -> impl Iterator<Item = &str> {
    let going = items.iter().filter(|item| item.implicit && item.to.is_none());
    let going: Vec<&WorkspacePath> = going.filter_map(|item| item.from.as_ref()).collect();
    let mut above: HashSet<WorkspacePath> = HashSet::new();
    if !going.is_empty() {
        let asked = items.iter().filter(|item| !item.implicit);
        let leaving =
            asked.filter(|item| item.from != item.to).filter_map(|item| item.from.as_ref());
        above.extend(leaving.flat_map(WorkspacePath::ancestors));
    }
    going.into_iter().filter(move |folder| above.contains(*folder)).map(WorkspacePath::as_str)
}

/// The path that a link leads to. Whoever makes one opens another way to it.
pub(super) fn led_to(link: &str, target: &str) -> Option<String> {
    let folder = link.rsplit_once('/').map_or("", |(folder, _)| folder);
    let path = normal(&format!("{folder}/{target}"));
    (!path.is_empty()).then_some(path)
}

/// A path without `.`, `..` and empty segments, worked out by its text alone.
pub(super) fn normal(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => _ = segments.pop(),
            segment => segments.push(segment),
        }
    }
    segments.join("/")
}

/// A host in lower case without a final dot, an address in its one spelling, and the digits of the
/// port behind it.
pub(super) fn host_and_port(target: &str) -> (String, Option<String>) {
    if let Some(number) = HostNumber::parse(target) {
        return (number.host(), number.port().map(|port| port.to_string()));
    }
    let target = target.to_ascii_lowercase();
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let (host, port) = match target.rsplit_once(':') {
        Some((host, port)) if digits(port) => (host, Some(port.to_owned())),
        _ => (target.as_str(), None),
    };
    (host.trim_end_matches('.').to_owned(), port)
}

/// What else a program is called by its path: its name without a folder, and the path without detours.
pub(super) fn other_names(program: &str) -> impl Iterator<Item = String> {
    let name = program.rsplit('/').next().unwrap_or(program).to_owned();
    [name, normal(program)].into_iter().filter(move |other| other != program)
}

impl<'a> Asked<'a> {
    pub(crate) fn of(described: &'a Described) -> Self {
        let (action, contract) = (described.action(), described.contract());
        let (session, all) = (action.session(), described.effects());
        let (effects, implicit, linked) = listed(all);
        let plan = action.plan();
        Self {
            capability: contract.id.as_str(),
            kind: contract.kind,
            source: &contract.source,
            contract_risk: contract.risk,
            confirm: contract.confirm,
            risk: action.risk(),
            org: session.principal().org.as_str(),
            user: session.principal().user.as_str(),
            agent: session.principal().agent.as_str(),
            session: session.id().as_str(),
            input: action.input(),
            effects,
            linked,
            resolved: all
                .executables
                .iter()
                .map(|one| (one.program.as_str(), one.path.as_str()))
                .collect(),
            implicit,
            violations: &all.violations,
            files: all.changes.count() as u64,
            lines: all.changes.lines,
            bytes: all.changes.bytes,
            verification: plan.map(|plan| plan.verification.as_slice()).unwrap_or_default(),
            rollback_plan: plan
                .and_then(|plan| plan.rollback_plan.as_deref())
                .is_some_and(|text| !text.trim().is_empty()),
            health_checks: plan.map(|plan| plan.health_checks.as_slice()).unwrap_or_default(),
            rolls_back: action.origin().rolls_back.is_some(),
            approvals: action.approvals(),
            usage: action.usage(),
            budget: session.budget(),
        }
    }

    /// What else a program is called: by its path, and by the files that it was found to be. Rules
    /// that are strict hold for all of them; one that lets through, for what it names.
    pub(super) fn also_called(&self, program: &str) -> Vec<String> {
        let mut all: Vec<String> = other_names(program).collect();
        for (_, file) in self.resolved.iter().filter(|(of, _)| *of == program) {
            all.extend(std::iter::once((*file).to_owned()).chain(other_names(file)));
        }
        all.retain(|other| other != program);
        all.sort_unstable();
        all.dedup();
        all
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.effects.iter().all(|effect| effect.kind == EffectKind::FsRead)
    }

    pub(crate) fn subject(&self) -> Subject {
        Subject {
            org: self.org.to_owned(),
            user: self.user.to_owned(),
            agent: self.agent.to_owned(),
            session: self.session.to_owned(),
        }
    }
}

/// One effect of a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuestionEffect {
    /// What is done.
    pub effect: EffectKind,
    /// To what.
    pub target: String,
    /// Whether it is only there because something goes into it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub implicit: bool,
}

/// A program, and a file that it was found to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolvedProgram {
    /// The program, as its effect names it.
    pub program: String,
    /// The file.
    pub path: String,
}

/// Everything about an action that a decision looks at, to be kept: for judging it again, by the
/// same policy or by another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Question {
    /// The capability.
    pub capability: String,
    /// Its kind.
    pub kind: CapabilityKind,
    /// Where it comes from.
    pub source: String,
    /// The risk that its contract states.
    pub contract_risk: Risk,
    /// What its contract says of confirmation.
    pub confirm: Confirm,
    /// The risk that is proposed.
    pub risk: Option<Risk>,
    /// Who asks.
    pub org: String,
    /// Who asks.
    pub user: String,
    /// Who asks.
    pub agent: String,
    /// Who asks.
    pub session: String,
    /// The input; in a record what is content or a secret stands sealed.
    pub input: Value,
    /// What would happen.
    pub effects: Vec<QuestionEffect>,
    /// The files that programs were found to be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resolved: Vec<ResolvedProgram>,
    /// What no policy can allow.
    pub violations: Vec<Violation>,
    /// How many files change.
    pub files: u64,
    /// How many lines change.
    pub lines: u64,
    /// How many bytes are new.
    pub bytes: u64,
    /// The verification commands that the plan names.
    pub verification: Vec<String>,
    /// Whether the plan says how to get back.
    pub rollback_plan: bool,
    /// The health checks that the plan names.
    pub health_checks: Vec<String>,
    /// Whether it takes back what an execution did.
    pub rolls_back: bool,
    /// How many people whoever asks wants to agree.
    pub approvals: u32,
    /// What asking has cost.
    pub usage: Usage,
    /// What the session may spend.
    pub budget: Budget,
}

impl Default for Question {
    /// Ann's agent asks for a capability of low risk without any effect.
    fn default() -> Self {
        Self {
            capability: "fs.write".to_owned(),
            kind: CapabilityKind::Skill,
            source: "builtin".to_owned(),
            contract_risk: Risk::Low,
            confirm: Confirm::Policy,
            risk: None,
            org: "local".to_owned(),
            user: "ann".to_owned(),
            agent: "agent".to_owned(),
            session: "ses_1".to_owned(),
            input: Value::Object(serde_json::Map::new()),
            effects: Vec::new(),
            resolved: Vec::new(),
            violations: Vec::new(),
            files: 0,
            lines: 0,
            bytes: 0,
            verification: Vec::new(),
            rollback_plan: false,
            health_checks: Vec::new(),
            rolls_back: false,
            approvals: 0,
            usage: Usage::default(),
            budget: Budget::default(),
        }
    }
}

impl Question {
    /// The question that an action is, with its input as it may be kept: sealed.
    #[must_use]
    pub fn of(described: &Described) -> Self {
        let asked = Asked::of(described);
        let kept = |effect: &Effect<'_>| QuestionEffect {
            effect: effect.kind,
            target: effect.target.to_owned(),
            implicit: effect.kind == EffectKind::FsWrite && asked.implicit.contains(effect.target),
        };
        let led = |target: &String| QuestionEffect {
            effect: EffectKind::FsRead,
            target: target.clone(),
            implicit: false,
        };
        Self {
            capability: asked.capability.to_owned(),
            kind: asked.kind,
            source: asked.source.to_owned(),
            contract_risk: asked.contract_risk,
            confirm: asked.confirm,
            risk: asked.risk,
            org: asked.org.to_owned(),
            user: asked.user.to_owned(),
            agent: asked.agent.to_owned(),
            session: asked.session.to_owned(),
            input: lictor_context::seal(asked.input),
            effects: asked.effects.iter().map(kept).chain(asked.linked.iter().map(led)).collect(),
            resolved: asked
                .resolved
                .iter()
                .map(|(program, path)| ResolvedProgram {
                    program: (*program).to_owned(),
                    path: (*path).to_owned(),
                })
                .collect(),
            violations: asked.violations.to_vec(),
            files: asked.files,
            lines: asked.lines,
            bytes: asked.bytes,
            verification: asked.verification.to_vec(),
            rollback_plan: asked.rollback_plan,
            health_checks: asked.health_checks.to_vec(),
            rolls_back: asked.rolls_back,
            approvals: asked.approvals,
            usage: asked.usage,
            budget: asked.budget,
        }
    }

    /// The same question about other effects.
    pub(super) fn instead(mut self, effects: &Effects) -> Self {
        let (found, _, linked) = listed(effects);
        let found = found.into_iter().map(|one| (one.kind, one.target.to_owned()));
        let linked = linked.into_iter().map(|target| (EffectKind::FsRead, target));
        self.effects = found
            .chain(linked)
            .map(|(effect, target)| QuestionEffect { effect, target, implicit: false })
            .collect();
        self.violations.clone_from(&effects.violations);
        self.files = effects.changes.count() as u64;
        self
    }

    pub(crate) fn asked(&self) -> Asked<'_> {
        let effects = self.effects.iter();
        let implicit = effects.clone().filter(|effect| effect.implicit);
        Asked {
            capability: &self.capability,
            kind: self.kind,
            source: &self.source,
            contract_risk: self.contract_risk,
            confirm: self.confirm,
            risk: self.risk,
            org: &self.org,
            user: &self.user,
            agent: &self.agent,
            session: &self.session,
            input: &self.input,
            implicit: implicit.map(|effect| effect.target.as_str()).collect(),
            effects: effects
                .map(|effect| Effect { kind: effect.effect, target: &effect.target })
                .collect(),
            linked: Vec::new(),
            resolved: self
                .resolved
                .iter()
                .map(|one| (one.program.as_str(), one.path.as_str()))
                .collect(),
            violations: &self.violations,
            files: self.files,
            lines: self.lines,
            bytes: self.bytes,
            verification: &self.verification,
            rollback_plan: self.rollback_plan,
            health_checks: &self.health_checks,
            rolls_back: self.rolls_back,
            approvals: self.approvals,
            usage: self.usage,
            budget: self.budget,
        }
    }
}

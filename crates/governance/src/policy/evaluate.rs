//! From effects to a verdict: every effect is held against everything that speaks.
//!
//! The cost is about the number of effects plus the number of rules: each path goes once through
//! one automaton over the globs of all layers; each rule's action side is looked at once.

use std::collections::HashSet;
use std::sync::Arc;

use lictor_capability::{Confirm, Content, Described, Effect, EffectKind, Risk};
use lictor_context::Timestamp;

use super::Policy;
use super::compare::{Outcome, Scalar};
use super::load::{Saying, Statement};
use super::reserved;
use super::set::{List, Owner, PolicySet, text};
use super::when::{Facts, Target};
use crate::decision::{Layer, Reason, Verdict};

/// How many paths are listed for a rule; the rest is counted.
const MAX_LISTED: usize = 20;

/// What became of the question.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) risk_proposed: Risk,
    pub(crate) risk_effective: Risk,
    pub(crate) reasons: Vec<Reason>,
    pub(crate) required_actions: Vec<String>,
    pub(crate) approvals_needed: u32,
}

pub(super) fn judge(set: &PolicySet, described: &Described, now: Timestamp) -> Judgement {
    let mut evaluation = Evaluation::new(set, described);
    let contract = described.contract();
    let risk_proposed = described.action().risk().unwrap_or(contract.risk);
    evaluation.builtin();
    evaluation.match_paths();
    let base = risk_proposed.max(contract.risk);
    let risk_effective = evaluation.escalate(risk_proposed, base);
    evaluation.lists();
    evaluation.rules(risk_effective, now);
    evaluation.limits();
    evaluation.risk(risk_effective);
    evaluation.contract();
    evaluation.require(risk_effective);
    evaluation.frequency();
    evaluation.defaults();
    evaluation.finish(risk_proposed, risk_effective)
}

/// The effects that a rule spoke about.
#[derive(Debug, Clone, Default)]
struct Hits {
    count: usize,
    listed: Vec<usize>,
    last: Option<usize>,
}

impl Hits {
    fn add(&mut self, effect: usize) {
        if self.last == Some(effect) {
            return;
        }
        self.last = Some(effect);
        self.count += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(effect);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.listed.extend_from_slice(&other.listed);
        self.listed.sort_unstable();
        self.listed.truncate(MAX_LISTED);
    }
}

/// A rule as a reason names it.
#[derive(Debug, Clone)]
struct Voice {
    layer: Layer,
    rule: Arc<str>,
    verdict: Verdict,
    approvals: u32,
    message: Arc<str>,
    place: Option<Arc<str>>,
}

struct Evaluation<'a> {
    set: &'a PolicySet,
    described: &'a Described,
    effects: Vec<Effect<'a>>,
    /// Directories that nobody asked for; what is put into them is judged.
    implicit: HashSet<&'a str>,
    /// The globs that each effect's path matches: `found[span]`.
    found: Vec<usize>,
    spans: Vec<(usize, usize)>,
    /// By effect, the layers whose paths or rules spoke about it, as bits.
    spoke: Vec<u8>,
    /// The layers whose rules spoke about the action as a whole.
    spoke_action: u8,
    rolls_back: bool,
    verdict: Verdict,
    approvals: u32,
    reasons: Vec<Reason>,
    required: Vec<String>,
}

impl<'a> Evaluation<'a> {
    fn new(set: &'a PolicySet, described: &'a Described) -> Self {
        let all = described.effects();
        let mut effects = all.iter();
        let effect = |kind, target| Effect { kind, target };
        if all.reads_root {
            effects.push(effect(EffectKind::FsRead, "."));
        }
        let mut implicit = HashSet::new();
        for item in &all.changes.items {
            // What is copied is read, whether the handler said so or not.
            if let Some(Content::CopyOf(from)) = &item.content {
                effects.push(effect(EffectKind::FsRead, from.as_str()));
            }
            if item.implicit
                && let Some(to) = &item.to
            {
                implicit.insert(to.as_str());
            }
        }
        Self {
            set,
            described,
            spoke: vec![0; effects.len()],
            effects,
            implicit,
            found: Vec::new(),
            spans: Vec::new(),
            spoke_action: 0,
            rolls_back: described.action().origin().rolls_back.is_some(),
            verdict: Verdict::Allow,
            approvals: 0,
            reasons: Vec::new(),
            required: Vec::new(),
        }
    }

    /// Adds a reason about the action as a whole.
    fn say(&mut self, voice: Voice) {
        self.say_about(voice, None, "");
    }

    /// Adds a reason about each effect, up to a number.
    fn say_of(&mut self, voice: &Voice, hits: &Hits) {
        for effect in &hits.listed {
            let Some(effect) = self.effects.get(*effect).copied() else { continue };
            match effect.kind {
                EffectKind::FsRead | EffectKind::FsWrite | EffectKind::FsDelete => {
                    self.say_about(voice.clone(), Some(effect.target), "");
                }
                EffectKind::Net | EffectKind::Process | EffectKind::Mcp => {
                    let what = format!(" (`{}`)", effect.target.escape_debug());
                    self.say_about(voice.clone(), None, &what);
                }
            }
        }
        if hits.count > hits.listed.len() {
            let more = format!(" (and {} more)", hits.count - hits.listed.len());
            self.say_about(voice.clone(), None, &more);
        }
    }

    fn say_about(&mut self, mut voice: Voice, path: Option<&str>, what: &str) {
        let mut message = voice.message;
        if !what.is_empty() {
            message = Arc::from(format!("{message}{what}"));
        }
        if self.rolls_back && voice.verdict == Verdict::NeedApproval {
            // The decision that let the execution through covers taking it back.
            voice.verdict = Verdict::Allow;
            voice.approvals = 0;
            message =
                Arc::from(format!("{message} (rollback of an execution that was let through)"));
        }
        self.verdict = self.verdict.max(voice.verdict);
        self.approvals = self.approvals.max(voice.approvals);
        self.reasons.push(Reason {
            layer: voice.layer,
            rule: voice.rule,
            verdict: voice.verdict,
            path: path.map(Arc::from),
            message,
            place: voice.place,
        });
    }

    fn builtin(&mut self) {
        let deny = |rule: &str, message: &str| Voice {
            layer: Layer::Builtin,
            rule: text(rule),
            verdict: Verdict::Deny,
            approvals: 0,
            message: text(message),
            place: None,
        };
        for violation in &self.described.effects().violations {
            let voice = deny(&violation.rule, &violation.message);
            self.say_about(voice, Some(&violation.path), "");
        }
        let mut hits: [Option<(Voice, Hits)>; 2] = [None, None];
        for (index, effect) in self.effects.iter().enumerate() {
            if let Some((rule, message)) = reserved::offence(*effect) {
                let slot = usize::from(rule == "git_internals");
                if let Some(slot) = hits.get_mut(slot) {
                    let (_, hits) =
                        slot.get_or_insert_with(|| (deny(rule, message), Hits::default()));
                    hits.add(index);
                }
            }
        }
        for (voice, hits) in hits.iter().flatten() {
            self.say_of(voice, hits);
        }
    }

    /// Sends every path through the automaton, once.
    fn match_paths(&mut self) {
        self.spans.reserve(self.effects.len());
        let mut found = Vec::new();
        for effect in &self.effects {
            let from = self.found.len();
            match effect.kind {
                EffectKind::FsRead | EffectKind::FsWrite | EffectKind::FsDelete => {
                    self.set.matches(effect.target, &mut found);
                }
                EffectKind::Process => {
                    self.set.matches(effect.target.trim_start_matches("./"), &mut found);
                }
                EffectKind::Net | EffectKind::Mcp => found.clear(),
            }
            self.found.extend_from_slice(&found);
            self.spans.push((from, self.found.len()));
        }
    }

    fn owners(&self, effect: usize) -> impl Iterator<Item = Owner> {
        let set = self.set;
        let (from, to) = self.spans.get(effect).copied().unwrap_or_default();
        let found = self.found.get(from..to).unwrap_or_default();
        found.iter().filter_map(|glob| set.owners.get(*glob).copied())
    }

    /// The effects that each statement of one sort speaks about; `None` where it is silent.
    fn hits(
        &self,
        facts: &Facts<'_>,
        sort: impl Fn(&Saying) -> bool,
    ) -> Vec<Option<(Hits, &'a Statement, usize)>> {
        let set = self.set;
        let mut all: Vec<Option<(Hits, &'a Statement, usize)>> =
            Vec::with_capacity(set.statements.len());
        let mut by_path = false;
        let mut by_kind: Option<[Hits; 6]> = None;
        for index in 0..set.statements.len() {
            let live = set.statement(index).filter(|(_, statement)| {
                sort(&statement.saying)
                    && statement.when.action(facts).speaks(statement.saying.is_strict())
            });
            let Some((layer, statement)) = live else {
                all.push(None);
                continue;
            };
            let mut hits = Hits::default();
            match &statement.when.target {
                Target::Paths(_) => by_path = true,
                Target::Any if !statement.when.is_about_effects() => {}
                Target::Any => {
                    let by_kind = by_kind.get_or_insert_with(|| self.by_kind());
                    for (kind, of_kind) in EffectKind::ALL.into_iter().zip(by_kind) {
                        if statement.when.kinds.has(kind) {
                            hits.merge(of_kind);
                        }
                    }
                }
                Target::PathTest(_) | Target::Host(_) | Target::Program(_) => {
                    self.scan(statement, &mut hits);
                }
            }
            all.push(Some((hits, statement, layer)));
        }
        if by_path {
            for (index, effect) in self.effects.iter().enumerate() {
                for owner in self.owners(index) {
                    if let Owner::Statement(statement) = owner
                        && let Some(Some((hits, statement, _))) = all.get_mut(statement)
                        && statement.when.kinds.has(effect.kind)
                    {
                        hits.add(index);
                    }
                }
            }
        }
        for slot in &mut all {
            let silent = slot.as_ref().is_some_and(|(hits, statement, _)| {
                hits.count == 0 && statement.when.is_about_effects()
            });
            if silent {
                *slot = None;
            }
        }
        all
    }

    /// The effects by kind, for conditions that ask for nothing else.
    fn by_kind(&self) -> [Hits; 6] {
        let mut all = [const { Hits { count: 0, listed: Vec::new(), last: None } }; 6];
        for (index, effect) in self.effects.iter().enumerate() {
            if let Some(hits) = all.get_mut(effect.kind as usize) {
                hits.add(index);
            }
        }
        all
    }

    /// Looks at the effects one by one, for conditions that are not globs over paths.
    fn scan(&self, statement: &Statement, hits: &mut Hits) {
        let strict = statement.saying.is_strict();
        for (index, effect) in self.effects.iter().enumerate() {
            if statement.when.kinds.has(effect.kind)
                && statement.when.target(effect.target).speaks(strict)
            {
                hits.add(index);
            }
        }
    }

    fn facts(&self, risk: Risk) -> Facts<'a> {
        let (action, contract) = (self.described.action(), self.described.contract());
        let changes = &self.described.effects().changes;
        let principal = action.session().principal();
        Facts {
            capability: Some(contract.id.as_str()),
            kind: Some(contract.kind.as_str()),
            source: Some(&contract.source),
            agent: Some(principal.agent.as_str()),
            user: Some(principal.user.as_str()),
            org: Some(principal.org.as_str()),
            session: Some(action.session().id().as_str()),
            lines: Some(changes.lines),
            files: Some(changes.count() as u64),
            risk: Some(risk),
            input: Some(action.input()),
        }
    }

    /// The strictest that is said of a level of risk.
    fn verdict_of(&self, risk: Risk) -> (Verdict, u32) {
        let sayings = self.set.risk.get(risk as usize).map(Vec::as_slice).unwrap_or_default();
        sayings.iter().fold((Verdict::Allow, 0), |(verdict, approvals), (_, saying)| {
            (verdict.max(saying.verdict), approvals.max(saying.approvals))
        })
    }

    fn escalate(&mut self, proposed: Risk, base: Risk) -> Risk {
        let mut risk = base;
        if base > proposed {
            let (verdict, approvals) = self.verdict_of(base);
            self.say(Voice {
                layer: Layer::Contract,
                rule: text("contract.risk"),
                verdict,
                approvals,
                message: Arc::from(format!("a call is at least of {base} risk")),
                place: None,
            });
        }
        let facts = self.facts(base);
        let hits = self.hits(&facts, |saying| matches!(saying, Saying::Escalate(_)));
        for (hits, statement, layer) in hits.into_iter().flatten() {
            let Saying::Escalate(raised) = &statement.saying else { continue };
            risk = risk.max(*raised);
            let (verdict, approvals) = self.verdict_of(*raised);
            self.speak(statement, layer, verdict, approvals, &hits);
        }
        risk
    }

    fn speak(
        &mut self,
        statement: &Statement,
        layer: usize,
        verdict: Verdict,
        approvals: u32,
        hits: &Hits,
    ) {
        let voice = Voice {
            layer: self.layer(layer),
            rule: Arc::clone(&statement.name),
            verdict,
            approvals,
            message: Arc::clone(&statement.message),
            place: Some(Arc::clone(&statement.place)),
        };
        if statement.when.is_about_effects() {
            self.say_of(&voice, hits);
        } else {
            self.say(voice);
        }
    }

    fn layer(&self, index: usize) -> Layer {
        self.set.layers.get(index).map_or(Layer::Workspace, |policy| policy.layer.into())
    }

    /// `paths`: forbidden, protected, allowed.
    fn lists(&mut self) {
        let set = self.set;
        // By layer and list, in the order in which they are seen; few at most.
        let mut all: Vec<((usize, List, usize, Verdict), Hits)> = Vec::new();
        for index in 0..self.effects.len() {
            let Some(effect) = self.effects.get(index).copied() else { continue };
            let reads = effect.kind == EffectKind::FsRead;
            let mut bits = 0;
            let mut seen: Option<(usize, List)> = None;
            for owner in self.owners(index) {
                let Owner::List(layer, list, entry) = owner else { continue };
                let verdict = match list {
                    List::Forbidden => Verdict::Deny,
                    // A program is not let through because its file may be written.
                    List::Protected | List::Allowed if effect.kind == EffectKind::Process => {
                        continue;
                    }
                    List::Protected if !reads => Verdict::NeedApproval,
                    List::Protected | List::Allowed => Verdict::Allow,
                };
                bits |= bit(layer);
                // The first entry of a list that fits says it all.
                if seen == Some((layer, list)) {
                    continue;
                }
                seen = Some((layer, list));
                let key = (layer, list, entry, verdict);
                let position = all.iter().position(|(known, _)| *known == key);
                let position = position.unwrap_or_else(|| {
                    all.push((key, Hits::default()));
                    all.len() - 1
                });
                if let Some((_, hits)) = all.get_mut(position) {
                    hits.add(index);
                }
            }
            if let Some(spoke) = self.spoke.get_mut(index) {
                *spoke |= bits;
            }
        }
        for ((layer, list, entry, verdict), hits) in all {
            let Some(policy) = set.layers.get(layer) else { continue };
            let (entries, rule) = match list {
                List::Forbidden => (&policy.forbidden, "paths.forbidden"),
                List::Protected => (&policy.protected, "paths.protected"),
                List::Allowed => (&policy.allowed, "paths.allowed"),
            };
            let Some(entry) = entries.get(entry) else { continue };
            let voice = Voice {
                layer: policy.layer.into(),
                rule: text(rule),
                verdict,
                approvals: u32::from(verdict == Verdict::NeedApproval),
                message: Arc::clone(&entry.message),
                place: Some(Arc::clone(&entry.place)),
            };
            self.say_of(&voice, &hits);
        }
    }

    fn rules(&mut self, risk: Risk, now: Timestamp) {
        let facts = self.facts(risk);
        let hits = self.hits(&facts, |saying| !matches!(saying, Saying::Escalate(_)));
        let mut spoke_kinds = [0_u8; 6];
        for (hits, statement, layer) in hits.iter().flatten() {
            match &statement.saying {
                Saying::Escalate(_) => {}
                Saying::Verdict { verdict, approvals } => {
                    self.mark_spoken(statement, *layer, &mut spoke_kinds);
                    self.speak(statement, *layer, *verdict, *approvals, hits);
                }
                Saying::Window(window) if window.is_open(now) => {}
                Saying::Window(window) => {
                    let opens = window.opens(now);
                    let opens = opens.map_or_else(String::new, |at| format!("; it opens at {at}"));
                    let message = format!("{} ({}){opens}", statement.message, window.text());
                    self.say(Voice {
                        layer: self.layer(*layer),
                        rule: Arc::clone(&statement.name),
                        verdict: Verdict::Deny,
                        approvals: 0,
                        message: Arc::from(message),
                        place: Some(Arc::clone(&statement.place)),
                    });
                }
            }
        }
        // Rules by globs: which effects they spoke about is seen from the effects.
        for index in 0..self.effects.len() {
            let Some(effect) = self.effects.get(index).copied() else { continue };
            let mut bits = spoke_kinds.get(effect.kind as usize).copied().unwrap_or(0);
            for owner in self.owners(index) {
                if let Owner::Statement(statement) = owner
                    && let Some(Some((_, statement, layer))) = hits.get(statement)
                    && matches!(statement.saying, Saying::Verdict { .. })
                    && statement.when.kinds.has(effect.kind)
                {
                    bits |= bit(*layer);
                }
            }
            if let Some(spoke) = self.spoke.get_mut(index) {
                *spoke |= bits;
            }
        }
    }

    /// Remembers what a rule spoke about, so that `default` keeps quiet there.
    fn mark_spoken(
        &mut self,
        statement: &Statement,
        layer: usize,
        spoke_kinds: &mut [u8; 6],
    ) {
        if !statement.when.is_about_effects() {
            self.spoke_action |= bit(layer);
            return;
        }
        match &statement.when.target {
            Target::Paths(_) => {}
            Target::Any => {
                for kind in EffectKind::ALL {
                    if statement.when.kinds.has(kind)
                        && let Some(bits) = spoke_kinds.get_mut(kind as usize)
                    {
                        *bits |= bit(layer);
                    }
                }
            }
            Target::PathTest(_) | Target::Host(_) | Target::Program(_) => {
                let strict = statement.saying.is_strict();
                for (effect, spoke) in self.effects.iter().zip(&mut self.spoke) {
                    if statement.when.kinds.has(effect.kind)
                        && statement.when.target(effect.target).speaks(strict)
                    {
                        *spoke |= bit(layer);
                    }
                }
            }
        }
    }

    fn limits(&mut self) {
        let changes = &self.described.effects().changes;
        let set = self.set;
        for policy in &set.layers {
            let limits = &policy.limits;
            let max_bytes = limits.max_bytes.map(|size| size.as_bytes());
            let checks = [
                ("limits.max_files", changes.count() as u64, limits.max_files, "files"),
                ("limits.max_patch_lines", changes.lines, limits.max_patch_lines, "changed lines"),
                ("limits.max_bytes", changes.bytes, max_bytes, "bytes of new content"),
            ];
            for (rule, found, limit, what) in checks {
                let Some(limit) = limit.filter(|limit| found > *limit) else { continue };
                self.say(Voice {
                    layer: policy.layer.into(),
                    rule: text(rule),
                    verdict: Verdict::Deny,
                    approvals: 0,
                    message: Arc::from(format!("{found} {what}; at most {limit} are allowed")),
                    place: policy.limits_place.clone(),
                });
                self.required.push(format!("bring at most {limit} {what} in one change set"));
            }
        }
    }

    fn risk(&mut self, risk: Risk) {
        let set = self.set;
        for (layer, saying) in set.risk.get(risk as usize).into_iter().flatten() {
            self.say(Voice {
                layer: *layer,
                rule: text(match risk {
                    Risk::Low => "risk.low",
                    Risk::Medium => "risk.medium",
                    Risk::High => "risk.high",
                    Risk::Critical => "risk.critical",
                }),
                verdict: saying.verdict,
                approvals: saying.approvals,
                message: text(match risk {
                    Risk::Low => "the effective risk is low",
                    Risk::Medium => "the effective risk is medium",
                    Risk::High => "the effective risk is high",
                    Risk::Critical => "the effective risk is critical",
                }),
                place: saying.place.clone(),
            });
        }
    }

    fn contract(&mut self) {
        if self.described.contract().confirm == Confirm::Always {
            self.say(Voice {
                layer: Layer::Contract,
                rule: text("contract.confirm"),
                verdict: Verdict::NeedApproval,
                approvals: 1,
                message: text("the contract wants a person to confirm every call"),
                place: None,
            });
        }
    }

    /// What a change has to bring, and whether what it names exists.
    fn require(&mut self, risk: Risk) {
        let plan = self.described.action().plan();
        self.unknown_checks();
        if self.described.effects().is_read_only() {
            return;
        }
        let brings = [
            plan.is_some_and(|plan| !plan.verification.is_empty()),
            plan.and_then(|plan| plan.rollback_plan.as_deref())
                .is_some_and(|text| !text.trim().is_empty()),
            plan.is_some_and(|plan| !plan.health_checks.is_empty()),
        ];
        let names = ["verification", "rollback_plan", "health_checks"];
        let set = self.set;
        for policy in &set.layers {
            for ((brings, name), risks) in brings.into_iter().zip(names).zip(&policy.require) {
                if brings || !risks.contains(&risk) {
                    continue;
                }
                self.say(Voice {
                    layer: policy.layer.into(),
                    rule: Arc::from(format!("require.{name}")),
                    verdict: Verdict::NeedApproval,
                    approvals: 1,
                    message: Arc::from(format!("a change of {risk} risk has to bring {name}")),
                    place: None,
                });
                let action = format!("add {name} to the plan");
                if !self.required.contains(&action) {
                    self.required.push(action);
                }
            }
        }
    }

    /// A check that nobody defines would not be run, and then it would look as if it had passed.
    fn unknown_checks(&mut self) {
        let Some(plan) = self.described.action().plan() else { return };
        let settings = self.set.settings();
        let checks = settings.health_checks.iter();
        let known_checks: Vec<&str> = checks.map(|check| check.name.as_str()).collect();
        let known_commands: Vec<&str> = settings.verification.keys().map(String::as_str).collect();
        for (rule, named, known) in [
            ("verification", &plan.verification, known_commands),
            ("health_checks", &plan.health_checks, known_checks),
        ] {
            for name in named.iter().filter(|name| !known.contains(&name.as_str())) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let name = name.escape_debug();
                self.say(Voice {
                    layer: Layer::Builtin,
                    rule: text(rule),
                    verdict: Verdict::Deny,
                    approvals: 0,
                    message: Arc::from(format!(
                        "the plan names `{name}`, which no policy defines; defined: {known}"
                    )),
                    place: None,
                });
            }
        }
    }

    fn frequency(&mut self) {
        let id = Scalar::Text(self.described.contract().id.as_str());
        let set = self.set;
        for policy in &set.layers {
            for limit in &policy.frequency {
                if limit.capability.outcome(id) != Outcome::No {
                    self.say(Voice {
                        layer: policy.layer.into(),
                        rule: Arc::clone(&limit.rule),
                        verdict: Verdict::NeedApproval,
                        approvals: 1,
                        message: text("frequency limits are not counted yet"),
                        place: Some(Arc::clone(&limit.place)),
                    });
                }
            }
        }
    }

    /// `default` speaks where neither paths nor a rule did, layer by layer; where a layer states
    /// none and nobody else spoke either, it is a denial.
    fn defaults(&mut self) {
        if self.effects.is_empty() {
            self.default_without_effects();
            return;
        }
        let set = self.set;
        let mut hits: Vec<Hits> = vec![Hits::default(); set.layers.len()];
        let mut unspoken = Hits::default();
        for (index, effect) in self.effects.iter().enumerate() {
            let spoke = self.spoke.get(index).copied().unwrap_or(0) | self.spoke_action;
            if effect.kind == EffectKind::FsWrite && self.implicit.contains(effect.target) {
                continue;
            }
            let mut silent = spoke == 0;
            for (layer, (policy, hits)) in set.layers.iter().zip(&mut hits).enumerate() {
                if spoke & bit(layer) == 0 && policy.default.is_some() {
                    hits.add(index);
                    silent = false;
                }
            }
            if silent {
                unspoken.add(index);
            }
        }
        for (policy, hits) in set.layers.iter().zip(&hits) {
            if let Some(voice) = default_of(policy) {
                self.say_of(&voice, hits);
            }
        }
        self.say_of(&nobody_spoke(), &unspoken);
    }

    fn default_without_effects(&mut self) {
        let set = self.set;
        let level = self.reasons.iter().filter(|reason| reason.rule.starts_with("risk."));
        let by_risk: Vec<Layer> = level.map(|reason| reason.layer).collect();
        let mut silent = self.spoke_action == 0 && by_risk.is_empty();
        for (layer, policy) in set.layers.iter().enumerate() {
            let spoke = self.spoke_action & bit(layer) != 0
                || by_risk.contains(&policy.layer.into())
                || (!by_risk.is_empty() && policy.says_something);
            if spoke {
                continue;
            }
            if let Some(voice) = default_of(policy) {
                silent = false;
                self.say(voice);
            }
        }
        if silent {
            self.say(nobody_spoke());
        }
    }

    fn finish(self, risk_proposed: Risk, risk_effective: Risk) -> Judgement {
        // Whatever happened above: without a reason there is no leave.
        let verdict = if self.reasons.is_empty() { Verdict::Deny } else { self.verdict };
        let asks = verdict == Verdict::NeedApproval;
        Judgement {
            verdict,
            risk_proposed,
            risk_effective,
            reasons: self.reasons,
            required_actions: if verdict == Verdict::Allow { Vec::new() } else { self.required },
            approvals_needed: if asks { self.approvals.max(1) } else { 0 },
        }
    }
}

fn bit(layer: usize) -> u8 {
    1_u8.checked_shl(u32::try_from(layer).unwrap_or(u32::MAX)).unwrap_or(0)
}

fn default_of(policy: &Policy) -> Option<Voice> {
    let (verdict, place) = policy.default.as_ref()?;
    Some(Voice {
        layer: policy.layer.into(),
        rule: text("default"),
        verdict: *verdict,
        approvals: u32::from(*verdict == Verdict::NeedApproval),
        message: text("neither paths nor a rule speak about it"),
        place: Some(Arc::clone(place)),
    })
}

fn nobody_spoke() -> Voice {
    Voice {
        layer: Layer::Builtin,
        rule: text("default"),
        verdict: Verdict::Deny,
        approvals: 0,
        message: text("no policy speaks about it"),
        place: None,
    }
}

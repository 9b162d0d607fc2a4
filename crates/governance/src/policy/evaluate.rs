//! From effects to a verdict: every effect is held against everything that speaks.
//!
//! The cost is about the number of effects plus the number of rules: each path goes once through
//! one automaton over the globs of all layers; a rule's action side is looked at once, and where it is
//! about paths only if one fits.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use lictor_capability::{Effect, EffectKind, Risk};
use lictor_context::Timestamp;

use super::Policy;
use super::asked::{Asked, normal};
use super::hits::{Hits, PathHits, Spoken};
use super::load::{Saying, Statement};
use super::reserved;
use super::set::{Entry, List, Owner, PolicySet, text};
use super::when::{Facts, Target};
use crate::decision::{Layer, Reason, Verdict};
use crate::usage::Tallies;

/// How many paths are listed for a rule; the rest is counted.
pub(super) const MAX_LISTED: usize = 20;

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

impl Judgement {
    /// Says what is wrong with the policy files, beside what the policies say.
    pub(crate) fn note(&mut self, notice: Option<&str>) {
        let Some(notice) = notice else { return };
        self.reasons.push(Reason {
            layer: Layer::Builtin,
            rule: text("policy_reload"),
            // It lets nothing through: the verdict stands already.
            verdict: Verdict::Allow,
            path: None,
            message: Arc::from(notice),
            place: None,
        });
    }
}

pub(super) fn judge(
    set: &PolicySet,
    asked: &Asked<'_>,
    tallies: &Tallies,
    now: Timestamp,
) -> Judgement {
    let mut evaluation = Evaluation::new(set, asked);
    let risk_proposed = asked.risk.unwrap_or(asked.contract_risk);
    evaluation.builtin();
    evaluation.match_paths();
    let base = risk_proposed.max(asked.contract_risk);
    let risk_effective = evaluation.escalate(risk_proposed, base);
    evaluation.lists();
    evaluation.rules(risk_effective, now);
    evaluation.limits();
    evaluation.risk(risk_effective);
    evaluation.contract();
    evaluation.require(risk_effective);
    evaluation.usage(tallies);
    evaluation.cedar(risk_effective);
    evaluation.defaults();
    evaluation.finish(risk_proposed, risk_effective)
}

/// A rule as a reason names it.
#[derive(Debug, Clone)]
pub(super) struct Voice {
    pub(super) layer: Layer,
    pub(super) rule: Arc<str>,
    pub(super) verdict: Verdict,
    pub(super) approvals: u32,
    pub(super) message: Arc<str>,
    pub(super) place: Option<Arc<str>>,
}

/// One question on its way to an answer.
pub(super) struct Evaluation<'a> {
    pub(super) set: &'a PolicySet,
    pub(super) asked: &'a Asked<'a>,
    pub(super) effects: Cow<'a, [Effect<'a>]>,
    /// The globs that each effect's path matches: `found[span]`.
    found: Vec<usize>,
    spans: Vec<(usize, usize)>,
    /// What the globs of statements matched.
    pub(super) path_hits: PathHits,
    /// The effects by kind.
    pub(super) of_kind: OnceCell<[Vec<usize>; 6]>,
    /// By effect, the layers whose paths or rules spoke about it, as bits.
    spoke: Vec<u8>,
    /// The layers whose rules spoke about the action as a whole.
    spoke_action: u8,
    rolls_back: bool,
    verdict: Verdict,
    approvals: u32,
    reasons: Vec<Reason>,
    pub(super) required: Vec<String>,
}

impl<'a> Evaluation<'a> {
    fn new(set: &'a PolicySet, asked: &'a Asked<'a>) -> Self {
        let mut effects = Cow::Borrowed(asked.effects.as_slice());
        if !asked.linked.is_empty() {
            let read = |path: &'a String| Effect { kind: EffectKind::FsRead, target: path };
            effects.to_mut().extend(asked.linked.iter().map(read));
        }
        Self {
            set,
            asked,
            spoke: vec![0; effects.len()],
            effects,
            found: Vec::new(),
            spans: Vec::new(),
            path_hits: PathHits::default(),
            of_kind: OnceCell::new(),
            spoke_action: 0,
            rolls_back: asked.rolls_back,
            verdict: Verdict::Allow,
            approvals: 0,
            reasons: Vec::new(),
            required: Vec::new(),
        }
    }

    /// Adds a reason about the action as a whole.
    pub(super) fn say(&mut self, voice: Voice) {
        self.say_about(voice, None, "");
    }

    /// Adds a reason about each effect, up to a number.
    pub(super) fn say_of(&mut self, voice: &Voice, hits: &Hits) {
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
        for violation in self.asked.violations {
            let voice = denial(&violation.rule, &violation.message);
            self.say_about(voice, Some(&violation.path), "");
        }
        let mut hits: [Option<(Voice, Hits)>; 2] = [None, None];
        for (index, effect) in self.effects.iter().enumerate() {
            if let Some((rule, message)) = reserved::offence(*effect) {
                let slot = usize::from(rule == "git_internals");
                if let Some(slot) = hits.get_mut(slot) {
                    let (_, hits) =
                        slot.get_or_insert_with(|| (denial(rule, message), Hits::default()));
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
        let set = self.set;
        let mut reader = set.reader();
        self.spans.reserve(self.effects.len());
        self.path_hits = PathHits::of(set.statements.len());
        let mut found = Vec::new();
        let mut stuck = Hits::default();
        for (index, effect) in self.effects.iter().enumerate() {
            let from = self.found.len();
            let read = match effect.kind {
                EffectKind::FsRead | EffectKind::FsWrite | EffectKind::FsDelete => {
                    reader.find(effect.target, &mut found)
                }
                EffectKind::Process => reader.find(&normal(effect.target), &mut found),
                EffectKind::Net | EffectKind::Mcp => {
                    found.clear();
                    Ok(())
                }
            };
            if read.is_err() {
                stuck.add(index);
            }
            for glob in &found {
                if let Some(Owner::Statement(number)) = set.owners.get(*glob)
                    && let Some((_, statement)) = set.statement(*number)
                    && statement.when.kinds.has(effect.kind)
                {
                    self.path_hits.add(*number, index);
                }
            }
            self.found.extend_from_slice(&found);
            self.spans.push((from, self.found.len()));
        }
        if stuck.count > 0 {
            let message = "it cannot be held against the globs";
            self.say_of(&denial("paths", message), &stuck);
        }
    }

    pub(super) fn owners(&self, effect: usize) -> impl Iterator<Item = Owner> {
        let set = self.set;
        let (from, to) = self.spans.get(effect).copied().unwrap_or_default();
        let found = self.found.get(from..to).unwrap_or_default();
        found.iter().filter_map(|glob| set.owners.get(*glob).copied())
    }

    fn facts(&self, risk: Risk) -> Facts<'a> {
        let asked = self.asked;
        Facts {
            capability: Some(asked.capability),
            kind: Some(asked.kind.as_str()),
            source: Some(asked.source),
            agent: Some(asked.agent),
            user: Some(asked.user),
            org: Some(asked.org),
            session: Some(asked.session),
            lines: Some(asked.lines),
            files: Some(asked.files),
            risk: Some(risk),
            input: Some(asked.input),
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
        for Spoken { hits, statement, layer, .. } in self.hits(&facts, &self.set.escalations) {
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
        // What entries say, in the order in which they are seen; reading is told from the rest.
        let mut slots: Vec<Option<usize>> = vec![None; 2 * set.entries.len()];
        let mut all: Vec<(Entry, Verdict, Hits)> = Vec::new();
        for index in 0..self.effects.len() {
            let Some(effect) = self.effects.get(index).copied() else { continue };
            let reads = effect.kind == EffectKind::FsRead;
            let mut bits = 0;
            let mut seen: Option<(usize, List)> = None;
            for owner in self.owners(index) {
                let Owner::Entry(number) = owner else { continue };
                let Some(entry) = set.entries.get(number).copied() else { continue };
                let Entry { layer, list, .. } = entry;
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
                let asks = usize::from(verdict == Verdict::NeedApproval);
                let Some(slot) = slots.get_mut(2 * number + asks) else { continue };
                let position = *slot.get_or_insert_with(|| {
                    all.push((entry, verdict, Hits::default()));
                    all.len() - 1
                });
                if let Some((_, _, hits)) = all.get_mut(position) {
                    hits.add(index);
                }
            }
            if let Some(spoke) = self.spoke.get_mut(index) {
                *spoke |= bits;
            }
        }
        for (Entry { layer, list, index }, verdict, hits) in all {
            let Some(policy) = set.layers.get(layer) else { continue };
            let (entries, rule) = match list {
                List::Forbidden => (&policy.forbidden, "paths.forbidden"),
                List::Protected => (&policy.protected, "paths.protected"),
                List::Allowed => (&policy.allowed, "paths.allowed"),
            };
            let Some(entry) = entries.get(index) else { continue };
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
        let set = self.set;
        let mut spoke_kinds = [0_u8; 6];
        // By statement, the layer of a rule over globs that spoke, as a bit.
        let mut by_glob: Vec<u8> = vec![0; set.statements.len()];
        for Spoken { hits, statement, layer, number } in &self.hits(&facts, &set.rules) {
            match &statement.saying {
                Saying::Escalate(_) => {}
                Saying::Verdict { verdict, approvals } => {
                    match (&statement.when.target, by_glob.get_mut(*number)) {
                        (Target::Paths(_), Some(bits)) => *bits = bit(*layer),
                        _ => self.mark_spoken(statement, *layer, &mut spoke_kinds),
                    }
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
                if let Owner::Statement(number) = owner
                    && let Some(spoke) = by_glob.get(number).filter(|spoke| **spoke != 0)
                    && let Some((_, statement)) = set.statement(number)
                    && statement.when.kinds.has(effect.kind)
                {
                    bits |= spoke;
                }
            }
            if let Some(spoke) = self.spoke.get_mut(index) {
                *spoke |= bits;
            }
        }
    }

    /// Remembers what a rule spoke about, so that `default` keeps quiet there.
    fn mark_spoken(&mut self, statement: &Statement, layer: usize, spoke_kinds: &mut [u8; 6]) {
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
                for effect in self.scanned(statement) {
                    if let Some(spoke) = self.spoke.get_mut(effect) {
                        *spoke |= bit(layer);
                    }
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
            if effect.kind == EffectKind::FsWrite && self.asked.implicit.contains(effect.target) {
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

/// A denial that no policy can lift.
fn denial(rule: &str, message: &str) -> Voice {
    Voice {
        layer: Layer::Builtin,
        rule: text(rule),
        verdict: Verdict::Deny,
        approvals: 0,
        message: text(message),
        place: None,
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

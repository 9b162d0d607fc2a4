//! Policies by layer, put together: one automaton over all globs, one digest, one set of settings.

use std::sync::Arc;

use globset::Glob;
use lictor_capability::{Effect, EffectKind, Risk};
use lictor_context::{Digest, Hasher, Timestamp, WorkspacePath};
use serde::{Deserialize, Serialize};

use super::asked::Asked;
use super::asking::Asking;
use super::automaton::{Automaton, Reader, Stuck};
use super::cedar::Cedar;
use super::error::{PolicyError, PolicyErrorKind};
use super::evaluate::{self, Judgement};
use super::load::{RiskSaying, Saying, Statement};
use super::network;
use super::pattern::fold;
use super::reserved;
use super::settings::{ChangeDurability, RecordDurability, Settings, UndoRetention};
use super::usage::{self, UsageLimit};
use super::when::Target;
use super::{Policy, PolicyLayer};
use crate::catalogue::CatalogueRules;
use crate::decision::{Layer, Verdict};
use crate::usage::Tallies;

/// The policies of all layers. Without any, or with one that says nothing, everything is denied.
#[derive(Debug)]
pub struct PolicySet {
    pub(super) layers: Vec<Policy>,
    digest: Digest,
    settings: Settings,
    /// `None`: there is no glob.
    automaton: Option<Automaton>,
    /// Whose each glob of the automaton is.
    pub(super) owners: Vec<Owner>,
    /// The entries of the lists of all layers.
    pub(super) entries: Vec<Entry>,
    /// By level of risk, what each layer says.
    pub(super) risk: [Vec<(Layer, RiskSaying)>; 4],
    /// The statements of all layers: the index of the layer and of the statement in it.
    pub(super) statements: Vec<(usize, usize)>,
    /// Of these, those that raise the risk, and all others.
    pub(super) escalations: Vec<usize>,
    pub(super) rules: Vec<usize>,
    pub(super) usage_limits: Vec<UsageLimit>,
    pub(super) cedar: Option<Cedar>,
}

/// The language that a policy is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyLanguage {
    /// The usual.
    #[default]
    Yaml,
    /// Policies in Cedar.
    Cedar,
    /// Who has which role in them.
    CedarRoles,
}

impl PolicyLanguage {
    fn is_yaml(&self) -> bool {
        *self == Self::Yaml
    }
}

/// The text of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySource {
    /// Whose it is.
    pub layer: PolicyLayer,
    /// What it is written in.
    #[serde(default, skip_serializing_if = "PolicyLanguage::is_yaml")]
    pub language: PolicyLanguage,
    /// The file's name.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

/// Whose a glob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// An entry of a list of `paths`, by its index in the set.
    Entry(usize),
    /// A statement, by its index in the set.
    Statement(usize),
}

/// An entry of a list of `paths`: the index of its layer, and its own in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) layer: usize,
    pub(super) list: List,
    pub(super) index: usize,
}

/// A list of `paths`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Forbidden,
    Protected,
    Allowed,
}

impl PolicySet {
    /// No policy at all: everything is denied.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            layers: Vec::new(),
            digest: Hasher::new().finish(),
            settings: Settings::default(),
            automaton: None,
            owners: Vec::new(),
            entries: Vec::new(),
            risk: [const { Vec::new() }; 4],
            statements: Vec::new(),
            escalations: Vec::new(),
            rules: Vec::new(),
            usage_limits: Vec::new(),
            cedar: None,
        }
    }

    /// Puts the policies of layers together, in whatever order they come.
    ///
    /// # Errors
    /// When two are for one layer, or their globs are too many for one automaton.
    pub fn new(policies: impl IntoIterator<Item = Policy>) -> Result<Self, PolicyError> {
        let mut layers: Vec<Policy> = policies.into_iter().collect();
        layers.sort_by_key(|policy| policy.layer);
        for (one, next) in layers.iter().zip(layers.iter().skip(1)) {
            if one.layer == next.layer {
                return Err(PolicyError::new(PolicyErrorKind::LayerTwice { layer: one.layer }));
            }
        }
        let mut set = Self {
            digest: digest(&layers, &[]),
            settings: settings(&layers),
            risk: risk(&layers),
            usage_limits: usage::limits(&layers),
            ..Self::empty()
        };
        set.layers = layers;
        set.compile()?;
        Ok(set)
    }

    /// Reads the policy of a workspace alone.
    ///
    /// # Errors
    /// When the file cannot be read; see [`Policy::from_yaml`].
    pub fn workspace(source: &lictor_document::Source<'_>) -> Result<Self, PolicyError> {
        Self::new([Policy::from_yaml(PolicyLayer::Workspace, source)?])
    }

    fn compile(&mut self) -> Result<(), PolicyError> {
        let mut globs: Vec<&Glob> = Vec::new();
        for (layer, policy) in self.layers.iter().enumerate() {
            let lists = [
                (List::Forbidden, &policy.forbidden),
                (List::Protected, &policy.protected),
                (List::Allowed, &policy.allowed),
            ];
            for (list, entries) in lists {
                for (index, entry) in entries.iter().enumerate() {
                    for glob in &entry.globs {
                        globs.push(glob);
                        self.owners.push(Owner::Entry(self.entries.len()));
                    }
                    self.entries.push(Entry { layer, list, index });
                }
            }
            for (index, statement) in policy.statements.iter().enumerate() {
                let number = self.statements.len();
                if let Target::Paths(own) = &statement.when.target {
                    for glob in own {
                        globs.push(glob);
                        self.owners.push(Owner::Statement(number));
                    }
                }
                match statement.saying {
                    Saying::Escalate(_) => self.escalations.push(number),
                    Saying::Verdict { .. } | Saying::Window(_) => self.rules.push(number),
                }
                self.statements.push((layer, index));
            }
        }
        if !globs.is_empty() {
            self.automaton = Some(Automaton::new(&globs)?);
        }
        Ok(())
    }

    /// The texts of the layers, to be kept: [`PolicySet::from_sources`] makes the same set of them.
    #[must_use]
    pub fn sources(&self) -> Vec<PolicySource> {
        let source = |policy: &Policy| PolicySource {
            layer: policy.layer,
            language: PolicyLanguage::Yaml,
            name: policy.name.clone(),
            text: String::from_utf8_lossy(&policy.bytes).into_owned(),
        };
        let cedar = self.cedar.iter().flat_map(|cedar| cedar.sources.iter().cloned());
        self.layers.iter().map(source).chain(cedar).collect()
    }

    /// Reads the texts that a set was made of.
    ///
    /// # Errors
    /// When one is not a policy.
    pub fn from_sources(sources: &[PolicySource]) -> Result<Self, PolicyError> {
        let read = |source: &PolicySource| {
            let text = lictor_document::Source::new(&source.name, source.text.as_bytes());
            Policy::from_yaml(source.layer, &text)
        };
        let (yaml, cedar): (Vec<_>, Vec<_>) =
            sources.iter().partition(|source| source.language == PolicyLanguage::Yaml);
        let set = Self::new(yaml.into_iter().map(read).collect::<Result<Vec<_>, _>>()?)?;
        set.add_cedar(cedar.into_iter().cloned().collect(), None)
    }

    /// Works the digest out again, after something was added.
    pub(super) fn digest_again(&mut self) {
        let cedar = self.cedar.as_ref().map(|cedar| cedar.sources.as_slice());
        self.digest = digest(&self.layers, cedar.unwrap_or_default());
    }

    /// The digest of the set: of its layers' names and the bytes of their files, and of the names
    /// and the bytes of what is written in Cedar.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What the layers set together.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The policies, the highest layer first.
    #[must_use]
    pub fn layers(&self) -> &[Policy] {
        &self.layers
    }

    /// Whether nobody may look into a path: Lictor's own state, and what a layer forbids. For views
    /// and listings, which hide it: the effect "reads a directory" stands for what is in there.
    #[must_use]
    pub fn hides(&self, path: &WorkspacePath) -> bool {
        let target = path.as_str();
        if reserved::offence(Effect { kind: EffectKind::FsRead, target }).is_some() {
            return true;
        }
        let mut found = Vec::new();
        if self.reader().find(target, &mut found).is_err() {
            return true;
        }
        found.iter().any(|glob| self.forbids(*glob))
    }

    /// Whether a glob stands under `forbidden`.
    fn forbids(&self, glob: usize) -> bool {
        let Some(Owner::Entry(entry)) = self.owners.get(glob) else { return false };
        self.entries.get(*entry).is_some_and(|entry| entry.list == List::Forbidden)
    }

    pub(crate) fn judge(&self, asked: &Asked<'_>, tallies: &Tallies, now: Timestamp) -> Judgement {
        evaluate::judge(self, asked, tallies, now)
    }

    /// What finds the globs that paths match.
    pub(super) fn reader(&self) -> PathReader<'_> {
        let automaton = self.automaton.as_ref().map(Automaton::reader);
        PathReader { set: self, automaton, folded: Vec::new() }
    }

    pub(super) fn statement(&self, index: usize) -> Option<(usize, &Statement)> {
        let (layer, statement) = *self.statements.get(index)?;
        Some((layer, self.layers.get(layer)?.statements.get(statement)?))
    }
}

/// Finds the globs that paths match.
pub(super) struct PathReader<'a> {
    set: &'a PolicySet,
    automaton: Option<Reader<'a>>,
    folded: Vec<usize>,
}

impl PathReader<'_> {
    /// The globs that a path matches, by their place in `owners`.
    pub(super) fn find(&mut self, path: &str, found: &mut Vec<usize>) -> Result<(), Stuck> {
        found.clear();
        let Some(automaton) = &mut self.automaton else { return Ok(()) };
        automaton.find(path, found)?;
        if !path.is_ascii() {
            // The automaton folds the case of ASCII only. What is forbidden is forbidden under
            // every spelling that a file system may take for the same.
            let visible: String = path.chars().filter(|c| !reserved::is_ignored(*c)).collect();
            automaton.find(&fold(&visible), &mut self.folded)?;
            self.folded.retain(|glob| self.set.forbids(*glob) && !found.contains(glob));
            found.append(&mut self.folded);
        }
        Ok(())
    }
}

fn digest(layers: &[Policy], cedar: &[PolicySource]) -> Digest {
    let mut hasher = Hasher::new();
    for policy in layers {
        hasher.update_framed(Layer::from(policy.layer).as_str().as_bytes());
        hasher.update_framed(&policy.bytes);
    }
    for source in cedar {
        // No layer has such a name. The name of the file stands in reasons.
        hasher.update_framed(match source.language {
            PolicyLanguage::Yaml => b"yaml",
            PolicyLanguage::Cedar => b"cedar",
            PolicyLanguage::CedarRoles => b"cedar roles",
        });
        hasher.update_framed(source.name.as_bytes());
        hasher.update_framed(source.text.as_bytes());
    }
    hasher.finish()
}

/// What is said of each level: by the layers that say something, else, if there is any policy
/// worth the name, the usual.
fn risk(layers: &[Policy]) -> [Vec<(Layer, RiskSaying)>; 4] {
    let mut table = [const { Vec::new() }; 4];
    let usual = |risk: Risk| match risk {
        Risk::Low | Risk::Medium => (Verdict::Allow, 0),
        Risk::High => (Verdict::NeedApproval, 1),
        Risk::Critical => (Verdict::NeedApproval, 2),
    };
    for (risk, sayings) in Risk::ALL.into_iter().zip(&mut table) {
        for policy in layers {
            if let Some(Some(saying)) = policy.risk.get(risk as usize) {
                sayings.push((Layer::from(policy.layer), saying.clone()));
            }
        }
        if sayings.is_empty() && layers.iter().any(|policy| policy.says_something) {
            let (verdict, approvals) = usual(risk);
            sayings.push((Layer::Builtin, RiskSaying { verdict, approvals, place: None }));
        }
    }
    table
}

fn settings(layers: &[Policy]) -> Settings {
    let mut all = Settings::default();
    let least = |values: &mut dyn Iterator<Item = lictor_document::HumanDuration>| values.min();
    let most = |values: &mut dyn Iterator<Item = lictor_document::HumanDuration>| values.max();
    for policy in layers {
        all.limits.tighten(&policy.limits);
        all.budgets.tighten(&policy.budgets);
        all.frequency.extend(policy.frequency_limits.iter().cloned());
        all.audit_redact.extend(policy.audit_redact.iter().cloned());
        for (name, command) in &policy.verification {
            all.verification.entry(name.clone()).or_insert_with(|| command.clone());
        }
        for check in &policy.health_checks {
            if !all.health_checks.iter().any(|known| known.name == check.name) {
                all.health_checks.push(check.clone());
            }
        }
    }
    all.approvals = Asking::together(layers.iter().map(|policy| policy.approvals.as_ref()));
    let locks = &mut layers.iter().filter_map(|policy| policy.lock_timeout);
    all.lock_timeout = least(locks).unwrap_or(all.lock_timeout);
    let ttls = &mut layers.iter().filter_map(|policy| policy.idempotency_ttl);
    all.idempotency_ttl = least(ttls).unwrap_or(all.idempotency_ttl);
    let undos = layers.iter().filter_map(|policy| policy.retention.0);
    all.undo_retention = undos.reduce(UndoRetention::and).unwrap_or(all.undo_retention);
    let audits = &mut layers.iter().filter_map(|policy| policy.retention.1);
    all.audit_retention = most(audits).unwrap_or(all.audit_retention);
    let failures = layers.iter().filter_map(|policy| policy.audit_on_failure);
    let blocks = |all: super::OnAuditFailure, one| {
        if all == super::OnAuditFailure::Block { all } else { one }
    };
    // Lazy is the looser one: it takes everybody who speaks of it.
    let lazy = |one: fn(&Policy) -> Option<bool>| {
        layers.iter().filter_map(one).reduce(|all, one| all && one) == Some(true)
    };
    if lazy(|policy| policy.change_durability.map(|one| one == ChangeDurability::Lazy)) {
        all.change_durability = ChangeDurability::Lazy;
    }
    all.private_hosts = network::together(layers.iter().map(|one| one.private_hosts.as_ref()));
    all.catalogue = CatalogueRules::of(layers.iter().map(|policy| &policy.catalogue));
    all.audit_on_failure = failures.reduce(blocks).unwrap_or(all.audit_on_failure);
    // Who wants nothing done without its record wants none to come after it.
    let goes_on = all.audit_on_failure == super::OnAuditFailure::Continue;
    if goes_on && lazy(|policy| policy.record_durability.map(|one| one == RecordDurability::Lazy)) {
        all.record_durability = RecordDurability::Lazy;
    }
    all
}

/// Shares one text among many reasons.
pub(super) fn text(text: &str) -> Arc<str> {
    Arc::from(text)
}

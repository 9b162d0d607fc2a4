//! Which statements speak, and about which effects.

use lictor_capability::EffectKind;

use super::evaluate::{Evaluation, MAX_LISTED};
use super::load::Statement;
use super::when::{Facts, Target};

/// A statement that speaks.
#[derive(Debug)]
pub(super) struct Spoken<'a> {
    /// About which effects.
    pub(super) hits: Hits,
    pub(super) statement: &'a Statement,
    /// The index of its layer.
    pub(super) layer: usize,
    /// Its own index in the set.
    pub(super) number: usize,
}

/// The effects that the globs of statements matched; most statements match none.
#[derive(Debug, Default)]
pub(super) struct PathHits {
    /// By statement, where its hits are.
    slots: Vec<Option<u32>>,
    hits: Vec<Hits>,
}

impl PathHits {
    pub(super) fn of(statements: usize) -> Self {
        Self { slots: vec![None; statements], hits: Vec::new() }
    }

    pub(super) fn add(&mut self, statement: usize, effect: usize) {
        let Some(slot) = self.slots.get_mut(statement) else { return };
        let at = slot.map_or(self.hits.len(), |at| at as usize);
        if at == self.hits.len() {
            *slot = u32::try_from(at).ok();
            self.hits.push(Hits::default());
        }
        if let Some(hits) = self.hits.get_mut(at) {
            hits.add(effect);
        }
    }

    fn get(&self, statement: usize) -> Option<&Hits> {
        self.hits.get(self.slots.get(statement).copied().flatten()? as usize)
    }
}

/// The effects that a rule spoke about.
#[derive(Debug, Clone, Default)]
pub(super) struct Hits {
    pub(super) count: usize,
    pub(super) listed: Vec<usize>,
    last: Option<usize>,
}

impl Hits {
    pub(super) fn add(&mut self, effect: usize) {
        if self.last == Some(effect) {
            return;
        }
        self.last = Some(effect);
        self.count += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(effect);
        }
    }

    /// Adds effects that are not among these, in their order.
    fn merge(&mut self, others: &[usize]) {
        self.count += others.len();
        self.listed.extend(others.iter().take(MAX_LISTED));
        self.listed.sort_unstable();
        self.listed.truncate(MAX_LISTED);
    }
}

impl<'a> Evaluation<'a> {
    /// The statements of one sort that speak, and about which effects.
    pub(super) fn hits(&self, facts: &Facts<'_>, sort: &[usize]) -> Vec<Spoken<'a>> {
        let mut all = Vec::new();
        for number in sort.iter().copied() {
            let Some((layer, statement)) = self.set.statement(number) else { continue };
            // What is about nothing that happens is silent, whoever asks.
            let by_path = match &statement.when.target {
                Target::Paths(_) => match self.path_hits.get(number) {
                    None => continue,
                    found => found,
                },
                _ if !self.has_kind(statement) => continue,
                _ => None,
            };
            if !statement.when.action(facts).speaks(statement.saying.is_strict()) {
                continue;
            }
            let mut hits = Hits::default();
            match (&statement.when.target, by_path) {
                (Target::Paths(_), found) => hits = found.cloned().unwrap_or_default(),
                (Target::Any, _) if !statement.when.is_about_effects() => {}
                (Target::Any, _) => {
                    for (kind, of_kind) in EffectKind::ALL.into_iter().zip(self.by_kind()) {
                        if statement.when.kinds.has(kind) {
                            hits.merge(of_kind);
                        }
                    }
                }
                (Target::PathTest(_) | Target::Host(_) | Target::Program(_), _) => {
                    self.scanned(statement).into_iter().for_each(|effect| hits.add(effect));
                }
            }
            if hits.count > 0 || !statement.when.is_about_effects() {
                all.push(Spoken { hits, statement, layer, number });
            }
        }
        all
    }

    /// Whether there is an effect of a kind that a statement is about, or it is about none.
    fn has_kind(&self, statement: &Statement) -> bool {
        !statement.when.is_about_effects()
            || EffectKind::ALL
                .into_iter()
                .zip(self.by_kind())
                .any(|(kind, of_kind)| statement.when.kinds.has(kind) && !of_kind.is_empty())
    }

    /// The effects by kind.
    fn by_kind(&self) -> &[Vec<usize>; 6] {
        self.of_kind.get_or_init(|| {
            let mut all = [const { Vec::new() }; 6];
            for (index, effect) in self.effects.iter().enumerate() {
                if let Some(of_kind) = all.get_mut(effect.kind as usize) {
                    of_kind.push(index);
                }
            }
            all
        })
    }

    /// The effects that fit, looked at one by one: for conditions that are not globs over paths.
    pub(super) fn scanned(&self, statement: &Statement) -> Vec<usize> {
        let strict = statement.saying.is_strict();
        let fits = |index: &usize| {
            self.effects.get(*index).is_some_and(|effect| {
                let others = if strict && effect.kind == EffectKind::Process {
                    self.asked.also_called(effect.target)
                } else {
                    Vec::new()
                };
                statement.when.target(effect.target, &others).speaks(strict)
            })
        };
        let mut all = Vec::new();
        for (kind, of_kind) in EffectKind::ALL.into_iter().zip(self.by_kind()) {
            if statement.when.kinds.has(kind) {
                all.extend(of_kind.iter().copied().filter(fits));
            }
        }
        all.sort_unstable();
        all
    }
}

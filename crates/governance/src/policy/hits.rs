//! Which statements speak, and about which effects.

use lictor_capability::EffectKind;

use super::evaluate::{Evaluation, MAX_LISTED};
use super::load::{Saying, Statement};
use super::set::Owner;
use super::when::{Facts, Target};

/// A statement that speaks: about which effects, and the index of its layer.
pub(super) type Spoken<'a> = (Hits, &'a Statement, usize);

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

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.listed.extend_from_slice(&other.listed);
        self.listed.sort_unstable();
        self.listed.truncate(MAX_LISTED);
    }
}

impl<'a> Evaluation<'a> {
    /// The effects that each statement of one sort speaks about; `None` where it is silent.
    pub(super) fn hits(
        &self,
        facts: &Facts<'_>,
        sort: impl Fn(&Saying) -> bool,
    ) -> Vec<Option<Spoken<'a>>> {
        let set = self.set;
        let mut all: Vec<Option<Spoken<'a>>> = Vec::with_capacity(set.statements.len());
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
                && statement.when.target(effect.target, strict).speaks(strict)
            {
                hits.add(index);
            }
        }
    }
}

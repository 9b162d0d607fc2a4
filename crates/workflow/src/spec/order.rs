//! Which step comes when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde::Serialize;

/// The order of a workflow's steps. Steps that do not wait for each other keep the order of the
/// document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Schedule {
    /// Every step, after all that it needs.
    pub order: Vec<String>,
    /// The steps in groups: each waits only for steps of earlier groups.
    pub levels: Vec<Vec<String>>,
    /// The same order, by position in the document.
    #[serde(skip)]
    pub(crate) positions: Vec<usize>,
}

/// A set of steps, by position.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Reach(Vec<u64>);

impl Reach {
    fn insert(&mut self, step: usize) {
        if self.0.len() <= step / 64 {
            self.0.resize(step / 64 + 1, 0);
        }
        if let Some(word) = self.0.get_mut(step / 64) {
            *word |= 1 << (step % 64);
        }
    }

    fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    pub(crate) fn contains(&self, step: usize) -> bool {
        self.0.get(step / 64).is_some_and(|word| word & (1 << (step % 64)) != 0)
    }
}

/// Orders steps by what they need.
///
/// # Errors
/// A cycle: each step of it needs the next one, and the last one needs the first.
pub(super) fn order(ids: &[&str], needs: &[Vec<usize>]) -> Result<Schedule, Vec<usize>> {
    let n_steps = ids.len();
    let mut n_open: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut needed_by = vec![Vec::new(); n_steps];
    for (step, needs) in needs.iter().enumerate() {
        for need in needs {
            if let Some(list) = needed_by.get_mut(*need) {
                list.push(step);
            }
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> = BinaryHeap::new();
    ready
        .extend(n_open.iter().enumerate().filter(|(_, n)| **n == 0).map(|(step, _)| Reverse(step)));
    let mut positions = Vec::with_capacity(n_steps);
    let mut level = vec![0_usize; n_steps];
    while let Some(Reverse(step)) = ready.pop() {
        positions.push(step);
        let next_level = level.get(step).map_or(0, |level| level + 1);
        for next in needed_by.get(step).into_iter().flatten() {
            if let (Some(n), Some(level)) = (n_open.get_mut(*next), level.get_mut(*next)) {
                *level = (*level).max(next_level);
                *n -= 1;
                if *n == 0 {
                    ready.push(Reverse(*next));
                }
            }
        }
    }
    if positions.len() < n_steps {
        return Err(cycle(&n_open, needs));
    }
    let name = |step: &usize| ids.get(*step).map(|id| (*id).to_owned());
    let mut levels: Vec<Vec<String>> = Vec::new();
    for (step, level) in level.iter().enumerate() {
        if levels.len() <= *level {
            levels.resize(*level + 1, Vec::new());
        }
        if let (Some(group), Some(id)) = (levels.get_mut(*level), name(&step)) {
            group.push(id);
        }
    }
    Ok(Schedule { order: positions.iter().filter_map(name).collect(), levels, positions })
}

/// Walks from a step that never became ready to one that it waits for, until one comes again.
fn cycle(n_open: &[usize], needs: &[Vec<usize>]) -> Vec<usize> {
    let open = |step: &usize| n_open.get(*step).is_some_and(|n| *n > 0);
    let mut walked: Vec<usize> = Vec::new();
    let mut next = (0..n_open.len()).find(|step| open(step));
    while let Some(step) = next {
        if let Some(first) = walked.iter().position(|earlier| *earlier == step) {
            walked.drain(..first);
            return walked;
        }
        walked.push(step);
        next = needs.get(step).and_then(|needs| needs.iter().copied().find(|need| open(need)));
    }
    walked
}

/// For each step, all that its needs lead to.
pub(super) fn reach(schedule: &Schedule, needs: &[Vec<usize>]) -> Vec<Reach> {
    let mut reach = vec![Reach::default(); needs.len()];
    for step in &schedule.positions {
        let mut all = Reach::default();
        for need in needs.get(*step).into_iter().flatten() {
            all.insert(*need);
            if let Some(further) = reach.get(*need) {
                all.add(further);
            }
        }
        if let Some(slot) = reach.get_mut(*step) {
            *slot = all;
        }
    }
    reach
}

//! An undo that keeps both: what people have made since stays where it is, and what the undo would
//! have put back goes beside it, as `NAME.lictor-<execution>`.
//!
//! | what somebody did since | what stays | what goes beside it |
//! | --- | --- | --- |
//! | changed a file that was changed (or its kind, or deleted it) | theirs (or nothing) | the old content |
//! | changed the mode of it | theirs | the old content, unless only the mode had been changed |
//! | changed a file that was made | theirs | nothing: there was nothing before |
//! | put something where something was deleted or renamed away | theirs | what comes back |
//! | put something into a directory that has to make room | the directory | what comes back |
//! | changed a file that was renamed | theirs, under the new name | the old content, where it is kept |
//! | removed the directory that something has to come back to | that it is gone | what comes back, in the nearest directory above |
//!
//! What comes back beneath a directory that goes beside goes there with it.

use std::collections::HashSet;

use lictor_capability::{Conflict, ConflictReason, Item, LeftAlone, State};
use lictor_context::{ExecutionId, WorkspacePath};

use crate::journal::JournalItem;
use crate::plan::{Hindrance, Judgement, Paths, Planner, UndoError, inverse, kept_content};

/// The longest name that Linux file systems take, in bytes.
const MAX_NAME: usize = 255;

/// So many names are tried beside a file, before it is left a conflict.
const MAX_TRIES: u32 = 100;

/// Finds another way for every conflict; where there is none, it stays one.
pub(crate) fn keep_both(
    planner: &Planner<'_>,
    execution: &ExecutionId,
    items: &[JournalItem],
    judged: &mut [Judgement],
) -> Result<(), UndoError> {
    if !judged.iter().any(|one| matches!(one, Judgement::Conflict(..))) {
        return Ok(());
    }
    let paths = Paths::of(items);
    let stays = what_stays(items, judged, &paths);
    let mut sides =
        Sides { planner, execution, paths: &paths, stays: &stays, taken: HashSet::new() };
    // From the root down: what lies in a directory goes where the directory goes.
    let mut order: Vec<(usize, &JournalItem)> = items.iter().enumerate().collect();
    order.sort_by_key(|(_, item)| item.from.clone());
    let mut moved: Vec<(WorkspacePath, WorkspacePath)> = Vec::new();
    for (index, item) in order {
        let Some(judgement) = judged.get_mut(index) else { continue };
        let (hindrance, reason) = match judgement {
            Judgement::Conflict(hindrance, conflict) => (Some(*hindrance), conflict.reason),
            Judgement::Go => (None, ConflictReason::Exists),
            Judgement::AlreadyBack | Judgement::Instead(..) => continue,
        };
        let instead = match (hindrance, &item.from) {
            (Some(Hindrance::Theirs | Hindrance::Gone), _) => sides.old_content(item, reason)?,
            (Some(Hindrance::Filled), _) => Some((None, left(item.to.as_ref(), None, reason))),
            (Some(Hindrance::Taken | Hindrance::NoParent), Some(from)) => {
                sides.comes_back(item, from, &mut moved, reason)?
            }
            (None, Some(from)) if item.to.as_ref() != Some(from) => {
                let beneath = moved.iter().any(|(dir, _)| from != dir && from.is_within(dir));
                if !beneath && !stays.contains(from) {
                    continue;
                }
                sides.comes_back(item, from, &mut moved, reason)?
            }
            _ => continue,
        };
        match instead {
            Some((instead, left)) => *judgement = Judgement::Instead(instead, left),
            None if hindrance.is_some() => {}
            None => {
                let Some(from) = &item.from else { continue };
                let conflict = crate::plan::conflict(from, item, None);
                *judgement = Judgement::Conflict(Hindrance::Taken, conflict);
            }
        }
    }
    Ok(())
}

/// The paths where theirs stays; directories that hold such a one are among them.
fn what_stays(
    items: &[JournalItem],
    judged: &mut [Judgement],
    paths: &Paths<'_>,
) -> HashSet<WorkspacePath> {
    let theirs = |(item, judgement): (&JournalItem, &Judgement)| match judgement {
        Judgement::Conflict(Hindrance::Theirs | Hindrance::Filled, _) => item.to.clone(),
        _ => None,
    };
    let mut stays: HashSet<_> = items.iter().zip(judged.iter()).filter_map(theirs).collect();
    loop {
        let mut more = false;
        for (item, judgement) in items.iter().zip(judged.iter_mut()) {
            let Some(to) = item.to.as_ref().filter(|to| {
                item.from.is_none() && item.is_directory() && paths.come_back.contains(to)
            }) else {
                continue;
            };
            let holds = stays.iter().any(|path| path != to && path.is_within(to));
            if holds && matches!(judgement, Judgement::Go) {
                let conflict = Conflict {
                    path: to.to_string(),
                    reason: ConflictReason::NotEmpty,
                    expected: None,
                    found: None,
                    restores: None,
                };
                *judgement = Judgement::Conflict(Hindrance::Filled, conflict);
                stays.insert(to.clone());
                more = true;
            }
        }
        if !more {
            return stays;
        }
    }
}

/// What is done instead of taking an item back, and what is said of it.
type Instead = (Option<Item>, Option<LeftAlone>);

struct Sides<'a> {
    planner: &'a Planner<'a>,
    execution: &'a ExecutionId,
    paths: &'a Paths<'a>,
    stays: &'a HashSet<WorkspacePath>,
    /// Names that this undo has given already.
    taken: HashSet<WorkspacePath>,
}

impl Sides<'_> {
    /// Theirs stands where the execution had left something: the old content goes beside it.
    fn old_content(
        &mut self,
        item: &JournalItem,
        reason: ConflictReason,
    ) -> Result<Option<Instead>, UndoError> {
        let Some(at) = &item.to else { return Ok(None) };
        let Some(content) = kept_content(item).filter(|_| item.from.is_some()) else {
            return Ok(Some((None, left(Some(at), None, reason))));
        };
        let Some(side) = self.side(at)? else { return Ok(None) };
        let mut instead = Item {
            kind: item.kind,
            from: None,
            to: Some(side.clone()),
            before: None,
            after: item.before,
            content: Some(content),
            implicit: false,
        };
        instead.kind = instead.final_kind().unwrap_or(item.kind);
        Ok(Some((Some(instead), left(Some(at), Some(side), reason))))
    }

    /// Something cannot come back to where it was: it comes back beside that.
    fn comes_back(
        &mut self,
        item: &JournalItem,
        from: &WorkspacePath,
        moved: &mut Vec<(WorkspacePath, WorkspacePath)>,
        reason: ConflictReason,
    ) -> Result<Option<Instead>, UndoError> {
        let above = moved.iter().rev().find(|(dir, _)| from != dir && from.is_within(dir));
        let side = match above {
            Some((dir, side)) => {
                let rest = from.as_str().get(dir.as_str().len()..).unwrap_or_default();
                WorkspacePath::parse(&format!("{side}{rest}")).ok()
            }
            None => self.side(from)?,
        };
        let (Some(side), Some(mut instead)) = (side, inverse(item)) else { return Ok(None) };
        if item.is_directory() && above.is_none() {
            moved.push((from.clone(), side.clone()));
        }
        instead.to = Some(side.clone());
        instead.kind = instead.final_kind().unwrap_or(instead.kind);
        Ok(Some((Some(instead), left(Some(from), Some(side), reason))))
    }

    /// A free name beside a path, in the nearest directory that is there and will be.
    fn side(&mut self, path: &WorkspacePath) -> Result<Option<WorkspacePath>, UndoError> {
        let mut dir = path.parent();
        while let Some(one) = &dir {
            let there = matches!(self.planner.state(one)?, Some(State::Directory { .. }));
            let goes = self.paths.leave.contains(one) && !self.paths.come_back.contains(one);
            let held = self.stays.iter().any(|stays| stays == one || stays.is_within(one));
            if there && (!goes || held) {
                break;
            }
            dir = one.parent();
        }
        for n in 1..=MAX_TRIES {
            let suffix = match n {
                1 => format!(".lictor-{}", self.execution),
                n => format!(".lictor-{}-{n}", self.execution),
            };
            let name = beginning(path.name(), MAX_NAME.saturating_sub(suffix.len()));
            let name = format!("{name}{suffix}");
            let side = match &dir {
                Some(dir) => dir.join(&name),
                None => WorkspacePath::parse(&name),
            };
            let Ok(side) = side else { return Ok(None) };
            if !self.taken.contains(&side) && self.planner.state(&side)?.is_none() {
                self.taken.insert(side.clone());
                return Ok(Some(side));
            }
        }
        Ok(None)
    }
}

fn left(
    path: Option<&WorkspacePath>,
    beside: Option<WorkspacePath>,
    reason: ConflictReason,
) -> Option<LeftAlone> {
    path.map(|path| LeftAlone { path: path.clone(), beside, reason })
}

/// So much of a name as fits.
fn beginning(name: &str, max: usize) -> &str {
    let mut end = name.len().min(max);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default()
}

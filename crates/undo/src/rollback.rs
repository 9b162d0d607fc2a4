//! Putting back what was done of a transaction, and verifying that it is back.

use std::collections::{BTreeMap, HashMap, HashSet};

use lictor_capability::State;
use lictor_context::WorkspacePath;
use lictor_executor::{RollbackReport, Stuck};

use crate::journal::JournalItem;
use crate::operation::{Hands, Operation, OperationError};
use crate::parent::{AWAY, Place, arriving};
use crate::standing::Standing;

/// Reverses what was done of `operations`, the last first, and then looks at every path that was
/// touched. What was never touched is not looked at: somebody else may have changed it, and that
/// is none of ours to report.
pub(crate) fn roll_back(
    hands: &Hands<'_>,
    items: &[JournalItem],
    operations: &[(usize, Operation)],
) -> RollbackReport {
    let mut report = RollbackReport::default();
    let mut touched: BTreeMap<usize, Option<Trouble>> = BTreeMap::new();
    for (index, operation) in operations.iter().rev() {
        let Some(item) = items.get(*index) else { continue };
        let trouble = match put_back(hands, item, operation) {
            Ok(Touched::Never) => continue,
            Ok(Touched::Reversed) => None,
            Ok(Touched::GivenBack) => Some(Trouble::GivenBack),
            Err(error) => Some(Trouble::Failed(error)),
        };
        let seen = touched.entry(*index).or_default();
        if trouble.is_some() {
            *seen = trouble;
        }
    }
    let comes_back = items.iter().filter_map(|item| item.from.as_ref()).collect();
    let verify = Verify { hands, comes_back, arriving: arriving(items) };
    for (index, trouble) in touched {
        let Some(item) = items.get(index) else { continue };
        let path = || item.path().to_owned();
        // Where something failed nothing is taken on trust, a directory's mode least of all.
        let exact = trouble.is_some();
        match (trouble, verify.item(item, exact)) {
            // Somebody's own save is where it belongs again.
            (Some(Trouble::GivenBack), _) => {}
            (Some(Trouble::Failed(error @ OperationError::Contended { .. })), _) => {
                report.stuck.push(Stuck { path: path(), reason: error.to_string() });
            }
            (_, Ok(())) => report.restored.push(path()),
            (Some(Trouble::Failed(error)), Err(_)) => {
                let reason = error.to_string();
                report.stuck.push(Stuck { path: error.path().to_owned(), reason });
            }
            (None, Err(reason)) => report.stuck.push(Stuck { path: path(), reason }),
        }
    }
    report
}

enum Touched {
    Never,
    Reversed,
    GivenBack,
}

enum Trouble {
    GivenBack,
    Failed(OperationError),
}

fn put_back(
    hands: &Hands<'_>,
    item: &JournalItem,
    operation: &Operation,
) -> Result<Touched, OperationError> {
    match hands.standing(item, operation)? {
        // Perhaps it was done, and what it was done to is out of sight.
        Standing::Todo if is_out_of_sight(hands, item, operation)? => Ok(Touched::Reversed),
        Standing::Todo => Ok(Touched::Never),
        Standing::Done => hands.reverse(operation).map(|()| Touched::Reversed),
        // What is gone cannot be moved; whether that is as it was before is seen at its path.
        Standing::Lost => Ok(Touched::Reversed),
        Standing::Foreign => {
            hands.give_back(item, operation)?;
            match hands.standing(item, operation)? {
                Standing::Todo => Ok(Touched::GivenBack),
                Standing::Done | Standing::Foreign | Standing::Lost => {
                    Err(OperationError::Contended { path: item.path().to_owned() })
                }
            }
        }
    }
}

/// Whether nothing can be said of an operation that seems not to be done: of a changed mode when
/// the thing itself is not found, of a link when it may have a second name.
fn is_out_of_sight(
    hands: &Hands<'_>,
    item: &JournalItem,
    operation: &Operation,
) -> Result<bool, OperationError> {
    match operation {
        Operation::Chmod { path, inode, if_there: false, .. } => hands.is_away(item, path, *inode),
        Operation::Put { .. } => hands.is_half_put(item),
        _ => Ok(false),
    }
}

/// Looks whether things are as they were before.
struct Verify<'a> {
    hands: &'a Hands<'a>,
    comes_back: HashSet<&'a WorkspacePath>,
    arriving: HashMap<WorkspacePath, &'a JournalItem>,
}

impl Verify<'_> {
    /// Whether an item is as it was before. What was new at a path that something `comes_back` to
    /// is gone when that one is there; it is looked at in its turn.
    fn item(&self, item: &JournalItem, exact: bool) -> Result<(), String> {
        let hands = self.hands;
        let words = |error: OperationError| error.to_string();
        let mut came_back = item.from.is_none();
        if let (Some(from), Some(before)) = (&item.from, &item.before) {
            let place = hands.place(from).map_err(words)?;
            let like =
                |found: State| if exact { found == *before } else { item.is_like(&found, before) };
            if !place.state.is_some_and(like) {
                return Err(self.why_not(&place, item.from_dir));
            }
            came_back = place.inode == item.inode;
            // The same content in another directory is not the thing that left.
            if !came_back && !place.is_in(item.from_dir) {
                return Err(AWAY.to_owned());
            }
        }
        let Some(to) = &item.to else { return Ok(()) };
        // One look for both questions: in between, its directory could come back.
        let place = hands.bare_place(to).map_err(words)?;
        if item.from.as_ref() != Some(to)
            && !self.comes_back.contains(to)
            && let Some(there) = place.inode
        {
            // What somebody else has put there since is theirs; a directory of ours that they have
            // put something into is, too.
            let ours = exact || Some(there) == item.arriving_inode();
            let gone_over = ours && item.is_directory() && !hands.is_empty(to).map_err(words)?;
            if ours && !gone_over {
                return Err("something is there that was not there before".to_owned());
            }
        }
        let back = match &item.stage {
            Some(_) => hands.is_in_slot(item).map_err(words)?,
            None => came_back,
        };
        if back || self.is_gone(item, to, &place).map_err(words)? {
            return Ok(());
        }
        Err(AWAY.to_owned())
    }

    fn why_not(&self, place: &Place, noted: Option<u64>) -> String {
        let why = if place.is_in(noted) { "it is not what it was before" } else { AWAY };
        why.to_owned()
    }

    /// Whether what was put at a path is not to be found because somebody took it out of there:
    /// the directory is still the one that it was put into. The same goes for a directory of ours,
    /// with all that is in it.
    fn is_gone(
        &self,
        item: &JournalItem,
        path: &WorkspacePath,
        place: &Place,
    ) -> Result<bool, OperationError> {
        if place.is_in(item.to_dir) {
            return Ok(true);
        }
        let made = path.parent().and_then(|parent| self.arriving.get(&parent));
        let Some(made) = made.filter(|made| made.stage.is_some()) else { return Ok(false) };
        if self.hands.is_in_slot(made)? {
            return Ok(true); // it was empty when it went there
        }
        let Some(to) = &made.to else { return Ok(false) };
        let place = self.hands.bare_place(to)?;
        Ok(place.inode != made.new_inode && self.is_gone(made, to, &place)?)
    }
}

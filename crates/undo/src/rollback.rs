//! Putting back what was done of a transaction, and verifying that it is back.

use std::collections::{BTreeMap, HashSet};

use lictor_capability::State;
use lictor_context::WorkspacePath;
use lictor_executor::{RollbackReport, Stuck};

use crate::journal::JournalItem;
use crate::operation::{Hands, Operation, OperationError};
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
    let comes_back: HashSet<&WorkspacePath> =
        items.iter().filter_map(|item| item.from.as_ref()).collect();
    for (index, trouble) in touched {
        let Some(item) = items.get(index) else { continue };
        let path = || item.path().to_owned();
        // Where something failed nothing is taken on trust, a directory's mode least of all.
        let exact = trouble.is_some();
        match (trouble, verify(hands, item, &comes_back, exact)) {
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

/// Whether an item is as it was before. What was new at a path that something `comes_back` to is
/// gone when that one is there; it is looked at in its turn.
fn verify(
    hands: &Hands<'_>,
    item: &JournalItem,
    comes_back: &HashSet<&WorkspacePath>,
    exact: bool,
) -> Result<(), String> {
    if let (Some(from), Some(before)) = (&item.from, &item.before) {
        let found = hands.path_state(from).map_err(|error| error.to_string())?;
        let like =
            |found: State| if exact { found == *before } else { item.is_like(&found, before) };
        if !found.is_some_and(like) {
            return Err("it is not what it was before".to_owned());
        }
    }
    if let Some(to) = item.to.as_ref().filter(|to| item.from.as_ref() != Some(*to))
        && !comes_back.contains(to)
        && let Some(there) = hands.path_inode(to).map_err(|error| error.to_string())?
    {
        // What somebody else has put there since is theirs; a directory of ours that they have put
        // something into is, too.
        let ours = exact || Some(there) == item.arriving_inode();
        let gone_over = ours
            && item.is_directory()
            && !hands.is_empty(to).map_err(|error| error.to_string())?;
        if ours && !gone_over {
            return Err("something is there that was not there before".to_owned());
        }
    }
    Ok(())
}

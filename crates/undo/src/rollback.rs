//! Putting back what was done of a transaction, and verifying that it is back.

use lictor_capability::State;
use lictor_executor::{RollbackReport, Stuck};

use crate::journal::JournalItem;
use crate::operation::{Hands, Operation, same};

/// Reverses `done` operations, the last first, and then looks at every path.
pub(crate) fn roll_back(
    hands: &Hands<'_>,
    items: &[JournalItem],
    done: &[(usize, Operation)],
) -> RollbackReport {
    let mut report = RollbackReport::default();
    let mut failed = Vec::new();
    for (index, operation) in done.iter().rev() {
        if let Err(error) = hands.reverse(operation) {
            let reason = error.to_string();
            report.stuck.push(Stuck { path: error.path().to_owned(), reason });
            failed.push(*index);
        }
    }
    for (index, item) in items.iter().enumerate() {
        if failed.contains(&index) {
            continue;
        }
        match verify(hands, item) {
            Ok(()) => report.restored.push(item.path().to_owned()),
            Err(reason) => report.stuck.push(Stuck { path: item.path().to_owned(), reason }),
        }
    }
    report
}

/// Whether an item is as it was before.
fn verify(hands: &Hands<'_>, item: &JournalItem) -> Result<(), String> {
    if let Some(from) = &item.from {
        let found = hands.path_state(from).map_err(|error| error.to_string())?;
        match (found, item.before) {
            (Some(found), Some(before)) if same(&found, &before) => {}
            _ => return Err("it is not what it was before".to_owned()),
        }
    }
    if let (None, Some(to)) = (&item.from, &item.to) {
        let found = hands.path_state(to).map_err(|error| error.to_string())?;
        // A directory of ours that somebody put something into stays, and is theirs now.
        let theirs = matches!(found, Some(State::Directory { .. }))
            && matches!(item.after, Some(State::Directory { .. }));
        if found.is_some() && !theirs {
            return Err("something is there that was not there before".to_owned());
        }
    }
    Ok(())
}

impl JournalItem {
    /// The path to report it under.
    pub(crate) fn path(&self) -> &str {
        self.from.as_ref().or(self.to.as_ref()).map_or("", |path| path.as_str())
    }
}

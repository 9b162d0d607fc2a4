//! From an admitted action to its effects.

use lictor_capability::{
    Admitted, Beyond, Described, EffectKind, Effects, EntryKind, UndoScope, UndoStrategy,
    WorkspaceView,
};
use lictor_context::WorkspacePath;
use lictor_governance::Withheld;

use crate::handler::{HandlerError, Handlers, Request};
use crate::landing::{LandError, NotStaged};
use crate::port::ContractGuard;
use crate::service::Executor;

/// An action could not be described.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// The contract names a handler that this runtime does not have.
    #[error("no handler here does `{0}`")]
    NoHandler(String),
    /// The handler could not work it out.
    #[error(transparent)]
    Handler(#[from] HandlerError),
    /// The contract is not one that may be used, or not the one that was let in.
    #[error(transparent)]
    Withheld(Box<Withheld>),
    /// The action would do more than its contract declares.
    #[error(transparent)]
    Beyond(#[from] Beyond),
    /// It lands changes that were not staged so.
    #[error(transparent)]
    NotStaged(NotStaged),
}

impl From<LandError> for DescribeError {
    fn from(error: LandError) -> Self {
        match error {
            LandError::NotStaged(error) => Self::NotStaged(error),
            LandError::Handler(error) => Self::Handler(error),
            LandError::Beyond(beyond) => Self::Beyond(beyond),
        }
    }
}

/// Whether the contract may be used at this moment.
pub(crate) fn check(guard: &dyn ContractGuard, admitted: &Admitted) -> Result<(), DescribeError> {
    guard.check(admitted.contract()).map_err(|why| DescribeError::Withheld(Box::new(why)))
}

pub(crate) fn describe(
    handlers: &Handlers,
    view: &dyn WorkspaceView,
    guard: &dyn ContractGuard,
    admitted: Admitted,
) -> Result<Described, DescribeError> {
    check(guard, &admitted)?;
    let handler = handlers
        .of(admitted.contract())
        .ok_or_else(|| DescribeError::NoHandler(admitted.contract().id.to_string()))?;
    let effects = handler.describe(Request { action: admitted.action(), view })?;
    completed(admitted, effects, view)
}

fn completed(
    admitted: Admitted,
    mut effects: Effects,
    view: &dyn WorkspaceView,
) -> Result<Described, DescribeError> {
    by_every_name(&mut effects, view)?;
    effects.undo = undo_scope(admitted.contract().undo.strategy, &effects);
    Ok(admitted.describe(effects)?)
}

impl Executor {
    /// Describes an action whose effects its handler has worked out already, together with those of
    /// actions that come before it: what they leave is what it finds. As long as nothing else happens,
    /// [`Executor::describe`] says the same when it is its turn.
    ///
    /// # Errors
    /// As [`Executor::describe`].
    pub fn describe_planned(
        &self,
        admitted: Admitted,
        effects: Effects,
    ) -> Result<Described, DescribeError> {
        check(self.parts.guard.as_ref(), &admitted)?;
        completed(admitted, effects, self.parts.view.as_ref())
    }
}

/// A file with several names is judged by all of them: what may not be done to it under one name may
/// not be done under another.
fn by_every_name(effects: &mut Effects, view: &dyn WorkspaceView) -> Result<(), HandlerError> {
    let all = effects.declared().into_iter().filter_map(|effect| {
        let kind = effect.kind;
        let file = matches!(kind, EffectKind::FsRead | EffectKind::FsWrite | EffectKind::FsDelete);
        Some((kind, WorkspacePath::parse(effect.target).ok().filter(|_| file)?))
    });
    let mut others = Vec::new();
    for (kind, path) in all.collect::<Vec<_>>() {
        others.extend(other_names(&path, view)?.into_iter().map(|name| (kind, name)));
    }
    effects.intended.extend(others);
    let mut others = Vec::new();
    for path in &effects.unchanged {
        others.extend(other_names(path, view)?);
    }
    effects.unchanged.extend(others);
    Ok(())
}

/// The other names of a file, when it has several.
fn other_names(
    path: &WorkspacePath,
    view: &dyn WorkspaceView,
) -> Result<Vec<WorkspacePath>, HandlerError> {
    // What cannot be reached is not there to have names; the action itself says so.
    let several = matches!(view.entry(path), Ok(Some(entry)) if entry.kind == EntryKind::File && entry.links > 1);
    if !several {
        return Ok(Vec::new());
    }
    Ok(view.names(path)?.into_iter().filter(|name| name != path).collect())
}

/// How much of an action could be taken back, so that it is said when it is judged and not when
/// somebody wants it back. File changes are kept unless the contract rules that out; nothing
/// brings back what was done to hosts, by programs and by tools, and calling something else to
/// make up for it is no undo.
fn undo_scope(strategy: UndoStrategy, effects: &Effects) -> UndoScope {
    if effects.undo != UndoScope::Full {
        return effects.undo; // the handler knows better
    }
    let foreign = !effects.hosts.is_empty()
        || !effects.tools.is_empty()
        // What a program does in a staging copy comes as changes, and else is gone.
        || (!effects.programs.is_empty() && !effects.contained);
    let files = !effects.changes.items.is_empty();
    match (strategy, files, foreign) {
        (_, false, false) => UndoScope::Full,
        (UndoStrategy::Automatic | UndoStrategy::Compensate, true, false) => UndoScope::Full,
        (UndoStrategy::Automatic | UndoStrategy::Compensate, true, true) => UndoScope::Partial,
        (UndoStrategy::None, ..) | (_, false, true) => UndoScope::None,
    }
}

#[cfg(test)]
mod tests {
    use lictor_capability::{ChangeKind, Item};
    use lictor_context::WorkspacePath;

    use super::*;

    #[test]
    fn what_cannot_be_undone_is_said_when_it_is_judged() {
        let item = Item {
            kind: ChangeKind::Create,
            from: None,
            to: WorkspacePath::parse("a").ok(),
            before: None,
            after: None,
            content: None,
            implicit: false,
        };
        let scope = |strategy, files: bool, foreign: bool| {
            let mut effects = Effects::default();
            effects.changes.items.extend(files.then(|| item.clone()));
            effects.hosts.extend(foreign.then(|| "example.org".to_owned()));
            undo_scope(strategy, &effects)
        };
        use UndoStrategy::{Automatic, Compensate};
        let never = UndoStrategy::None;
        assert_eq!(scope(never, false, false), UndoScope::Full, "it changes nothing");
        assert_eq!(scope(Automatic, true, false), UndoScope::Full);
        assert_eq!(scope(Compensate, true, false), UndoScope::Full);
        assert_eq!(scope(Automatic, true, true), UndoScope::Partial);
        assert_eq!(scope(Automatic, false, true), UndoScope::None);
        assert_eq!(scope(Compensate, false, true), UndoScope::None);
        assert_eq!(scope(never, true, false), UndoScope::None);
    }
}

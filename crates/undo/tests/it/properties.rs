//! Random trees, random change sets, random edits by people, against a model.
//!
//! `LICTOR_CASES` sets how many, `LICTOR_SEED` where they begin; a failure prints its own seed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use lictor_context::ExecutionId;
use proptest::prelude::*;

use crate::choices::{Choice, NAMES, changes, check, choices, some_mode, text};
use crate::support::{Temp, world_in_memory};
use crate::tree::{Node, Tree, model, read_tree};

/// Applies what the choices mean here, if anything, and checks it against the model.
pub(crate) fn apply(
    world: &Temp,
    choices: &[Choice],
) -> Result<Option<(ExecutionId, Tree, Tree)>, TestCaseError> {
    let old = read_tree(&world.root);
    let changes = changes(&old, choices);
    if changes.is_empty() {
        return Ok(None);
    }
    let new = model(&old, &changes);
    match world.try_apply(changes.clone()) {
        Ok(execution) => {
            prop_assert_eq!(&read_tree(&world.root), &new, "{:#?}", changes);
            Ok(Some((execution, old, new)))
        }
        Err(failure) => {
            prop_assert!(false, "{:#?}: {:#?}", changes, failure);
            Ok(None)
        }
    }
}

#[test]
fn random_change_sets_are_applied_undone_and_redone_as_the_model_says() {
    check(250, prop::collection::vec(choices(14), 1..6), |sets| {
        let world = world_in_memory();
        let mut stack = Vec::new();
        for set in &sets {
            stack.extend(apply(&world, set)?);
        }
        let mut redos = Vec::new();
        while let Some((execution, old, new)) = stack.pop() {
            let undo = world.try_undo(&execution);
            prop_assert!(undo.is_ok(), "{:#?}", undo);
            prop_assert_eq!(&read_tree(&world.root), &old);
            redos.extend(
                undo.into_iter().map(|undo| (execution.clone(), undo, old.clone(), new.clone())),
            );
        }
        while let Some((execution, undo, old, new)) = redos.pop() {
            let redo = world.try_undo(&undo);
            prop_assert!(redo.is_ok(), "{:#?}", redo);
            prop_assert_eq!(&read_tree(&world.root), &new);
            if redos.is_empty() {
                // The first execution stands again, and can be undone by its own name.
                let again = world.try_undo(&execution);
                prop_assert!(again.is_ok(), "{:#?}", again);
                prop_assert_eq!(&read_tree(&world.root), &old);
            }
        }
        prop_assert_eq!(world.unsettled(), Vec::<String>::new());
        Ok(())
    });
}

/// A person's edit: a save, a deletion, a new file, a mode.
pub(crate) fn edit(world: &Temp, (what, one, _, seed): Choice) {
    let at = world.path(NAMES[usize::from(one) % NAMES.len()]);
    let Ok(metadata) = fs::symlink_metadata(&at) else {
        if at.parent().is_some_and(|parent| parent.is_dir() && !parent.is_symlink()) {
            fs::write(&at, text(seed)).expect("a new file");
        }
        return;
    };
    if metadata.is_dir() {
        fs::remove_dir(&at).unwrap_or_default();
    } else if metadata.is_symlink() || what % 3 == 0 {
        fs::remove_file(&at).expect("a deletion");
    } else if what % 3 == 1 {
        fs::write(&at, text(seed)).expect("a save");
    } else {
        let mode = some_mode(seed, [0o600, 0o640, 0o644]);
        fs::set_permissions(&at, fs::Permissions::from_mode(mode)).expect("a mode");
    }
}

/// Whatever was edited in between: an undo puts back all that the execution had changed, or
/// nothing at all; and it never touches what the execution had not.
#[test]
fn undo_never_clobbers_what_people_edited() {
    let edits = prop::collection::vec(any::<Choice>(), 0..9);
    let (restored, refused) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    check(600, (choices(10), choices(10), edits), |(first, second, edits)| {
        let world = world_in_memory();
        apply(&world, &first)?;
        let Some((execution, old, new)) = apply(&world, &second)? else { return Ok(()) };
        for choice in &edits {
            edit(&world, *choice);
        }
        let edited = read_tree(&world.root);
        match world.try_undo(&execution) {
            Ok(_) => {
                restored.set(restored.get() + 1);
                let after = read_tree(&world.root);
                let all: std::collections::BTreeSet<&String> =
                    old.keys().chain(new.keys()).chain(edited.keys()).collect();
                for at in all {
                    let (was, left) = (old.get(at), new.get(at));
                    let (found, now) = (edited.get(at), after.get(at));
                    if was == left {
                        prop_assert_eq!(now, found, "{} is none of the execution's", at);
                    } else if found == left || found == was {
                        // A directory of ours stays for what a person put into it.
                        let below = format!("{at}/");
                        let theirs =
                            was.is_none() && after.keys().any(|key| key.starts_with(&below));
                        let twice = matches!(
                            (was, left),
                            (Some(Node::Directory { .. }), Some(Node::Directory { .. }))
                        );
                        if !theirs && !twice {
                            prop_assert_eq!(now, was, "{} is not restored", at);
                        }
                    } else {
                        prop_assert_eq!(now, found, "{} is clobbered", at);
                    }
                }
            }
            Err(failure) => {
                refused.set(refused.get() + 1);
                prop_assert!(failure.left() != "incomplete", "{:#?}", failure);
                prop_assert_eq!(read_tree(&world.root), edited, "{:#?}", failure);
            }
        }
        prop_assert_eq!(world.unsettled(), Vec::<String>::new());
        Ok(())
    });
    eprintln!("{} restored, {} refused", restored.get(), refused.get());
    assert!(restored.get() > 20 && refused.get() > 20);
}

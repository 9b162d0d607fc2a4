//! `all_or_nothing` and `undo_restores`, on a change set of every operation.

use crate::support::world;
use crate::tree::{mixed_changes, mixed_tree, model, read_tree, write_tree};

#[test]
fn a_mixed_change_set_makes_the_models_tree_and_undo_and_redo_go_back_and_forth() {
    let world = world();
    let old = mixed_tree();
    write_tree(&world.root, &old);
    let changes = mixed_changes();
    let new = model(&old, &changes);
    let mut execution = world.apply(changes);
    assert_eq!(read_tree(&world.root), new);
    for _ in 0..4 {
        execution = world.undo(&execution);
        assert_eq!(read_tree(&world.root), old);
        execution = world.undo(&execution);
        assert_eq!(read_tree(&world.root), new);
    }
    assert_eq!(world.unsettled(), Vec::<String>::new());
}

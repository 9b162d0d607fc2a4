//! `verify: staged`: a check sees the workspace as the change will leave it, while nothing of the
//! change is visible, and leaves nothing whatever it does.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::support::{World, world};
use crate::tree::{
    Tree, create, delete, link, mixed_changes, mixed_tree, model, modify, read_tree, rename,
    write_tree,
};

/// What a check saw.
type SeenTree = Arc<Mutex<Option<Tree>>>;

/// A check that notes what it sees, and what stands in the workspace then.
fn watched(root: &Path, passes: bool) -> (World, SeenTree, SeenTree) {
    let (staged, real) = (SeenTree::default(), SeenTree::default());
    let (to_staged, to_real, workspace) = (staged.clone(), real.clone(), root.to_owned());
    let world = World::staged(root, &[], move |tree| {
        *to_staged.lock().expect("a tree") = Some(read_tree(tree));
        *to_real.lock().expect("a tree") = Some(read_tree(&workspace));
        passes
    });
    (world, staged, real)
}

#[test]
fn a_staged_check_sees_what_will_be_while_nothing_of_it_is() {
    let temp = world();
    let old = mixed_tree();
    write_tree(&temp.root, &old);
    let new = model(&old, &mixed_changes());
    let (world, staged, real) = watched(&temp.root, true);
    let execution = world.apply(mixed_changes());
    assert_eq!(staged.lock().expect("a tree").take().expect("it was made"), new);
    assert_eq!(real.lock().expect("a tree").take().expect("it was made"), old);
    assert_eq!(read_tree(&world.root), new);
    assert_eq!(world.folders(), [execution.to_string()]);
    // An undo is checked in the same way: what it puts back lies in slots.
    world.undo(&execution);
    assert_eq!(staged.lock().expect("a tree").take().expect("it was made"), old);
    assert_eq!(real.lock().expect("a tree").take().expect("it was made"), new);
    assert_eq!(read_tree(&world.root), old);
}

#[test]
fn what_a_staged_check_refuses_was_never_there() {
    let temp = world();
    let old = mixed_tree();
    write_tree(&temp.root, &old);
    let times = |root: &Path| {
        let of = |path: &str| fs::metadata(root.join(path)).expect("a file").ctime_nsec();
        [of("a/modify.txt"), of("a"), of("m/file"), of("b/binary")]
    };
    let before = times(&temp.root);
    let (world, staged, _) = watched(&temp.root, false);
    let failure = world.try_apply(mixed_changes()).expect_err("it is refused");
    assert_eq!(failure.left(), "not begun", "{}", failure.why());
    assert!(failure.why().contains("nothing was published"), "{}", failure.why());
    assert!(staged.lock().expect("a tree").is_some(), "it was made");
    assert_eq!(read_tree(&world.root), old);
    assert_eq!(times(&world.root), before, "nothing was touched, not even for a moment");
    assert_eq!(world.folders(), Vec::<String>::new());
    World::at(&world.root).apply(vec![create("next", "next\n")]);
}

#[test]
fn nothing_that_a_staged_check_does_reaches_the_workspace() {
    let temp = world();
    temp.write("file", "old\n");
    temp.write("dir/file", "old\n");
    std::os::unix::fs::symlink("dir/file", temp.path("link")).expect("a link");
    let world = World::staged(&temp.root, &[], |tree| {
        fs::write(tree.join("dir/file"), "written in place\n").expect("a write");
        fs::write(tree.join("link"), "written through a link\n").expect("a write");
        fs::remove_file(tree.join("file")).expect("gone");
        fs::create_dir_all(tree.join("made/deep")).expect("made");
        fs::write(tree.join("made/deep/file"), "made\n").expect("a write");
        let closed = fs::Permissions::from_mode(0o000);
        fs::set_permissions(tree.join("made/deep"), closed).expect("a mode");
        assert!(!tree.join(".lictor").exists(), "Lictor's state is not in it");
        true
    });
    let execution = world.apply(vec![create("new", "new\n")]);
    for path in ["file", "dir/file"] {
        assert_eq!(world.read(path), "old\n", "{path}");
    }
    assert!(!world.path("made").exists());
    assert_eq!(world.read("new"), "new\n");
    assert_eq!(world.folders(), [execution.to_string()]);
}

#[test]
fn what_is_left_out_is_not_copied_unless_the_change_touches_it() {
    let temp = world();
    temp.write("target/big", "big\n");
    temp.write("deps/one", "one\n");
    temp.write(".git/HEAD", "ref\n");
    temp.write("src/main", "main\n");
    let world = World::staged(&temp.root, &["target", "deps"], |tree| {
        assert!(!tree.join("target").exists() && !tree.join(".git").exists());
        assert!(tree.join("deps/one").exists() && tree.join("src/main").exists());
        true
    });
    world.apply(vec![modify("deps/one", "one\n", "changed\n"), link("to", "src/main")]);
}

#[test]
fn what_was_changed_since_it_was_judged_is_found_before_a_check_is_made() {
    let temp = world();
    temp.write("a", "old\n");
    temp.write("b", "old\n");
    let world = World::staged(&temp.root, &[], |_| panic!("it is not made"));
    let theirs = world.path("a");
    world.meanwhile(move || fs::write(theirs, "theirs\n").expect("a save"));
    let failure = world
        .try_apply(vec![modify("a", "old\n", "new\n"), delete("b", "old\n")])
        .expect_err("it is another");
    assert_eq!(failure.left(), "not begun", "{}", failure.why());
    assert_eq!(failure.conflicts()[0].path, "a");
    assert_eq!(world.folders(), Vec::<String>::new());
}

#[test]
fn a_save_while_a_staged_check_is_made_is_found_when_it_is_published() {
    let temp = world();
    temp.write("a", "old\n");
    let theirs = temp.path("a");
    let world = World::staged(&temp.root, &[], move |_| {
        fs::write(&theirs, "theirs\n").expect("a save");
        true
    });
    let failure = world
        .try_apply(vec![rename("a", "b", "old\n"), create("c", "c\n")])
        .expect_err("it is another");
    assert_eq!(failure.left(), "not begun", "{}", failure.why());
    assert_eq!(world.read("a"), "theirs\n");
    assert!(!world.path("c").exists());
}

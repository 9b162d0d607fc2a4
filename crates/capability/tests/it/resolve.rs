//! Operations become items; a workspace that holds something else becomes a conflict.

use lictor_capability::ConflictReason as Reason;
use lictor_capability::{Change, ChangeKind, ChangeSetError, ResolveError, Resolved, resolve};

use super::support::{
    MemoryView, Node, chmod, create, delete, mkdir, modify, path, rename, rmdir, symlink,
};

fn resolved(view: &MemoryView, changes: &[Change]) -> Resolved {
    resolve(changes, view).expect("the set is no contradiction")
}

#[track_caller]
fn leads_to(old: &MemoryView, changes: &[Change], new: &MemoryView) -> Vec<(String, ChangeKind)> {
    let resolved = resolved(old, changes);
    assert_eq!(resolved.conflicts, [], "conflicts");
    assert_eq!(resolved.violations, [], "violations");
    let mut tree = old.clone();
    tree.apply(&resolved.changes);
    assert_eq!(&tree, new);
    resolved.changes.files().into_iter().map(|file| (file.path, file.op)).collect()
}

#[track_caller]
fn conflicts(old: &MemoryView, changes: &[Change], expected: &[(&str, Reason)]) {
    let found = resolved(old, changes).conflicts;
    let found: Vec<_> = found.iter().map(|found| (found.path.as_str(), found.reason)).collect();
    assert_eq!(found, expected);
}

#[track_caller]
fn violates(old: &MemoryView, changes: &[Change], at: &str, message: &str) {
    let found = resolved(old, changes).violations;
    assert!(
        found.iter().any(|found| found.path == at
            && found.rule == "inside_workspace"
            && found.message.contains(message)),
        "{found:?}"
    );
}

#[track_caller]
fn contradicts(old: &MemoryView, changes: &[Change], index: usize, problem: &str) {
    match resolve(changes, old) {
        Err(ResolveError::Set(ChangeSetError::Operation { index: at, problem: found })) => {
            assert_eq!(at, index, "{found}");
            assert!(found.contains(problem), "{found}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_operation_does_what_it_says() {
    let old = MemoryView::of(&[("m", "1"), ("d", "2"), ("r", "3"), ("x", "4"), ("gone/", "")]);
    let changes = [
        create("c", "new"),
        modify("m", "1", "one"),
        delete("d", "2"),
        rename("r", "s", "3"),
        chmod("x", 0o644, 0o755),
        mkdir("dir"),
        rmdir("gone"),
        symlink("l", "m"),
    ];
    let new = MemoryView::of(&[("c", "new"), ("m", "one"), ("s", "3"), ("dir/", "")])
        .with("x", Node::File { bytes: b"4".to_vec(), mode: 0o755, links: 1 })
        .with("l", Node::Link("m".to_owned()));
    let report = leads_to(&old, &changes, &new);
    let kinds: Vec<_> = report.iter().map(|(_, kind)| *kind).collect();
    use ChangeKind as Kind;
    assert_eq!(
        kinds,
        [
            Kind::Create,
            Kind::Modify,
            Kind::Delete,
            Kind::Rename,
            Kind::Chmod,
            Kind::Mkdir,
            Kind::Rmdir,
            Kind::Symlink
        ]
    );
}

#[test]
fn each_difference_is_a_conflict_with_its_reason() {
    let old = MemoryView::of(&[("a", "1"), ("d/f", "2"), ("e/", "")])
        .with("l", Node::Link("a".to_owned()));
    conflicts(&old, &[modify("no", "1", "2")], &[("no", Reason::Missing)]);
    conflicts(&old, &[modify("a/no", "1", "2")], &[("a/no", Reason::Missing)]);
    conflicts(&old, &[create("a", "2")], &[("a", Reason::Exists)]);
    conflicts(&old, &[mkdir("d")], &[("d", Reason::Exists)]);
    conflicts(&old, &[rename("a", "d/f", "1")], &[("d/f", Reason::Exists)]);
    conflicts(&old, &[modify("a", "0", "2")], &[("a", Reason::ContentDiffers)]);
    conflicts(&old, &[delete("a", "0")], &[("a", Reason::ContentDiffers)]);
    conflicts(&old, &[rename("a", "b", "0")], &[("a", Reason::ContentDiffers)]);
    conflicts(&old, &[chmod("a", 0o600, 0o700)], &[("a", Reason::ModeDiffers)]);
    conflicts(&old, &[modify("d", "", "2")], &[("d", Reason::KindDiffers)]);
    conflicts(&old, &[modify("l", "a", "2")], &[("l", Reason::KindDiffers)]);
    conflicts(&old, &[chmod("l", 0o777, 0o755)], &[("l", Reason::KindDiffers)]);
    conflicts(&old, &[delete("d", "")], &[("d", Reason::KindDiffers)]);
    conflicts(&old, &[rmdir("a")], &[("a", Reason::KindDiffers)]);
    conflicts(&old, &[rmdir("d")], &[("d", Reason::NotEmpty)]);
    conflicts(&old, &[create("a/b", "")], &[("a/b", Reason::ParentNotADirectory)]);
}

#[test]
fn a_conflict_says_what_was_expected_and_found() {
    let old = MemoryView::of(&[("a", "1")]);
    let found = resolved(&old, &[chmod("a", 0o600, 0o700)]).conflicts;
    assert_eq!(
        found[0].to_string(),
        "`a`: the mode is not what the author saw (expected 0600, found 0644)"
    );
}

#[test]
fn all_conflicts_are_collected() {
    let old = MemoryView::of(&[("a", "1")]);
    let changes = [create("a", ""), modify("b", "", ""), delete("a", "0")];
    // `a` leaves later, so making it anew is fine; that it is not what the author saw is not.
    conflicts(&old, &changes, &[("b", Reason::Missing), ("a", Reason::ContentDiffers)]);
}

#[test]
fn chains_swaps_and_cycles_need_no_temporary_names() {
    let old = MemoryView::of(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let (ab, bc, ca) = (rename("a", "b", "1"), rename("b", "c", "2"), rename("c", "a", "3"));
    let chain = MemoryView::of(&[("b", "1"), ("c", "2"), ("d", "3")]);
    leads_to(&old, &[ab.clone(), bc.clone(), rename("c", "d", "3")], &chain);
    leads_to(&old, &[rename("c", "d", "3"), bc.clone(), ab.clone()], &chain);
    let swap = MemoryView::of(&[("a", "2"), ("b", "1"), ("c", "3")]);
    leads_to(&old, &[ab.clone(), rename("b", "a", "2")], &swap);
    let cycle = MemoryView::of(&[("a", "3"), ("b", "1"), ("c", "2")]);
    leads_to(&old, &[ab, bc, ca], &cycle);
}

#[test]
fn one_file_may_be_renamed_several_times() {
    let old = MemoryView::of(&[("a", "1")]);
    let report = leads_to(
        &old,
        &[rename("a", "b", "1"), rename("b", "c", "1")],
        &MemoryView::of(&[("c", "1")]),
    );
    assert_eq!(report, [("a".to_owned(), ChangeKind::Rename)]);
    leads_to(&old, &[rename("a", "b", "1"), rename("b", "a", "1")], &old);
}

#[test]
fn a_rename_and_an_edit_go_in_either_order() {
    let old = MemoryView::of(&[("a", "1")]);
    let new = MemoryView::of(&[("b", "2")]);
    leads_to(&old, &[rename("a", "b", "1"), modify("b", "1", "2")], &new);
    leads_to(&old, &[modify("a", "1", "2"), rename("a", "b", "2")], &new);
    leads_to(&old, &[modify("a", "1", "2"), rename("a", "b", "1")], &new);
}

#[test]
fn both_files_of_a_swap_may_be_edited() {
    let old = MemoryView::of(&[("a", "1"), ("b", "2")]);
    let new = MemoryView::of(&[("a", "two"), ("b", "one")]);
    let (ab, ba) = (rename("a", "b", "1"), rename("b", "a", "2"));
    let edits = [modify("b", "1", "one"), modify("a", "2", "two")];
    leads_to(&old, &[ab.clone(), ba.clone(), edits[0].clone(), edits[1].clone()], &new);
    // Until it leaves, `b` is the file that the author saw there.
    let before = [ab, modify("b", "2", "two"), ba, modify("b", "1", "one")];
    leads_to(&old, &before, &new);
    // An edited file may be displaced as well.
    let early = [modify("b", "2", "two"), rename("a", "b", "1"), rename("b", "a", "two")];
    leads_to(&old, &early, &MemoryView::of(&[("a", "two"), ("b", "1")]));
}

#[test]
fn a_deleted_path_can_be_made_anew() {
    let old = MemoryView::of(&[("a", "1")]);
    let new = MemoryView::of(&[("a", "2")]);
    leads_to(&old, &[delete("a", "1"), create("a", "2")], &new);
    leads_to(&old, &[create("a", "2"), delete("a", "1")], &new);
    let twice = [create("a", "2"), delete("a", "1"), create("a", "3")];
    contradicts(&old, &twice, 2, "two operations");
}

#[test]
fn a_file_can_become_a_directory_and_back() {
    let file = MemoryView::of(&[("a", "1")]);
    let dir = MemoryView::of(&[("a/b", "2")]);
    leads_to(&file, &[delete("a", "1"), create("a/b", "2")], &dir);
    leads_to(&file, &[delete("a", "1"), mkdir("a"), create("a/b", "2")], &dir);
    leads_to(&file, &[rename("a", "a/b", "1")], &MemoryView::of(&[("a/b", "1")]));
    leads_to(&dir, &[delete("a/b", "2"), rmdir("a"), create("a", "1")], &file);
    let moved = MemoryView::of(&[("a", "2")]);
    leads_to(&dir, &[rename("a/b", "a", "2"), rmdir("a")], &moved);
}

#[test]
fn a_directory_can_be_made_anew() {
    let old = MemoryView::of(&[("a/b", "1")]);
    let new = MemoryView::of(&[("a/c", "2")]);
    leads_to(&old, &[delete("a/b", "1"), rmdir("a"), mkdir("a"), create("a/c", "2")], &new);
    conflicts(
        &old,
        &[delete("a/b", "1"), rmdir("a"), create("a/c", "2")],
        &[("a", Reason::NotEmpty)],
    );
    conflicts(&old, &[chmod("a/b", 0o644, 0o600), rmdir("a")], &[("a", Reason::NotEmpty)]);
}

#[test]
fn parents_come_along_and_are_not_reported() {
    let old = MemoryView::of(&[]);
    let changes = [create("a/b/c", "1"), create("a/d", "2")];
    let report = leads_to(&old, &changes, &MemoryView::of(&[("a/b/c", "1"), ("a/d", "2")]));
    assert_eq!(report.len(), 2);
    let resolved = resolved(&old, &changes);
    assert_eq!(resolved.changes.count(), 2);
    let implicit: Vec<_> = resolved
        .changes
        .items
        .iter()
        .filter(|item| item.implicit)
        .map(|item| item.path())
        .collect();
    assert_eq!(implicit, ["a", "a/b"]);
}

#[test]
fn what_is_made_and_taken_away_again_leaves_nothing() {
    let old = MemoryView::of(&[]);
    assert_eq!(leads_to(&old, &[create("a", "1"), delete("a", "1")], &old), []);
}

#[test]
fn two_operations_cannot_put_something_at_one_path() {
    let old = MemoryView::of(&[("a", "1"), ("b", "2")]);
    contradicts(&old, &[create("c", "1"), create("c", "1")], 1, "two operations");
    contradicts(&old, &[mkdir("c"), symlink("c", "a")], 1, "two operations");
    contradicts(&old, &[rename("a", "c", "1"), rename("b", "c", "2")], 1, "two operations");
}

#[test]
fn what_stays_in_the_way_is_a_conflict_and_no_contradiction() {
    // Somebody has put a folder where a file was to make room for one, and so on.
    let dir = MemoryView::of(&[("a/theirs", "1")]);
    let other = MemoryView::of(&[("a", "theirs")]);
    let (kind, content) = ([("a", Reason::KindDiffers)], [("a", Reason::ContentDiffers)]);
    conflicts(&dir, &[delete("a", "1"), mkdir("a")], &kind);
    conflicts(&dir, &[delete("a", "1"), mkdir("a"), create("a/mine", "2")], &kind);
    conflicts(&dir, &[delete("a", "1"), symlink("a", "b")], &kind);
    conflicts(&other, &[delete("a", "1"), mkdir("a")], &content);
    conflicts(&other, &[rename("a", "b", "1"), create("a", "2")], &content);
    conflicts(&other, &[rmdir("a"), create("a", "2")], &kind);
    let missing = [("a", Reason::Missing)];
    conflicts(&MemoryView::of(&[]), &[delete("a", "1"), mkdir("a")], &missing);
}

#[test]
fn directories_are_not_renamed() {
    let old = MemoryView::of(&[("d/f", "1")]);
    contradicts(&old, &[rename("d", "e", "1")], 0, "one by one");
}

#[test]
fn a_mode_of_a_hard_link_is_not_changed() {
    let node = Node::File { bytes: b"1".to_vec(), mode: 0o644, links: 2 };
    let old = MemoryView::of(&[]).with("a", node);
    violates(&old, &[chmod("a", 0o644, 0o755)], "a", "hard links");
    // Nor under another name.
    violates(&old, &[rename("a", "b", "1"), chmod("b", 0o644, 0o755)], "b", "hard links");
}

#[test]
fn links_stay_inside_the_workspace() {
    let old = MemoryView::of(&[]);
    for (at, target) in
        [("l", "v2"), ("d/l", "../x"), ("d/e/l", "../../x/./y"), ("l", "a/../b"), ("l", "v2/")]
    {
        assert_eq!(resolved(&old, &[symlink(at, target)]).violations, [], "{at} -> {target}");
    }
    violates(&old, &[symlink("l", "/etc/passwd")], "l", "absolute");
    violates(&old, &[symlink("l", "..")], "l", "outside");
    violates(&old, &[symlink("d/l", "../../x")], "d/l", "outside");
    violates(&old, &[symlink("l", "a/../../x")], "l", "outside");
    violates(&old, &[symlink("l", "")], "l", "empty");
    violates(&old, &[symlink("l", "a\nb")], "l", "control");
}

/// `inside_means_inside`.
#[test]
fn nothing_behind_a_link_is_touched() {
    let old = MemoryView::of(&[("t/f", "1")]).with("l", Node::Link("t".to_owned()));
    for change in [create("l/g", ""), modify("l/f", "1", "2"), delete("l/f", "1"), mkdir("l/d")] {
        violates(&old, std::slice::from_ref(&change), change.path().as_str(), "symbolic link");
    }
    violates(&old, &[rename("t/f", "l/f", "1")], "l/f", "symbolic link");
}

#[test]
fn a_link_itself_can_go_and_move() {
    let old = MemoryView::of(&[]).with("l", Node::Link("t".to_owned()));
    leads_to(&old, &[delete("l", "t")], &MemoryView::of(&[]));
    let moved = MemoryView::of(&[]).with("m", Node::Link("t".to_owned()));
    leads_to(&old, &[rename("l", "m", "t")], &moved);
    let other = MemoryView::of(&[]).with("l", Node::Link("u".to_owned()));
    leads_to(&old, &[delete("l", "t"), symlink("l", "u")], &other);
}

#[test]
fn a_fifo_is_not_touched() {
    let old = MemoryView::of(&[]).with("p", Node::Fifo);
    for change in [
        modify("p", "", "1"),
        delete("p", ""),
        rename("p", "q", ""),
        chmod("p", 0o644, 0o600),
        rmdir("p"),
    ] {
        violates(&old, &[change], "p", "FIFO");
    }
    conflicts(&old, &[create("p", "")], &[("p", Reason::Exists)]);
    conflicts(&old, &[create("p/q", "")], &[("p/q", Reason::ParentNotADirectory)]);
}

#[test]
fn lines_and_bytes_are_counted() {
    let old = MemoryView::of(&[("a", "1\n2\n3\n4\n"), ("b", "x\ny\n")]);
    let changes = [modify("a", "1\n2\n3\n4\n", "1\n2\nthree\n4\n"), delete("b", "x\ny\n")];
    let changes = resolved(&old, &changes).changes;
    assert_eq!((changes.lines, changes.bytes), (4, 12));
    let created = resolved(&old, &[create("c", "1\n2")]).changes;
    assert_eq!((created.lines, created.bytes), (2, 3));
}

#[test]
fn an_edit_that_changes_nothing_is_nothing() {
    let old = MemoryView::of(&[("a", "1")]);
    assert_eq!(leads_to(&old, &[modify("a", "1", "1")], &old), []);
    assert_eq!(resolved(&old, &[modify("a", "1", "1")]).changes.count(), 0);
    assert_eq!(path("a").as_str(), "a");
}

//! A unified diff becomes exactly the changes that it shows.

use lictor_capability::{
    Change, ConflictReason as Reason, DiffError, DiffErrorKind, FileMode, UnifiedDiff,
    ViewErrorKind,
};
use lictor_document::{Limits, Source};

use super::support::{
    MemoryView, Node, body, chmod, create, delete, digest, modify, path, rename, rmdir, symlink,
};

fn convert(view: &MemoryView, text: impl AsRef<[u8]>) -> Result<Vec<Change>, DiffError> {
    let source = Source::new("a.diff", text.as_ref());
    let diff = UnifiedDiff::parse(&source, &Limits::default());
    diff.unwrap_or_else(|error| panic!("{error}")).into_changes(view)
}

#[track_caller]
fn becomes(old: &[(&str, &str)], text: &str, expected: &[Change]) {
    match convert(&MemoryView::of(old), text) {
        Ok(changes) => assert_eq!(changes, expected),
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn conflicts(view: &MemoryView, text: &str, line: u32, reason: Reason, message: &str) {
    let error = convert(view, text).expect_err("a conflict");
    let DiffErrorKind::Conflict(conflict) = error.kind() else { panic!("{error}") };
    assert_eq!(conflict.reason, reason, "{error}");
    assert_eq!(error.line(), line, "{error}");
    assert!(error.to_string().contains(message), "{error}");
}

#[test]
fn a_plain_diff_modifies() {
    let text = "--- src/a.txt\t2026-01-01 00:00:00.000000000 +0000\n+++ src/a.txt\t2026-01-02\n@@ -1,3 +1,3 @@\n 1\n-2\n+two\n 3\n";
    becomes(
        &[("src/a.txt", "1\n2\n3\n")],
        text,
        &[modify("src/a.txt", "1\n2\n3\n", "1\ntwo\n3\n")],
    );
}

#[test]
fn one_prefix_goes_when_both_sides_have_it() {
    let edit = modify("x", "1\n", "2\n");
    becomes(&[("x", "1\n")], "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-1\n+2\n", &[edit]);
    let edit = [modify("a/x", "1\n", "2\n")];
    becomes(&[("a/x", "1\n")], "--- a/x\n+++ a/x\n@@ -1 +1 @@\n-1\n+2\n", &edit);
    becomes(&[("a/x", "1\n")], "--- a/a/x\n+++ b/a/x\n@@ -1 +1 @@\n-1\n+2\n", &edit);
    let git = "diff --git a/x a/x\n--- a/x\n+++ a/x\n@@ -1 +1 @@\n-1\n+2\n";
    becomes(&[("a/x", "1\n")], git, &edit);
    let mnemonic = "diff --git i/x w/x\n--- i/x\n+++ w/x\n@@ -1 +1 @@\n-1\n+2\n";
    becomes(&[("x", "1\n")], mnemonic, &[modify("x", "1\n", "2\n")]);
    let new =
        "diff --git b/x b/x\nnew file mode 100644\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+1\n";
    becomes(&[], new, &[create("b/x", "1\n")]);
}

#[test]
fn new_and_deleted_files_are_read_in_every_form() {
    let new = [create("x", "1\n2\n")];
    becomes(&[], "--- /dev/null\n+++ b/x\n@@ -0,0 +1,2 @@\n+1\n+2\n", &new);
    let epoch = "--- a/x\t1970-01-01 02:00:00.000000000 +0200\n+++ b/x\t2026-01-01 00:00:00 +0000\n@@ -0,0 +1,2 @@\n+1\n+2\n";
    becomes(&[], epoch, &new);
    let gone = [delete("x", "1\n")];
    becomes(&[("x", "1\n")], "--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n", &gone);
    let epoch = "--- a/x\t2026-01-01 00:00:00 +0000\n+++ b/x\t1969-12-31 19:00:00.0 -0500\n@@ -1 +0,0 @@\n-1\n";
    becomes(&[("x", "1\n")], epoch, &gone);
    let emptied = "--- a/x\n+++ b/x\n@@ -1 +0,0 @@\n-1\n";
    becomes(&[("x", "1\n")], emptied, &[modify("x", "1\n", "")]);
    let filled = "--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+1\n";
    becomes(&[("x", "")], filled, &[modify("x", "", "1\n")]);
    let empty = "diff --git a/x b/x\nnew file mode 100644\nindex 0000000..e69de29\n";
    becomes(&[], empty, &[create("x", "")]);
    let gone = "diff --git a/x b/x\ndeleted file mode 100644\nindex e69de29..0000000\n";
    becomes(&[("x", "")], gone, &[delete("x", "")]);
    let program = "diff --git a/x b/x\nnew file mode 100755\n";
    let mode = Some(FileMode::from_bits(0o755));
    becomes(&[], program, &[Change::Create { path: path("x"), content: body(""), mode }]);
}

#[test]
fn the_last_line_may_lack_its_newline() {
    let both =
        "--- x\n+++ x\n@@ -1 +1 @@\n-1\n\\ No newline at end of file\n+2\n\\ Kein Zeilenumbruch\n";
    becomes(&[("x", "1")], both, &[modify("x", "1", "2")]);
    let old = "--- x\n+++ x\n@@ -1 +1 @@\n-1\n\\ No newline at end of file\n+1\n";
    becomes(&[("x", "1")], old, &[modify("x", "1", "1\n")]);
    let context = "--- x\n+++ x\n@@ -1,2 +1,2 @@\n-1\n+0\n 2\n\\ No newline at end of file\n";
    becomes(&[("x", "1\n2")], context, &[modify("x", "1\n2", "0\n2")]);
}

#[test]
fn bytes_are_kept_as_they_are() {
    let crlf = "--- x\n+++ x\n@@ -1,2 +1,2 @@\n 1\r\n-2\r\n+two\r\n";
    becomes(&[("x", "1\r\n2\r\n")], crlf, &[modify("x", "1\r\n2\r\n", "1\r\ntwo\r\n")]);
    let view = MemoryView::default().with("x", Node::file(b"\xff\xfe\n"));
    let changes = convert(&view, b"--- x\n+++ x\n@@ -1 +1 @@\n-\xff\xfe\n+\xe4\r\0\n");
    let expected = Change::Modify {
        path: path("x"),
        before: digest(b"\xff\xfe\n"),
        content: body(b"\xe4\r\0\n"),
        mode: None,
    };
    assert_eq!(changes.unwrap(), [expected]);
}

#[test]
fn lines_that_look_like_headers_stay_lines() {
    let text = "--- x\n+++ x\n@@ -1,2 +1,3 @@\n--- a\n+++ b\n+@@ -1 +1 @@\n \n";
    becomes(&[("x", "-- a\n\n")], text, &[modify("x", "-- a\n\n", "++ b\n@@ -1 +1 @@\n\n")]);
    let blank = "--- x\n+++ x\n@@ -1,2 +1,2 @@\n\n-1\n+2\n";
    becomes(&[("x", "\n1\n")], blank, &[modify("x", "\n1\n", "\n2\n")]);
}

#[test]
fn mails_and_logs_are_skipped_around_the_diff() {
    let mail = "From 0123 Mon Sep 17 00:00:00 2001\nFrom: Ann <a@b>\nSubject: [PATCH] a change\n with a long subject\n\n- a list\n+ of things\n---\n x | 2 +-\n 1 file changed\n\ndiff --git a/x b/x\nindex d00491f..0cfbf08 100644\n--- a/x\n+++ b/x\n@@ -1 +1 @@ fn f()\n-1\n+2\n-- \n2.47.3\n\nFrom 4567\nSubject: next\n y | 1 +\n--- /dev/null\n+++ b/y\n@@ -0,0 +1 @@\n+1\n--\n2.47.3\n";
    becomes(&[("x", "1\n")], mail, &[modify("x", "1\n", "2\n"), create("y", "1\n")]);
    let fenced = "Here it is:\n```diff\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-1\n+2\n```\nThat is all";
    becomes(&[("x", "1\n")], fenced, &[modify("x", "1\n", "2\n")]);
    let svn = "Index: x\n===================================================================\n--- x\t(revision 1)\n+++ x\t(working copy)\n@@ -1 +1 @@\n-1\n+2\n\nIndex: y\n=====\n--- y\n+++ y\n@@ -1 +1 @@\n-1\n+2\n";
    let old = [("x", "1\n"), ("y", "1\n")];
    becomes(&old, svn, &[modify("x", "1\n", "2\n"), modify("y", "1\n", "2\n")]);
}

#[test]
fn git_names_are_unquoted() {
    let text = "diff --git \"a/\\303\\274 \\\"m.txt\" \"b/\\303\\274 \\\"m.txt\"\n--- \"a/\\303\\274 \\\"m.txt\"\n+++ \"b/\\303\\274 \\\"m.txt\"\n@@ -1 +1 @@\n-1\n+2\n";
    becomes(&[("ü \"m.txt", "1\n")], text, &[modify("ü \"m.txt", "1\n", "2\n")]);
    let spaces =
        "diff --git a/b c b/d b/b c b/d\n--- a/b c b/d\t\n+++ b/b c b/d\t\n@@ -1 +1 @@\n-1\n+2\n";
    becomes(&[("b c b/d", "1\n")], spaces, &[modify("b c b/d", "1\n", "2\n")]);
}

#[test]
fn renames_come_first_and_their_edits_last() {
    let pure = "diff --git a/x b/y\nsimilarity index 100%\nrename from x\nrename to y\n";
    becomes(&[("x", "1\n")], pure, &[rename("x", "y", "1\n")]);
    let swap = "diff --git a/x b/y\nsimilarity index 50%\nrename from x\nrename to y\nindex 111..222 100644\n--- a/x\n+++ b/y\n@@ -1,2 +1,2 @@\n x\n-1\n+2\ndiff --git a/y b/x\nsimilarity index 100%\nrename from y\nrename to x\n";
    becomes(
        &[("x", "x\n1\n"), ("y", "y\n")],
        swap,
        &[rename("x", "y", "x\n1\n"), rename("y", "x", "y\n"), modify("y", "x\n1\n", "x\n2\n")],
    );
}

#[test]
fn a_copy_is_a_new_file_with_the_mode_of_the_old() {
    let text = "diff --git a/x b/y\nsimilarity index 90%\ncopy from x\ncopy to y\nindex 111..222 100644\n--- a/x\n+++ b/y\n@@ -1 +1,2 @@\n 1\n+2\n";
    becomes(&[("x", "1\n")], text, &[create("y", "1\n2\n")]);
    let private = Node::File { bytes: b"1\n".to_vec(), mode: 0o600, links: 1 };
    let view = MemoryView::default().with("x", private);
    let mode = Some(FileMode::from_bits(0o600));
    let expected = Change::Create { path: path("y"), content: body("1\n2\n"), mode };
    assert_eq!(convert(&view, text).unwrap(), [expected]);
}

#[test]
fn git_knows_one_bit_and_the_other_bits_stay() {
    let text = |old, new| format!("diff --git a/x b/x\nold mode 100{old}\nnew mode 100{new}\n");
    let view = |mode| {
        MemoryView::default().with("x", Node::File { bytes: b"1\n".to_vec(), mode, links: 1 })
    };
    for (before, after) in [(0o644, 0o755), (0o664, 0o775), (0o600, 0o700), (0o640, 0o750)] {
        let set = convert(&view(before), text("644", "755")).unwrap();
        assert_eq!(set, [chmod("x", before, after)]);
        let cleared = convert(&view(after), text("755", "644")).unwrap();
        assert_eq!(cleared, [chmod("x", after, before)]);
    }
    conflicts(&view(0o755), &text("644", "755"), 1, Reason::ModeDiffers, "0755");
    let edit = "diff --git a/x b/y\nold mode 100644\nnew mode 100755\nsimilarity index 90%\nrename from x\nrename to y\nindex 11..22\n--- a/x\n+++ b/y\n@@ -1 +1 @@\n-1\n+2\n";
    assert_eq!(
        convert(&view(0o600), edit).unwrap(),
        [rename("x", "y", "1\n"), modify("y", "1\n", "2\n"), chmod("y", 0o600, 0o700)]
    );
    let error = convert(&view(0o4644), text("644", "755")).expect_err("set-id");
    assert!(matches!(error.kind(), DiffErrorKind::Unsupported { .. }), "{error}");
}

#[test]
fn symbolic_links_are_made_changed_moved_and_deleted() {
    let new = "diff --git a/l b/l\nnew file mode 120000\nindex 0000000..1de5659\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+target\n\\ No newline at end of file\n";
    becomes(&[], new, &[symlink("l", "target")]);
    let view = MemoryView::default().with("l", Node::Link("x".to_owned()));
    let edit = "diff --git a/l b/l\nindex c1b0730..e25f181 120000\n--- a/l\n+++ b/l\n@@ -1 +1 @@\n-x\n\\ No newline at end of file\n+y\n\\ No newline at end of file\n";
    assert_eq!(convert(&view, edit).unwrap(), [delete("l", "x"), symlink("l", "y")]);
    let gone = "diff --git a/l b/l\ndeleted file mode 120000\nindex c1b0730..0000000\n--- a/l\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n\\ No newline at end of file\n";
    assert_eq!(convert(&view, gone).unwrap(), [delete("l", "x")]);
    let moved = "diff --git a/l b/m\nsimilarity index 100%\nrename from l\nrename to m\n";
    assert_eq!(convert(&view, moved).unwrap(), [rename("l", "m", "x")]);
    // A plain diff speaks of files; a link is never written through or over.
    let plain = "--- l\n+++ l\n@@ -1 +1 @@\n-x\n\\ No newline\n+y\n\\ No newline\n";
    conflicts(&view, plain, 1, Reason::KindDiffers, "a symbolic link");
    conflicts(&MemoryView::of(&[("l", "x")]), edit, 1, Reason::KindDiffers, "found a file");
}

#[test]
fn a_file_becomes_a_link_in_two_parts() {
    let text = "diff --git a/x b/x\ndeleted file mode 100644\nindex d00491f..0000000\n--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\ndiff --git a/x b/x\nnew file mode 120000\nindex 0000000..c1b0730\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+y\n\\ No newline at end of file\n";
    becomes(&[("x", "1\n")], text, &[delete("x", "1\n"), symlink("x", "y")]);
}

#[test]
fn a_directory_that_is_in_the_way_goes_with_its_last_file() {
    let text = "diff --git a/d b/d\nnew file mode 100644\n--- /dev/null\n+++ b/d\n@@ -0,0 +1 @@\n+2\ndiff --git a/d/e/f b/d/e/f\ndeleted file mode 100644\n--- a/d/e/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n";
    becomes(
        &[("d/e/f", "1\n")],
        text,
        &[rmdir("d/e"), rmdir("d"), create("d", "2\n"), delete("d/e/f", "1\n")],
    );
    // Something stays in it: no directory goes, and resolving will say that `d` exists.
    becomes(&[("d/e/f", "1\n"), ("d/g", "")], text, &[create("d", "2\n"), delete("d/e/f", "1\n")]);
    // Nothing needs its place: it stays.
    let gone = "--- a/d/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n";
    becomes(&[("d/f", "1\n")], gone, &[delete("d/f", "1\n")]);
}

#[test]
fn a_hunk_fits_exactly_or_conflicts() {
    let text = "--- a/x\n+++ b/x\n@@ -2,2 +2,2 @@\n 2\n-3\n+three\n";
    let view = |content: &str| MemoryView::of(&[("x", content)]);
    assert!(convert(&view("1\n2\n3\n"), text).is_ok());
    let differs = Reason::ContentDiffers;
    let message =
        "a.diff:5: `x`: the content is not what the author saw (expected `3` on line 3, found `4`)";
    conflicts(&view("1\n2\n4\n"), text, 5, differs, message);
    // Neither an offset nor fuzz.
    conflicts(&view("0\n1\n2\n3\n"), text, 4, differs, "expected `2` on line 2, found `1`");
    conflicts(&view("2\n3\n"), text, 4, differs, "found `3`");
    conflicts(&view("1\n2\n"), text, 5, differs, "found the end of the file");
    conflicts(&view(""), text, 3, differs, "expected at least 1 lines, found 0 lines");
    conflicts(&view("1\n2\n3"), text, 5, differs, "found `3` without a newline");
    conflicts(&view("1\n2\n3\r\n"), text, 5, differs, "found `3\\r`");
    conflicts(&MemoryView::default(), text, 1, Reason::Missing, "`x`: nothing is there");
    conflicts(&MemoryView::of(&[("x/", "")]), text, 1, Reason::KindDiffers, "a directory");
}

#[test]
fn lines_never_run_together() {
    let text = "--- x\n+++ x\n@@ -1 +1 @@\n-1\n+2\n\\ No newline at end of file\n";
    let view = MemoryView::of(&[("x", "1\n2\n")]);
    conflicts(&view, text, 5, Reason::ContentDiffers, "expected the end of the file, found `2`");
}

#[test]
fn a_deletion_names_every_line() {
    let text = "--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n";
    let view = MemoryView::of(&[("x", "1\n2\n")]);
    conflicts(&view, text, 1, Reason::ContentDiffers, "no lines but those of the diff");
    let empty = "diff --git a/x b/x\ndeleted file mode 100644\n";
    conflicts(&view, empty, 1, Reason::ContentDiffers, "no lines");
}

#[test]
fn nothing_is_read_behind_a_link() {
    let view = MemoryView::of(&[("t/f", "1\n")]).with("l", Node::Link("t".to_owned()));
    let error = convert(&view, "--- l/f\n+++ l/f\n@@ -1 +1 @@\n-1\n+2\n").expect_err("a link");
    let DiffErrorKind::View(error) = error.kind() else { panic!("{error}") };
    assert!(matches!(error.kind(), ViewErrorKind::ThroughSymlink { .. }), "{error}");
}

//! What a change set cannot hold, and what is broken, is refused with its place.

use lictor_capability::UnifiedDiff;
use lictor_document::{Limits, Source};

#[track_caller]
fn refused(text: impl AsRef<[u8]>, place: (u32, u32), message: &str) {
    let source = Source::new("a.diff", text.as_ref());
    let error = UnifiedDiff::parse(&source, &Limits::default()).expect_err("a refusal");
    assert!(error.message().contains(message), "{error}");
    assert_eq!((error.line(), error.column()), place, "{error}");
    assert_eq!(error.file(), "a.diff");
}

fn git(headers: &str) -> String {
    format!("diff --git a/x b/x\n{headers}")
}

const EDIT: &str = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-1\n+2\n";

#[test]
fn other_formats_are_refused() {
    refused("", (1, 1), "holds no diff");
    refused("just prose\n", (1, 1), "accepted here: a unified diff");
    refused("*** x\n--- y\n***************\n*** 1 ****\n", (1, 1), "a context diff");
    refused("diff x y\n3c3\n< 1\n---\n> 2\n", (2, 1), "normal format");
    refused("3d\n1c\nhello\n.\n", (1, 1), "ed script");
    refused(
        "diff --cc x\nindex 1,2..3\n--- a/x\n+++ b/x\n@@@ -1,1 -1,1 +1,1 @@@\n",
        (1, 1),
        "merge",
    );
    refused("@@ -1 +1 @@\n-1\n+2\n", (1, 1), "belongs to no file");
    refused("diff --git b/x a/x\n--- b/x\n+++ a/x\n@@ -1 +1 @@\n-1\n+2\n", (1, 12), "reversed");
    refused("--- b/x\n+++ a/x\n@@ -1 +1 @@\n-1\n+2\n", (1, 5), "reversed");
}

#[test]
fn what_a_diff_cannot_hold_is_refused() {
    let binary = git("index 1111..2222 100644\nGIT binary patch\nliteral 1\n");
    refused(binary, (3, 1), "a binary file differs");
    let binary = git("index 1111..2222 100644\nBinary files a/x and b/x differ\n");
    refused(binary, (3, 1), "a binary file differs");
    refused("Binary files a/x and b/x differ\n", (1, 1), "a binary file differs");
    refused(format!("{EDIT}Binary files a/y and b/y differ\n"), (6, 1), "a binary file differs");
    refused(git("new file mode 160000\nindex 0000000..1111\n"), (2, 1), "a submodule");
    refused(git("index 1111..2222 160000\n"), (2, 1), "a submodule");
    refused("Submodule lib 1111..2222:\n", (1, 1), "a submodule");
    refused(git("old mode 100644\nnew mode 100664\n"), (3, 1), "mode `100664` is not known");
    refused(git("old mode 100644\nnew mode 120000\n"), (1, 1), "its deletion and a new one");
}

#[test]
fn counts_must_fit() {
    refused(
        "--- x\n+++ x\n@@ -1,2 +1 @@\n-1\n+2\n",
        (3, 1),
        "promises 2 old and 1 new lines, and there are 1 and 1",
    );
    refused("--- x\n+++ x\n@@ -1 +1 @@\n-1\n+2\n+3\n", (6, 1), "more lines than its header");
    refused("--- x\n+++ x\n@@ -1 +1 @@\n-1\n+2\n 3\n", (6, 1), "more lines than its header");
    refused("--- x\n+++ x\n@@ -1 +1 @@\n-1\n+2\n\n+3\n", (7, 1), "more lines than its header");
    refused("--- x\n+++ x\n@@ -1 +1 @@\n-1\n-2\n+2\n", (5, 1), "more lines than its header");
    refused("--- x\n+++ x\n@@ -1 +1 @@\n-1\nhello\n", (5, 1), "`hello` is no line of a hunk");
    refused("--- x\n+++ x\n@@ -1,2 +1,2 @@\n-1\n+2\n@@ -9 +9 @@\n", (6, 1), "no line of a hunk");
    refused("--- x\n+++ x\n@@ -0 +1 @@\n-1\n+2\n", (3, 1), "line 0");
    refused("--- x\n+++ x\n@@ -a +1 @@\n", (3, 1), "not understood");
    refused("--- x\n+++ x\n@@ -9999999999 +1 @@\n", (3, 1), "not understood");
    let overlap = "--- x\n+++ x\n@@ -1,2 +1,2 @@\n 1\n-2\n+3\n@@ -2 +2 @@\n-2\n+4\n";
    refused(overlap, (7, 1), "before the one on line 3 ends");
    let after = "--- x\n+++ x\n@@ -1 +1,2 @@\n-1\n+2\n\\ No newline at end of file\n+3\n";
    refused(after, (7, 1), "the last of its file");
    refused("--- x\n+++ x\n@@ -1,0 +1,0 @@\n\\ No newline\n", (4, 1), "nothing stands before");
}

#[test]
fn a_diff_that_was_cut_off_is_refused() {
    refused("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-1\n+2", (5, 1), "ends in the middle");
    refused("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-1\n", (3, 1), "ends too early");
    refused("--- a/x\n+++ b/x\n", (2, 1), "found the end; accepted here: a hunk");
    refused("--- a/x\n+++ b/x\nhello\n", (2, 1), "found `hello`");
    refused(git("index 1111..2222 100644\n"), (1, 1), "no hunk follows");
    refused(git("new file mode 100644\nindex 0000..2222\n"), (1, 1), "no hunk follows");
    refused(git("deleted file mode 100644\nindex 2222..0000\n"), (1, 1), "no hunk follows");
    refused(git(""), (1, 1), "no hunk follows");
    refused(git("old mode 100644\n"), (1, 1), "`new mode` together");
    refused(git("new file mode 100644"), (2, 1), "ends in the middle");
    refused(git("--- a/x\n"), (2, 1), "without `+++ NAME`");
    refused("diff --git a/x b/y\nrename from x\nrename to y", (3, 1), "ends in the middle");
    refused("diff --git a/x b/y\nrename from x\n", (1, 1), "`rename from` with `rename to`");
}

#[test]
fn a_file_appears_once() {
    refused(format!("{EDIT}{EDIT}"), (6, 1), "`x` appears twice; it stands already on line 1");
    let copy = "diff --git a/y b/x\ncopy from y\ncopy to x\n";
    refused(format!("{EDIT}{copy}"), (6, 1), "`x` appears twice");
    let rename = "diff --git a/x b/y\nrename from x\nrename to y\n";
    refused(format!("{rename}diff --git a/x b/x\n{EDIT}"), (4, 1), "`x` appears twice");
}

#[test]
fn names_are_normal_paths() {
    refused("--- a/../x\n+++ b/../x\n@@ -1 +1 @@\n-1\n+2\n", (1, 5), "`..` is not accepted");
    refused("--- /etc/x\n+++ /etc/x\n@@ -1 +1 @@\n-1\n+2\n", (1, 5), "it is absolute");
    refused("--- /dev/null\n+++ b/./x\n@@ -0,0 +1 @@\n+2\n", (2, 5), "`.` and empty segments");
    refused("diff --git a/x b/../y\nrename from x\nrename to ../y\n", (3, 11), "`..`");
    let tab = "diff --git \"a/x\\ty\" \"b/x\\ty\"\nnew file mode 100644\n";
    refused(tab, (1, 12), "control characters");
    refused(b"--- a/\xff\n+++ b/\xff\n@@ -1 +1 @@\n-1\n+2\n", (1, 5), "not UTF-8");
    let nfd = "--- u\u{308}\n+++ u\u{308}\n@@ -1 +1 @@\n-1\n+2\n";
    refused(nfd, (1, 5), "NFC");
    refused("--- \"x\n+++ x\n@@ -1 +1 @@\n-1\n+2\n", (1, 5), "quoted name");
    refused("--- \"x\\q\"\n+++ x\n@@ -1 +1 @@\n-1\n+2\n", (1, 5), "quoted name");
}

#[test]
fn names_agree() {
    refused("--- x.orig\n+++ x\n@@ -1 +1 @@\n-1\n+2\n", (2, 5), "name different files");
    let other = "diff --git a/safe b/safe\n--- a/evil\n+++ b/evil\n@@ -1 +1 @@\n-1\n+2\n";
    refused(other, (2, 5), "`a/evil` is not what the `diff --git` line says");
    let other = "diff --git a/x b/y\nrename from x\nrename to y\n--- a/x\n+++ b/evil\n@@ -1 +1 @@\n-1\n+2\n";
    refused(other, (3, 11), "name other files");
    refused("diff --git a/x b/yy\nnew file mode 100644\n", (1, 1), "not understood");
    refused(
        git("new file mode 100644\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-1\n+2\n"),
        (1, 1),
        "new or deleted",
    );
    refused(git("old mode 100644\nold mode 100644\n"), (3, 1), "repeats a header");
    refused("--- /dev/null\n+++ /dev/null\n@@ -0,0 +1 @@\n+1\n", (1, 1), "both sides");
    refused("--- /dev/null\n+++ b/x\n@@ -1 +1 @@\n-1\n+2\n", (1, 1), "not the whole other side");
}

#[test]
fn the_size_is_limited() {
    let source = Source::new("a.diff", EDIT.as_bytes());
    let limits = Limits::default().with_max_bytes(10);
    let error = UnifiedDiff::parse(&source, &limits).expect_err("too large");
    assert!(error.message().contains("at most 10"), "{error}");
    let limits = limits.with_max_bytes(EDIT.len() as u64);
    assert!(UnifiedDiff::parse(&source, &limits).is_ok());
}

#[test]
fn an_error_shows_the_line() {
    let source = Source::new("a.diff", b"--- x\r\n+++ x\r\n@@ -1 +1 @@\n-1\n?\n");
    let error = UnifiedDiff::parse(&source, &Limits::default()).expect_err("a refusal");
    assert_eq!(error.excerpt(), Some("  |\n5 | ?\n  | ^"), "{error}");
}

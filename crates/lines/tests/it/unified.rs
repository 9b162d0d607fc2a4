//! Unified diffs, to the byte.

use lictor_lines::{Comparison, Part};

/// Without the two lines of names.
fn hunks(comparison: &Comparison<'_>) -> String {
    let text = comparison.unified("old", "new", 3);
    text.strip_prefix("--- old\n+++ new\n").unwrap_or(&text).to_owned()
}

#[track_caller]
fn check(old: &str, new: &str, expected: &str) {
    assert_eq!(hunks(&Comparison::matched(old.as_bytes(), new.as_bytes())), expected);
}

#[test]
fn a_line_ends_with_a_line_feed_and_nothing_else() {
    check("a\rb\nc\n", "a\rb\nd\n", "@@ -1,2 +1,2 @@\n a\rb\n-c\n+d\n");
    check("a\r\n", "b\r\n", "@@ -1 +1 @@\n-a\r\n+b\r\n");
    check(
        "a\r",
        "b",
        "@@ -1 +1 @@\n-a\r\n\\ No newline at end of file\n+b\n\\ No newline at end of file\n",
    );
}

#[test]
fn an_empty_side_has_no_lines() {
    check("", "a\n", "@@ -0,0 +1 @@\n+a\n");
    check("a\nb\n", "", "@@ -1,2 +0,0 @@\n-a\n-b\n");
    check("", "", "");
}

#[test]
fn a_blank_line_that_stays_keeps_its_space() {
    check("a\n\n", "b\n\n", "@@ -1,2 +1,2 @@\n-a\n+b\n \n");
}

#[test]
fn names_stand_above_changes_only() {
    let text = |new: &str| Comparison::matched(b"a\n", new.as_bytes()).unified("x", "y", 0);
    assert_eq!(text("a\n"), "");
    assert_eq!(text("b\n"), "--- x\n+++ y\n@@ -1 +1 @@\n-a\n+b\n");
}

#[test]
fn what_is_between_the_ends_goes_and_comes_whole() {
    let many = |middle: &str| format!("{}{middle}{}", "x\n".repeat(9_999), "y\n".repeat(9_999));
    let (old, new) = (many("a\nb\nc\n"), many("b\nc\nd\n"));
    let ends = Comparison::ends(old.as_bytes(), new.as_bytes());
    assert_eq!((ends.removed(), ends.added()), (3, 3));
    let expected = "@@ -9997,9 +9997,9 @@\n x\n x\n x\n-a\n-b\n-c\n+b\n+c\n+d\n y\n y\n y\n";
    assert_eq!(hunks(&ends), expected);
    let matched = Comparison::matched(old.as_bytes(), new.as_bytes());
    assert_eq!((matched.removed(), matched.added()), (1, 1));
}

#[test]
fn hunks_hold_bytes_as_they_are() {
    let comparison = Comparison::matched(b"a\n\xff\n", b"a\n\xfe");
    let hunks = comparison.hunks(0);
    let parts: Vec<_> = hunks.iter().flat_map(|hunk| &hunk.parts).collect();
    let gone: &[&[u8]] = &[b"\xff\n"];
    let come: &[&[u8]] = &[b"\xfe"];
    assert!(parts.contains(&&Part::Changed { gone, come }), "{parts:?}");
}

//! Three texts into one.

use lictor_lines::merge;

const BASE: &str = "a\nb\nc\nd\ne\n";

#[test]
fn changes_in_different_places_are_both_kept() {
    assert_eq!(merge(BASE, "A\nb\nc\nd\ne\n", "a\nb\nc\nd\n").as_deref(), Some("A\nb\nc\nd\n"));
}

#[test]
fn one_change_made_twice_is_one() {
    assert_eq!(
        merge(BASE, "a\nb\nX\nd\ne\n", "a\nb\nX\nd\ne\n").as_deref(),
        Some("a\nb\nX\nd\ne\n")
    );
}

#[test]
fn the_same_line_changed_in_two_ways_is_no_text() {
    assert_eq!(merge(BASE, "a\nb\nX\nd\ne\n", "a\nb\nY\nd\ne\n"), None);
}

//! What holds for all texts.

use std::iter::zip;

use lictor_lines::{Comparison, Part, merge};
use proptest::prelude::*;
use similar::{TextDiff, TextMerge};

/// Few different lines, so that many are the same; some texts end within a line.
fn text() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec!["a", "b", "", "a\r", "ü", " a"]);
    (prop::collection::vec(line, 0..160), any::<bool>())
        .prop_map(|(lines, ends)| lines.join("\n") + if ends { "\n" } else { "" })
}

/// What somebody does to a text.
fn edits(most: usize) -> impl Strategy<Value = Vec<(prop::sample::Index, Option<&'static str>)>> {
    let line = prop::option::of(prop::sample::select(vec!["new\n", "a\n", "cr\r", "b"]));
    prop::collection::vec((any::<prop::sample::Index>(), line), 0..most)
}

fn edited(old: &str, edits: &[(prop::sample::Index, Option<&'static str>)]) -> String {
    let mut lines: Vec<&str> = old.split_inclusive('\n').collect();
    for (at, comes) in edits {
        let at = at.index(lines.len() + 1);
        match comes {
            Some(line) => lines.insert(at, line),
            None if at < lines.len() => drop(lines.remove(at)),
            None => {}
        }
    }
    lines.concat()
}

/// A text, and one that somebody made of it.
fn pair() -> impl Strategy<Value = (String, String)> {
    (text(), edits(12)).prop_map(|(old, edits)| {
        let new = edited(&old, &edits);
        (old, new)
    })
}

/// A text, and what two made of it.
fn three() -> impl Strategy<Value = (String, String, String)> {
    (text(), edits(4), edits(4)).prop_map(|(base, ours, theirs)| {
        let (ours, theirs) = (edited(&base, &ours), edited(&base, &theirs));
        (base, ours, theirs)
    })
}

/// The lines around and within all changes, with everything between them.
fn sides(comparison: &Comparison<'_>) -> (Vec<u8>, Vec<u8>) {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for part in comparison.hunks(usize::MAX / 4).into_iter().flat_map(|hunk| hunk.parts) {
        match part {
            Part::Same(lines) => {
                old.extend(lines.concat());
                new.extend(lines.concat());
            }
            Part::Changed { gone, come } => {
                old.extend(gone.concat());
                new.extend(come.concat());
            }
        }
    }
    (old, new)
}

proptest! {
    #[test]
    fn hunks_hold_both_texts((old, new) in prop_oneof![pair(), (text(), text())]) {
        for comparison in [
            Comparison::matched(old.as_bytes(), new.as_bytes()),
            Comparison::ends(old.as_bytes(), new.as_bytes()),
        ] {
            let expected = if old == new { Default::default() } else { (old.clone().into(), new.clone().into()) };
            prop_assert_eq!(sides(&comparison), expected);
        }
    }

    /// The library that does the work prints diffs as well, from texts and not from numbers. It takes a carriage
    /// return at the very end for the end of a line.
    #[test]
    fn a_unified_diff_is_the_one_of_the_library(
        (old, new) in prop_oneof![pair(), (text(), text())],
        context in 0_usize..6,
    ) {
        let whole = |text: String| if text.ends_with('\r') { text + "\n" } else { text };
        let (old, new) = (whole(old), whole(new));
        let comparison = Comparison::matched(old.as_bytes(), new.as_bytes());
        let lines = |text| str::split_inclusive(text, '\n').collect::<Vec<_>>();
        let (a, b) = (lines(&old), lines(&new));
        let diff = TextDiff::configure().newline_terminated(true).diff_slices(&a, &b);
        let expected = diff.unified_diff().context_radius(context).header("x", "y").to_string();
        prop_assert_eq!(comparison.unified("x", "y", context), expected);
    }

    #[test]
    fn hunks_stand_where_they_say((old, new) in pair(), context in 0_usize..6) {
        let comparison = Comparison::matched(old.as_bytes(), new.as_bytes());
        let lines: Vec<&[u8]> = old.as_bytes().split_inclusive(|byte| *byte == b'\n').collect();
        for hunk in comparison.hunks(context) {
            let inside = hunk.parts.iter().flat_map(|part| match part {
                Part::Same(lines) | Part::Changed { gone: lines, .. } => lines.iter(),
            });
            let inside: Vec<_> = inside.collect();
            prop_assert_eq!(inside.len(), hunk.old.len());
            for (line, at) in zip(inside, hunk.old) {
                prop_assert_eq!(line, &lines[at]);
            }
        }
    }

    /// The library merges as well.
    #[test]
    fn a_merge_is_the_one_of_the_library((base, ours, theirs) in three()) {
        let merge_of = TextMerge::from_lines(&*base, &*ours, &*theirs);
        let expected = (!merge_of.is_conflicted()).then(|| merge_of.to_string());
        prop_assert_eq!(merge(&base, &ours, &theirs), expected);
    }

    #[test]
    fn a_side_that_changed_nothing_takes_the_other((old, new) in pair()) {
        prop_assert_eq!(merge(&old, &old, &new), Some(new.clone()));
        prop_assert_eq!(merge(&old, &new, &old), Some(new));
    }
}

//! Whatever two trees differ in, their diff leads from the one to the other; and nothing that is
//! read as a diff makes the parser panic.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lictor_capability::{UnifiedDiff, resolve};
use lictor_document::{Limits, Source};
use proptest::prelude::*;

use super::support::{MemoryView, Node, path};

const PATHS: [&str; 7] = ["a", "b c", "ü", "d", "d/e", "f/g/h", "f/i"];

type Tree = BTreeMap<&'static str, Node>;

fn content() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        6 => prop::sample::select(vec!["1", "2", "3", "", " ", "-- a", "++ b", "@@ -1 +1 @@", "\\ x", "4\r"])
            .prop_map(|line| line.as_bytes().to_vec()),
        1 => Just(b"\xff\xfe".to_vec()),
    ];
    (prop::collection::vec(line, 0..14), any::<bool>()).prop_map(|(lines, ended)| {
        let mut bytes = lines.join(&b'\n');
        if ended && !lines.is_empty() {
            bytes.push(b'\n');
        }
        bytes
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    let node = prop_oneof![
        2 => Just(None),
        4 => (content(), any::<bool>()).prop_map(|(bytes, program)| {
            Some(Node::File { bytes, mode: if program { 0o755 } else { 0o644 }, links: 1 })
        }),
        1 => prop::sample::select(vec!["a", "x/y"]).prop_map(|to| Some(Node::Link(to.to_owned()))),
    ];
    prop::collection::vec(node, PATHS.len()).prop_map(|nodes| {
        let mut tree: Tree =
            PATHS.into_iter().zip(nodes).filter_map(|(at, node)| Some((at, node?))).collect();
        if tree.contains_key("d") {
            tree.remove("d/e");
        }
        tree
    })
}

fn view(tree: &Tree) -> MemoryView {
    tree.iter().fold(MemoryView::default(), |view, (at, node)| view.with(at, node.clone()))
}

fn parts(node: &Node) -> (&[u8], &'static str) {
    match node {
        Node::File { bytes, mode, .. } => (bytes, if *mode == 0o755 { "100755" } else { "100644" }),
        Node::Link(target) => (target.as_bytes(), "120000"),
        Node::Dir { .. } | Node::Fifo => panic!("not in these trees"),
    }
}

fn header(out: &mut Vec<u8>, args: std::fmt::Arguments<'_>) {
    let mut text = String::new();
    text.write_fmt(args).expect("a string takes everything");
    out.extend_from_slice(text.as_bytes());
}

fn hunks(out: &mut Vec<u8>, names: (&str, &str), old: &[u8], new: &[u8], radius: usize) {
    if old == new {
        return;
    }
    header(out, format_args!("--- {}\n+++ {}\n", names.0, names.1));
    let lines = |bytes: &'_ [u8]| -> Vec<Vec<u8>> {
        bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    };
    let (old, new) = (lines(old), lines(new));
    let (old, new): (Vec<&[u8]>, Vec<&[u8]>) =
        (old.iter().map(Vec::as_slice).collect(), new.iter().map(Vec::as_slice).collect());
    let diff = similar::TextDiff::configure().diff_slices(&old, &new);
    for hunk in diff.unified_diff().context_radius(radius).iter_hunks() {
        header(out, format_args!("{}\n", hunk.header()));
        for change in hunk.iter_changes() {
            header(out, format_args!("{}", change.tag()));
            out.extend_from_slice(change.value());
            if !change.value().ends_with(b"\n") {
                out.extend_from_slice(b"\n\\ No newline at end of file\n");
            }
        }
    }
}

/// What `git diff --no-renames` says, without index lines.
fn git_diff(old: &Tree, new: &Tree, radius: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for at in PATHS {
        let (a, b) = (format!("a/{at}"), format!("b/{at}"));
        let (old, new) = (old.get(at), new.get(at));
        let retyped = matches!(
            (old, new),
            (Some(Node::Link(_)), Some(Node::File { .. }))
                | (Some(Node::File { .. }), Some(Node::Link(_)))
        );
        let gone = |out: &mut Vec<u8>, node: &Node| {
            let (bytes, mode) = parts(node);
            header(out, format_args!("diff --git {a} {b}\ndeleted file mode {mode}\n"));
            hunks(out, (&a, "/dev/null"), bytes, b"", radius);
        };
        let made = |out: &mut Vec<u8>, node: &Node| {
            let (bytes, mode) = parts(node);
            header(out, format_args!("diff --git {a} {b}\nnew file mode {mode}\n"));
            hunks(out, ("/dev/null", &b), b"", bytes, radius);
        };
        match (old, new) {
            (Some(old), Some(new)) if retyped => {
                gone(&mut out, old);
                made(&mut out, new);
            }
            (Some(old), Some(new)) if old != new => {
                let ((old, old_mode), (new, new_mode)) = (parts(old), parts(new));
                header(&mut out, format_args!("diff --git {a} {b}\n"));
                if old_mode != new_mode {
                    header(&mut out, format_args!("old mode {old_mode}\nnew mode {new_mode}\n"));
                } else {
                    header(&mut out, format_args!("index 1111111..2222222 {old_mode}\n"));
                }
                hunks(&mut out, (&a, &b), old, new, radius);
            }
            (Some(old), None) => gone(&mut out, old),
            (None, Some(new)) => made(&mut out, new),
            _ => {}
        }
    }
    out
}

fn mutate(text: &mut Vec<u8>, edits: &[(u8, prop::sample::Index, u8)]) {
    for (kind, at, byte) in edits {
        if text.is_empty() {
            return;
        }
        let at = at.index(text.len());
        match kind {
            0 => text[at] = *byte,
            1 => text.insert(at, *byte),
            2 => drop(text.remove(at)),
            3 => text.truncate(at),
            4 => text.insert(at, b'\n'),
            _ => {
                let copy = text[at..].to_vec();
                text.extend(copy);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_diff_leads_from_the_old_tree_to_the_new(old in tree(), new in tree(), radius in 0..4_usize) {
        let text = git_diff(&old, &new, radius);
        prop_assume!(!text.is_empty());
        let source = Source::new("a.diff", &text);
        let shown = String::from_utf8_lossy(&text);
        let diff = UnifiedDiff::parse(&source, &Limits::default());
        let diff = diff.unwrap_or_else(|error| panic!("{error}\n{shown}"));
        let mut tree = view(&old);
        let changes = diff.into_changes(&tree).unwrap_or_else(|error| panic!("{error}\n{shown}"));
        let resolved = resolve(&changes, &tree).unwrap_or_else(|error| panic!("{error}\n{shown}"));
        prop_assert_eq!(&resolved.conflicts, &[], "{}", shown);
        tree.apply(&resolved.changes);
        prop_assert_eq!(tree.files(), view(&new).files(), "{}", shown);
    }

    #[test]
    fn a_diff_conflicts_with_every_other_tree(old in tree(), new in tree()) {
        let text = git_diff(&old, &new, 3);
        let modified: Vec<&str> = PATHS
            .into_iter()
            .filter(|at| matches!((old.get(at), new.get(at)), (Some(Node::File { bytes: a, .. }), Some(Node::File { bytes: b, .. })) if a != b))
            .collect();
        prop_assume!(!modified.is_empty());
        let mut tree = view(&old);
        let mut changed = false;
        for at in &modified {
            if let Some(Node::File { bytes, .. }) = tree.0.get_mut(&path(at)) {
                let before = bytes.clone();
                *bytes = bytes.split_inclusive(|byte| *byte == b'\n').flat_map(|line| [b"!", line].concat()).collect();
                changed |= before != *bytes;
            }
        }
        prop_assume!(changed);
        let source = Source::new("a.diff", &text);
        let diff = UnifiedDiff::parse(&source, &Limits::default()).unwrap();
        prop_assert!(diff.into_changes(&tree).is_err());
    }

    #[test]
    fn no_mutation_of_a_diff_panics(
        old in tree(),
        new in tree(),
        edits in prop::collection::vec((0..6_u8, any::<prop::sample::Index>(), prop_oneof![any::<u8>(), prop::sample::select(b"+- @\\\n\r\t\"0189/ab,".to_vec())]), 1..6),
    ) {
        let mut text = git_diff(&old, &new, 2);
        mutate(&mut text, &edits);
        if let Ok(diff) = UnifiedDiff::parse(&Source::new("a.diff", &text), &Limits::default()) {
            drop(diff.into_changes(&view(&old)));
        }
    }

    #[test]
    fn a_cut_diff_never_changes_a_file_to_something_else(old in tree(), new in tree(), at in any::<prop::sample::Index>()) {
        let text = git_diff(&old, &new, 3);
        prop_assume!(!text.is_empty());
        let cut = &text[..at.index(text.len())];
        // A cut after a whole file is a whole diff; one just before `\ No newline` cannot be seen,
        // and what is made then differs in that newline alone.
        prop_assume!(!text[cut.len()..].starts_with(b"\\ No"));
        if let Ok(diff) = UnifiedDiff::parse(&Source::new("a.diff", cut), &Limits::default()) {
            let mut tree = view(&old);
            let Ok(changes) = diff.into_changes(&tree) else { return Ok(()) };
            let Ok(resolved) = resolve(&changes, &tree) else { return Ok(()) };
            if !resolved.conflicts.is_empty() {
                return Ok(());
            }
            tree.apply(&resolved.changes);
            let (before, after) = (view(&old).files(), view(&new).files());
            // The last file that is named may lack hunks, never parts of one.
            let wrong = tree.files().into_iter().filter(|(at, node)| {
                before.get(at) != Some(node) && after.get(at) != Some(node)
            }).count();
            prop_assert!(wrong <= 1, "{}", String::from_utf8_lossy(cut));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(UnifiedDiff::parse(&Source::new("a.diff", &bytes), &Limits::default()));
        let with_header = [b"--- a\n+++ a\n@@ -1 +1 @@\n", bytes.as_slice()].concat();
        drop(UnifiedDiff::parse(&Source::new("a.diff", &with_header), &Limits::default()));
        let with_header = [b"diff --git a/x b/x\n", bytes.as_slice()].concat();
        drop(UnifiedDiff::parse(&Source::new("a.diff", &with_header), &Limits::default()));
    }
}
